"""Other processes for tests, forked from this one."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def forked(function: Callable[[], None]) -> Iterator[int]:
    """Run a function in a forked child while the block runs; then wait for the child.

    Yields the child's pid.  Fork before there are threads.
    """
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            function()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    try:
        yield pid
    finally:
        _, status = os.waitpid(pid, 0)
    # A child that kills itself on purpose ends by that signal, which is no failure.
    assert os.WIFSIGNALED(status) or os.waitstatus_to_exitcode(status) == 0
