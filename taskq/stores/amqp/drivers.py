"""From an address to the driver that it names."""

from __future__ import annotations

from taskq.stores.amqp.address import Address
from taskq.stores.amqp.links import Inbox, Link
from taskq.stores.urls import driver


def drivers(where: Address) -> tuple[type[Link], type[Inbox]]:
    """The connections of that driver, which is imported now, and no other.

    Raises:
        ImproperlyConfigured: it is not installed.
    """
    if where.driver == "pika":
        with driver(("pika",), "pika", "pika"):
            from taskq.stores.amqp.pika import PikaInbox, PikaLink

        return PikaLink, PikaInbox
    from taskq.stores.amqp.pyamqp import PyAmqpInbox, PyAmqpLink

    return PyAmqpLink, PyAmqpInbox
