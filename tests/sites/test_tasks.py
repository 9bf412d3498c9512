"""Tasks and executions: nothing is given up, nothing hammers, and no change is lost when two become one."""

import json
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from edgeproxy.sites.tasks import Execution, Task, backoff, coalesced, due, lag

NOW = 1_000.0
CHANCES = st.floats(0, 1, exclude_max=True)
MOMENTS = st.floats(0, 10_000)
TASKS = st.builds(
    Task,
    task_id=st.uuids().map(str),
    policy=st.sampled_from(["all", "some"]),
    target=st.sampled_from(["edge-1", "edge-2"]),
    reference=st.sampled_from(["docker.io/library/nginx:1.2", "ghcr.io/acme/app:latest"]),
    created=MOMENTS,
    size=st.integers(0, 10**12),
    via=st.lists(st.sampled_from(["edge-1", "edge-2", "edge-3"]), unique=True).map(tuple),
    retry_count=st.integers(0, 5_000),
    last_error=st.text(max_size=20),
    next_try=MOMENTS,
)


def task(number: int = 0, *, created: float = NOW, next_try: float = 0.0, size: int = 0) -> Task:
    return Task(f"task-{number}", "all", "edge-1", "docker.io/library/nginx:1.2", created, size, next_try=next_try)


@given(st.integers(1, 10_000), CHANCES)
def test_delays_are_of_the_upper_half_and_never_more_than_a_minute(failures: int, chance: float) -> None:
    longest = min(60.0, 2.0 ** min(failures - 1, 10))
    assert longest / 2 <= backoff(failures, chance) <= longest


def test_delays_double_up_to_a_minute() -> None:
    assert [backoff(failures, 0.0) * 2 for failures in range(1, 9)] == [1, 2, 4, 8, 16, 32, 60, 60]


def test_what_failed_together_comes_back_apart() -> None:
    delays = [backoff(5, number / 10) for number in range(10)]
    assert all(one < other for one, other in pairwise(delays))
    assert delays[-1] - delays[0] > 7


@given(TASKS, st.text(max_size=2_000), MOMENTS, CHANCES)
def test_a_failure_puts_it_off_and_never_gives_it_up(known: Task, error: str, now: float, chance: float) -> None:
    later = known.failed(error, now, chance)
    assert later.retry_count == known.retry_count + 1
    assert now < later.next_try <= now + 60
    assert error.startswith(later.last_error)
    assert len(later.last_error) <= 500
    assert due([later], now) == []
    assert due([later], later.next_try) == [later]
    assert (later.task_id, later.created, later.via) == (known.task_id, known.created, known.via)


@given(TASKS, MOMENTS)
def test_what_is_retried_is_due_at_once(known: Task, now: float) -> None:
    assert due([known.retried(now)], now) == [known.retried(now)]
    assert known.retried(now).next_try <= known.next_try


@given(TASKS, TASKS)
def test_two_changes_of_a_reference_are_one_task_as_old_as_the_older(old: Task, new: Task) -> None:
    one = coalesced(old, new)
    assert one.task_id == old.task_id
    assert one.created == min(old.created, new.created)
    assert one.size >= new.size
    assert set(one.via) <= set(new.via)
    assert coalesced(one, one) == one


@given(st.lists(TASKS, max_size=8), MOMENTS)
def test_the_oldest_that_is_due_is_first(tasks: list[Task], now: float) -> None:
    ready = due(tasks, now)
    assert all(each.next_try <= now for each in ready)
    assert sorted(ready, key=id) == sorted((each for each in tasks if each.next_try <= now), key=id)
    assert all(one.created <= other.created for one, other in pairwise(ready))


def test_the_lag_is_that_of_the_oldest() -> None:
    tasks = [task(1, created=NOW - 5, size=100), task(2, created=NOW - 60, size=20, next_try=NOW + 30)]
    assert lag(tasks, NOW) == (60.0, 120, 2)
    assert lag([], NOW) == (0.0, 0, 0)
    assert lag([task(created=NOW + 3_600)], NOW).seconds == 0.0


@given(TASKS)
def test_a_task_is_read_as_it_was_written(known: Task) -> None:
    assert Task.of_row(known.row()) == known
    assert isinstance(json.loads(known.row()), dict)


def test_new_tasks_and_executions_have_names_of_their_own() -> None:
    made = [Task.new("all", "edge-1", "docker.io/library/nginx:1.2", created=NOW) for _ in range(2)]
    assert made[0].task_id != made[1].task_id
    runs = [Execution.begin("all", "edge-1", "event", NOW) for _ in range(2)]
    assert runs[0].execution_id != runs[1].execution_id


def test_an_execution_counts_what_it_delivered_until_it_is_done() -> None:
    begun = Execution.begin("all", "edge-1", "schedule", NOW)
    done = begun.delivered(300).delivered(200).done(NOW + 5)
    assert (done.state, done.tasks, done.sent, done.started, done.ended) == ("done", 2, 500, NOW, NOW + 5)
    assert Execution.of_row(done.row()) == done


def test_what_is_stopped_goes_on_when_it_is_resumed_and_what_is_done_stays_done() -> None:
    begun = Execution.begin("all", "edge-1", "manual", NOW)
    assert begun.stopped().state == "stopped"
    assert begun.stopped().resumed() == begun
    done = begun.done(NOW)
    assert done.stopped() == done.resumed() == done
