"""Revoking by stamps: a stamp is kept where the ids of revoked tasks are, as a text like one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

_PREFIX = "stamp:"


def stamp_keys(headers: Mapping[str, str | Iterable[str]]) -> list[str]:
    """What is remembered in place of ids, for stamps by their names."""
    return [_key(name, value) for name, values in headers.items() for value in _values(values)]


def is_stamp(key: str) -> bool:
    """Is that a stamp, and no id?"""
    return key.startswith(_PREFIX)


def revoked_by(revoked: Mapping[str, str], headers: Mapping[str, Any]) -> str | None:
    """What of the revoked ids and stamps takes a message; None if nothing does.

    Args:
        revoked: ids and stamps.
        headers: the message's.
    """
    task_id = headers.get("id")
    if task_id in revoked:
        return task_id
    names = headers.get("stamped_headers")
    if not names or not isinstance(names, list | tuple):
        return None
    stamps = headers.get("stamps")
    for name in names:
        values = stamps.get(name) if isinstance(stamps, Mapping) else None
        for value in _values(headers.get(name) if values is None else values):
            if (key := _key(str(name), value)) in revoked:
                return key
    return None


def _key(name: str, value: Any) -> str:
    return _PREFIX + msgspec.json.encode([name, str(value)]).decode()


def _values(values: Any) -> Iterator[Any]:
    if values is None:
        return
    if isinstance(values, str) or not isinstance(values, Iterable):
        yield values
    else:
        yield from values
