"""Hints between processes, when there are more than a socket holds."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from taskq.stores.wakeups import WakeUps


def test_who_has_lost_hints_is_told_to_look(tmp_path: Path) -> None:
    wakeups = WakeUps(str(tmp_path / "file"))
    with wakeups.listener("results") as listener:
        wakeups.send("results", b"one")
        assert listener.drain() == [b"one"]
        for number in range(2000):  # more than any system queues for one socket
            wakeups.send("results", b"%d" % number)
        heard: list[bytes] = []
        while hints := listener.drain():
            heard += hints
        assert b"1999" not in heard
        assert b"" in heard
    wakeups.close()


@pytest.fixture
def many_files() -> Iterator[None]:
    """More descriptors are open than select(2) knows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 2048:
        pytest.skip("needs the right to open 2048 files")
    with ExitStack() as stack:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2048), hard))
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        for _ in range(1100):
            stack.callback(os.close, os.open("/dev/null", os.O_RDONLY))
        yield


@pytest.mark.usefixtures("many_files")
def test_a_program_with_many_open_files_is_woken(tmp_path: Path) -> None:
    wakeups = WakeUps(str(tmp_path / "file"))
    with wakeups.listener("results") as listener:
        assert listener.fileno() > 1023
        assert listener.wait(0.01) == []
        wakeups.send("results", b"one")
        assert listener.wait(20) == [b"one"]
    wakeups.close()
