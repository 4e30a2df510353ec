"""How texts of the command line become values; each refuses what it cannot use, and says why.

Functions of one text, to be given to click as the ``type`` of an option.
"""

from __future__ import annotations

import logging
import os

import click


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
    """A number of tasks at a time; ``auto`` is the number of processors.

    Raises:
        click.BadParameter: it is neither.
    """
    if text == "auto":
        return os.cpu_count() or 1
    if not text.isdecimal() or int(text) < 1:
        raise click.BadParameter(f"{text!r} is neither a number of at least 1 nor auto")
    return int(text)


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
