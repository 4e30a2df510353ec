"""What commands were given, looked at: it comes from whoever can publish to the broker."""

from __future__ import annotations

from typing import Any

from taskq.exceptions import ImproperlyConfigured


def text(name: str, value: Any) -> str:
    """An argument that must be text.

    Raises:
        ImproperlyConfigured: it is something else.
    """
    if not isinstance(value, str):
        raise ImproperlyConfigured(f"{name}={value!r} must be text")
    return value


def texts(name: str, value: Any) -> list[str]:
    """An argument that must be text, or a list of texts.

    Raises:
        ImproperlyConfigured: it is something else.
    """
    found = [value] if isinstance(value, str) else value
    if not isinstance(found, list | tuple) or not all(isinstance(each, str) for each in found):
        raise ImproperlyConfigured(f"{name}={value!r} must be text, or a list of texts")
    return list(found)
