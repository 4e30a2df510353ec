"""The serializers of one app, by name and by content type."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, TypeVar

from taskq.exceptions import (
    ContentDisallowed,
    DecodeError,
    EncodeError,
    ImproperlyConfigured,
    TaskQError,
)
from taskq.serialization import compression
from taskq.serialization.codecs import Codec, builtin_codecs
from taskq.serialization.types import TypeTable

T = TypeVar("T")


class Encoded(NamedTuple):
    """Bytes, and what is needed to read them."""

    content_type: str
    content_encoding: str
    body: bytes


class SerializerRegistry:
    """The serializers that one app knows: json, msgpack, yaml, pickle, and its own.

    Args:
        strict_types: see ``TypeTable``.
    """

    def __init__(self, strict_types: bool = True) -> None:
        self.types = TypeTable(strict_types)
        self._by_name: dict[str, Codec] = {}
        self._by_type: dict[str, Codec] = {}
        self._built_in = builtin_codecs(self.types)
        for codec in self._built_in:
            self._add(codec)

    def register(
        self,
        name: str,
        encode: Callable[[Any], bytes],
        decode: Callable[[bytes], Any],
        content_type: str,
        content_encoding: str = "utf-8",
        safe: bool = True,
    ) -> None:
        """Add a serializer, or put it in the place of the one of that name.

        Args:
            name: for settings and task options.
            encode: from value to bytes; what it raises becomes EncodeError.
            decode: from bytes to value; what it raises becomes DecodeError.
            content_type: for messages, such as ``application/x-thing``.
            content_encoding: for messages: a character set, or ``binary``.
            safe: decoding runs no code that the sender chose; otherwise the content type
                is only read where ``accept_content`` lists it.
        """
        self._add(Codec(name, content_type, content_encoding, encode, decode, safe))

    def is_built_in(self, name: str) -> bool:
        """Is the serializer of that name the one that comes with taskq?"""
        return self._by_name.get(name) in self._built_in

    def register_type(
        self,
        cls: type[T],
        name: str | None = None,
        *,
        encode: Callable[[T], Any] | None = None,
        decode: Callable[[Any], T] | None = None,
    ) -> None:
        """Make a class known to JSON and MessagePack; see ``TypeTable.register``."""
        self.types.register(cls, name, encode=encode, decode=decode)

    def register_annotations(self, function: Callable[..., object]) -> None:
        """Make known the classes in a task's annotations; see ``TypeTable``."""
        self.types.register_annotations(function)

    def encode(self, value: Any, name: str) -> Encoded:
        """Serialize a value.

        Raises:
            EncodeError: the value, or something inside of it, has no encoding.
            ImproperlyConfigured: there is no serializer of that name.
        """
        codec = self._by_name.get(name)
        if codec is None:
            raise self._unknown(name)
        try:
            return Encoded(codec.content_type, codec.content_encoding, codec.encode(value))
        except TaskQError:
            raise
        except Exception as exc:
            raise EncodeError(
                f"serializer {name!r} cannot encode the data: {exc}; send plain data instead"
            ) from exc

    def decode(
        self,
        body: bytes,
        content_type: str,
        content_encoding: str = "utf-8",
        accept: frozenset[str] | None = None,
    ) -> Any:
        """Deserialize bytes.

        Args:
            body: the bytes.
            content_type: their serializer's.
            content_encoding: as the message has it; serializers of text read UTF-8.
            accept: content types that may be decoded, as ``content_types`` returns them.
                None allows all that are safe.

        Raises:
            ContentDisallowed: the content type may not be decoded; nothing was.
            DecodeError: no serializer has the content type, or the bytes are not right.
        """
        codec = self._by_type.get(content_type)
        allowed = content_type in accept if accept is not None else codec is None or codec.safe
        if not allowed:
            raise ContentDisallowed(
                f"content type {content_type!r} is refused: "
                "list it in the setting accept_content if its senders can be trusted"
            )
        if codec is None:
            raise DecodeError(
                f"no serializer reads content type {content_type!r}: register one, "
                f"or send one of {', '.join(self._by_type)}"
            )
        try:
            return codec.decode(body)
        except TaskQError:
            raise
        except Exception as exc:
            raise DecodeError(
                f"data is not valid {codec.name} ({content_type}, {content_encoding}): {exc}; "
                f"it begins with {body[:60]!r}"
            ) from exc

    def compress(self, body: bytes, name: str) -> tuple[bytes, str]:
        """Compress bytes; see ``compression.compress``."""
        return compression.compress(body, name)

    def decompress(
        self, body: bytes, content_type: str, max_size: int = compression.MAX_SIZE
    ) -> bytes:
        """Undo ``compress``; see ``compression.decompress``."""
        return compression.decompress(body, content_type, max_size)

    def content_types(self, names: Iterable[str]) -> frozenset[str]:
        """Return the content types of serializers given by name or by content type.

        Raises:
            ImproperlyConfigured: one of them is not known.
        """
        return frozenset(self._content_type(name) for name in names)

    def _content_type(self, name: str) -> str:
        if name in self._by_type:
            return name
        if name in self._by_name:
            return self._by_name[name].content_type
        raise self._unknown(name)

    def _unknown(self, name: str) -> ImproperlyConfigured:
        return ImproperlyConfigured(
            f"unknown serializer {name!r}: the known ones are {', '.join(self._by_name)}"
        )

    def _add(self, codec: Codec) -> None:
        self._by_name[codec.name] = codec
        self._by_type[codec.content_type] = codec
