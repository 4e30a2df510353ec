"""Values that JSON has no word for, as tagged objects.

A tagged object is ``{"__type__": tag, "__value__": value}``. kombu has the tags
``datetime date time decimal uuid bytes base64``; taskq writes these alike, and adds
``timedelta set frozenset dataclass enum model`` (a pydantic model) and ``dict`` (for a
dictionary that looks like a tagged object itself).

**What decoding may build.** A message names a class in words, ``module:qualname``. taskq
never imports or looks up such a name: only classes that the app made known are built, by
``register_type`` or because a task's annotations mention them. Otherwise whoever can write
to the broker could have any class of any loaded module built, with arguments of his choice.
A class that is not known is an error, which says what to do: handing the task a dictionary
where it expects an object would only fail later and less clearly.
"""

import logging
import sys
import typing
import uuid
from binascii import a2b_base64, b2a_base64
from collections.abc import Callable, Iterator
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, Flag
from typing import Any, TypeVar

from taskq.exceptions import DecodeError, EncodeError, ImproperlyConfigured
from taskq.serialization.plain import TAG

T = TypeVar("T")

logger = logging.getLogger(__name__)

VALUE = "__value__"

_SCALARS = frozenset({str, int, float, bool, type(None)})
_TAGGED_KEYS = frozenset({TAG, VALUE})


class _NoEncoding(Exception):
    """A value that cannot be encoded, and the way to it, innermost step first."""

    def __init__(self, value: object) -> None:
        self.value = value
        self.path: list[object] = []


class TypeTable:
    """The types that one app can send and receive inside of JSON and MessagePack.

    Args:
        strict: raise on classes that are not known. Otherwise their fields come as plain
            data, which suits tools that show results of apps whose code they lack.
    """

    def __init__(self, strict: bool = True) -> None:
        self._strict = strict
        self._names: dict[type, str] = {}
        self._classes: dict[str, type] = {}
        self._annotated: list[Callable[..., object]] = []
        self._encoders: dict[type, tuple[str | None, Callable[[Any], Any]]] = {}
        self._decoders: dict[str, Callable[[Any], Any]] = {
            "datetime": datetime.fromisoformat,
            "date": lambda text: datetime.fromisoformat(text).date(),
            "time": time.fromisoformat,
            "decimal": Decimal,
            "uuid": lambda parts: uuid.UUID(hex=parts["hex"]),
            "bytes": str.encode,
            "base64": a2b_base64,
            "timedelta": lambda parts: timedelta(*parts),
            "set": lambda items: set(map(_hashable, items)),
            "frozenset": lambda items: frozenset(map(_hashable, items)),
            "dict": dict,
            "dataclass": self._build,
            "model": self._build,
            "enum": self._build,
        }

    # Making types known

    def register(
        self,
        cls: type[T],
        name: str | None = None,
        *,
        encode: Callable[[T], Any] | None = None,
        decode: Callable[[Any], T] | None = None,
    ) -> None:
        """Make a class known, so that it can be received.

        Args:
            cls: a dataclass, enum or pydantic model; with ``encode``, any class.
            name: what it is called in messages, ``module:qualname`` if not given. A name
                of its own lets a class be moved, and lets programs differ in where it is.
            encode: turns an instance (or one of a subclass) into data.
            decode: turns that data back; without it, what was sent arrives as plain data.

        Raises:
            ImproperlyConfigured: the class is of no kind that can be sent by itself, or
                another class has the name.
        """
        name = name or _qualified(cls)
        if encode is not None:
            self._encoders[cls] = (name if decode else None, encode)
            if decode is not None:
                self._decoders[name] = decode
            return
        if _kind(cls) is None:
            raise ImproperlyConfigured(
                f"type {name!r} is no dataclass, enum or pydantic model: "
                "say how it is sent and received with encode=… and decode=…"
            )
        if self._classes.setdefault(name, cls) is not cls:
            raise ImproperlyConfigured(
                f"type name {name!r} belongs to {self._classes[name]!r} already: "
                f"give {cls!r} another with name=…"
            )
        self._names[cls] = name

    def register_annotations(self, function: Callable[..., object]) -> None:
        """Make known the classes that a function's annotations mention, and theirs in turn.

        The annotations are only looked at when a message names a class that is not known.
        """
        self._annotated.append(function)

    # To plain data

    def plain(self, value: Any, native_bytes: bool = False) -> Any:
        """Return the value with tagged objects in place of what JSON cannot hold.

        Args:
            value: any data.
            native_bytes: leave ``bytes`` as they are.

        Raises:
            EncodeError: there is no encoding for a value; the message says where it is.
        """
        try:
            return self._plain(value, native_bytes)
        except _NoEncoding as exc:
            where = "".join(f"[{step!r}]" for step in reversed(exc.path))
            raise EncodeError(
                f"cannot serialize {_qualified(type(exc.value))} at data{where}: send plain "
                "data instead, or make the type known with register_type(cls, encode=…, decode=…)"
            ) from None
        except RecursionError:
            raise EncodeError(
                "cannot serialize data that contains itself or is nested too deeply: "
                "send it in parts, or by a key under which the task finds it"
            ) from None

    def _plain(self, value: Any, native_bytes: bool) -> Any:
        if type(value) in _SCALARS or (native_bytes and type(value) is bytes):
            return value
        if self._encoders and (custom := self._encoder_for(value)):
            tag, encode = custom
            data = self._plain(encode(value), native_bytes)
            return data if tag is None else {TAG: tag, VALUE: data}
        if hasattr(value, "__json__"):
            return self._plain(value.__json__(), native_bytes)
        if isinstance(value, dict):
            return self._plain_dict(value, native_bytes)
        if isinstance(value, (list, tuple)):
            return [self._at(step, item, native_bytes) for step, item in enumerate(value)]
        if isinstance(value, (str, int, float)):
            return _unadorned(value)
        tag, data = self._tagged(value)
        return {TAG: tag, VALUE: self._plain(data, native_bytes)}

    def _at(self, step: object, item: Any, native_bytes: bool) -> Any:
        try:
            return self._plain(item, native_bytes)
        except _NoEncoding as exc:
            exc.path.append(step)
            raise

    def _plain_dict(self, value: dict[Any, Any], native_bytes: bool) -> dict[Any, Any]:
        result = {}
        for key, item in value.items():
            if not isinstance(key, (str, int, float, bool, type(None))):
                raise _NoEncoding(key)
            plain_key = key if key is None or type(key) in _SCALARS else _unadorned(key)
            result[plain_key] = self._at(key, item, native_bytes)
        if result.keys() == _TAGGED_KEYS:
            return {TAG: "dict", VALUE: [[key, item] for key, item in result.items()]}
        return result

    def _encoder_for(self, value: Any) -> tuple[str | None, Callable[[Any], Any]] | None:
        for cls, encoder in self._encoders.items():
            if isinstance(value, cls):
                return encoder
        return None

    def _tagged(self, value: Any) -> tuple[str, Any]:
        """Return tag and data of a value; the data may need encoding in its turn."""
        match value:
            case datetime():
                return "datetime", value.isoformat()
            case date():
                return "date", value.isoformat()
            case time():
                return "time", value.isoformat()
            case Decimal():
                return "decimal", str(value)
            case uuid.UUID():
                return "uuid", {"hex": value.hex}
            case timedelta():
                return "timedelta", [value.days, value.seconds, value.microseconds]
            case set():
                return "set", list(value)
            case frozenset():
                return "frozenset", list(value)
            case bytes():
                return _tagged_bytes(value)
        kind = _kind(type(value))
        if kind is None:
            raise _NoEncoding(value)
        cls = type(value)
        return kind, {"class": self._names.get(cls) or _qualified(cls), **_contents(kind, value)}

    # From plain data

    def restore(self, mapping: dict[str, Any]) -> Any:
        """Return what a tagged object stands for, and any other mapping as it is.

        Raises:
            DecodeError: the tag or class is not known, or the data does not fit it.
        """
        if mapping.keys() != _TAGGED_KEYS:
            return mapping
        tag, value = mapping[TAG], mapping[VALUE]
        decode = self._decoders.get(tag) if isinstance(tag, str) else None
        if decode is None:
            if not self._strict:
                return value
            raise DecodeError(
                f"data holds a value of type {tag!r}, which this app does not know: "
                "make it known with register_type(cls, name, encode=…, decode=…)"
            )
        try:
            return decode(value)
        except DecodeError:
            raise
        except Exception as exc:
            raise DecodeError(
                f"data of type {tag!r} cannot be read: {exc} (value: {value!r:.200})"
            ) from exc

    def restore_tree(self, value: Any) -> Any:
        """Do as ``restore`` for all that is inside of a value, from the inside out."""
        if isinstance(value, dict):
            return self.restore({key: self.restore_tree(item) for key, item in value.items()})
        if isinstance(value, list):
            return [self.restore_tree(item) for item in value]
        return value

    def _build(self, value: dict[str, Any]) -> Any:
        cls = self._class_named(value["class"])
        if cls is None:
            return value.get("fields", value.get("name", value.get("value")))
        match _kind(cls):
            case "enum":
                return cls[value["name"]] if "name" in value else cls(value["value"])  # type: ignore[index]
            case "model":
                return cls.model_validate(value["fields"], by_name=True, by_alias=False)  # type: ignore[attr-defined]
            case _:
                return cls(**value["fields"])

    def _class_named(self, name: str) -> type | None:
        if name not in self._classes:
            self._learn_annotated()
        cls = self._classes.get(name)
        if cls is None and self._strict:
            raise DecodeError(
                f"data holds an instance of {name!r}, which this app does not know: call "
                "app.register_type(cls) for it, or mention it in the task's annotations"
            )
        return cls

    def _learn_annotated(self) -> None:
        while self._annotated:
            for cls in _mentioned(self._annotated.pop()):
                self._classes.setdefault(_qualified(cls), cls)


def _qualified(cls: type) -> str:
    return f"{cls.__module__}:{cls.__qualname__}"


def _kind(cls: type) -> str | None:
    if issubclass(cls, Enum):
        return "enum"
    if hasattr(cls, "__dataclass_fields__"):
        return "dataclass"
    # A model can only be at hand when pydantic is loaded; nobody else pays for it.
    pydantic = sys.modules.get("pydantic")
    if pydantic is not None and issubclass(cls, pydantic.BaseModel):
        return "model"
    return None


def _contents(kind: str, value: Any) -> dict[str, Any]:
    if kind == "enum":
        # Combined flags have no name of their own.
        return {"value": value.value} if isinstance(value, Flag) else {"name": value.name}
    if kind == "model":
        return {"fields": value.model_dump(mode="json", by_alias=False, round_trip=True)}
    # What the constructor does not take, it makes.
    # Whoever has a dataclass has the module, which importing taskq should not load.
    from dataclasses import fields as fields_of

    fields = [field.name for field in fields_of(value) if field.init]
    return {"fields": {name: getattr(value, name) for name in fields}}


def _tagged_bytes(value: bytes) -> tuple[str, str]:
    try:
        return "bytes", value.decode()
    except UnicodeDecodeError:
        return "base64", b2a_base64(value, newline=False).decode()


def _unadorned(value: str | int | float) -> str | int | float:
    """Return a subclass's instance as the built-in type, as the standard library's JSON does.

    An enum that is also a ``str`` or ``int`` is sent so: Celery can read it, and it equals
    what it was.
    """
    if isinstance(value, str):
        return str.__str__(value)
    return int.__int__(value) if isinstance(value, int) else float.__float__(value)


def _hashable(item: Any) -> Any:
    # In a set, what arrives as a list can only have been a tuple.
    return tuple(map(_hashable, item)) if isinstance(item, list) else item


def _mentioned(function: Callable[..., object]) -> Iterator[type]:
    """Yield the sendable classes in a function's annotations, and those in theirs."""
    # By id, as not all annotations can be hashed; kept, so that no id is used again.
    seen: dict[int, Any] = {}
    waiting: list[Any] = [function]
    while waiting:
        item = waiting.pop()
        if id(item) in seen:
            continue
        seen[id(item)] = item
        is_class = isinstance(item, type)
        if is_class and _kind(item) is not None:
            yield item
        elif item is not function:
            waiting.extend(typing.get_args(item))
            continue
        waiting.extend(_hints(item))


def _hints(item: Any) -> list[Any]:
    try:
        return list(typing.get_type_hints(item).values())
    except Exception as exc:
        # A name that is only there for type checkers; such a class must be registered.
        logger.debug("cannot read the annotations of %r: %s", item, exc)
        return []
