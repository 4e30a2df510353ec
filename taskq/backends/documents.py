"""How an outcome lies in a store: as Celery's document where it is one.

The state must be known without decoding the document, since a success is never
overwritten.  Celery's documents tell it near their start in every serializer; whatever
does not gets a head that Celery never writes.
"""

from __future__ import annotations

import re

import msgspec

from taskq.backends.base import Outcome
from taskq.exceptions import DecodeError
from taskq.serialization import decompress_result
from taskq.states import SUCCESS

_decode_parts = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_HEAD = b"\0taskq:"
_SUCCESS = b'{"status":"SUCCESS",'
_STATE = re.compile(rb"status.{0,16}?([A-Z]{3}[A-Z_]*)", re.DOTALL)
_WITHIN = 96
"""Bytes of a document within which its state stands; the same as in ``redis/lua/results.lua``."""


def pack_outcome(outcome: Outcome) -> bytes:
    """What is kept of an outcome."""
    payload, state = outcome.payload, outcome.state
    # The JSON of our own codec, which is nearly all of them, needs no search.
    if payload.startswith(_SUCCESS) and state == SUCCESS:
        return payload
    if _state_of(payload) == state:
        return payload
    return b"%b%b\0%b" % (_HEAD, state.encode(), payload)


def unpack_outcome(task_id: str, value: bytes) -> Outcome:
    """The outcome in what `pack_outcome`, or Celery, has kept."""
    if value.startswith(_HEAD):
        state, _, payload = value[len(_HEAD) :].partition(b"\0")
        return Outcome(task_id, state.decode(), payload)
    return Outcome(task_id, _state_of(value) or "", value)


def _state_of(payload: bytes) -> str | None:
    try:
        payload = decompress_result(payload)
    except DecodeError:
        return None
    found = _STATE.search(payload, 0, _WITHIN)
    return found[1].decode() if found else None


def json_parts(outcome: Outcome) -> dict[str, msgspec.Raw] | None:
    """The members of a JSON document, none of them decoded; None if it is no such document."""
    try:
        parts = _decode_parts(outcome.payload)
        status = msgspec.json.decode(parts["status"]) if "result" in parts else None
    except (msgspec.MsgspecError, UnicodeError, KeyError):
        return None
    return parts if status == outcome.state else None
