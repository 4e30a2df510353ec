"""Every option, call, composition, result, signal and exception, with a real worker and servers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from taskq import (
    AsyncResult,
    GroupResult,
    ResultSet,
    Signature,
    StampingVisitor,
    chain,
    chord,
    exceptions,
    group,
    xmap,
    xstarmap,
)
from taskq.brokers.base import QueueDepth
from taskq.exceptions import (
    ChordError,
    EncodeError,
    TaskRevokedError,
    TimeLimitExceeded,
    WorkerLostError,
)
from tests.faults.stage import Stage, WorkerProcess

PLACES = [
    "sqlite",
    pytest.param("redis", marks=pytest.mark.redis),
    pytest.param("amqp", marks=[pytest.mark.rabbitmq, pytest.mark.redis]),
]


@pytest.fixture(scope="module", params=PLACES)
def stage(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A stage for all tests of one place, with the one worker that they share."""
    settings: dict[str, Any] = {
        "broker_lease": 2,
        "result_extended": True,
        "worker_send_task_events": True,
        "accept_content": ["json", "msgpack", "yaml"],
    }
    yield from _stage(request, tmp_path_factory.mktemp("stage"), settings)


def _stage(request: pytest.FixtureRequest, folder: Any, settings: Any) -> Iterator[Stage]:
    if request.param == "sqlite":
        yield from _opened(Stage(folder, "tests.e2e.catalogue", **settings))
        return
    redis = request.getfixturevalue("shared_redis")
    redis.call("FLUSHALL")
    settings["result_backend"] = redis.url
    if request.param == "redis":
        yield from _opened(Stage(folder, "tests.e2e.catalogue", broker_url=redis.url, **settings))
        return
    address = request.getfixturevalue("rabbitmq_address")
    with address.virtual_host() as host:
        yield from _opened(Stage(folder, "tests.e2e.catalogue", broker_url=host.url, **settings))


def _opened(stage: Stage) -> Iterator[Stage]:
    stage.worker(concurrency=3)
    yield stage
    stage.wait(lambda: stage.depth().ready == stage.depth().leased == 0, "an empty queue")
    (worker,) = stage._workers
    assert worker.terminate() == 0
    for name, arguments in AT_THE_END.items():
        assert stage.journal.count(f"signal-{name}", arguments), name
    stage.close()


def worker_of(stage: Stage) -> WorkerProcess:
    return stage._workers[0]


class TestOptions:
    def test_plain_calls(self, stage: Stage) -> None:
        add = stage.app.tasks["add"]
        assert add.delay(1, 2).get(timeout=20) == 3
        assert add.apply_async((1,), {"y": 5}).get(timeout=20) == 6
        assert add.apply((1, 1)).get() == 2
        assert add(3, 4) == 7

    @pytest.mark.parametrize("how", ["json", "msgpack", "yaml"])
    def test_serializers_and_compression(self, stage: Stage, how: str) -> None:
        value = {"text": "ä" * 1000, "numbers": list(range(100))}
        assert stage.send(f"by-{how}", value, serializer=how).get(timeout=20) == value

    def test_models(self, stage: Stage) -> None:
        from tests.e2e.catalogue import Order

        tasks = stage.app.tasks
        assert tasks["pair"].delay(Order(number=1, note="a"), {"number": 4}).get(timeout=20) == {
            "number": 5,
            "note": "a",
        }
        assert tasks["brief"].delay(Order(number=1)).get(timeout=20) == {"number": 1}
        with pytest.raises(Exception, match="validation error"):
            tasks["strict"].delay({"number": "1"}).get(timeout=20)
        with pytest.raises(Exception, match="validation error"):
            tasks["pair"].delay({"no": 1}).get(timeout=20)

    def test_limits(self, stage: Stage) -> None:
        soft, hard = stage.send("soft"), stage.send("hard")
        again = stage.send("hard-again", "again")
        assert soft.get(timeout=20) == "in time"
        with pytest.raises(TimeLimitExceeded, match=r"more than 0.3 s"):
            hard.get(timeout=20)
        assert again.get(timeout=20) == "again"
        assert stage.journal.count("hard", "again") == 2

    def test_ends_of_processes(self, stage: Stage) -> None:
        lost, again = stage.send("crash"), stage.send("crash-again", "twice")
        retried, early = stage.send("crash-retry"), stage.send("crash-early", "early")
        for result in (lost, early):
            with pytest.raises(WorkerLostError):
                result.get(timeout=20)
        assert again.get(timeout=20) == "twice"
        assert retried.get(timeout=20) == 1
        assert stage.journal.count("crash", "twice") == 2
        assert stage.journal.count("crash", "early") == 1

    def test_what_becomes_of_failures(self, stage: Stage) -> None:
        before = len(stage.dead_letters())
        with pytest.raises(ValueError, match="unwanted"):
            stage.send("to-dead-letters").get(timeout=20)
        stage.wait(lambda: len(stage.dead_letters()) == before + 1, "the dead letter")
        assert "acks_on_failure is off" in stage.dead_letters()[0].reason
        with pytest.raises(ValueError, match="kept"):
            stage.send("kept-error").get(timeout=20)
        with pytest.raises(KeyError, match="expected"):
            stage.send("expected").get(timeout=20)
        worker_of(stage).wait_log("raised expected")

    def test_reject_and_ignore(self, stage: Stage) -> None:
        before = len(stage.dead_letters())
        assert stage.send("reject", "requeued", True).get(timeout=20) == "requeued"
        stage.send("reject", "dropped", False)
        stage.wait(lambda: len(stage.dead_letters()) == before + 1, "the dead letter")
        assert "not now" in stage.dead_letters()[0].reason
        ignored = stage.send("ignore")
        worker_of(stage).wait_log(f"ignore[{ignored.id}]: ignored")
        assert not ignored.exists()

    def test_started(self, stage: Stage) -> None:
        result = stage.send("tracked", "tracked")
        stage.wait(lambda: result.state == "STARTED", "its state")
        assert set(result.info) == {"pid", "hostname"}
        stage.send("note", "tracked")
        assert result.get(timeout=20) == "x" * 200

    def test_handlers_retries_and_names(self, stage: Stage) -> None:
        watched, journal = stage.app.tasks["watched"], stage.journal
        assert watched.delay("good").get(timeout=20) == "good" * 50
        assert watched.delay("flaky").get(timeout=20) == "flaky" * 50
        with pytest.raises(FileNotFoundError):
            watched.delay("gone").get(timeout=20)
        assert watched.delay("replaced").get(timeout=20) == 42
        stage.wait_journal("on_replace", "replaced")
        stage.wait_journal("after_return-SUCCESS", "flaky")
        stage.wait_journal("after_return-FAILURE", "gone")
        events = ("before_start", "on_success", "on_retry", "on_failure", "after_return-RETRY")
        found = {key: [journal.count(e, key) for e in events] for key in ("good", "flaky", "gone")}
        assert found == {
            "good": [1, 1, 0, 0, 0],
            "flaky": [3, 1, 2, 0, 2],
            "gone": [1, 0, 0, 1, 0],
        }
        log = worker_of(stage).log()
        assert "shadow-of-good[" in log
        assert "goodgoodgood" not in log  # resultrepr_maxsize

    def test_retry(self, stage: Stage) -> None:
        stubborn = stage.app.tasks["stubborn"]
        result = stubborn.delay(1)
        with pytest.raises(RuntimeError, match="no more"):
            result.get(timeout=20)
        assert result.retries == 2

    def test_what_a_task_says_of_itself(self, stage: Stage) -> None:
        state, info, told = stage.send("progress").get(timeout=20)
        assert (state, info, told) == ("HALFWAY", {"percent": 50}, True)
        other = stage.send("once-more", 1).get(timeout=20)
        assert stage.app.AsyncResult(other).get(timeout=20) == "again"


class TestRequest:
    def test_all_of_it(self, stage: Stage) -> None:
        tasks = stage.app.tasks
        sent = tasks["request"].apply_async(
            (1,),
            {"two": 2},
            priority=4,
            time_limit=30,
            soft_time_limit=25,
            shadow="my-name",
            headers={"tenant": "blue"},
            link=tasks["note"].si("linked"),
            link_error=tasks["note"].si("error"),
            expires=60,
            root_id="root",
            parent_id="parent",
        )
        found = sent.get(timeout=20)
        moment = datetime.fromisoformat(found.pop("expires"))
        assert 0 < (moment - datetime.now(UTC)).total_seconds() <= 60
        assert found.pop("headers")["tenant"] == "blue"
        delivery, properties = found.pop("delivery_info"), found.pop("properties")
        assert (delivery["priority"], delivery["queue"]) == (4, "default")
        assert properties["correlation_id"] == sent.id
        assert [s["task"] for s in found.pop("callbacks")] == ["note"]
        assert [s["task"] for s in found.pop("errbacks")] == ["note"]
        assert found.pop("origin").startswith("gen")
        found.pop("reply_to")
        assert found == {
            "id": sent.id,
            "args": [1],
            "kwargs": {"two": 2},
            "retries": 0,
            "eta": None,
            "hostname": "worker1@here",
            "is_eager": False,
            "root_id": "root",
            "parent_id": "parent",
            "group": None,
            "group_index": None,
            "chord": None,
            "chain": None,
            "correlation_id": sent.id,
            "timelimit": [30, 25],
            "called_directly": False,
            "children": 0,
            "shadow": "my-name",
            "stamps": {},
            "stamped_headers": [],
            "ignore_result": False,
            "task": "request",
        }
        stage.wait_journal("note", "linked")


class TestCalling:
    def test_times(self, stage: Stage) -> None:
        begun = time.time()
        add = stage.app.tasks["add"]
        late = add.apply_async((1, 1), countdown=0.3)
        at = add.apply_async((2, 2), eta=datetime.now(UTC) + timedelta(seconds=0.3))
        gone = add.apply_async((3, 3), expires=datetime.now(UTC) - timedelta(seconds=1))
        assert [late.get(timeout=20), at.get(timeout=20)] == [2, 4]
        assert time.time() - begun >= 0.3
        with pytest.raises(TaskRevokedError, match="expired"):
            gone.get(timeout=20)

    def test_options_of_the_call(self, stage: Stage) -> None:
        tasks = stage.app.tasks
        own = tasks["add"].apply_async(
            (1, 1), task_id="an-id-of-one's-own", retry=True, retry_policy={"max_retries": 1}
        )
        assert own.id == "an-id-of-one's-own"
        assert own.get(timeout=20) == 2
        ignored = tasks["add"].apply_async((1, 1), ignore_result=True, link=tasks["note"].s())
        stage.wait_journal("note", "2")
        assert not ignored.exists()
        grouped = tasks["request"].apply_async((), group_id="a-group", reply_to="somebody")
        found = grouped.get(timeout=20)
        assert (found["group"], found["reply_to"]) == ("a-group", "somebody")
        bad = tasks["fail"].apply_async(("one",), link_error=[tasks["note"].si("errback")])
        with pytest.raises(ValueError, match="one"):
            bad.get(timeout=20)
        stage.wait_journal("note", "errback")
        assert stage.app.send_task("add", (1, 2)).get(timeout=20) == 3
        many = stage.app.send_many([tasks["add"].s(n, n) for n in range(10)])
        assert [result.get(timeout=20) for result in many] == [2 * n for n in range(10)]

    def test_from_an_event_loop(self, stage: Stage) -> None:
        tasks = stage.app.tasks

        async def run() -> list[Any]:
            one = await tasks["add"].adelay(1, 2)
            two = await tasks["add"].aapply_async((3,), {"y": 4})
            three = await stage.app.asend_task("add", (5, 6))
            four = await (tasks["add"].s(1, 1) | tasks["add"].s(1)).aapply_async()
            many = await group([tasks["add"].s(n) for n in range(3)]).aapply_async()
            return [await one, await two, await three, await four, await many]

        assert asyncio.run(run()) == [3, 7, 11, 3, [0, 1, 2]]


class Stamper(StampingVisitor):
    """Notes which of its methods are called, and stamps everything."""

    def __init__(self) -> None:
        self.called: set[str] = set()

    def on_signature(self, sig: Any, **headers: Any) -> dict[str, Any]:
        self.called.add("on_signature")
        return {"tenant": "blue", "stamped_headers": ["tenant"]}


def _visit(name: str) -> Any:
    def visit(self: Stamper, *args: Any, **headers: Any) -> dict[str, Any]:
        self.called.add(name)
        return {}

    return visit


for _turn in (
    *("on_group_start", "on_group_end", "on_chain_start", "on_chain_end", "on_chord_body"),
    *("on_chord_header_start", "on_chord_header_end", "on_callback", "on_errback"),
):
    setattr(Stamper, _turn, _visit(_turn))


class TestComposition:
    def test_chains_groups_chords_and_maps(self, stage: Stage) -> None:
        add, total = stage.app.tasks["add"], stage.app.tasks["total"]
        numbers = [add.s(n, n) for n in range(5)]
        assert (add.s(1, 2) | add.s(3) | add.si(1, 1)).delay().get(timeout=20) == 2
        assert group(numbers)().get(timeout=20) == [0, 2, 4, 6, 8]
        assert group(numbers).skew(0.0, 0.02, 0.005)().get(timeout=20) == [0, 2, 4, 6, 8]
        assert chord(numbers, total.s())().get(timeout=20) == 20
        assert (group(numbers) | total.s() | add.s(1)).delay().get(timeout=20) == 21
        assert (add.s(1, 1) | group([add.s(1), add.s(2)]) | total.s()).delay().get(timeout=20) == 7
        nested = group([chord(numbers, total.s()), chain(add.s(1, 1), add.s(1))]) | total.s()
        assert nested.delay().get(timeout=20) == 23
        chunked = add.chunks([(n, n) for n in range(5)], 2).apply_async()
        assert chunked.get(timeout=20) == [[0, 2], [4, 6], [8]]
        assert add.map([1, 2]).delay().get(timeout=20) == [1, 2]
        assert add.starmap([(1, 2), (3, 4)]).delay().get(timeout=20) == [3, 7]
        assert {type(add.map([])), type(add.starmap([]))} == {xmap, xstarmap}

    def test_signatures(self, stage: Stage) -> None:
        add, note = stage.app.tasks["add"], stage.app.tasks["note"]
        partial = add.s(10)
        assert partial.delay(1).get(timeout=20) == 11
        assert partial.clone((2,), {}).delay().get(timeout=20) == 12
        assert partial.replace(args=(1, 1)).delay().get(timeout=20) == 2
        plain = dict(partial.set(priority=3).set_immutable(True))
        assert Signature.from_dict(plain, stage.app).delay(5).get(timeout=20) == 10
        frozen = add.s(1, 1)
        result = frozen.freeze()
        frozen.apply_async()
        assert result.get(timeout=20) == 2
        linked = add.s(20, 1)
        linked.link(note.s("by-link"))
        linked.delay().get(timeout=20)
        stage.wait_journal("note", "21-by-link")
        bad = stage.app.tasks["fail"].s("x").on_error(note.si("on-error"))
        bad.link_error(note.si("link-error"))
        bad.delay()
        stage.wait_journal("note", "on-error")
        stage.wait_journal("note", "link-error")

    def test_stamps(self, stage: Stage) -> None:
        tasks, visitor = stage.app.tasks, Stamper()
        request = tasks["request"].s()
        request.link(tasks["note"].si("stamped"))
        request.link_error(tasks["note"].si("never"))
        whole = chain(tasks["add"].s(1, 1), group([tasks["add"].s(1), tasks["add"].s(2)]))
        whole.stamp(visitor)
        chord([tasks["add"].s(1, 1)], tasks["total"].s()).stamp(visitor)
        request.stamp(visitor)
        found = request.delay().get(timeout=20)
        assert (found["stamps"], found["stamped_headers"]) == ({"tenant": "blue"}, ["tenant"])
        assert whole.delay().get(timeout=20) == [3, 4]
        assert visitor.called == {name for name in dir(Stamper) if name.startswith("on_")}

    def test_errors_in_chords(self, stage: Stage) -> None:
        add, note = stage.app.tasks["add"], stage.app.tasks["note"]
        body = stage.app.tasks["total"].s().on_error(note.si("chord-error"))
        bad = chord([add.s(1, 1), stage.app.tasks["fail"].s("member")], body)()
        with pytest.raises(ChordError, match="member"):
            bad.get(timeout=20)
        stage.wait_journal("note", "chord-error")

    def test_what_a_task_adds_or_replaces(self, stage: Stage) -> None:
        tasks = stage.app.tasks
        grown = chord([tasks["grow"].s(n) for n in range(3)], tasks["total"].s())()
        assert grown.get(timeout=20) == 3 + 303
        assert stage.send("replace", "task").get(timeout=20) == 3
        assert stage.send("replace", "chain").get(timeout=20) == 13
        assert stage.send("replace", "group").get(timeout=20) == [0, 2, 4]
        within = chain(tasks["replace"].si("group"), tasks["total"].s(), tasks["add"].s(1))
        assert within.delay().get(timeout=20) == 7
        member = chord([tasks["replace"].si("chain"), tasks["add"].si(1, 1)], tasks["total"].s())()
        assert member.get(timeout=20) == 15
        with pytest.raises(ValueError, match="in place"):
            stage.send("replace", "failing").get(timeout=20)


class TestResults:
    def test_of_one_task(self, stage: Stage) -> None:
        result = stage.app.tasks["add"].delay(1, 2)
        heard: list[Any] = []
        result.then(lambda found: heard.append(found.result))
        assert result.get(timeout=20, interval=0.1, callback=lambda i, v: heard.append(v)) == 3
        assert heard == [3, 3]
        assert (result.state, result.status, result.result, result.info) == (
            "SUCCESS",
            "SUCCESS",
            3,
            3,
        )
        assert [result.ready(), result.successful(), result.failed(), result.exists()] == [
            True,
            True,
            False,
            True,
        ]
        assert (result.name, result.args, result.kwargs, result.retries, result.queue) == (
            "add",
            [1, 2],
            {},
            0,
            "default",
        )
        assert result.worker == "worker1@here"
        assert isinstance(result.date_done, datetime)
        assert result.task_id == result.id
        assert result.maybe_throw() == 3
        result.forget()
        assert not stage.app.AsyncResult(result.id).exists()
        bad = stage.app.tasks["fail"].delay("told")
        with pytest.raises(ValueError, match="told"):
            bad.get(timeout=20)
        assert isinstance(bad.get(propagate=False), ValueError)
        assert "ValueError: told" in str(bad.traceback)
        with pytest.raises(ValueError, match="told"):
            bad.maybe_throw()
        with pytest.raises(exceptions.TimeoutError):
            stage.app.AsyncResult("nobody").get(timeout=0.05)

    def test_trees(self, stage: Stage) -> None:
        parent = stage.send("parent")
        one, two = parent.get(timeout=20)
        assert [child.id for child in parent.children] == [one]
        assert stage.app.AsyncResult(two).get(timeout=20) == 4
        assert parent.get_leaf() == 2
        assert [value for _, value in parent.collect()] == [[one, two], 2]
        assert one in parent.graph.to_dot()
        untold = stage.send("untold")
        untold.get(timeout=20)
        assert untold.children == []
        add = stage.app.tasks["add"]
        last = (add.s(1, 1) | add.s(1)).delay()
        assert last.get(timeout=20) == 3
        assert isinstance(last.parent, AsyncResult)
        assert last.parent.get(timeout=20) == 2

    def test_of_many(self, stage: Stage) -> None:
        add = stage.app.tasks["add"]
        many = group([add.s(n, n) for n in range(10)])()
        assert isinstance(many, GroupResult)
        assert many.join(timeout=20) == many.join_native(timeout=20) == [2 * n for n in range(10)]
        assert {found["result"] for _, found in many.iter_native(timeout=20)} == set(
            range(0, 20, 2)
        )
        assert many.completed_count() == 10
        assert [many.ready(), many.successful(), many.failed(), many.waiting()] == [
            True,
            True,
            False,
            False,
        ]
        many.save()
        again = GroupResult.restore(many.id, app=stage.app)
        assert again is not None
        assert again.get(timeout=20) == many.get()
        many.delete()
        assert GroupResult.restore(many.id, app=stage.app) is None
        one, two = add.delay(1, 1), add.delay(2, 2)
        results: ResultSet[Any] = stage.app.ResultSet([one])
        results.add(two)
        assert sorted(result.get() for result in results.as_completed(timeout=20)) == [2, 4]
        results.discard(one)
        assert results.get(timeout=20) == [4]
        results.forget()
        assert not stage.app.AsyncResult(two.id).exists()

        async def run() -> list[Any]:
            found = await group([add.s(n) for n in range(3)]).aapply_async()
            return [sorted([r.result async for r in found]), await found]

        assert asyncio.run(run()) == [[0, 1, 2], [0, 1, 2]]

    def test_revoke(self, stage: Stage) -> None:
        late = stage.app.tasks["add"].apply_async((1, 1), countdown=0.5)
        late.revoke()
        with pytest.raises(TaskRevokedError, match="revoked"):
            late.get(timeout=20)
        assert late.state == "REVOKED"
        stuck = stage.send("tracked", "stuck")
        stage.wait_journal("started", "stuck")
        stuck.revoke(terminate=True)
        with pytest.raises(TaskRevokedError, match="terminated"):
            stuck.get(timeout=20)


class TestExceptions:
    @pytest.mark.parametrize(
        "name",
        [
            *("BackendError", "BackendStoreError", "ChordError", "ImproperlyConfigured"),
            *("InvalidTaskError", "MaxRetriesExceededError", "NotRegistered", "OperationalError"),
            *("QueueNotFound", "SecurityError", "SoftTimeLimitExceeded", "TaskRevokedError"),
            *("Terminated", "TimeLimitExceeded", "TimeoutError", "WorkerLostError"),
            "AlreadyRegistered",
        ],
    )
    def test_reach_whoever_waits(self, stage: Stage, name: str) -> None:
        with pytest.raises(getattr(exceptions, name)) as caught:
            stage.send("raise", name).get(timeout=20)
        assert "told" in str(caught.value)

    def test_an_unknown_task(self, stage: Stage) -> None:
        with pytest.raises(exceptions.NotRegistered, match="no_such_task"):
            stage.send("no_such_task").get(timeout=20)


SIGNALS = {
    "task_received": "request",
    "task_prerun": "args,kwargs,task,task_id",
    "task_postrun": "args,kwargs,retval,state,task,task_id",
    "task_success": "result,runtime",
    "task_retry": "einfo,reason,request",
    "task_failure": "args,einfo,exception,kwargs,task_id,traceback",
    "task_internal_error": "args,einfo,exception,kwargs,request,task_id,traceback",
    "task_revoked": "expired,request,signum,terminated",
    "task_rejected": "exc,message",
    "task_unknown": "exc,id,message,name",
    "worker_init": "none",
    "worker_process_init": "none",
    "worker_ready": "none",
    "worker_before_create_process": "none",
    "heartbeat_sent": "none",
    "import_modules": "none",
    "after_setup_logger": "colorize,format,logfile,logger,loglevel",
    "after_setup_task_logger": "colorize,format,logfile,logger,loglevel",
    "before_task_publish": ("body,declare,exchange,headers,properties,retry_policy,routing_key"),
    "after_task_publish": "body,exchange,headers,routing_key",
}
AT_THE_END = {
    "worker_shutting_down": "exitcode,how,sig",
    "worker_process_shutdown": "exitcode,pid",
    "worker_shutdown": "none",
}


class TestSignals:
    def test_all_were_sent(self, stage: Stage) -> None:
        """Those at the worker's end are looked for when it has ended, behind all tests."""
        tasks = stage.app.tasks
        tasks["add"].apply_async((1,), expires=-1)
        stage.send("watched", "flaky")
        stage.send("reject", "for-the-signal", True)
        stage.send("no_such_task")
        unfit = stage.send("unfit")
        with pytest.raises(EncodeError, match="cannot serialize"):
            unfit.get(timeout=20)
        for name, arguments in SIGNALS.items():
            stage.wait_journal(f"signal-{name}", arguments)


def test_the_queue_is_empty(stage: Stage) -> None:
    stage.wait(lambda: stage.depth() == QueueDepth(dead=stage.depth().dead), "an empty queue")
