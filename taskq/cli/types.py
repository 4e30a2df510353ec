"""How texts of the command line become values; each refuses what it cannot use, and says why.

Functions of one text, to be given to click as the ``type`` of an option.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import Any

import click
import msgspec


def names(text: str) -> tuple[str, ...]:
    """``a,b`` as a tuple.

    Raises:
        click.BadParameter: it names nothing.
    """
    found = tuple(name.strip() for name in text.split(",") if name.strip())
    if not found:
        raise click.BadParameter(f"{text!r} names nothing: write for example a,b")
    return found


def log_level(text: str) -> int:
    """The number of a level, which may be named in any case.

    Raises:
        click.BadParameter: there is no such level.
    """
    levels = logging.getLevelNamesMapping()
    if text.isdecimal():
        return int(text)
    if text.upper() not in levels:
        known = ", ".join(name for name in levels if name not in {"NOTSET", "WARN"})
        raise click.BadParameter(f"{text!r} is no log level: choose one of {known}")
    return levels[text.upper()]


def concurrency(text: str) -> int:
    """A number of tasks at a time; ``auto`` is the number of processors that may be used.

    Raises:
        click.BadParameter: it is neither.
    """
    if text == "auto":
        # The worker is loaded by the command that runs one, and by no other.
        from taskq.worker.processors import processors

        return processors()
    if not text.isdecimal() or int(text) < 1:
        raise click.BadParameter(f"{text!r} is neither a number of at least 1 nor auto")
    return int(text)


def most_and_least(text: str) -> tuple[int, int]:
    """``10,2``: two numbers, of which the second is no larger.

    Raises:
        click.BadParameter: it is something else.
    """
    most, _, least = text.partition(",")
    if not (most.isdecimal() and least.isdecimal() and 1 <= int(least) <= int(most)):
        raise click.BadParameter(f"{text!r}: write the most and the least, such as 10,2")
    return int(most), int(least)


def seconds(text: str) -> float:
    """A length of time above zero.

    Raises:
        click.BadParameter: it is none.
    """
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise click.BadParameter(f"{text!r} is no number of seconds above 0")
    return number


def octal(text: str) -> int:
    """The mode of files, such as ``027``.

    Raises:
        click.BadParameter: it is none.
    """
    try:
        mode = int(text, 8)
    except ValueError:
        mode = -1
    if not 0 <= mode <= 0o777:
        raise click.BadParameter(f"{text!r} is no mode of files: write three octal digits, as 027")
    return mode


def json_array(text: str) -> list[Any]:
    """Positional arguments.

    Raises:
        click.BadParameter: it is no JSON array.
    """
    value = _json(text)
    if not isinstance(value, list):
        raise click.BadParameter(f'{text!r} is no JSON array: write for example [1, "two"]')
    return value


def json_object(text: str) -> dict[str, Any]:
    """Keyword arguments.

    Raises:
        click.BadParameter: it is no JSON object.
    """
    value = _json(text)
    if not isinstance(value, dict):
        raise click.BadParameter(f'{text!r} is no JSON object: write for example {{"x": 1}}')
    return value


def _json(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError as exc:
        raise click.BadParameter(f"{text!r} is no JSON: {exc}") from exc


def moment(text: str) -> datetime:
    """A date and time in ISO 8601; without an offset, it is UTC.

    Raises:
        click.BadParameter: it is none.
    """
    try:
        value = datetime.fromisoformat(text)
    except ValueError:
        raise click.BadParameter(
            f"{text!r} is no moment: write for example 2030-01-31T12:00:00+01:00"
        ) from None
    return value if value.tzinfo is not None else value.replace(tzinfo=UTC)


def moment_or_seconds(text: str) -> datetime | float:
    """A moment, or a number of seconds from now.

    Raises:
        click.BadParameter: it is neither.
    """
    try:
        return float(text)
    except ValueError:
        return moment(text)
