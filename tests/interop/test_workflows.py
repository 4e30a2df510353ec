"""Workflows whose steps run with Celery's workers and taskq's in turn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from taskq import Signature, chain, chord, group
from taskq.exceptions import ChordError
from tests.faults.stage import PATIENCE
from tests.interop.conftest import ON_CELERY, ON_TASKQ, Town
from tests.waiting import wait_until

pytestmark = [pytest.mark.rabbitmq, pytest.mark.redis]

QUEUES = (ON_CELERY, ON_TASKQ)


def step(name: str, *args: Any, queue: str, **options: Any) -> dict[str, Any]:
    """A signature as a document that both sides read."""
    document: dict[str, Any] = {
        "task": f"interop.{name}",
        "args": list(args),
        "kwargs": {},
        "options": {"queue": queue, **options},
        "subtask_type": None,
        "immutable": False,
    }
    return document


def sides(start: str) -> list[str]:
    """Both queues in turn, beginning with this one."""
    return [start, QUEUES[QUEUES[0] == start]]


def run(town: Town, by: str, document: Any) -> Any:
    """Send a signature with one side's client, and get its result with it."""
    if by == "celery":
        return town.celery.run(document)
    return Signature.from_dict(document, town.app).apply_async().get(PATIENCE)


def build(town: Town, by: str, kind: str, *documents: Any) -> Any:
    if by == "celery":
        return town.celery.build(kind, *documents)
    parts = [Signature.from_dict(document, town.app) for document in documents]
    made = {
        "chain": lambda: chain(*parts),
        "group": lambda: group(parts),
        "chord": lambda: chord(parts[:-1], parts[-1]),
    }
    return made[kind]()


@pytest.fixture(params=["celery", "taskq"])
def by(request: pytest.FixtureRequest) -> str:
    """Whose client sends it."""
    return str(request.param)


@pytest.fixture(params=QUEUES)
def start(request: pytest.FixtureRequest) -> str:
    """Whose worker begins."""
    return str(request.param)


def test_a_chain(town: Town, by: str, start: str) -> None:
    first, second = sides(start)
    steps = [
        step("add", 1, 2, queue=first),
        step("add", 4, queue=second),
        step("add", 8, queue=first),
    ]
    assert run(town, by, build(town, by, "chain", *steps)) == 15


def test_a_chord_of_both(town: Town, by: str, start: str) -> None:
    """Members run in turn with both; whichever ends last sends the body."""
    queues = [sides(start)[n % 2] for n in range(6)]
    members = [step("member", n, queue=queue) for n, queue in enumerate(queues)]
    for body in sides(start):
        made = build(town, by, "chord", *members, step("gather", queue=body))
        side, values = run(town, by, made)
        assert side == body.removeprefix("on-")
        assert values == [[n, queue.removeprefix("on-")] for n, queue in enumerate(queues)]


@pytest.mark.slow
def test_the_last_member_is_anybodys(town: Town, by: str, start: str) -> None:
    """The other members have ended when the last one runs, so that its worker sends the body."""
    first, last = sides(start)
    members = [step("member", 0, queue=first), step("member", 1, queue=last, countdown=1.2)]
    side, values = run(town, by, build(town, by, "chord", *members, step("gather", queue=first)))
    assert [value[0] for value in values] == [0, 1]
    assert side == first.removeprefix("on-")


@pytest.mark.slow
def test_a_chord_of_chains(town: Town, by: str, start: str) -> None:
    first, second = sides(start)
    member = build(town, by, "chain", step("add", 1, 1, queue=first), step("add", 1, queue=second))
    other = build(town, by, "chain", step("add", 5, 1, queue=second), step("add", 1, queue=first))
    made = build(town, by, "chord", member, other, step("gather", queue=second))
    assert run(town, by, made)[1] == [3, 7]


@pytest.mark.slow
def test_what_follows_a_chord_is_a_chain(town: Town, by: str, start: str) -> None:
    first, second = sides(start)
    members = [step("member", 1, queue=first), step("member", 2, queue=second)]
    body = build(town, by, "chain", step("gather", queue=first), step("types", queue=second))
    value, kind = run(town, by, build(town, by, "chord", *members, body))
    assert (value[0], kind) == (first.removeprefix("on-"), "list")


@pytest.mark.slow
def test_a_chain_with_a_group_in_it(town: Town, by: str, start: str) -> None:
    first, second = sides(start)
    many = build(town, by, "group", step("add", 1, queue=first), step("add", 2, queue=second))
    made = build(
        town, by, "chain", step("add", 10, 0, queue=second), many, step("gather", queue=first)
    )
    assert run(town, by, made)[1] == [11, 12]


@pytest.mark.slow
@pytest.mark.parametrize("failing", QUEUES)
def test_a_chord_whose_member_fails(town: Town, by: str, start: str, failing: str) -> None:
    first, second = sides(start)
    members = [step("member", 1, queue=first), step("fail", queue=failing)]
    made = build(town, by, "chord", *members, step("gather", queue=second))
    if by == "celery":
        told = town.celery.get(town.celery.post(made))
        assert (told["state"], told["value"][0]) == ("FAILURE", "ChordError")
        assert "ValueError('no', 7)" in told["value"][2][0]
    else:
        with pytest.raises(ChordError, match="ValueError"):
            run(town, by, made)


@pytest.mark.slow
def test_a_chord_whose_chain_fails_at_its_beginning(town: Town, by: str, start: str) -> None:
    first, second = sides(start)
    member = build(town, by, "chain", step("fail", queue=first), step("add", 1, queue=second))
    made = build(
        town, by, "chord", member, step("member", 1, queue=second), step("gather", queue=first)
    )
    if by == "celery":
        told = town.celery.get(town.celery.post(made))
        assert (told["state"], told["value"][0]) == ("FAILURE", "ChordError")
    else:
        with pytest.raises(ChordError):
            run(town, by, made)


@pytest.mark.slow
def test_links(town: Town, by: str, start: str, tmp_path: Path) -> None:
    first, second = sides(start)
    notes = tmp_path / "notes"
    document = step("add", 20, 3, queue=first, link=[step("note", str(notes), queue=second)])
    assert run(town, by, document) == 23
    wait_until(lambda: notes.exists() and notes.read_text() != "", PATIENCE, "the callback")
    assert notes.read_text() == f"{second.removeprefix('on-')}: 23\n"


@pytest.mark.slow
def test_errbacks(town: Town, by: str, start: str) -> None:
    """One that takes only the id is sent to the other side's worker."""
    first, second = sides(start)
    failed = town.folder / "failed"
    failed.unlink(missing_ok=True)
    document = step("fail", queue=first, link_error=[step("failed_id", queue=second)])
    if by == "celery":
        task_id = town.celery.post(document)
    else:
        task_id = Signature.from_dict(document, town.app).apply_async().id
    wait_until(lambda: failed.exists() and failed.read_text() != "", PATIENCE, "the errback")
    assert failed.read_text() == f"{second.removeprefix('on-')}: {task_id}\n"


@pytest.mark.slow
def test_chords_of_stores_that_do_not_count(town: Town) -> None:
    """Celery's client then sends a task that looks after the members, to any worker."""
    late = town.celery.send("interop.member", [1], {}, queue=ON_CELERY, countdown=1.2)
    ids = [town.celery.send("interop.member", [0], {}, queue=ON_TASKQ), late]
    for ends in ("well", "badly"):
        if ends == "badly":
            ids[1] = town.celery.send("interop.fail", [], {}, queue=ON_CELERY)
        body = step("gather", queue=ON_CELERY, task_id=f"unlocked-{ends}")
        result = [[[one, None], None] for one in ids]
        options = {"interval": 0.2, "max_retries": None, "result": result}
        town.celery.send("celery.chord_unlock", ["g", body], options, queue=ON_TASKQ)
        told = town.celery.get(f"unlocked-{ends}")
        if ends == "well":
            assert told["value"] == ["celery", [[0, "taskq"], [1, "celery"]]]
        else:
            assert (told["state"], told["value"][0]) == ("FAILURE", "ChordError")
