"""The pid file of a worker."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from taskq.cli.failure import Failure
from taskq.cli.pidfile import pid_file


def dead_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_holds_the_number_while_it_runs(tmp_path: Path) -> None:
    path = tmp_path / "worker.pid"
    with pid_file(str(path)):
        assert path.read_text() == f"{os.getpid()}\n"
    assert not path.exists()


def test_a_living_process_keeps_others_out(tmp_path: Path) -> None:
    path = tmp_path / "worker.pid"
    path.write_text(f"{os.getppid()}\n")
    with pytest.raises(Failure, match=f"process {os.getppid()} is running"), pid_file(str(path)):
        pass
    assert path.exists()


@pytest.mark.parametrize("whose", ["dead", "own", "impossible"])
def test_a_stale_file_is_replaced(tmp_path: Path, whose: str) -> None:
    pid = {"dead": dead_process(), "own": os.getpid(), "impossible": 10**30}[whose]
    path = tmp_path / "worker.pid"
    path.write_text(f"{pid}\n")
    with pid_file(str(path)):
        assert path.read_text() == f"{os.getpid()}\n"


def test_what_is_no_pid_file_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("important")
    with pytest.raises(Failure, match="'important', no process number"), pid_file(str(path)):
        pass
    assert path.read_text() == "important"


def test_another_workers_file_is_not_removed(tmp_path: Path) -> None:
    path = tmp_path / "worker.pid"
    with pid_file(str(path)):
        path.write_text("1\n")
    assert path.read_text() == "1\n"


def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(Failure, match="No such file"), pid_file(str(tmp_path / "no" / "pid")):
        pass


def test_it_goes_when_the_block_raises(tmp_path: Path) -> None:
    path = tmp_path / "worker.pid"
    with pytest.raises(RuntimeError), pid_file(str(path)):
        raise RuntimeError
    assert not path.exists()
