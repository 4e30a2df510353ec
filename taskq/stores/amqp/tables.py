"""AMQP's field tables, written as RabbitMQ reads them.

pika can neither write floating-point numbers nor read them (1.4 cuts them to whole ones), so the
module for it writes headers by this one.  Types are those of RabbitMQ's errata to AMQP 0-9-1
(https://www.rabbitmq.com/amqp-0-9-1-errata, section 3), as py-amqp writes them too.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from taskq.exceptions import EncodeError

_LENGTH = struct.Struct(">I").pack
_TEXT = struct.Struct(">cI").pack
_INT = struct.Struct(">ci").pack
_LONG = struct.Struct(">cq").pack
_DOUBLE = struct.Struct(">cd").pack
_MOMENT = struct.Struct(">cQ").pack


def encode_table(table: Mapping[str, Any]) -> bytes:
    """A table as bytes, its length included.

    Raises:
        EncodeError: a value is of a type that AMQP does not have; the message names its key.
    """
    pieces: list[bytes] = []
    for key, value in table.items():
        name = key.encode()
        if len(name) > 255:
            raise EncodeError(f"the header {key[:40]!r}… has a name of more than 255 bytes")
        pieces += bytes((len(name),)), name, _value(key, value)
    body = b"".join(pieces)
    return _LENGTH(len(body)) + body


def _value(key: str, value: Any) -> bytes:
    kind = type(value)
    if kind is str:
        text: bytes = value.encode()
        return _TEXT(b"S", len(text)) + text
    if value is None:
        return b"V"
    if kind is bool:
        return b"t\1" if value else b"t\0"
    if isinstance(value, int):
        if -0x80000000 <= value <= 0x7FFFFFFF:
            return _INT(b"I", value)
        if -(2**63) <= value < 2**63:
            return _LONG(b"l", value)
    if isinstance(value, float):
        return _DOUBLE(b"d", value)
    if isinstance(value, Mapping):
        return b"F" + encode_table(value)
    if isinstance(value, list | tuple):
        items = b"".join([_value(key, item) for item in value])
        return _TEXT(b"A", len(items)) + items
    if isinstance(value, bytes):
        return _TEXT(b"x", len(value)) + value
    if isinstance(value, str):
        return _value(key, str(value))
    if isinstance(value, datetime):
        return _MOMENT(b"T", int(value.timestamp()))
    raise EncodeError(
        f"the header {key!r} has the value {value!r} ({kind.__name__}), which AMQP cannot carry: "
        "give text, a number, a list or a dictionary of these"
    )
