"""An outcome as the document that Celery keeps in MongoDB, and back."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from taskq import states
from taskq.backends.base import Outcome
from taskq.exceptions import DecodeError
from taskq.result_codec import ResultCodec
from taskq.serialization import SerializerRegistry

pytest.importorskip("pymongo")

from taskq.backends.mongodb.documents import from_document, to_document

NOW = datetime(2026, 1, 2, 3, 4, 5, 678000)  # noqa: DTZ001 - MongoDB's dates have no time zone
REGISTRY = SerializerRegistry()


def codec(serializer: str = "json", **more: Any) -> ResultCodec:
    return ResultCodec(REGISTRY, serializer, REGISTRY.content_types([serializer]), **more)


def test_a_result_is_kept_as_celery_keeps_it() -> None:
    outcome = codec(extended=True).encode(
        "a", states.SUCCESS, {"x": [1]}, headers={"group": "g", "parent_id": "p"},
        name="proj.add", args=[1], kwargs={"y": 2}, worker="w@h", retries=3, queue="q",
    )  # fmt: skip
    document = to_document(outcome, NOW)
    assert document == {
        "_id": "a",
        "status": "SUCCESS",
        "result": '{"x":[1]}',
        "traceback": None,
        "children": [],
        "date_done": NOW,
        "group_id": "g",
        "parent_id": "p",
        "name": "proj.add",
        "args": [1],
        "kwargs": {"y": 2},
        "worker": "w@h",
        "retries": 3,
        "queue": "q",
    }
    read = codec().decode(from_document(document))
    written = codec().decode(outcome)
    assert read == {**written, "date_done": NOW.replace(tzinfo=UTC).isoformat()}


@pytest.mark.parametrize(
    "payload",
    [
        b"", b"\x00\xff", b"{}", b'{"status":"FAILURE","result":1}',
        codec("msgpack").encode("a", states.SUCCESS, 1).payload,
        codec(compression="gzip").encode("a", states.SUCCESS, 1).payload,
        codec().encode("a", states.SUCCESS, 1, kwargs={"$where": 1}).payload,
        codec().encode("a", states.SUCCESS, 1, kwargs={"a.b": 1}).payload,
        codec().encode("a", states.SUCCESS, 1, args=[1 << 70]).payload,
        codec().encode("a", states.SUCCESS, 1, _id="other").payload,
    ],
    ids=range(10),  # some hold the time, which differs between the processes of a run
)  # fmt: skip
def test_what_celery_could_not_read_is_kept_whole(payload: bytes) -> None:
    outcome = Outcome("a", states.SUCCESS, payload)
    document = to_document(outcome, NOW)
    assert (document["result"], document["taskq"]) == (None, payload)
    assert from_document(document) == outcome


def test_documents_of_celery() -> None:
    document = {
        "_id": "a", "status": "FAILURE", "traceback": "TB", "children": None, "date_done": NOW,
        "result": '{"exc_type": "ValueError", "exc_message": ["no"], "exc_module": "builtins"}',
    }  # fmt: skip
    read = codec().decode(from_document(document))
    assert read["result"]["exc_type"] == "ValueError"
    assert (read["traceback"], read["children"]) == ("TB", [])
    assert codec().decode(from_document({**document, "result": {"bson": 1}}))["result"] == {
        "bson": 1
    }
    with pytest.raises(DecodeError, match="serializer other than json"):
        from_document({**document, "result": b"\x80pickle"})
