"""The driver py-amqp, which kombu uses too."""

from taskq.stores.amqp.pyamqp.inbox import PyAmqpInbox
from taskq.stores.amqp.pyamqp.link import PyAmqpLink

__all__ = ["PyAmqpInbox", "PyAmqpLink"]
