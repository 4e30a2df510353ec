"""How values, states and times look in the admin."""

from __future__ import annotations

import json
import re
from datetime import datetime, timedelta

from django.utils import formats, timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from taskq import states

_LONGEST = 20_000
"""Characters of a value that are shown."""
_LINE = 80
"""Characters of JSON that stand in one line."""
_KNOWN = states.ALL_STATES
_FRAME = re.compile(r'^\s+File "(?P<file>[^"]+)", line \d+')
_LIBRARIES = ("/site-packages/", "/lib/python", "/taskq/")


def state_badge(state: str) -> SafeString:
    """A state in its colour."""
    kind = state.lower() if state in _KNOWN else "own"
    return format_html('<span class="taskq-state taskq-state-{}">{}</span>', kind, state)


def pretty_json(text: str | None) -> SafeString | str:
    """JSON, in indented lines where it is longer than one."""
    if text is None or text == "":
        return "-"
    try:
        value = json.loads(text)
        shown = json.dumps(value, ensure_ascii=False)
        if len(shown) > _LINE:
            shown = json.dumps(value, indent=2, ensure_ascii=False)
    except ValueError:
        shown = text
    return code(shown)


def code(text: str) -> SafeString:
    """Text as it is, with its lines and spaces."""
    if len(text) > _LONGEST:
        cut = _("… %(count)d more characters") % {"count": len(text) - _LONGEST}
        text = f"{text[:_LONGEST]}\n{cut}"
    return format_html('<pre class="taskq-code">{}</pre>', text)


def traceback_lines(text: str | None) -> SafeString | str:
    """A traceback in which the project's own lines and the error stand out."""
    if not text:
        return "-"
    lines, own = [], False
    for line in text.rstrip().splitlines():
        if frame := _FRAME.match(line):
            own = not any(word in frame["file"] for word in _LIBRARIES)
            kind = "own" if own else "library"
        elif not line.startswith(" "):
            kind = "error" if ":" in line and not line.endswith(":") else "head"
        else:
            kind = "own" if own else "library"
        lines.append((kind, line))
    shown = format_html_join("\n", '<span class="taskq-line-{}">{}</span>', lines)
    return format_html('<pre class="taskq-code taskq-traceback">{}</pre>', shown)


def shortened(text: str | None, length: int) -> str:
    """The beginning of a text."""
    if not text:
        return ""
    return text if len(text) <= length else f"{text[: length - 1]}…"


def arguments(args: str | None, kwargs: str | None, length: int = 60) -> str:
    """The arguments of a call as it would be written."""
    try:
        given = [json.dumps(value, ensure_ascii=False) for value in json.loads(args or "[]")]
        given += [
            f"{name}={json.dumps(value, ensure_ascii=False)}"
            for name, value in json.loads(kwargs or "{}").items()
        ]
    except (ValueError, AttributeError, TypeError):
        return shortened(f"{args or ''} {kwargs or ''}".strip(), length)
    return shortened(", ".join(given), length)


def duration(length: timedelta) -> str:
    """A length of time in the two largest units that it has."""
    seconds = length.total_seconds()
    if seconds < 10:
        return f"{seconds:.2f} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min"


def moment(when: datetime) -> str:
    """A moment by the reader's clock."""
    return _shown(timezone.localtime(when) if timezone.is_aware(when) else when)


def moment_there(when: datetime) -> str:
    """A moment by the clock of its own zone, and its name."""
    zone = getattr(when.tzinfo, "key", None) or when.tzname() or ""
    return f"{_shown(when)} {zone}".strip()


def weekday(when: datetime) -> str:
    """The day of the week, by the reader's clock."""
    local = timezone.localtime(when) if timezone.is_aware(when) else when
    return formats.date_format(local, "D")


def _shown(when: datetime) -> str:
    return formats.date_format(when, "Y-m-d H:i:s" if when.second else "Y-m-d H:i")
