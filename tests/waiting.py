"""Waiting for a condition, never for a length of time."""

from __future__ import annotations

import time
from collections.abc import Callable


def wait_until(condition: Callable[[], bool], timeout: float, what: str) -> None:
    """Poll ``condition`` every 10 ms until it holds.

    Args:
        condition: what to wait for.
        timeout: seconds.
        what: ends the sentence "waited ... for" in the error.

    Raises:
        TimeoutError: the condition did not hold in time.
    """
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {timeout:g} s for {what}")
        time.sleep(0.01)
