"""From a message to the request in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from taskq.encoded_steps import open_long
from taskq.exceptions import InvalidTaskError
from taskq.follow_ups import check_steps
from taskq.message import TaskMessage
from taskq.request import Request
from taskq.serialization import decompress

if TYPE_CHECKING:
    from taskq.app import TaskQ

_JSON = "application/json"
_SEQUENCES = (list, tuple)


class Opener:
    """Decodes the bodies of messages.

    Args:
        app: whose serializers and settings.
        hostname: the worker's name.
    """

    def __init__(self, app: TaskQ, hostname: str) -> None:
        self._serializers = app.serializers
        self._accept = app.serializers.content_types(app.conf.accept_content)
        self._hostname = hostname
        self._json = _JSON in self._accept and app.serializers.is_built_in("json")

    def _decode_json(self, body: bytes) -> Any:
        return self._serializers.decode(body, _JSON, "utf-8", self._accept)

    def open(self, message: TaskMessage, queue: str, deliveries: int) -> Request:
        """The request in a message.

        Args:
            message: the message.
            queue: where it was taken from.
            deliveries: how often it has been delivered.

        Raises:
            InvalidTaskError: its body is not what a task's must be.
            DecodeError: its body cannot be decoded.
        """
        body = message.body
        compression = message.headers.get("compression")
        if compression:
            body = decompress(body, compression)
        content = None
        if self._json and message.content_type == _JSON:
            content = open_long(body, self._decode_json)
        if content is None:
            content = self._serializers.decode(
                body, message.content_type, message.content_encoding, self._accept
            )
        try:
            args, kwargs, embed = content
            if type(kwargs) is not dict or type(args) not in _SEQUENCES:
                raise TypeError("args must be a list and kwargs an object")
            if type(embed) is not dict and embed is not None:
                raise TypeError("embed must be an object")
            if embed:
                check_steps(embed)
        except (TypeError, ValueError) as exc:
            raise InvalidTaskError(
                f"the body of a task must be [args, kwargs, embed], not "
                f"{type(content).__name__}: {exc}"
            ) from exc
        return Request(
            message,
            args,
            kwargs,
            embed,
            queue=queue,
            hostname=self._hostname,
            deliveries=deliveries,
        )
