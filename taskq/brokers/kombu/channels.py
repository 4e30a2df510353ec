"""Channels of kombu's transports, and messages on them."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from queue import Empty
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec
from kombu.connection import Connection

from taskq.brokers.kombu.files import FileWriter
from taskq.exceptions import ImproperlyConfigured, OperationalError
from taskq.message import MAX_PRIORITY
from taskq.stores.amqp.parcels import Arrival, Parcel
from taskq.stores.urls import hide_password

if TYPE_CHECKING:
    from taskq.settings import Settings

_REDIS = frozenset({"redis", "rediss", "sentinel"})
_NATIVE = frozenset({"amqp", "amqps", "pyamqp", "librabbitmq", "qpid"})


class Place:
    """Where messages are, and by which transport.

    Args:
        url: such as ``kombu+sqs://``.
        conf: the settings.

    Raises:
        ImproperlyConfigured: kombu has no such transport, or taskq has a better way.
    """

    def __init__(self, url: str, conf: Settings) -> None:
        self.shown = hide_password(url)
        self._url = url.partition("+")[2]
        self._options = dict(conf.broker_transport_options)
        self._timeout = conf.broker_connection_timeout
        self.keep = conf.broker_pool_limit
        scheme = self._url.partition("://")[0]
        self.is_redis = scheme in _REDIS
        self.is_sqs = scheme == "sqs"
        if self.is_sqs:
            # What has ended is written by the thread that waits for more: not for kombu's 10 s.
            self._options.setdefault("wait_time_seconds", 1)
        if scheme in _NATIVE:
            raise ImproperlyConfigured(f"{self.shown!r}: use amqp:// or pika:// for RabbitMQ")
        self._files = FileWriter() if scheme == "filesystem" else None
        if self._files is not None and (path := urlsplit(self._url).path):
            self._url = "filesystem://"
            for name in ("data_folder_in", "data_folder_out"):
                self._options.setdefault(name, path)

    def connect(self) -> Channel:
        """A connection with one channel.

        Raises:
            OperationalError: there is none.
        """
        try:
            timeout: Any = self._timeout  # kombu says int, and takes parts of seconds as well
            connection = Connection(
                self._url, transport_options=self._options, connect_timeout=timeout
            )
            transport = connection.transport
        except (KeyError, ImportError) as exc:
            raise ImproperlyConfigured(f"{self.shown!r} cannot be used by kombu: {exc}") from exc
        errors = (OSError, *transport.connection_errors, *transport.channel_errors)
        if self.is_sqs:
            errors += (_client_error(),)
        try:
            channel: Any = connection.channel()
            if self._files is not None:
                channel._put = partial(self._files.put, channel)
            return Channel(self, connection, channel, errors)
        except errors as exc:
            connection.collect()
            raise OperationalError(f"cannot connect to {self.shown}: {exc}") from exc


def _client_error() -> type[BaseException]:
    """What AWS's client raises when a request is refused, which kombu does not count."""
    from botocore.exceptions import ClientError

    error: type[BaseException] = ClientError
    return error


class Channel:
    """One channel; of one thread at a time.

    Args:
        place: where.
        connection: kombu's.
        channel: kombu's.
        errors: what it raises when it is lost.
    """

    def __init__(
        self, place: Place, connection: Any, channel: Any, errors: tuple[type[BaseException], ...]
    ) -> None:
        self._place = place
        self._connection = connection
        self._channel = channel
        self._errors = errors
        self.alive = True

    @contextmanager
    def _watched(self) -> Iterator[Any]:
        try:
            yield self._channel
        except self._errors as exc:
            self.close()
            raise OperationalError(
                f"{self._place.shown}: {str(exc) or type(exc).__name__}"
            ) from exc

    def declare(self, queue: str) -> None:
        """Have a queue."""
        with self._watched() as channel:
            channel.queue_declare(queue)

    def put(self, parcel: Parcel) -> None:
        """Put a message into the queue that its routing key names."""
        # On Redis 0 is the most urgent, as for Celery.
        priority = parcel.priority or 0
        properties = {
            "correlation_id": parcel.correlation_id,
            "reply_to": parcel.reply_to,
            "delivery_mode": parcel.delivery_mode,
        }
        with self._watched() as channel:
            message = channel.prepare_message(
                parcel.body,
                MAX_PRIORITY - priority if self._place.is_redis else priority,
                parcel.content_type,
                parcel.content_encoding,
                parcel.headers,
                properties,
            )
            channel.basic_publish(message, exchange="", routing_key=parcel.routing_key)

    def get(self, queue: str) -> tuple[Any, Arrival] | None:
        """Take the next message: what it is acknowledged by, and it."""
        with self._watched() as channel:
            try:
                message = channel.basic_get(queue)
            except Empty:
                return None
            except ValueError as exc:  # a file that was read while it was written
                raise OperationalError(
                    f"{self._place.shown}: a message of {queue!r} cannot be read and is lost: {exc}"
                ) from exc
            if message is None:
                return None
            return message.delivery_tag, self._arrival(message, queue)

    def _arrival(self, message: Any, queue: str) -> Arrival:
        body, properties, info = message.body, message.properties, message.delivery_info
        priority = int(properties.get("priority") or 0)
        parcel = Parcel(
            body.encode() if isinstance(body, str) else bytes(body or b""),
            dict(message.headers or {}),
            "",
            queue,
            message.content_type,
            message.content_encoding,
            MAX_PRIORITY - priority if self._place.is_redis else priority,
            properties.get("correlation_id"),
            properties.get("reply_to"),
            None,
            properties.get("delivery_mode"),
        )
        parcel.headers.pop("redelivered", None)
        return Arrival(parcel, queue, 0, bool(info.get("redelivered")))

    def ack(self, tag: Any) -> None:
        """Forget a message."""
        with self._watched() as channel:
            channel.basic_ack(tag)

    def give_back(self, tags: list[Any]) -> None:
        """Give messages back, that were taken in this order."""
        with self._watched() as channel:
            # Redis gives back to the front, others to the end.
            for tag in reversed(tags) if self._place.is_redis else tags:
                channel.basic_reject(tag, requeue=True)

    def size(self, queue: str) -> int:
        """How many messages are ready."""
        with self._watched() as channel:
            return int(channel._size(queue))

    def purge(self, queue: str) -> int:
        """Delete what is ready, and tell how many that were."""
        with self._watched() as channel:
            size = int(channel._size(queue))  # SQS counts them several times when it deletes them
            channel._purge(queue)
            return size

    def delete(self, queue: str) -> None:
        """Delete a queue."""
        with self._watched() as channel:
            channel.queue_delete(queue)

    def restore(self) -> None:
        """Have messages of workers that have fallen silent delivered again, where that is ours."""
        with self._watched() as channel:
            channel.qos.restore_visible(num=100, interval=1)

    def touch(self, tags: list[Any]) -> None:
        """Say that these are still at work."""
        # Imported by those who consume.
        import time

        if self._place.is_redis and tags:
            with self._watched() as channel, channel.conn_or_acquire() as client:
                now = time.time()
                client.zadd(channel.unacked_index_key, dict.fromkeys(tags, now), xx=True)

    def close(self) -> None:
        """Let go of the connection."""
        self.alive = False
        try:
            self._connection.release()
        except Exception:
            self._connection.collect()


class Pool:
    """Channels of one process for publishing and looking; any thread may take one.

    Args:
        place: where.
    """

    def __init__(self, place: Place) -> None:
        self._place = place
        self._free: list[Channel] = []
        self._lock, self._pid = threading.Lock(), os.getpid()

    @contextmanager
    def channel(self) -> Iterator[Channel]:
        """A channel for the length of the block."""
        if self._pid != os.getpid():  # what the parent has is the parent's
            self._free, self._lock, self._pid = [], threading.Lock(), os.getpid()
        with self._lock:
            channel = self._free.pop() if self._free else None
        channel = channel or self._place.connect()
        try:
            yield channel
        finally:
            with self._lock:
                kept = channel.alive and len(self._free) < max(self._place.keep, 1)
                if kept:
                    self._free.append(channel)
            if not kept and channel.alive:
                channel.close()

    def close(self) -> None:
        """Let go of all that are not in use."""
        if self._pid == os.getpid():
            with self._lock:
                free, self._free = self._free, []
            for channel in free:
                channel.close()


def dead_queue(queue: str) -> str:
    """The queue that holds the dead letters of a queue."""
    return f"{queue}.dead"


def delayed_queue(queue: str) -> str:
    """The queue that holds messages that are not due for a while."""
    return f"{queue}.delayed"


def again_to(parcel: Parcel, queue: str) -> Parcel:
    """The same parcel to a queue."""
    return msgspec.structs.replace(parcel, exchange="", routing_key=queue)
