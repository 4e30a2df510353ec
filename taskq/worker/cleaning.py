"""Deleting what has expired."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from taskq.backends.base import Backend

logger = logging.getLogger("taskq.worker")

_EVERY = 600.0
"""Seconds between two clean-ups."""


async def keep_clean(backend: Backend) -> None:
    """Delete expired results now and then, until cancelled."""
    while True:
        await asyncio.sleep(_EVERY)
        try:
            await asyncio.to_thread(backend.cleanup)
        except Exception:
            logger.warning("expired results could not be deleted", exc_info=True)
