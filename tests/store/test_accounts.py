"""The total that the budget is held by, against a model."""

import asyncio
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeproxy.interfaces import Held
from edgeproxy.oci.digest import Digest
from edgeproxy.store.catalog import Catalog, add_held, drop_held
from edgeproxy.store.rows import Rows
from tests.fakes.clock import ManualClock

DIGESTS = [Digest.of(bytes([number])) for number in range(4)]


class Step(NamedTuple):
    verb: str
    digest: Digest
    size: int
    fails: bool
    """Whether the transaction is given up after its work."""


STEPS = st.lists(
    st.builds(
        Step,
        st.sampled_from(["add", "add", "drop", "use", "pin"]),
        st.sampled_from(DIGESTS),
        st.integers(0, 10**12),
        st.booleans(),
    ),
    max_size=20,
)


class GivenUp(Exception):
    pass


@pytest.mark.parametrize("reopened", [False, True])
@given(steps=STEPS)
@settings(deadline=None, max_examples=20)
def test_the_total_is_the_sum_of_the_sizes(
    reopened: bool, steps: list[Step], tmp_path_factory: pytest.TempPathFactory
) -> None:
    asyncio.run(play(steps, tmp_path_factory.mktemp("catalog"), reopened))


async def play(steps: list[Step], directory: Path, reopened: bool) -> None:
    catalog, model = Catalog(directory, ManualClock()), dict[Digest, int]()
    for step in steps:
        if step.verb == "use":
            await catalog.add_uses({step.digest: (1, 1.0)})
        elif step.verb == "pin":
            await catalog.pin(step.digest, step.size % 2 == 0)
        else:
            await add_or_drop(catalog, model, step)
        if reopened:
            await catalog.close()
            catalog = Catalog(directory, ManualClock())
        assert catalog.total() == sum(model.values())
    assert {held.digest: held.size for held in catalog.all_held()} == model
    await catalog.close()


async def add_or_drop(catalog: Catalog, model: dict[Digest, int], step: Step) -> None:
    held = Held(step.digest, step.size, 0.0, 0.0)
    act = partial(add_held, held=held) if step.verb == "add" else partial(drop_held, digest=step.digest)
    if step.fails:
        with pytest.raises(GivenUp):
            await catalog.change(partial(_give_up, act))
        return
    result = await catalog.change(act)
    if step.verb == "add":
        model[step.digest] = step.size
    else:
        assert result == model.pop(step.digest, 0)


def _give_up(act: Callable[[Rows], object], rows: Rows) -> None:
    act(rows)
    raise GivenUp
