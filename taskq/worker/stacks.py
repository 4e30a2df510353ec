"""Where all processes of a worker are: their stacks, on request."""

from __future__ import annotations

import asyncio
import faulthandler
import logging
import os
import signal
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from taskq.worker.pool.base import Pool

logger = logging.getLogger("taskq.worker")


def dump_stacks(pool: Pool) -> None:
    """Have this process and those of the pool write their stacks to standard error."""
    pids = pool.pids()
    logger.warning(
        "USR1: the stacks of %d processes follow on standard error", len({os.getpid(), *pids})
    )
    if sys.__stderr__ is not None:
        faulthandler.dump_traceback(file=sys.__stderr__, all_threads=True)
        for task in asyncio.all_tasks():
            task.print_stack(limit=8, file=sys.__stderr__)
        sys.__stderr__.flush()
    for pid in pids:
        try:
            os.kill(pid, signal.SIGUSR2)
        except ProcessLookupError:
            pass  # it has just ended
