"""Messages: their bytes, their ids, and the times in them."""

from __future__ import annotations

import os
import time
import uuid
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskq.exceptions import DecodeError
from taskq.message import (
    TaskMessage,
    new_id,
    origin,
    pack,
    step_id,
    to_isoformat,
    to_timestamp,
    unpack,
)

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)
messages = st.builds(
    lambda headers, **fields: TaskMessage({"id": "1", "task": "t", **headers}, **fields),
    headers=st.dictionaries(st.text().filter(lambda key: key not in ("id", "task")), values),
    body=st.binary(),
    content_type=st.text(),
    content_encoding=st.text(),
    exchange=st.text(),
    routing_key=st.text(),
    priority=st.integers(0, 9),
    reply_to=st.none() | st.text(),
    due=st.none() | st.floats(0, 4e9),
    once=st.none() | st.text(),
)


@given(messages)
def test_unpack_reads_what_pack_made(message: TaskMessage) -> None:
    packed = pack(message)
    assert unpack(packed) == message
    assert unpack(memoryview(packed)) == message


@given(messages)
def test_the_body_is_in_it_as_it_is(message: TaskMessage) -> None:
    assert message.body in pack(message)


@given(st.binary())
def test_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(DecodeError):
        unpack(data)


@given(messages, st.data())
def test_a_part_of_a_message_is_refused(message: TaskMessage, data: st.DataObject) -> None:
    packed = pack(message)
    with pytest.raises(DecodeError, match="cannot read a message of"):
        unpack(packed[: data.draw(st.integers(0, len(packed) - 1))])


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"id": "1"},
        {"task": "t"},
        {"id": None, "task": "t"},
        {"id": "1", "task": None},
        {"id": 5, "task": "t"},
        {"id": "1", "task": ["t"]},
    ],
)
def test_without_a_task_and_an_id_it_is_none(headers: dict[str, Any]) -> None:
    with pytest.raises(DecodeError, match="'id' and 'task'"):
        unpack(pack(TaskMessage(headers, b"")))


@pytest.mark.parametrize("priority", [-1, 10, 255])
def test_priorities_that_there_are_not(priority: int) -> None:
    with pytest.raises(DecodeError):
        unpack(pack(TaskMessage({"id": "1", "task": "t"}, b"", priority=priority)))


def test_fields_that_a_newer_version_adds_are_left_alone() -> None:
    message = TaskMessage({"id": "1", "task": "t"}, b"body")
    fields = msgspec.msgpack.decode(pack(message))
    newer = msgspec.msgpack.encode([*fields, "something", {"new": True}])
    assert unpack(newer) == message


def test_fields_that_an_older_version_lacks_have_their_defaults() -> None:
    older = msgspec.msgpack.encode([{"id": "1", "task": "t"}, b"body", "text/plain"])
    message = unpack(older)
    assert (message.content_type, message.priority, message.once) == ("text/plain", 0, None)


def test_names_for_the_headers() -> None:
    message = TaskMessage({"id": "1", "task": "proj.add"}, b"")
    assert (message.id, message.task) == ("1", "proj.add")


# Ids


def test_new_ids_are_uuids_in_the_order_of_time() -> None:
    before = time.time_ns() // 1_000_000
    ids = [new_id() for _ in range(2000)]
    after = time.time_ns() // 1_000_000
    assert len(set(ids)) == 2000
    for text in ids:
        parsed = uuid.UUID(text)
        assert str(parsed) == text
        assert (parsed.int >> 76 & 0xF, parsed.variant) == (7, uuid.RFC_4122)
        assert before <= parsed.int >> 80 <= after
    moments = [text[:13] for text in ids]
    assert moments == sorted(moments)


def test_the_random_part_is_random() -> None:
    seen = [uuid.UUID(new_id()).int & (1 << 62) - 1 for _ in range(200)]
    for bit in range(62):
        assert 20 < sum(number >> bit & 1 for number in seen) < 180


def test_a_copy_of_the_process_makes_other_ids_and_has_another_name() -> None:
    new_id(), origin()
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        os.write(writer, f"{new_id()} {origin()}".encode())
        os._exit(0)
    os.waitpid(pid, 0)
    theirs, name = os.read(reader, 1000).decode().split()
    os.close(reader), os.close(writer)
    assert theirs[14:] not in [new_id()[14:] for _ in range(100)]
    assert name.startswith(f"gen{pid}@")


def test_step_ids_are_the_same_for_every_execution() -> None:
    assert step_id("1", "chain") == step_id("1", "chain")
    assert len({step_id(i, s) for i in ("1", "2") for s in ("chain", "callback-0")}) == 4
    assert str(uuid.UUID(step_id("1", "chain"))) == step_id("1", "chain")


def test_origin_names_the_process() -> None:
    assert origin() == f"gen{os.getpid()}@{os.uname().nodename}"


# Times

CET = timezone(timedelta(hours=1))


@pytest.mark.parametrize(
    "moment",
    [
        datetime(2030, 1, 1, 12, tzinfo=UTC),
        datetime(2030, 1, 1, 13, tzinfo=CET),
        datetime(2030, 1, 1, 12),  # noqa: DTZ001 - a naive one is UTC
        "2030-01-01T12:00:00+00:00",
        "2030-01-01T12:00:00Z",
        "2030-01-01T13:00:00+01:00",
        "2030-01-01T12:00:00",
    ],
)
def test_moments(moment: datetime | str) -> None:
    assert to_timestamp(moment) == 1893499200.0


@pytest.mark.parametrize("text", ["soon", "", "2030-13-01", "12:00"])
def test_what_is_no_moment(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        to_timestamp(text)


@given(st.integers(0, 4_000_000_000_000_000))
def test_isoformat_keeps_microseconds(microseconds: int) -> None:
    moment = datetime.fromtimestamp(0, UTC) + timedelta(microseconds=microseconds)
    text = to_isoformat(moment.timestamp())
    assert text.endswith("+00:00")
    assert abs(to_timestamp(text) - microseconds / 1e6) < 2e-6
