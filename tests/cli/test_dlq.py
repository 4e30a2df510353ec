"""``taskq dlq``."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence

import pytest

from taskq import TaskQ
from taskq.brokers.base import Fate, Settlement
from taskq.message import TaskMessage
from tests.cli.conftest import Run


def bury(app: TaskQ, messages: Sequence[TaskMessage], reason: str) -> None:
    """Put messages into the dead-letter queue, as a worker would."""
    app.broker.publish(messages)

    async def consume() -> None:
        queues = [app.router.queue(name) for name in ("default", "slow")]
        consumer = app.broker.consumer(queues, lease=30, backend=app.backend)
        async with consumer:
            deliveries = await consumer.receive(len(messages))
            assert len(deliveries) == len(messages)
            await consumer.settle(
                [Settlement(delivery, Fate.DEAD, reason=reason) for delivery in deliveries]
            )

    asyncio.run(consume())


@pytest.fixture(autouse=True)
def letters(app: TaskQ) -> None:
    """Letter 1 is of the queue ``default``, 2 of ``slow``."""
    first = app.producer.build("proj.add", (1, 2), {}, {"compression": "gzip"})
    second = app.producer.build("proj.fail", (), {}, {"queue": "slow"})
    bury(app, [first], "it was\nno good")
    bury(app, [second], "too old")


def dead(app: TaskQ) -> list[str]:
    return [letter.id for letter in app.broker.dead_letters()]


def test_list(run: Run) -> None:
    lines = run("-A", "proj", "dlq", "list").stdout.splitlines()
    assert lines[0].split() == ["id", "died", "queue", "task", "reason"]
    assert [line.split()[0] for line in lines[1:]] == ["2", "1"]
    assert lines[2].endswith("default  proj.add   it was no good")


def test_list_of_one_queue(run: Run) -> None:
    result = run("-A", "proj", "dlq", "list", "--queue", "slow", "--json")
    [letter] = json.loads(result.stdout)
    assert (letter["id"], letter["task"], letter["reason"]) == ("2", "proj.fail", "too old")
    assert len(run("-A", "proj", "dlq", "list", "--limit", "1").stdout.splitlines()) == 2


def test_list_of_none(run: Run) -> None:
    result = run("-A", "proj", "dlq", "list", "--queue", "other")
    assert (result.exit_code, result.stdout) == (0, "no dead letters of queue other\n")


def test_show(run: Run) -> None:
    text = run("-A", "proj", "dlq", "show", "1").stdout
    for part in ("task: proj.add\n", "deliveries: 1\n", "args: [1, 2]\n", '  lang: "py"\n'):
        assert part in text


def test_show_as_json(run: Run) -> None:
    first, second = json.loads(run("-A", "proj", "dlq", "show", "1", "2", "--json").stdout)
    assert (first["args"], first["kwargs"], first["headers"]["task"]) == ([1, 2], {}, "proj.add")
    assert second["id"] == "2"


class Pwned:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (pytest.fail, ("a pickle was loaded",))


def test_show_loads_no_pickles(run: Run, app: TaskQ) -> None:
    message = app.producer.build("proj.add", (Pwned(),), {}, {"serializer": "pickle"})
    bury(app, [message], "not accepted")
    result = run("-A", "proj", "dlq", "show", "3")
    assert "body: cannot be read: content type 'application/x-python-serialize'" in result.stdout


def test_show_of_a_damaged_body(run: Run, app: TaskQ) -> None:
    message = app.producer.build("proj.add", (), {}, {})
    message.body = b"{"
    bury(app, [message], "not decodable")
    assert (
        "body: cannot be read: data is not valid json"
        in run("-A", "proj", "dlq", "show", "3").stdout
    )


def test_retry_of_one(run: Run, app: TaskQ) -> None:
    result = run("-A", "proj", "dlq", "retry", "1", "1")
    assert result.stdout == "sent 1 message again\n"
    assert app.broker.depth("default").ready == 1
    assert dead(app) == ["2"]


def test_retry_of_all(run: Run, app: TaskQ) -> None:
    assert run("-A", "proj", "dlq", "retry", "--all").stdout == "sent 2 messages again\n"
    assert dead(app) == []


def test_retry_of_one_queue(run: Run, app: TaskQ) -> None:
    run("-A", "proj", "dlq", "retry", "--all", "--queue", "slow")
    assert dead(app) == ["1"]


def test_purge(run: Run, app: TaskQ) -> None:
    assert run("-A", "proj", "dlq", "purge", "2", input="n\n").exit_code == 1
    assert dead(app) == ["2", "1"]
    result = run("-A", "proj", "dlq", "purge", "2", input="y\n")
    assert "Delete 1 dead letter for good?" in result.output
    assert dead(app) == ["1"]
    assert run("-A", "proj", "dlq", "purge", "--all", "-f").exit_code == 0
    assert dead(app) == []


@pytest.mark.parametrize("command", ["retry", "purge"])
@pytest.mark.parametrize("arguments", [[], ["1", "--all"], ["--queue", "slow"]])
def test_which_ones(run: Run, app: TaskQ, command: str, arguments: list[str]) -> None:
    result = run("-A", "proj", "dlq", command, *arguments)
    assert result.exit_code == 2
    assert "which ones?" in result.output
    assert dead(app) == ["2", "1"]


@pytest.mark.parametrize("command", ["show", "retry", "purge"])
def test_unknown_id(run: Run, app: TaskQ, command: str) -> None:
    result = run("-A", "proj", "dlq", command, "1", "99")
    assert result.exit_code == 1
    assert "there is no dead letter 99" in result.output
    assert dead(app) == ["2", "1"]
