"""Results: what a caller holds of a task that it has sent."""

from __future__ import annotations

import asyncio
import builtins
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest

from taskq import AsyncResult, GroupResult, TaskQ, states
from taskq.backends.base import Outcome
from taskq.exceptions import (
    DecodeError,
    EncodeError,
    ImproperlyConfigured,
    TaskQError,
    TaskRevokedError,
    TimeoutError,
)
from taskq.result_set import ResultSet

Store = Callable[..., AsyncResult[Any]]


@pytest.fixture
def store(app: TaskQ) -> Store:
    """Stores an outcome as a worker does, and gives what a caller holds of it."""

    def store(
        state: str, value: Any = None, traceback: str | None = None, **more: Any
    ) -> AsyncResult[Any]:
        app.backend.store([app.result_codec.encode("1", state, value, traceback, **more)])
        return app.AsyncResult("1", task_name="proj.add")

    return store


# What is known of it


def test_nothing_yet(app: TaskQ) -> None:
    result = app.AsyncResult("1")
    assert (result.id, result.task_id, str(result)) == ("1", "1", "1")
    assert repr(result) == "<AsyncResult: 1>"
    assert (result.state, result.status) == (states.PENDING, states.PENDING)
    assert (result.result, result.info, result.traceback, result.date_done) == (None,) * 4
    assert not result.ready()
    assert not result.successful()
    assert not result.failed()
    assert not result.exists()
    assert result.maybe_throw() is None


def test_success(store: Store) -> None:
    before = datetime.now(UTC)
    result = store(states.SUCCESS, {"sum": 3})
    assert result.get() == {"sum": 3}
    assert (result.state, result.result) == (states.SUCCESS, {"sum": 3})
    assert result.ready()
    assert result.successful()
    assert not result.failed()
    assert result.exists()
    assert result.date_done is not None
    assert before <= result.date_done <= datetime.now(UTC)


def test_progress(store: Store) -> None:
    result = store("PROGRESS", {"done": 5})
    assert (result.state, result.info, result.ready()) == ("PROGRESS", {"done": 5}, False)
    assert result.date_done is None
    assert result.maybe_throw() == {"done": 5}


def test_failure(store: Store) -> None:
    result = store(states.FAILURE, ValueError("no", 5), "Traceback: in add")
    assert (result.state, result.failed(), result.traceback) == (
        states.FAILURE,
        True,
        "Traceback: in add",
    )
    for _ in range(2):
        with pytest.raises(ValueError, match="no") as caught:
            result.get()
        assert caught.value.args == ("no", 5)
    with pytest.raises(ValueError, match="no"):
        result.maybe_throw()
    assert isinstance(result.get(propagate=False), ValueError)
    assert isinstance(result.result, ValueError)
    assert isinstance(result.maybe_throw(propagate=False), ValueError)


@pytest.mark.parametrize("meta", ["disk full", {"disk": "full"}, None])
def test_a_failure_in_the_own_words_of_a_task(app: TaskQ, store: Store, meta: Any) -> None:
    app.store_state("1", states.FAILURE, meta)
    result = app.AsyncResult("1")
    assert (result.state, result.info) == (states.FAILURE, meta)
    with pytest.raises(TaskQError, match=f"own words: .*{'full' if meta else 'None'}"):
        result.get()
    assert result.get(propagate=False) == meta


@pytest.mark.parametrize("shown", [True, False])
def test_tracebacks_of_the_worker(app: TaskQ, store: Store, shown: bool) -> None:
    app.conf.update(task_remote_tracebacks=shown)
    error = store(states.FAILURE, ValueError("no"), "Traceback: in add").get(propagate=False)
    assert ("in add" in str(getattr(error, "__notes__", ""))) is shown


def test_a_retry_is_no_end(store: Store) -> None:
    result = store(states.RETRY, ValueError("later"))
    assert not result.ready()
    assert isinstance(result.result, ValueError)
    assert isinstance(result.maybe_throw(), ValueError)


@pytest.mark.parametrize("value", [TaskRevokedError("expired"), "expired", None])
def test_revoked(store: Store, value: Any) -> None:
    result = store(states.REVOKED, value)
    with pytest.raises(TaskRevokedError, match="expired" if value else "revoked"):
        result.get()
    assert result.ready()
    assert not result.failed()


def test_what_an_extended_result_tells(store: Store) -> None:
    more = {"args": [1], "kwargs": {"b": 2}, "worker": "w@h", "retries": 3, "queue": "q"}
    result = store(states.SUCCESS, 1, name="other", **more)
    for name, value in more.items():
        assert getattr(result, name) == value
    assert result.name == "proj.add"


def test_a_name_that_only_the_store_knows(app: TaskQ, store: Store) -> None:
    store(states.SUCCESS, 1, name="proj.add")
    assert app.AsyncResult("1").name == "proj.add"
    assert app.AsyncResult("2").name is None


def test_forgetting(store: Store) -> None:
    result = store(states.SUCCESS, 1)
    assert result.get() == 1
    result.forget()
    assert (result.state, result.exists()) == (states.PENDING, False)


def test_the_end_is_asked_for_once(app: TaskQ, store: Store) -> None:
    result = store(states.SUCCESS, 1)
    result.get()
    app.backend.forget(["1"])
    assert (result.get(), result.state, result.exists()) == (1, states.SUCCESS, True)
    progress = store("PROGRESS", 1)
    assert progress.info == 1
    store("PROGRESS", 2)
    assert progress.info == 2


def test_an_id_is_enough_where_there_is_a_current_app(store: Store) -> None:
    assert AsyncResult("1").state == states.PENDING
    store(states.SUCCESS, 3)
    assert AsyncResult("1").get() == 3


def test_same_ids_are_the_same_result(app: TaskQ) -> None:
    one, two, other = app.AsyncResult("1"), app.AsyncResult("1", "name"), app.AsyncResult("2")
    assert one == two
    assert one != other
    assert one != "1"
    assert len({one, two, other}) == 2


def test_parents(app: TaskQ) -> None:
    last = app.result_chain(["1", "2", "3"])
    assert last.id == "3"
    assert last.parent is not None
    assert last.parent.parent == app.AsyncResult("1")
    assert last.parent.parent.parent is None


async def test_the_document(app: TaskQ, store: Store) -> None:
    assert await app.AsyncResult("1").adocument() == {"status": states.PENDING}
    document = await store(states.SUCCESS, 5).adocument()
    assert (document["status"], document["result"], document["task_id"]) == ("SUCCESS", 5, "1")


# Waiting


def test_waiting_in_a_thread(app: TaskQ, store: Store) -> None:
    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(app.AsyncResult("1").get, 20)
        store(states.STARTED)
        store(states.SUCCESS, 5)
        assert waiting.result() == 5


async def test_waiting_on_a_loop(app: TaskQ, store: Store) -> None:
    result = app.AsyncResult("1")

    async def await_it() -> Any:
        return await result

    waiting = [asyncio.create_task(result.aget(20)), asyncio.create_task(await_it())]
    await asyncio.sleep(0)
    store(states.SUCCESS, 5)
    assert await asyncio.gather(*waiting) == [5, 5]
    assert await result == 5


async def test_awaiting_a_failure(store: Store) -> None:
    result = store(states.FAILURE, ValueError("no"))
    with pytest.raises(ValueError, match="no"):
        await result
    assert isinstance(await result.aget(propagate=False), ValueError)


@pytest.mark.parametrize("state", [states.PENDING, states.STARTED])
async def test_too_late(store: Store, app: TaskQ, state: str) -> None:
    result = store(state) if state != states.PENDING else app.AsyncResult("1", "proj.add")
    for kind in (TimeoutError, builtins.TimeoutError):
        with pytest.raises(kind, match=f"proj.add for 1 within 0.01 s.*{state}"):
            result.get(timeout=0.01)
    with pytest.raises(TimeoutError, match="within 0 s"):
        await result.aget(timeout=0)


def test_not_inside_of_a_task(app: TaskQ, store: Store) -> None:
    store(states.SUCCESS, 5)

    @app.task
    def wait(allowed: bool) -> Any:
        return app.AsyncResult("1").get(disable_sync_subtasks=not allowed)

    with pytest.raises(RuntimeError, match="never wait"):
        wait.apply((False,)).get()
    assert wait.apply((True,)).get() == 5


def test_without_a_store() -> None:
    with TaskQ("own", broker="memory://", backend="disabled://", set_as_current=False) as app:
        result = app.AsyncResult("1")
        for ask in (result.get, result.ready, result.exists):
            with pytest.raises(ImproperlyConfigured, match="result_backend"):
                ask()
        app.backend.store([Outcome("1", "SUCCESS", b"")])
        app.backend.forget(["1"])
        assert app.backend.cleanup() == 0


# Several of them


@pytest.fixture
def many(app: TaskQ) -> GroupResult[Any]:
    return app.GroupResult("g", [app.AsyncResult(str(n)) for n in range(3)])


def end(app: TaskQ, number: int, state: str = states.SUCCESS, value: Any = None) -> None:
    app.backend.store([app.result_codec.encode(str(number), state, value)])


def test_what_many_tell(app: TaskQ, many: GroupResult[Any]) -> None:
    def told() -> tuple[bool, bool, bool, int]:
        return many.ready(), many.successful(), many.failed(), many.completed_count()

    assert (many.id, len(many), many.children, many.parent) == ("g", 3, many.results, None)
    assert [result.id for result in many] == ["0", "1", "2"]
    assert many[1].id == "1"
    assert repr(many) == "<GroupResult: [0, 1, 2]>"
    assert told() == (False, False, False, 0)
    end(app, 2)
    end(app, 0, states.STARTED)
    assert told() == (False, False, False, 1)
    end(app, 0)
    end(app, 1, states.FAILURE, ValueError("no"))
    assert told() == (True, False, True, 2)
    many.forget()
    assert told() == (False, False, False, 0)


def test_many_that_succeed(app: TaskQ, many: GroupResult[Any]) -> None:
    for number in (2, 0, 1):
        end(app, number, value=number * 10)
    assert many.successful()
    assert many.get(timeout=5) == many.join() == [0, 10, 20]


def test_one_lookup_for_all(
    app: TaskQ, many: GroupResult[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    end(app, 1)
    asked: list[list[str]] = []
    fetch = app.backend.fetch
    monkeypatch.setattr(app.backend, "fetch", lambda ids: (asked.append(list(ids)), fetch(ids))[1])
    many.ready()
    assert not many.successful()
    assert asked == [["0", "1", "2"], ["0", "2"]], "what has ended is not asked for again"


@pytest.mark.parametrize("how", ["get", "aget"])
async def test_waiting_for_many(app: TaskQ, many: GroupResult[Any], how: str) -> None:
    waiting = asyncio.create_task(
        many.aget(20) if how == "aget" else asyncio.to_thread(many.get, 20)
    )
    for number in (2, 0, 1):
        await asyncio.sleep(0.01)
        assert not waiting.done()
        end(app, number, value=number)
    assert await waiting == [0, 1, 2]
    assert await many == [0, 1, 2]


@pytest.fixture
def asked(app: TaskQ, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many results the store was asked for, each time."""
    counts: list[int] = []
    wait = app.backend.wait
    monkeypatch.setattr(
        app.backend, "wait", lambda ids, timeout: (counts.append(len(ids)), wait(ids, timeout))[1]
    )
    return counts


def test_a_thousand_that_are_there_are_read_at_once(app: TaskQ, asked: list[int]) -> None:
    for number in range(1000):
        end(app, number, value=number)
    group = app.GroupResult("g", [app.AsyncResult(str(n)) for n in range(1000)])
    assert group.get(timeout=20) == list(range(1000))
    assert asked == [1000]


def test_a_thousand_that_come_one_by_one(
    app: TaskQ, asked: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    group = app.GroupResult("g", [app.AsyncResult(str(n)) for n in range(1000)])
    wait = app.backend.wait

    def one_more(ids: list[str], timeout: float | None) -> dict[str, Outcome]:
        end(app, int(ids[0]), value=int(ids[0]))
        return wait(ids, timeout)

    monkeypatch.setattr(app.backend, "wait", one_more)
    assert group.get(timeout=20) == list(range(1000))
    assert len(asked) == 1000
    # All of them only now and then: else the work would grow with the square of their number.
    assert sum(asked) < 1000 * 1000 / 3


@pytest.mark.parametrize("how", ["get", "aget"])
async def test_one_that_fails_far_behind_is_noticed(app: TaskQ, how: str) -> None:
    group = app.GroupResult("g", [app.AsyncResult(str(n)) for n in range(1000)])
    waiting = asyncio.create_task(
        group.aget(20) if how == "aget" else asyncio.to_thread(group.get, 20)
    )
    await asyncio.sleep(0.01)
    end(app, 999, states.FAILURE, ValueError("no"))
    with pytest.raises(ValueError, match="no"):
        await waiting


def test_many_too_late_among_a_thousand(app: TaskQ) -> None:
    group = app.GroupResult("g", [app.AsyncResult(str(n)) for n in range(1000)])
    end(app, 500)
    for timeout in (0, 0.02):
        with pytest.raises(TimeoutError, match=r"999 of 1000 results .* the first is 0"):
            group.get(timeout=timeout)


async def test_a_group_within_a_group(app: TaskQ) -> None:
    inner = app.GroupResult("inner", [app.AsyncResult("0"), app.AsyncResult("1")])
    # As the type says it is not, and as a chain that ends with a group makes it all the same.
    outer = app.GroupResult("outer", [inner, app.AsyncResult("2")])  # type: ignore[list-item]
    end(app, 0, value=0)
    end(app, 2, value=2)
    assert (outer.ready(), outer.successful(), outer.completed_count()) == (False, False, 2)
    with pytest.raises(TimeoutError, match=r"1 of 3 results .* the first is 1"):
        outer.get(timeout=0.01)
    end(app, 1, value=1)
    assert outer.ready()
    assert outer.get(timeout=5) == await outer == [[0, 1], 2]


@pytest.mark.parametrize("how", ["get", "aget"])
async def test_one_that_fails_is_told_at_once(app: TaskQ, many: GroupResult[Any], how: str) -> None:
    waiting = asyncio.create_task(
        many.aget(20) if how == "aget" else asyncio.to_thread(many.get, 20)
    )
    await asyncio.sleep(0)
    end(app, 1, states.FAILURE, ValueError("no"))
    with pytest.raises(ValueError, match="no"):
        await waiting
    with pytest.raises(TimeoutError, match=r"2 of 3 results are not there within 0.01 s.* is 0"):
        await many.aget(timeout=0.01, propagate=False)
    end(app, 0, value=5)
    end(app, 2, states.REVOKED, TaskRevokedError("revoked"))
    for values in (many.get(timeout=5, propagate=False), await many.aget(5, propagate=False)):
        assert [type(value) for value in values] == [int, ValueError, TaskRevokedError]


def test_many_too_late(app: TaskQ, many: GroupResult[Any]) -> None:
    end(app, 0, states.STARTED)
    end(app, 1)
    for timeout in (0, 0.02):
        with pytest.raises(TimeoutError, match="2 of 3 results"):
            many.get(timeout=timeout)


def test_many_inside_of_a_task(app: TaskQ, many: GroupResult[Any]) -> None:
    for number in range(3):
        end(app, number, value=number)

    @app.task
    def wait(allowed: bool) -> Any:
        return many.get(disable_sync_subtasks=not allowed)

    with pytest.raises(RuntimeError, match="never wait"):
        wait.apply((False,)).get()
    assert wait.apply((True,)).get() == [0, 1, 2]


def test_a_set_of_results(app: TaskQ) -> None:
    results = ResultSet([app.AsyncResult("1")])
    results.add(app.AsyncResult("2"))
    results.add(app.AsyncResult("1"))
    assert [result.id for result in results] == ["1", "2"]
    assert results == ResultSet([app.AsyncResult("1"), app.AsyncResult("2")])
    assert len({results, ResultSet(list(results))}) == 1
    assert results != ResultSet()
    assert ResultSet[Any]().get(timeout=0) == []


# Bytes


@pytest.mark.parametrize("serializer", ["json", "msgpack", "pickle", "yaml"])
def test_serializers(serializer: str) -> None:
    with TaskQ("own", set_as_current=False, result_serializer=serializer) as app:
        outcome = app.result_codec.encode("1", states.SUCCESS, {"a": [1, None]})
        assert (outcome.task_id, outcome.state) == ("1", "SUCCESS")
        assert app.result_codec.decode(outcome)["result"] == {"a": [1, None]}


@pytest.mark.parametrize("compression", ["gzip", "bzip2", "lzma"])
def test_compression(compression: str) -> None:
    with TaskQ("own", set_as_current=False, result_compression=compression) as app:
        outcome = app.result_codec.encode("1", states.SUCCESS, "x" * 10_000)
        assert len(outcome.payload) < 1000
        assert app.result_codec.decode(outcome)["result"] == "x" * 10_000
    with TaskQ("own", set_as_current=False) as other:
        assert other.result_codec.decode(outcome)["result"] == "x" * 10_000


def test_a_document_like_that_of_celery(app: TaskQ) -> None:
    headers = {"group": "g", "parent_id": "p", "id": "1"}
    outcome = app.result_codec.encode("1", states.SUCCESS, 3, None, headers)
    document = app.result_codec.decode(outcome)
    assert datetime.fromisoformat(document.pop("date_done")).tzinfo is not None
    assert document == {
        "status": "SUCCESS",
        "result": 3,
        "traceback": None,
        "children": [],
        "task_id": "1",
        "group_id": "g",
        "parent_id": "p",
    }


def test_what_cannot_be_encoded(app: TaskQ) -> None:
    with pytest.raises(EncodeError):
        app.result_codec.encode("1", states.SUCCESS, object())


@pytest.mark.parametrize("payload", [b"", b"{", b"\xff"])
def test_what_cannot_be_decoded(app: TaskQ, payload: bytes) -> None:
    app.backend.store([Outcome("1", states.SUCCESS, payload)])
    with pytest.raises(DecodeError):
        app.AsyncResult("1").get()


def test_children_are_the_tasks_that_it_sent() -> None:
    app = TaskQ("children", broker="memory://", task_store_eager_result=True)

    @app.task
    def leaf() -> None:
        """Sent, and not run."""

    @app.task
    def parent() -> list[str]:
        return [leaf.delay().id for _ in range(2)]

    result = parent.apply()
    sent = app.AsyncResult(result.id).children
    assert [child.id for child in sent] == result.get()
    assert app.AsyncResult(sent[0].id).state == "PENDING"
