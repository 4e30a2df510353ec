"""Settings of Celery's in a Python file, under the names that taskq knows them by."""

from __future__ import annotations

import io
import tokenize
from collections.abc import Callable

from taskq.settings.declarations import SETTINGS
from taskq.settings.setting import GROUP_PREFIXES

_IRREGULAR = {
    "CELERYD_TASK_SOFT_TIME_LIMIT": "task_soft_time_limit",
    "CELERYD_TASK_TIME_LIMIT": "task_time_limit",
    "CELERY_EAGER_PROPAGATES_EXCEPTIONS": "task_eager_propagates",
    "CELERY_MESSAGE_COMPRESSION": "task_compression",
    "CELERY_RESULT_DBURI": "database_url",
    "CELERY_RESULT_DB_SHORT_LIVED_SESSIONS": "database_short_lived_sessions",
    "CELERY_RESULT_DB_TABLENAMES": "database_table_names",
    "CELERY_RESULT_ENGINE_OPTIONS": "database_engine_options",
    "CELERY_SEND_EVENTS": "worker_send_task_events",
    "CELERY_SEND_TASK_SENT_EVENT": "task_send_sent_event",
    "CELERY_TASK_RESULT_EXPIRES": "result_expires",
}
"""Names of before Celery 4 that follow no rule (``celery/app/defaults.py``)."""
_PREFIXES = (("CELERYBEAT_", "beat_"), ("CELERYD_", "worker_"), ("CELERY_", ""))


def new_name(old: str) -> str | None:
    """The setting that Celery called so in upper case; None if there is none here."""
    if old in _IRREGULAR:
        return _IRREGULAR[old] if _IRREGULAR[old] in SETTINGS else None
    for prefix, group in _PREFIXES:
        if old.startswith(prefix):
            name = group + old.removeprefix(prefix).lower()
            break
    else:
        name = old.lower()
        return name if old.isupper() and name in SETTINGS else None
    if not old.isupper():
        return None
    return next((p + name for p in ("", "task_", *GROUP_PREFIXES) if p + name in SETTINGS), None)


def upgrade(text: str, spell: Callable[[str], str] = str) -> tuple[str, dict[str, str], list[str]]:
    """Rename the settings in the source of a Python module.

    Only names are changed: comments, text and the layout stay as they are.

    Args:
        text: the source.
        spell: how a setting is to be written, by its name.

    Returns:
        The new source, what was renamed, and Celery's names that have no successor.

    Raises:
        SyntaxError: it is no Python.
        tokenize.TokenError: it ends too early.
    """
    lines = text.splitlines(keepends=True)
    renamed: dict[str, str] = {}
    unknown: list[str] = []
    # The last one first, so that the places of those before it stay.
    for token in reversed(list(tokenize.generate_tokens(io.StringIO(text).readline))):
        if token.type != tokenize.NAME:
            continue
        name = new_name(token.string)
        if name is None:
            if token.string.startswith("CELERY") and token.string.isupper():
                unknown.insert(0, token.string)
            continue
        written = spell(name)
        if written != token.string:
            row, start, end = token.start[0] - 1, token.start[1], token.end[1]
            lines[row] = lines[row][:start] + written + lines[row][end:]
            renamed[token.string] = written
    return "".join(lines), dict(reversed(renamed.items())), list(dict.fromkeys(unknown))
