"""How pika connects, what it says when it cannot, and how it is made to let go."""

from __future__ import annotations

import logging
from typing import Any

import pika
import pika.exceptions
from pika.credentials import ExternalCredentials

from taskq.stores.amqp.address import Address, tls_context
from taskq.stores.amqp.nodes import Node

if logging.getLogger("pika").level == logging.NOTSET:
    # It tells of every step and, of each lost connection, several tracebacks; what matters of
    # that is told by those who use the connection.
    logging.getLogger("pika").setLevel(logging.CRITICAL)

LOST = (pika.exceptions.AMQPError, OSError, RuntimeError, AssertionError)
"""What pika raises when a connection is lost, or was when something was asked of it."""


def parameters(address: Address, node: Node, heartbeat: int) -> pika.ConnectionParameters:
    """What pika is told of one node."""
    options = None
    if address.tls is not None:
        name = address.tls.server_hostname or node.host
        options = pika.SSLOptions(tls_context(address.tls), name)
    if address.login_method == "EXTERNAL":
        credentials: Any = ExternalCredentials()
    else:
        credentials = pika.PlainCredentials(node.user, node.password)
    return pika.ConnectionParameters(
        host=node.host,
        port=node.port,
        virtual_host=node.vhost,
        credentials=credentials,
        heartbeat=heartbeat,
        ssl_options=options,
        socket_timeout=address.connect_timeout,
        stack_timeout=address.connect_timeout,
        connection_attempts=1,
        blocked_connection_timeout=None,
    )


def said(exc: BaseException | None) -> str:
    """What went wrong, in words; pika wraps it in layers of exceptions."""
    while exc is not None:
        inner = getattr(exc, "exceptions", None) or getattr(exc, "exception", None)
        if isinstance(inner, list | tuple):
            inner = inner[-1] if inner else None
        if not isinstance(inner, BaseException):
            break
        exc = inner
    text = getattr(exc, "reply_text", None) or str(exc or "")
    return text or type(exc).__name__


def abort(connection: Any) -> None:
    """Hang up on a connection whose other end is silent; pika has no other way."""
    transport = getattr(connection, "_transport", None)
    if transport is not None:
        transport.abort()
