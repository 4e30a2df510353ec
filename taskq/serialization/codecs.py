"""The serializers that come with taskq."""

from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

import msgspec

from taskq.exceptions import EncodeError, ImproperlyConfigured
from taskq.serialization.plain import TAG, all_plain
from taskq.serialization.types import TypeTable


class Codec(NamedTuple):
    """One serializer.

    Attributes:
        name: as in ``task_serializer``.
        content_type: as in messages.
        content_encoding: as in messages: a character set, or ``binary``.
        encode: from value to bytes.
        decode: from bytes to value.
        safe: decoding runs no code that the sender chose.
    """

    name: str
    content_type: str
    content_encoding: str
    encode: Callable[[Any], bytes]
    decode: Callable[[bytes], Any]
    safe: bool = True


def builtin_codecs(types: TypeTable) -> tuple[Codec, ...]:
    """Return the built-in serializers; JSON and MessagePack with the types of the table."""
    json_encode, json_decode = json_functions(types)
    msgpack_encode, msgpack_decode = msgpack_functions(types)
    return (
        Codec("json", "application/json", "utf-8", json_encode, json_decode),
        Codec("msgpack", "application/x-msgpack", "binary", msgpack_encode, msgpack_decode),
        Codec("yaml", "application/x-yaml", "utf-8", _yaml_encode, _yaml_decode),
        Codec(
            "pickle",
            "application/x-python-serialize",
            "binary",
            _pickle_encode,
            _pickle_decode,
            safe=False,
        ),
    )


_Functions = tuple[Callable[[Any], bytes], Callable[[bytes], Any]]


def json_functions(types: TypeTable) -> _Functions:
    """Return encoder and decoder of JSON as kombu writes and reads it.

    msgspec does plain data, several times faster; what it would do differently from the
    standard library (NaN, huge numbers, lone surrogates, typed values, keys that are no
    text) goes through the standard library.
    """
    fast_encode = msgspec.json.Encoder().encode
    fast_decode = msgspec.json.Decoder().decode
    tag = TAG.encode()

    def encode(value: Any) -> bytes:
        if all_plain((value,)):
            try:
                return fast_encode(value)
            except (OverflowError, UnicodeError):
                pass  # Huge numbers and lone surrogates, which the standard library allows.
        # Rarely needed, and not for free at import.
        import json

        return json.dumps(types.plain(value), separators=(",", ":")).encode()

    def decode(body: bytes) -> Any:
        if tag not in body:
            try:
                return fast_decode(body)
            except (msgspec.MsgspecError, UnicodeError):
                pass  # The standard library may allow it, or says what is wrong with it.
        import json

        return json.loads(body.decode(), object_hook=types.restore)

    return encode, decode


def msgpack_functions(types: TypeTable) -> _Functions:
    """Return encoder and decoder of MessagePack, with the tagged values of JSON."""
    pack = msgspec.msgpack.Encoder().encode
    unpack = msgspec.msgpack.Decoder().decode
    tag = TAG.encode()

    def encode(value: Any) -> bytes:
        if all_plain((value,)):
            return pack(value)
        return pack(types.plain(value, native_bytes=True))

    def decode(body: bytes) -> Any:
        value = unpack(body)
        return types.restore_tree(value) if tag in body else value

    return encode, decode


def _yaml() -> ModuleType:
    try:
        import yaml
    except ImportError:
        raise ImproperlyConfigured(
            "serializer 'yaml' needs PyYAML, which is not installed: pip install taskq[yaml]"
        ) from None
    return yaml


def _yaml_encode(value: Any) -> bytes:
    text: str = _yaml().safe_dump(value)
    return text.encode()


def _yaml_decode(body: bytes) -> Any:
    return _yaml().safe_load(body)


def _pickle_encode(value: Any) -> bytes:
    # Pickle is off for most apps.
    import pickle

    try:
        return pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL)
    except Exception as exc:
        # Pickle raises what it likes, and so do the objects that it asks.
        raise EncodeError(f"cannot pickle the data: {exc}; send plain data instead") from exc


def _pickle_decode(body: bytes) -> Any:
    import pickle

    return pickle.loads(body)
