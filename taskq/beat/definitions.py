"""Entries of the schedule as a store keeps them."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from typing import Any

import msgspec

from taskq.exceptions import ImproperlyConfigured
from taskq.schedules import ScheduleEntry
from taskq.schedules.plain import plain_schedule


def _described(value: Any) -> Any:
    """What JSON does not know, in words that are the same in every process."""
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    text = repr(value)
    # An object that does not describe itself is shown with its address.
    return (
        text if " at 0x" not in text else f"<{type(value).__module__}.{type(value).__qualname__}>"
    )


_strict = msgspec.json.Encoder(order="deterministic").encode
_loose = msgspec.json.Encoder(enc_hook=_described, order="deterministic").encode
_decode = msgspec.json.Decoder(dict[str, Any]).decode


def definition_of(entry: ScheduleEntry) -> bytes:
    """What a store keeps of an entry that it is to give back.

    Raises:
        ImproperlyConfigured: that cannot be kept: its arguments are no JSON, or its schedule
            can only be written in code.
    """
    try:
        return _strict(entry.to_mapping())
    except TypeError as exc:
        raise ImproperlyConfigured(
            f"schedule entry {entry.name!r} cannot be kept in a store: {exc}"
        ) from exc


def description_of(entry: ScheduleEntry) -> bytes:
    """What a store keeps of an entry that is written in code: for people, and to compare."""
    schedule: Any
    try:
        schedule = plain_schedule(entry.schedule)
    except TypeError:
        schedule = repr(entry.schedule)
    fields = {
        "task": entry.task,
        "schedule": schedule,
        "args": entry.args,
        "kwargs": entry.kwargs,
        "options": entry.options,
        "missed": entry.missed,
        "max_lateness": entry.max_lateness,
        "enabled": None if entry.enabled else False,
        "workflow": entry.signature,
    }
    return _loose(
        {name: value for name, value in fields.items() if value or value == 0 or value is False}
    )


def entry_of(name: str, definition: bytes) -> ScheduleEntry:
    """The entry that `definition_of` has described.

    Raises:
        ImproperlyConfigured: it describes none.
    """
    try:
        fields = _decode(definition)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise ImproperlyConfigured(
            f"schedule entry {name!r} of the store cannot be read: {exc}"
        ) from exc
    return ScheduleEntry.from_mapping(name, fields)


def shape_of(definition: bytes) -> Any:
    """What of a definition decides when it runs: when that stays, so does the next run."""
    try:
        fields = _decode(definition)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return fields.get("schedule"), fields.get("enabled")


def revision_of(definition: bytes) -> str:
    """A text that changes with the definition."""
    return hashlib.blake2b(definition, digest_size=8).hexdigest()
