"""How commands print: aligned columns for people, JSON for programs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click


def show_table(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print rows in aligned columns, numbers to the right."""
    texts = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(headers, *texts, strict=True)]
    right = [bool(rows) and isinstance(cell, int) for cell in (rows[0] if rows else headers)]
    for line in (headers, *texts):
        cells = [
            text.rjust(width) if to_right else text.ljust(width)
            for text, width, to_right in zip(line, widths, right, strict=True)
        ]
        click.echo("  ".join(cells).rstrip())


def show_json(value: Any) -> None:
    """Print a value as JSON; what JSON does not know as its ``repr``."""
    click.echo(to_json(value))


def to_json(value: Any, indent: int | None = 2) -> str:
    """A value as JSON text; what JSON does not know as its ``repr``."""
    # json is imported here since most commands print text.
    import json

    return json.dumps(value, indent=indent, default=repr, ensure_ascii=False)


def amount(count: int, noun: str) -> str:
    """``1 message``, ``2,000 messages``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def one_line(text: str, width: int) -> str:
    """The text on one line, cut to so many characters."""
    text = " ".join(text.split())
    return text if len(text) <= width else text[: width - 1] + "…"
