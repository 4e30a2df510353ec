"""AMQP's frames, as far as messages and acknowledgements need them.

A driver makes some dozen objects of each frame.  What goes over the wire by the thousand is
written and read here, for both drivers alike; everything else of the protocol is theirs
(AMQP 0-9-1, sections 2.3.5 and 4.2).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from taskq.exceptions import DecodeError, EncodeError
from taskq.stores.amqp.parcels import Arrival, Parcel, queue_of
from taskq.stores.amqp.tables import decode_table, encode_table

METHOD, HEADER, BODY = 1, 2, 3
_END = b"\xce"
_DELIVER = struct.pack(">HH", 60, 60)
_head = struct.Struct(">BHI")
_ack = struct.Struct(">BHIHHQBB").pack
_content = struct.Struct(">BHIHHQH").pack
_read_content = struct.Struct(">QH").unpack_from
_read_tag = struct.Struct(">QB").unpack_from
_read_length = struct.Struct(">I").unpack_from

# The properties of a message, by the bits that announce them, in the order of their values.
_CONTENT_TYPE, _CONTENT_ENCODING, _HEADERS, _DELIVERY_MODE = 1 << 15, 1 << 14, 1 << 13, 1 << 12
_PRIORITY, _CORRELATION_ID, _REPLY_TO = 1 << 11, 1 << 10, 1 << 9
_EXPIRATION, _MESSAGE_ID = 1 << 8, 1 << 7


# Writing


def acknowledge(channel: int, up_to: int, others: Sequence[int]) -> bytes:
    """The frames that acknowledge all up to a tag, unless that is 0, and some others."""
    frames = [_ack(METHOD, channel, 13, 60, 80, tag, 0, 0xCE) for tag in others]
    if up_to:
        frames.insert(0, _ack(METHOD, channel, 13, 60, 80, up_to, 1, 0xCE))
    return b"".join(frames)


def publish(channel: int, parcel: Parcel, frame_max: int) -> bytes:
    """The frames that publish a parcel, with the flag ``mandatory``.

    Raises:
        EncodeError: AMQP cannot carry it; the message says what of it.
    """
    try:
        flags, properties = _properties(parcel)
    except UnicodeEncodeError as exc:
        raise EncodeError(f"AMQP cannot carry {parcel.headers!r}: {exc}") from exc
    body = parcel.body
    size = 14 + len(properties)
    if size + 8 > frame_max:
        raise EncodeError(
            f"the headers of a message are {size} bytes, and RabbitMQ takes {frame_max}: "
            "put large values into the arguments"
        )
    start = (
        _method(channel, parcel.exchange, parcel.routing_key)
        + _content(HEADER, channel, size, 60, 0, len(body), flags)
        + properties
        + _END
    )
    most = frame_max - 8
    if len(body) <= most:
        return start + _head.pack(BODY, channel, len(body)) + body + _END if body else start
    pieces = [start]
    for at in range(0, len(body), most):
        piece = body[at : at + most]
        pieces += _head.pack(BODY, channel, len(piece)), piece, _END
    return b"".join(pieces)


@lru_cache(128)
def _method(channel: int, exchange: str, routing_key: str) -> bytes:
    """The frame that says where a message goes: many go to the same place."""
    words = _short("exchange", exchange) + _short("routing key", routing_key)
    arguments = struct.pack(">HHH", 60, 40, 0) + words + b"\1"
    return _head.pack(METHOD, channel, len(arguments)) + arguments + _END


def _properties(parcel: Parcel) -> tuple[int, bytes]:
    flags = _HEADERS
    pieces = [encode_table(parcel.headers)]
    if parcel.content_encoding is not None:
        flags |= _CONTENT_ENCODING
        pieces.insert(0, _word("content encoding", parcel.content_encoding))
    if parcel.content_type is not None:
        flags |= _CONTENT_TYPE
        pieces.insert(0, _word("content type", parcel.content_type))
    if parcel.delivery_mode is not None:
        flags |= _DELIVERY_MODE
        pieces.append(bytes((parcel.delivery_mode,)))
    if parcel.priority is not None:
        flags |= _PRIORITY
        pieces.append(bytes((parcel.priority,)))
    for flag, name, text in (
        (_CORRELATION_ID, "correlation id", parcel.correlation_id),
        (_REPLY_TO, "reply address", parcel.reply_to),
        (_EXPIRATION, "expiration", parcel.expiration),
        (_MESSAGE_ID, "message id", parcel.message_id),
    ):
        if text is not None:
            flags |= flag
            pieces.append(_short(name, text))
    return flags, b"".join(pieces)


def _short(name: str, text: str) -> bytes:
    """AMQP's short string."""
    data = text.encode()
    if len(data) > 255:
        raise EncodeError(
            f"the {name} {text[:40]!r}… is longer than the 255 bytes that AMQP has for it"
        )
    return bytes((len(data),)) + data


_word = lru_cache(128)(_short)


# Reading


def whole(kind: int, channel: int, payload: bytes) -> bytes:
    """A frame as it came."""
    return _head.pack(kind, channel, len(payload)) + payload + _END


class Reader:
    """Splits what comes into frames, and puts messages together.

    Args:
        arrivals: where messages go that come for consumers; None leaves them to the driver.
    """

    def __init__(self, arrivals: list[Arrival] | None = None) -> None:
        self._arrivals = arrivals
        self._rest = b""
        self._arrival: Arrival | None = None
        """What begins with the frames that were read last."""
        self._missing = 0
        self._pieces: list[bytes] = []

    def feed(self, data: bytes) -> list[tuple[int, int, bytes]]:
        """Take in what was read; what of it is the driver's: kind, channel, and payload.

        Raises:
            DecodeError: it is not split into frames.
        """
        if self._rest:
            data = self._rest + data
        at, end, others = 0, len(data), []
        while end - at >= 8:
            kind, channel, size = _head.unpack_from(data, at)
            begin, last = at + 7, at + 7 + size
            if last >= end:
                break
            if data[last] != 0xCE:
                raise DecodeError(f"a frame ends with {data[last]:#x}")
            if self._arrivals is None or not self._take(kind, data, begin, last):
                others.append((kind, channel, data[begin:last]))
            at = last + 1
        self._rest = data[at:] if at < end else b""
        return others

    def _take(self, kind: int, data: bytes, at: int, end: int) -> bool:
        """Take a frame that is part of a delivery; False if it is not."""
        arrival = self._arrival
        if kind == METHOD:
            if data[at : at + 4] != _DELIVER:
                return False
            self._arrival = _delivered(data, at + 4, end)
            return True
        if arrival is None:
            return False
        if kind == HEADER:
            self._missing = _read_properties(data, at + 4, arrival.parcel)
        elif kind == BODY:
            piece = data[at:end]
            self._missing -= len(piece)
            if self._missing or self._pieces:
                self._pieces.append(piece)
            else:
                arrival.parcel.body = piece
        else:
            return False
        if self._missing <= 0:
            if self._pieces:
                arrival.parcel.body = b"".join(self._pieces)
                self._pieces.clear()
            self._arrival = None
            assert self._arrivals is not None
            self._arrivals.append(arrival)
        return True


def _delivered(data: bytes, at: int, end: int) -> Arrival:
    """What a delivery begins with."""
    after = at + 1 + data[at]
    tag, redelivered = _read_tag(data, after)
    exchange, routing_key = _words(data[after + 9 : end])
    parcel = Parcel(b"", {}, exchange, routing_key, delivery_mode=None)
    return Arrival(parcel, _queue(data[at + 1 : after]), tag, redelivered & 1 == 1)


@lru_cache(512)
def _queue(tag: bytes) -> str:
    return queue_of(tag.decode())


@lru_cache(512)
def _words(data: bytes) -> tuple[str, str]:
    """Two short strings."""
    half = 1 + data[0]
    return data[1:half].decode(), data[half + 1 :].decode()


def _read_properties(data: bytes, at: int, parcel: Parcel) -> int:
    """Read the properties that are ours to know; the size of the body."""
    size, flags = _read_content(data, at)
    at += 10
    text: Any = None
    for flag, name in _BEFORE:
        if flags & flag:
            text, at = _read_short(data, at)
            setattr(parcel, name, text)
    if flags & _HEADERS:
        (length,) = _read_length(data, at)
        begin, at = at + 4, at + 4 + length
        try:
            parcel.headers = decode_table(data, begin, at)
        except DecodeError:
            pass  # no task call without headers: whoever looks for them says so
    if flags & _DELIVERY_MODE:
        parcel.delivery_mode = data[at]
        at += 1
    if flags & _PRIORITY:
        parcel.priority = data[at]
        at += 1
    for flag, name in _AFTER:
        if flags & flag:
            text, at = _read_short(data, at)
            setattr(parcel, name, text)
    return int(size)


_BEFORE = ((_CONTENT_TYPE, "content_type"), (_CONTENT_ENCODING, "content_encoding"))
_AFTER = (
    (_CORRELATION_ID, "correlation_id"),
    (_REPLY_TO, "reply_to"),
    (_EXPIRATION, "expiration"),
    (_MESSAGE_ID, "message_id"),
)


def _read_short(data: bytes, at: int) -> tuple[str, int]:
    end = at + 1 + data[at]
    return data[at + 1 : end].decode(errors="replace"), end
