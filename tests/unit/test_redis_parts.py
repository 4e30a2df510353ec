"""Parts of the Redis stores that need no server."""

from __future__ import annotations

import pickle
from typing import Any

import msgspec
import pytest
import redis.exceptions as redis_errors

from taskq import states
from taskq.backends.base import Outcome
from taskq.backends.documents import pack_outcome, unpack_outcome
from taskq.brokers.redis.enqueue import Envelopes
from taskq.exceptions import BackendError, OperationalError
from taskq.message import TaskMessage
from taskq.serialization import COMPRESSED, compress
from taskq.settings import Settings
from taskq.stores.redis.address import Address, address
from taskq.stores.redis.calls import Script, command
from taskq.stores.redis.errors import explain
from taskq.stores.redis.keys import Layout
from taskq.stores.redis.topology import Topology, Unreachable


def at(url: str, **options: Any) -> Address:
    return address(url, Settings(), options, None)


# Documents


DOCUMENT = {"status": "SUCCESS", "result": 1, "traceback": None, "children": [], "task_id": "a"}


def compressed(payload: bytes) -> bytes:
    body, content_type = compress(payload, "zlib")
    return b"%b%b\0%b" % (COMPRESSED, content_type.encode(), body)


@pytest.mark.parametrize(
    "payload",
    [
        msgspec.json.encode(DOCUMENT),
        b'{"status": "SUCCESS", "result": 1}',  # as Celery writes it
        msgspec.msgpack.encode(DOCUMENT),
        *(pickle.dumps(DOCUMENT, protocol) for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1)),
        compressed(msgspec.json.encode(DOCUMENT)),
    ],
)
def test_celerys_documents_are_kept_as_they_are(payload: bytes) -> None:
    outcome = Outcome("a", states.SUCCESS, payload)
    assert pack_outcome(outcome) == payload
    assert unpack_outcome("a", payload) == outcome


@pytest.mark.parametrize("payload", [b"", b"first", b"\0\xff", b'{"status":"FAILURE"}', COMPRESSED])
@pytest.mark.parametrize("state", ["SUCCESS", "progress 50 %", "PROGRESS"])
def test_other_bytes_get_a_head(state: str, payload: bytes) -> None:
    outcome = Outcome("a", state, payload)
    assert pack_outcome(outcome) != payload
    assert unpack_outcome("a", pack_outcome(outcome)) == outcome


# Keys


def test_keys() -> None:
    layout = Layout(at("redis://a"))
    keys = layout.queue("mail")
    assert keys.streams[9] == "taskq:{mail}:9"
    assert layout.result("1") == "celery-task-meta-1"
    assert layout.queues == "taskq:queues"


def test_a_prefix_and_a_tag() -> None:
    layout = Layout(at("rediscluster://a", redis_cluster_tag="t", global_keyprefix="p:"))
    assert layout.queue("mail").delayed == "p:taskq:{t}:mail:delayed"
    assert layout.result("1") == "p:{t}celery-task-meta-1"
    topology = Topology(at("rediscluster://a", redis_cluster_tag="t", global_keyprefix="p:"))
    keys = [*layout.queue("mail").fetched, layout.result("1"), layout.queues, layout.exchange("x")]
    assert len(set(map(topology.slot, keys))) == 1


# Where calls go


def carry(topology: Topology, calls: list[Any], answers: list[Any]) -> tuple[list[Any], Any]:
    """Run an exchange with these answers; what was said to whom, and what it returned."""
    exchange = topology.carry(calls)
    said: list[Any] = []
    try:
        talks = next(exchange)
        while True:
            said += [(talk.node, *talk.commands) for talk in talks]
            talks = exchange.send([answers.pop(0) for _ in talks])
    except StopIteration as stop:
        return said, stop.value


GET = command("k", "GET", "k")
MASTER = ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "m")


def test_one_server_needs_no_asking() -> None:
    said, replies = carry(Topology(at("redis://a")), [GET, GET], [[b"1", b"2"]])
    assert said == [(("a", 6379), ("GET", "k"), ("GET", "k"))]
    assert replies == [b"1", b"2"]


def test_a_script_that_the_server_does_not_know() -> None:
    call = Script("return 1").call(["k"], "x")
    said, replies = carry(
        Topology(at("redis://a")), [GET, call], [[b"1", redis_errors.NoScriptError("no")], [b"2"]]
    )
    assert said[1] == (("a", 6379), ("EVAL", "return 1", 1, "k", "x"))
    assert replies == [b"1", b"2"]


def test_sentinels_are_asked_in_turn() -> None:
    topology = Topology(at("sentinel://a,b,c/m"))
    away, unknown = OSError("away"), [None]
    said, _ = carry(topology, [GET], [away, unknown, [[b"10.0.0.1", b"7"]], [b"1"]])
    assert [node for node, *_ in said] == [
        *(("a", 26379), ("b", 26379), ("c", 26379)),
        ("10.0.0.1", 7),
    ]
    assert said[0][1] == MASTER


def test_no_sentinel_knows() -> None:
    with pytest.raises(OperationalError, match=r"'m' \(a:26379: away; b:26379: knows no such"):
        carry(Topology(at("sentinel://a,b/m")), [GET], [OSError("away"), [None]])


def test_a_replica_sends_us_to_the_sentinels() -> None:
    topology = Topology(at("sentinel://s/m"))
    answers = [[[b"old", b"1"]], [redis_errors.ReadOnlyError("no")], [[b"new", b"2"]], [b"1"]]
    said, replies = carry(topology, [GET], answers)
    assert [node[0] for node, *_ in said] == ["s", "old", "s", "new"]
    assert replies == [b"1"]


def test_a_lone_replica_is_an_error() -> None:
    with pytest.raises(OperationalError, match="it is a replica"):
        carry(Topology(at("redis://a")), [GET], [[redis_errors.ReadOnlyError("no")]])


def test_a_master_that_has_gone_is_looked_for_again() -> None:
    topology = Topology(at("sentinel://s/m"))
    gone = Unreachable(OSError("refused"))
    said, replies = carry(topology, [GET], [[[b"old", b"1"]], gone, [[b"new", b"2"]], [b"1"]])
    assert [node[0] for node, *_ in said] == ["s", "old", "s", "new"]
    assert replies == [b"1"]


def test_what_was_said_is_not_said_again() -> None:
    topology = Topology(at("sentinel://s/m"))
    with pytest.raises(OperationalError, match="cannot reach Redis at old:1/0: reset"):
        carry(topology, [GET], [[[b"old", b"1"]], OSError("reset")])


SLOTS = [[0, 8191, [b"left", 1]], [8192, 16383, [b"right", 2], [b"replica", 3]]]


def test_a_cluster_is_told_apart_by_slot() -> None:
    topology = Topology(at("rediscluster://a"))
    foo, bar = command("foo", "GET", "foo"), command("bar", "GET", "bar")  # slots 12182 and 5061
    said, replies = carry(topology, [foo, bar, foo], [[SLOTS], [b"f", b"f"], [b"b"]])
    assert said == [
        (("a", 6379), ("CLUSTER", "SLOTS")),
        (("right", 2), ("GET", "foo"), ("GET", "foo")),
        (("left", 1), ("GET", "bar")),
    ]
    assert replies == [b"f", b"b", b"f"]


def test_a_slot_that_has_moved() -> None:
    topology = Topology(at("rediscluster://a"))
    bar = command("bar", "GET", "bar")
    moved = redis_errors.MovedError("5061 right:2")
    said, replies = carry(
        topology, [bar], [[SLOTS], [moved], [[[0, 16383, [b"right", 2]]]], [b"b"]]
    )
    assert [node for node, *_ in said] == [("a", 6379), ("left", 1), ("left", 1), ("right", 2)]
    assert replies == [b"b"]


def test_a_slot_that_is_moving() -> None:
    topology = Topology(at("rediscluster://a"))
    ask = redis_errors.AskError("5061 right:2")
    said, replies = carry(topology, [command("bar", "GET", "bar")], [[SLOTS], [ask], [b"OK", b"b"]])
    assert said[2] == (("right", 2), ("ASKING",), ("GET", "bar"))
    assert replies == [b"b"]


# Errors


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (redis_errors.ConnectionError("refused"), "cannot reach Redis at a:1/0: refused"),
        (redis_errors.TimeoutError("slow"), "cannot reach"),
        (redis_errors.OutOfMemoryError("command not allowed"), "raise maxmemory"),
        (redis_errors.ResponseError("@user_script: 5: -OOM command"), "raise maxmemory"),
        (redis_errors.ResponseError("MISCONF Redis is configured"), "cannot save its data"),
        (redis_errors.NoPermissionError("this user has no"), "may not do that"),
        (redis_errors.AuthenticationError("invalid"), "refuses: invalid"),
        (redis_errors.BusyLoadingError("loading"), "still reading"),
    ],
)
def test_what_may_pass(error: Exception, words: str) -> None:
    found = explain(error, "a:1/0")
    assert isinstance(found, OperationalError)
    assert words in str(found)


def test_what_will_not_pass() -> None:
    found = explain(redis_errors.ResponseError("WRONGTYPE Operation against"), "a:1/0")
    assert isinstance(found, BackendError)
    assert "global_keyprefix" in str(found)


@pytest.mark.parametrize(("due", "milliseconds"), [(7.0, 7000), (7.0001, 7001), (7.0009, 7001)])
def test_nothing_is_due_early(due: float, milliseconds: int) -> None:
    """The server's clock has whole milliseconds: a fraction of one is waited for whole."""
    keys = Layout(Address("redis://")).queue("q")
    words = Envelopes().words(TaskMessage({}, b"", due=due), keys, temporary=False)
    assert str(words[2]).split()[1] == str(milliseconds)
