"""Turning what users give into a setting's type, or saying what is wrong with it."""

import types
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Annotated, Any, Union, get_args, get_origin

from taskq.exceptions import ImproperlyConfigured
from taskq.settings.secrets import masked
from taskq.settings.setting import Setting

_TRUE = frozenset({"true", "yes", "on", "1"})
_FALSE = frozenset({"false", "no", "off", "0"})
_NOTHING = frozenset({"", "none", "null"})


class _Mismatch(Exception):
    """The value does not fit; the setting and the source are not known here."""


def convert(setting: Setting[Any], value: object, source: str) -> Any:
    """Return the value in the setting's type.

    Text, as it comes from the environment, is read as a number, a truth value, a list
    with commas or a JSON object where the type asks for that.

    Raises:
        ImproperlyConfigured: it cannot be; the message names setting, value and source.
    """
    try:
        if isinstance(value, str) and value in setting.names:
            return setting.names[value]
        if setting.joined is not None and isinstance(value, list | tuple):
            value = setting.joined.join(_texts(value))
        converted = _to(setting.type, value)
        if setting.minimum is not None and converted is not None and converted < setting.minimum:
            raise _Mismatch
    except _Mismatch:
        shown = masked(setting.name, value)
        raise ImproperlyConfigured(
            f"setting {setting.name!r} must be {expected(setting)}, "
            f"not {shown!r} ({type(value).__name__}, from {source})"
        ) from None
    return converted


def expected(setting: Setting[Any]) -> str:
    """Say in words what values the setting takes."""
    words = _words(setting.type)
    if setting.minimum is not None:
        first, *rest = words
        words = [f"{first} of at least {setting.minimum:g}", *rest]
    return " or ".join([*words, *map(repr, setting.names)])


def _arms(kind: Any) -> tuple[Any, ...]:
    """Return the members of a union, and any other type alone."""
    return get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)


def _words(kind: Any) -> list[str]:
    known = {
        Any: "any value",
        bool: "true or false",
        int: "a whole number",
        float: "a number",
        str: "text",
        types.NoneType: "None",
        tuple: "a list of texts",
        dict: "a mapping",
        Annotated: "a number of seconds",
    }
    return [known.get(get_origin(arm) or arm) or f"a {arm.__name__}" for arm in _arms(kind)]


def _to(kind: Any, value: object) -> Any:
    arms = _arms(kind)
    if types.NoneType in arms and _is_nothing(arms, value):
        return None
    for arm in arms:
        try:
            return _to_one(arm, value)
        except _Mismatch:
            continue
    raise _Mismatch


def _is_nothing(arms: tuple[Any, ...], value: object) -> bool:
    if isinstance(value, str):
        return value == "" or (str not in arms and value.lower() in _NOTHING)
    return value is None


def _to_one(kind: Any, value: object) -> Any:
    match get_origin(kind) or kind:
        case _ if kind is Any:
            return value
        case types.UnionType:
            return _to(kind, value)
        case x if x is Annotated:
            return value.total_seconds() if isinstance(value, timedelta) else _number(float, value)
        case x if x is bool:
            return _truth(value)
        case x if x is int or x is float:
            return _number(x, value)
        case x if x is tuple:
            return _texts(value)
        case x if x is dict:
            return _mapping(value)
        case x if x is not types.NoneType and isinstance(value, x):
            return value
    raise _Mismatch


def _truth(value: object) -> bool:
    if isinstance(value, str):
        value = value.strip().lower()
        if value in _TRUE:
            return True
        if value in _FALSE:
            return False
    elif isinstance(value, int) and value in (0, 1):
        return bool(value)
    raise _Mismatch


def _number(kind: type[int] | type[float], value: object) -> int | float:
    if isinstance(value, (str, int, float)) and not isinstance(value, bool):
        try:
            number = kind(value)
        except (ValueError, OverflowError):
            raise _Mismatch from None
        # int() cuts off what float() keeps: 1.5 is no whole number.
        if number == number and (isinstance(value, str) or number == value):
            return number
    raise _Mismatch


def _texts(value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        return tuple(item.strip() for item in value.split(",") if item.strip())
    if isinstance(value, (set, frozenset)):
        # The order of a set changes from one process to the next.
        value = sorted(value, key=str)
    if isinstance(value, Iterable) and not isinstance(value, (bytes, Mapping)):
        texts = tuple(value)
        if all(isinstance(item, str) for item in texts):
            return texts
    raise _Mismatch


def _mapping(value: object) -> dict[str, Any]:
    if isinstance(value, str):
        # Only text from the environment needs the JSON reader.
        import msgspec

        try:
            return msgspec.json.decode(value, type=dict[str, Any])
        except msgspec.MsgspecError:
            raise _Mismatch from None
    if isinstance(value, Mapping):
        return dict(value)
    raise _Mismatch
