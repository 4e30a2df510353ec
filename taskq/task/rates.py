"""Rate limits as they are written: ``10/s``, ``100/m``, ``5/h``."""

from __future__ import annotations

import math

from taskq.exceptions import ImproperlyConfigured

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}


def parse_rate(rate: str | float | None) -> float | None:
    """How many in a second; None is no limit, and so is 0.

    Raises:
        ImproperlyConfigured: it cannot be read.
    """
    if rate is None:
        return None
    number, slash, unit = str(rate).strip().partition("/")
    try:
        count = float(number)
    except ValueError:
        count = -1.0
    if isinstance(rate, bool) or not 0 <= count < math.inf or (slash and unit not in _UNITS):
        raise ImproperlyConfigured(
            f"rate_limit={rate!r} cannot be read: write a number of tasks a second, or one for "
            "each second, minute or hour, such as 10/s, 100/m or 5/h"
        )
    return count / _UNITS[unit or "s"] or None
