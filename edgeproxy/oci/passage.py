"""The proxies a request has passed (RFC 8586, CDN-Loop)."""

from contextvars import ContextVar

passed: ContextVar[str] = ContextVar("passed", default="")
"""The `CDN-Loop` field of the request being answered.

It rides with the task, and with the tasks that it starts, because it concerns the first room a request enters and the
last, and none between.
"""


def has_passed(field: str, name: str) -> bool:
    """Whether the proxy `name` is in a `CDN-Loop` field; parameters of its members do not matter."""
    return bool(field) and any(member.partition(";")[0].strip() == name for member in field.split(","))


def passing(name: str) -> str:
    """The field to send on: who was passed before, and then `name`."""
    before = passed.get()
    return f"{before}, {name}" if before else name
