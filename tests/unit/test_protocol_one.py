"""Messages of Celery's task protocol 1 become those of protocol 2."""

from __future__ import annotations

import json
from typing import Any

import pytest

from taskq.exceptions import DecodeError
from taskq.protocol_one import to_protocol_two

CALL: dict[str, Any] = {
    "task": "add",
    "id": "1",
    "args": [1, {"__type__": "uuid", "__value__": "7"}],
    "kwargs": {"y": 2},
    "retries": 2,
    "callbacks": [{"task": "next"}],
    "timelimit": [30, None],
    "taskset": "g",
}


def convert(**more: Any) -> tuple[dict[str, Any], Any]:
    headers, body = to_protocol_two(json.dumps({**CALL, **more}).encode(), "application/json")
    return headers, json.loads(body)


def test_all_parts_have_their_places() -> None:
    headers, (args, kwargs, embed) = convert()
    assert (headers["task"], headers["id"], headers["root_id"]) == ("add", "1", "1")
    assert (headers["retries"], headers["timelimit"], headers["group"]) == (2, [30, None], "g")
    assert (args, kwargs) == (CALL["args"], CALL["kwargs"])
    assert embed == {
        "callbacks": [{"task": "next"}],
        "errbacks": None,
        "chain": None,
        "chord": None,
    }


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2030-01-31T12:00:00", "2030-01-31T12:00:00+00:00"),
        ("2030-01-31T12:00:00+02:00", "2030-01-31T12:00:00+02:00"),
    ],
)
def test_moments_get_a_time_zone(text: str, moment: str) -> None:
    headers, _ = convert(eta=text, expires=text)
    assert headers["eta"] == headers["expires"] == moment


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"task": "a"}', b'{"task": 1, "id": "2"}', b"\xff"]
)
def test_what_is_no_call_is_refused(body: bytes) -> None:
    with pytest.raises(DecodeError, match="protocol 1"):
        to_protocol_two(body, "application/json")


def test_a_moment_that_is_none_is_refused() -> None:
    with pytest.raises(DecodeError, match="soon"):
        convert(eta="soon")


def test_other_content_is_not_decoded() -> None:
    with pytest.raises(DecodeError, match="task_protocol=2"):
        to_protocol_two(b"\x80", "application/x-python-serialize")
