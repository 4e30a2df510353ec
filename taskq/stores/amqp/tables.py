"""AMQP's field tables, written and read as RabbitMQ has them.

Headers are most of a task's message, and most of what a driver does with one.  These functions do
less for each of them than the drivers do, and the same with both: pika can neither write
floating-point numbers nor read them (1.4 cuts them to whole ones).  Types are those of RabbitMQ's
errata to AMQP 0-9-1 (https://www.rabbitmq.com/amqp-0-9-1-errata, section 3).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from taskq.exceptions import DecodeError, EncodeError

_LENGTH = struct.Struct(">I").pack
_TEXT = struct.Struct(">cI").pack
_INT = struct.Struct(">ci").pack
_LONG = struct.Struct(">cq").pack
_DOUBLE = struct.Struct(">cd").pack
_MOMENT = struct.Struct(">cQ").pack
_read_length = struct.Struct(">I").unpack_from
_KNOWN = 1000
"""Names of headers that are kept, in each direction."""


def encode_table(table: Mapping[str, Any]) -> bytes:
    """A table as bytes, its length included.

    Raises:
        EncodeError: a value is of a type that AMQP does not have; the message names its key.
    """
    pieces: list[bytes] = []
    for key, value in table.items():
        name = _written.get(key) or _name(key)
        if type(value) is str:
            text = value.encode()
            pieces += name, _TEXT(b"S", len(text)), text
        elif value is None:
            pieces += name, b"V"
        else:
            pieces += name, _value(key, value)
    body = b"".join(pieces)
    return _LENGTH(len(body)) + body


_written: dict[str, bytes] = {}


def _name(key: str) -> bytes:
    """A key as it is written, kept for the next table: most have the same."""
    text = key.encode()
    if len(text) > 255:
        raise EncodeError(f"the header {key[:40]!r}… has a name of more than 255 bytes")
    name = bytes((len(text),)) + text
    if len(_written) < _KNOWN:
        _written[key] = name
    return name


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


def decode_table(data: bytes, at: int, end: int) -> dict[str, Any]:
    """Read a table, without its length, that lies there in `data`.

    Raises:
        DecodeError: it is no such table.
    """
    try:
        return _table(data, at, end)
    except (struct.error, IndexError, KeyError, ValueError, OverflowError) as exc:
        raise DecodeError(f"the headers are no table of AMQP: {exc!r}") from exc


_read: dict[bytes, str] = {}


def _table(data: bytes, at: int, end: int) -> dict[str, Any]:
    table: dict[str, Any] = {}
    while at < end:
        begin = at + 1
        at = begin + data[at]
        name = data[begin:at]
        key = _read.get(name) or _key(name)
        kind = data[at]
        at += 1
        if kind == _STRING:
            (size,) = _read_length(data, at)
            at += 4
            table[key] = _string(data[at : at + size])
            at += size
        elif kind == _NOTHING:
            table[key] = None
        else:
            table[key], at = _READ[kind](data, at)
    if at != end:
        raise ValueError(f"it ends at {at} instead of {end}")
    return table


def _key(name: bytes) -> str:
    """A key that was read, kept for the next table."""
    key = name.decode()
    if len(_read) < _KNOWN:
        _read[name] = key
    return key


def _string(data: bytes) -> str | bytes:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data


def _number(form: str) -> Callable[[bytes, int], tuple[Any, int]]:
    layout = struct.Struct(form)

    def read(data: bytes, at: int) -> tuple[Any, int]:
        return layout.unpack_from(data, at)[0], at + layout.size

    return read


_Sized = Callable[[bytes, int, int], Any]


def _sized(make: _Sized) -> Callable[[bytes, int], tuple[Any, int]]:
    def read(data: bytes, at: int) -> tuple[Any, int]:
        (size,) = _read_length(data, at)
        begin, end = at + 4, at + 4 + size
        if end > len(data):
            raise ValueError(f"a value of {size} bytes goes beyond the end")
        return make(data, begin, end), end

    return read


def _list(data: bytes, at: int, end: int) -> list[Any]:
    items = []
    while at < end:
        item, at = _READ[data[at]](data, at + 1)
        items.append(item)
    return items


def _moment(data: bytes, at: int) -> tuple[datetime, int]:
    (seconds,) = struct.unpack_from(">Q", data, at)
    return datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None), at + 8


def _decimal(data: bytes, at: int) -> tuple[Decimal, int]:
    places, number = struct.unpack_from(">Bi", data, at)
    return Decimal(number).scaleb(-places), at + 5


_STRING, _NOTHING = ord("S"), ord("V")
_READ: dict[int, Callable[[bytes, int], tuple[Any, int]]] = {
    _STRING: _sized(lambda data, at, end: _string(data[at:end])),
    _NOTHING: lambda data, at: (None, at),
    ord("t"): lambda data, at: (data[at] != 0, at + 1),
    ord("b"): _number(">b"),
    ord("B"): _number(">B"),
    ord("s"): _number(">h"),
    ord("u"): _number(">H"),
    ord("I"): _number(">i"),
    ord("i"): _number(">I"),
    ord("l"): _number(">q"),
    ord("L"): _number(">q"),
    ord("f"): _number(">f"),
    ord("d"): _number(">d"),
    ord("D"): _decimal,
    ord("T"): _moment,
    ord("x"): _sized(lambda data, at, end: data[at:end]),
    ord("A"): _sized(_list),
    ord("F"): _sized(_table),
}
