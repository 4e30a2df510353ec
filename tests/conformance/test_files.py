"""What only results in files promise."""

from __future__ import annotations

import fcntl
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from taskq import states
from taskq.backends.base import Backend
from taskq.backends.files import FilesBackend
from taskq.backends.registry import make_backend
from taskq.exceptions import ImproperlyConfigured, OperationalError
from taskq.settings import Settings
from tests.conformance.backends import outcome, part
from tests.conformance.processes import forked

DONE = b'{"status":"SUCCESS","result":[1],"traceback":null,"children":[],"task_id":"a"}'


def opened(folder: Path, **settings: Any) -> FilesBackend:
    backend = make_backend(f"file://{folder}", Settings(settings))
    assert isinstance(backend, FilesBackend)
    return backend


@pytest.fixture
def backend(tmp_path: Path) -> Iterator[Backend]:
    backend = opened(tmp_path / "results")
    yield backend
    backend.close()


def test_results_lie_as_celery_keeps_them(tmp_path: Path, backend: Backend) -> None:
    file = tmp_path / "results" / "celery-task-meta-a"
    backend.store([outcome("a", payload=DONE)])
    assert file.read_bytes() == DONE
    file.write_bytes(b"")  # Celery has just begun to write
    assert backend.fetch(["a"]) == {}
    backend.store([outcome("a", states.FAILURE)])
    assert backend.fetch(["a"])["a"].state == states.FAILURE


@pytest.mark.parametrize("task_id", ["with space", "a/b", "é\0", "x" * 300, "..", ""])
def test_ids_that_are_no_names(tmp_path: Path, backend: Backend, task_id: str) -> None:
    backend.store([outcome(task_id)])
    assert set(backend.fetch([task_id])) == {task_id}
    assert [path.is_file() for path in (tmp_path / "results").iterdir()] == [True]


def test_many_processes_that_are_killed_leave_whole_files(backend: Backend) -> None:
    payloads = [bytes([65 + n]) * 200_000 for n in range(4)]

    def write(number: int) -> None:
        while True:
            for name in "ab":
                backend.store([outcome(name, states.STARTED, payloads[number])])
            backend.add_parts([part(number, 100)])

    for number in range(4):
        with forked(lambda number=number: write(number)) as pid:
            for _ in range(40):
                for found in backend.fetch(["a", "b"]).values():
                    assert found.payload in payloads
            os.kill(pid, signal.SIGKILL)
    backend.store([outcome("a"), outcome("b")])  # no lock is left behind
    assert {o.state for o in backend.fetch(["a", "b"]).values()} == {states.SUCCESS}
    assert set(backend.chord_parts("g")) <= set(range(4))


def test_what_was_abandoned_is_cleaned_up(tmp_path: Path, backend: Backend) -> None:
    folder = tmp_path / "results"
    for name, age in (("old", 7200), ("new", 0)):
        file = folder / f".taskq-new-{name}"
        file.write_bytes(b"half")
        moment = file.stat().st_mtime - age
        os.utime(file, (moment, moment))
    (folder / "something else").touch()
    assert backend.cleanup() == 0
    assert {path.name for path in folder.iterdir()} == {".taskq-new-new", "something else"}


def test_what_has_expired_is_deleted(tmp_path: Path, backend: Backend) -> None:
    folder = tmp_path / "results"
    backend.store([outcome("a"), outcome("b"), outcome("c")])
    backend.add_parts([part(0), part(1)])
    for file in folder.iterdir():
        os.utime(file, (1, 1))
    assert backend.fetch(["a", "b", "c"]) == {}
    backend.store([outcome("c", states.FAILURE)])
    assert backend.cleanup() == 2
    assert set(backend.fetch(["a", "b", "c"])) == {"c"}
    assert backend.chord_parts("g") == {}


def test_a_replacement_waits_for_its_turn(tmp_path: Path, backend: Backend) -> None:
    backend.store([outcome("a", states.STARTED)])
    with open(tmp_path / "results" / ".taskq-lock", "ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with forked(lambda: backend.store([outcome("a")])):
            assert backend.fetch(["a"])["a"].state == states.STARTED
            backend.store([outcome("b")])  # a new one needs no turn
            fcntl.flock(lock, fcntl.LOCK_UN)
    assert set(backend.wait(["a"], 20)) == {"a"}


def test_a_folder_that_has_gone(tmp_path: Path, backend: Backend) -> None:
    folder = tmp_path / "results"
    folder.rename(tmp_path / "elsewhere")
    assert backend.fetch(["a"]) == {}
    with pytest.raises(OperationalError, match=f"{folder}: No such file"):
        backend.store([outcome("a")])


@pytest.mark.parametrize("url", ["file://", "file://relative/folder", "file://host"])
def test_urls_that_name_no_folder(url: str) -> None:
    with pytest.raises(ImproperlyConfigured, match="names no folder"):
        make_backend(url, Settings())


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ImproperlyConfigured, match="cannot be made"):
        opened(tmp_path / "file" / "folder")


def test_localhost_and_escapes(tmp_path: Path) -> None:
    backend = make_backend(f"file://localhost{tmp_path}/a%20b/", Settings())
    backend.store([outcome("a")])
    assert (tmp_path / "a b" / "celery-task-meta-a").exists()
