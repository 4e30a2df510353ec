"""How the tests are spread over processes by ``pytest -n auto``, with pytest-xdist.

Each test goes to whichever process is free. Tests that share something that takes seconds to make
go to one process, so that it is made once. (The mark ``xdist_group`` would say so where the tests
are, but says nothing with pytest 9.2 and xdist 3.8, which sets a name that pytest no longer reads.)
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from xdist.scheduler import LoadScopeScheduling

TOGETHER = (
    "tests/examples/test_documentation.py::test_quickstart[",  # a worker
    "tests/test_servers.py::TestSentinel::",
    "tests/test_servers.py::TestCluster::",
    "tests/typing/test_signatures.py::test_mypy[",  # one call of the checker
    "tests/typing/test_signatures.py::test_pyright[",
)
"""How the names of tests begin that one process runs."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Tests wait more than they compute: two processes a core, and four at least."""
    if wanted := os.environ.get("PYTEST_XDIST_AUTO_NUM_WORKERS"):
        return int(wanted)
    return min(max(4, 2 * _cores()), 16)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    """Hand out one test at a time, and those of `TOGETHER` at once."""
    # Only the process that hands out tests has xdist at work.
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return next((one for one in TOGETHER if nodeid.startswith(one)), nodeid)

    return Scheduling(config, log)


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Number what is encoded: it may tell the time, and each process would name it otherwise."""
    return argname if isinstance(val, bytes) and len(val) > 20 else None


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
