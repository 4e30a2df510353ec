"""Telling data that every serializer writes alike from data that needs care."""

from collections.abc import Iterable
from typing import Any

#: The key that marks a tagged object; see ``taskq.serialization.types``.
TAG = "__type__"

_SIMPLE = frozenset({str, int, bool, type(None)})
_all_simple = _SIMPLE.issuperset
_all_text = frozenset({str}).issuperset


def all_plain(items: Iterable[Any], depth: int = 30) -> bool:
    """Tell whether values are made of plain JSON types alone.

    These are ``str int float bool None list tuple dict``, no subclasses, with ``str``
    keys, finite floats, no dictionary that looks like a tagged object, and no more than
    ``depth`` levels (which also ends the search in data that contains itself). False only
    means that a slower way must be taken. It is on the way of every message: a container
    of simple values costs one pass in C, and no call.
    """
    for item in items:
        kind = type(item)
        if kind in _SIMPLE:
            continue
        if kind is dict:
            if not item:
                continue
            if not _all_text(map(type, item)) or (len(item) == 2 and TAG in item):
                return False
            inside = item.values()
        elif kind is list or kind is tuple:
            inside = item
        # An infinity less itself is not a number, and so never equal to anything.
        elif kind is float and item - item == 0.0:
            continue
        else:
            return False
        if not _all_simple(map(type, inside)) and (not depth or not all_plain(inside, depth - 1)):
            return False
    return True
