"""Finding the setting that a wrong name was meant to be."""

from taskq.settings.declarations import SETTINGS
from taskq.settings.setting import GROUP_PREFIXES

# Celery's names from before its version 4, and the words that stand in their place now.
_OLD_PREFIXES = (
    ("celerybeat_", "beat_"),
    ("celeryd_", "worker_"),
    ("celery_", ""),
    ("taskq_", ""),
)


def suggestion(name: str, cutoff: float = 0.6) -> str | None:
    """Return the setting whose name is nearest, if any is near.

    Args:
        name: a name that is no setting.
        cutoff: how near, from 0 (anything) to 1 (equal).
    """
    # Only needed when something is wrong.
    from difflib import get_close_matches

    lowered = name.lower()
    for old, new in _OLD_PREFIXES:
        if lowered.startswith(old):
            lowered = new + lowered.removeprefix(old)
            break
    for prefix in ("", "task_", *GROUP_PREFIXES):
        if prefix + lowered in SETTINGS:
            return prefix + lowered
    near = get_close_matches(lowered, SETTINGS, n=1, cutoff=cutoff)
    return near[0] if near else None
