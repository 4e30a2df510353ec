"""Time limits as they are written, looked at before anything has to obey them."""

from __future__ import annotations

import math
from typing import Any

from taskq.exceptions import ImproperlyConfigured


def check_limits(hard: Any, soft: Any) -> None:
    """See that limits are numbers of seconds; None and 0 are none.

    Raises:
        ImproperlyConfigured: one is no such number, or the soft one would come after the hard one.
    """
    for name, value in (("time_limit", hard), ("soft_time_limit", soft)):
        if value is not None and not _is_limit(value):
            raise ImproperlyConfigured(f"{name}={value!r} must be a number of seconds, or None")
    if hard and soft and soft > hard:
        raise ImproperlyConfigured(
            f"soft_time_limit={soft:g} would come after time_limit={hard:g}: make it shorter"
        )


def _is_limit(value: Any) -> bool:
    return isinstance(value, int | float) and type(value) is not bool and 0 <= value < math.inf
