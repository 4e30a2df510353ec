"""Time zones by name, and the machine's own."""

from __future__ import annotations

import os
from datetime import UTC, tzinfo
from zoneinfo import ZoneInfo

_LOCALTIME = "/etc/localtime"


def find_zone(zone: str | tzinfo) -> tzinfo:
    """A time zone by its IANA name.

    Raises:
        ValueError: there is none of that name.
    """
    if not isinstance(zone, str):
        return zone
    try:
        return ZoneInfo(zone)
    except (KeyError, ValueError, OSError) as exc:
        raise ValueError(
            f"there is no time zone {zone!r}: give an IANA name such as 'Europe/Paris' "
            "(pip install tzdata, if this machine has none)"
        ) from exc


def zone_name(zone: tzinfo | None) -> str | None:
    """The name by which `find_zone` finds it again; None if it has none."""
    if zone is UTC:
        return "UTC"
    return zone.key if isinstance(zone, ZoneInfo) else None


def machine_zone() -> tzinfo:
    """The machine's own time zone, with its rules: not only the offset that holds today."""
    name = os.environ.get("TZ", "").removeprefix(":")
    target = os.path.realpath(_LOCALTIME)
    names = [name] if name else []
    if "zoneinfo/" in target and not name:
        names.append(target.rpartition("zoneinfo/")[2])
    for candidate in names:
        try:
            return find_zone(candidate)
        except ValueError:
            continue
    try:
        with open(_LOCALTIME, "rb") as file:
            return ZoneInfo.from_file(file)
    except (OSError, ValueError):
        return UTC
