"""Questions that several may have at once, each asked by a task of the daemon's."""

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

from edgeproxy.cache.flights import Spawn
from edgeproxy.oci.errors import Refusal, TooManyRequests

K = TypeVar("K", bound=Hashable)
A = TypeVar("A")
_MOST = 1000
"""At a time: those who ask and leave would have any number of tasks run on."""


class Questions(Generic[K, A]):
    """Who asks what is being asked already waits for the same answer. Whoever waits and leaves stops nothing."""

    def __init__(self, spawn: Spawn) -> None:
        self._spawn = spawn
        self._asking: dict[K, asyncio.Future[A]] = {}

    def __contains__(self, question: K) -> bool:
        return question in self._asking

    def ask(self, question: K, find: Callable[[K], Coroutine[Any, Any, A]], name: str) -> asyncio.Future[A]:
        """The answer that `find` gives, or the `Refusal` it raises; to be shielded by who waits. `name`: the task's.

        Raises `TooManyRequests`.
        """
        answer = self._asking.get(question)
        if answer is None:
            if len(self._asking) >= _MOST:
                raise TooManyRequests("too much is being asked upstream: ask again", retry_after=1)
            answer = self._asking[question] = asyncio.get_running_loop().create_future()
            answer.add_done_callback(lambda done: done.cancelled() or done.exception())  # nobody may be waiting for it
            task = self._spawn(self._find(question, find, answer), name)
            task.add_done_callback(lambda _: self._found(question, answer))
        return answer

    async def _find(self, question: K, find: Callable[[K], Coroutine[Any, Any, A]], answer: asyncio.Future[A]) -> None:
        try:
            answer.set_result(await find(question))
        except Refusal as refusal:
            answer.set_exception(refusal)
        except Exception as bug:
            answer.set_exception(bug)
            raise
        finally:
            self._found(question, answer)

    def _found(self, question: K, answer: asyncio.Future[A]) -> None:
        """Also called for a question that was stopped before it was asked."""
        if self._asking.get(question) is answer:
            del self._asking[question]
        answer.cancel()
