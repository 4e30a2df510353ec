"""The driver pika."""

from taskq.stores.amqp.pika.inbox import PikaInbox
from taskq.stores.amqp.pika.link import PikaLink

__all__ = ["PikaInbox", "PikaLink"]
