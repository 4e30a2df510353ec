"""AMQP's tables and frames, against the drivers' own."""

from __future__ import annotations

import struct
from datetime import datetime
from decimal import Decimal
from typing import Any

import pika
import pytest
from amqp.serialization import dumps, loads
from pika import frame, spec

from taskq.exceptions import DecodeError, EncodeError
from taskq.stores.amqp.frames import BODY, METHOD, Reader, acknowledge, publish, whole
from taskq.stores.amqp.parcels import Arrival, Parcel
from taskq.stores.amqp.tables import decode_table, encode_table

TABLE: dict[str, Any] = {
    "text": "ä", "none": None, "yes": True, "no": False, "small": -5, "large": 1 << 40,
    "float": 2.5, "list": [1, [None, "x"]], "table": {"a": {"b": 0.1}}, "bytes": b"\x00",
}  # fmt: skip
MOMENT = datetime.fromisoformat("2030-01-02T03:04:05")


def decoded(table: bytes) -> dict[str, Any]:
    return decode_table(table, 4, len(table))


class TestTables:
    def test_py_amqp_reads_what_is_written(self) -> None:
        (found,), _ = loads("F", encode_table(TABLE), 0)
        assert found == TABLE

    def test_what_is_written_is_read(self) -> None:
        assert decoded(encode_table(TABLE)) == TABLE

    def test_what_py_amqp_writes_is_read(self) -> None:
        table = {**TABLE, "moment": MOMENT, "price": Decimal("-12.50")}
        del table["bytes"]  # it writes them as text
        assert decoded(dumps("F", [table])) == table

    def test_a_text_that_is_none_stays_bytes(self) -> None:
        assert decoded(encode_table({"a": "é"}).replace(b"\xc3", b"\xff")) == {"a": b"\xff\xa9"}

    @pytest.mark.parametrize("value", [object(), 1 << 70, {1, 2}])
    def test_what_amqp_does_not_have(self, value: object) -> None:
        with pytest.raises(EncodeError, match="'mine'"):
            encode_table({"table": {"mine": [value]}})

    def test_a_name_that_is_too_long(self) -> None:
        with pytest.raises(EncodeError, match="255 bytes"):
            encode_table({"x" * 300: 1})

    def test_a_table_that_is_cut(self) -> None:
        table = encode_table({"number": 5, "text": "abc"})[4:]
        for kept in range(1, len(table)):
            if kept != 12:  # where its first entry ends
                with pytest.raises(DecodeError):
                    decode_table(table[:kept], 0, kept)

    def test_a_type_that_does_not_exist(self) -> None:
        with pytest.raises(DecodeError):
            decode_table(b"\1a?", 0, 3)


def delivered(parcel: Parcel, tag: int = 7, most: int = 100_000) -> bytes:
    """The frames of a delivery, as pika writes them."""
    method = spec.Basic.Deliver(f"0.{parcel.routing_key}", tag, True, "", parcel.routing_key)
    properties = pika.BasicProperties(
        content_type=parcel.content_type,
        headers=parcel.headers,
        delivery_mode=parcel.delivery_mode,  # pyright: ignore[reportArgumentType]
        priority=parcel.priority,
        message_id=parcel.message_id,
        app_id="another",
    )
    body = [parcel.body[at : at + most] for at in range(0, len(parcel.body), most)]
    frames = [
        frame.Method(1, method),
        frame.Header(1, len(parcel.body), properties),
        *[frame.Body(1, piece) for piece in body],
    ]
    return b"".join(one.marshal() for one in frames)


def parcel(body: bytes = b"[]") -> Parcel:
    return Parcel(body, {"id": "a"}, "", "q", "application/json", None, 3, message_id="m")


class TestReading:
    @pytest.mark.parametrize("step", [1, 5, 8, 100, 10_000])
    def test_however_it_is_cut(self, step: int) -> None:
        heartbeat = whole(8, 0, b"")
        parcels = [parcel(b""), parcel(b"x" * 700), parcel()]
        data = heartbeat.join(delivered(one, n, 300) for n, one in enumerate(parcels))
        arrivals: list[Arrival] = []
        reader, others = Reader(arrivals), []
        for at in range(0, len(data), step):
            others += reader.feed(data[at : at + step])
        assert arrivals == [Arrival(one, "q", n, True) for n, one in enumerate(parcels)]
        assert others == [(8, 0, b"")] * 2

    def test_what_is_not_delivered_is_the_drivers(self) -> None:
        reader, data = Reader([]), frame.Method(1, spec.Basic.CancelOk("0.q")).marshal()
        ((kind, channel, payload),) = reader.feed(data)
        assert whole(kind, channel, payload) == data
        assert reader.feed(whole(BODY, 1, b"x")) == [(BODY, 1, b"x")]
        assert len(Reader().feed(delivered(parcel()))) == 3

    def test_headers_that_are_none(self) -> None:
        data = delivered(parcel()).replace(b"\x02idS", b"\x02id?")
        arrivals: list[Arrival] = []
        Reader(arrivals).feed(data)
        assert (arrivals[0].parcel.headers, arrivals[0].parcel.message_id) == ({}, "m")

    def test_what_is_no_frame(self) -> None:
        with pytest.raises(DecodeError, match="0x78"):
            Reader().feed(struct.pack(">BHI", METHOD, 1, 2) + b"abx")


def frames_of(data: bytes) -> list[Any]:
    """What pika makes of it."""
    found = []
    while data:
        used, value = frame.decode_frame(data)
        found.append(value)
        data = data[used:]
    return found


class TestWriting:
    def test_pika_reads_what_is_published(self) -> None:
        sent = Parcel(
            b"x" * 250, {"id": "a"}, "there", "key", "application/json", "utf-8", 4, "id",
            "back", "m", 1, "5000",
        )  # fmt: skip
        method, header, *body = frames_of(publish(3, sent, 108))
        publishing = method.method
        assert (method.channel_number, publishing.exchange, publishing.routing_key) == (
            3, "there", "key",
        )  # fmt: skip
        assert publishing.mandatory
        assert not publishing.immediate
        found = header.properties
        assert found.headers == sent.headers
        assert [len(one.fragment) for one in body] == [100, 100, 50]
        assert header.body_size == 250
        assert (found.content_type, found.content_encoding) == ("application/json", "utf-8")
        assert (found.priority, found.delivery_mode, found.expiration) == (4, 1, "5000")
        assert (found.correlation_id, found.reply_to, found.message_id) == ("id", "back", "m")

    def test_an_empty_body_has_no_frame(self) -> None:
        assert len(frames_of(publish(1, parcel(b""), 1000))) == 2

    def test_acknowledging(self) -> None:
        found = [one.method for one in frames_of(acknowledge(2, 9, [11, 15]))]
        assert [(one.delivery_tag, one.multiple) for one in found] == [
            (9, True), (11, False), (15, False),
        ]  # fmt: skip
        assert acknowledge(2, 0, []) == b""

    @pytest.mark.parametrize(
        ("mistake", "complaint"),
        [
            ({"routing_key": "k" * 256}, "routing key 'kkk"),
            ({"correlation_id": "i" * 256}, "correlation id 'iii"),
            ({"headers": {"a": "\ud800"}}, "cannot carry"),
            ({"headers": {"a": "x" * 2000}}, "headers of a message are 2"),
        ],
    )
    def test_what_amqp_cannot_carry(self, mistake: dict[str, Any], complaint: str) -> None:
        with pytest.raises(EncodeError, match=complaint):
            publish(1, Parcel(**{"body": b"", "headers": {}, **mistake}), 1000)
