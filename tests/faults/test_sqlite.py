"""What can happen to the embedded broker's file, and to processes that share it."""

from __future__ import annotations

import errno
import json
import os
import random
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from taskq.brokers.base import QueueDepth
from taskq.exceptions import ImproperlyConfigured, OperationalError
from taskq.stores.sqlite.address import refuse_network_filesystem
from tests.faults.conftest import MakeStage
from tests.faults.locks import locked
from tests.faults.soundness import check
from tests.faults.stage import CHECKOUT, Stage
from tests.faults.tasks import make_app


@pytest.fixture
def stage(make_stage: MakeStage) -> Stage:
    return make_stage(broker_lease=2)


@contextmanager
def producer(stage: Stage, name: str, count: int = 0) -> Iterator[subprocess.Popen[str]]:
    """A process that sends tasks; its output are the ids of those that were accepted."""
    command = [sys.executable, "-m", "tests.faults.producer", str(stage.folder)]
    with subprocess.Popen(
        [*command, json.dumps(stage.settings), name, str(count)],
        cwd=CHECKOUT,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def fill(path: Path) -> None:
    """Write to the file until there is no space left."""
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 4096)
        except OSError as exc:
            if exc.errno != errno.ENOSPC:
                raise


def whole_lines(text: str) -> list[str]:
    """The lines of a text whose writer may have died within the last one."""
    return text[: text.rfind("\n") + 1].split()


class TestKilled:
    def test_while_it_publishes(self, stage: Stage) -> None:
        accepted: list[str] = []
        for number in range(6):
            with producer(stage, f"p{number}") as process:
                assert process.stdout is not None
                count = random.randrange(1, 120)
                accepted += [process.stdout.readline().strip() for _ in range(count)]
                process.kill()
                accepted += whole_lines(process.stdout.read())
        check(stage.database)
        # What was written and not yet printed may be there as well: one call's worth a kill.
        ready = stage.depth().ready
        assert len(accepted) <= ready <= len(accepted) + 6 * 20
        worker = stage.worker()
        results = [stage.app.AsyncResult(task_id) for task_id in accepted]
        stage.assert_all_done(results)
        assert set(stage.outcomes(results).values()) == {"SUCCESS"}
        assert stage.journal.count("run") == ready
        assert worker.terminate() == 0

    def test_while_it_claims_and_settles(self, make_stage: MakeStage) -> None:
        """Workers and a producer write at the same time, and workers die at any moment."""
        stage = make_stage(broker_lease=1)
        with producer(stage, "p", 3000) as process:
            assert process.stdout is not None
            lines: list[str] = []
            reader = threading.Thread(target=lambda: lines.extend(process.stdout))
            reader.start()
            while stage.journal.count() < 2000:
                worker = stage.worker(ready=False)
                goal = stage.journal.count() + random.randrange(1, 600)
                worker.wait(lambda goal=goal: stage.journal.count() >= goal, f"{goal} runs")
                worker.kill()
                check(stage.database)
            process.wait(timeout=60)
            reader.join()
        assert len(lines) >= 3000
        last = stage.worker()
        results = [stage.app.AsyncResult(line.strip()) for line in lines]
        stage.assert_all_done(results)
        assert set(stage.outcomes(results).values()) == {"SUCCESS"}
        keys = {entry.key for entry in stage.journal.read("run")}
        assert len(keys) == len(lines)
        check(stage.database)
        assert last.terminate() == 0


class TestShared:
    def test_two_workers_and_two_producers(self, stage: Stage) -> None:
        workers = [stage.worker(), stage.worker()]
        with producer(stage, "a", 1500) as one, producer(stage, "b", 1500) as two:
            lines = [*one.communicate()[0].split(), *two.communicate()[0].split()]
        results = [stage.app.AsyncResult(line) for line in lines]
        stage.assert_all_done(results)
        runs = stage.journal.read("run")
        assert len(runs) == len({entry.key for entry in runs}) == len(lines) >= 3000
        assert [worker.terminate() for worker in workers] == [0, 0]
        check(stage.database)

    def test_the_log_does_not_grow(self, stage: Stage) -> None:
        """No reader is open for so long that the log could never be written back."""
        worker = stage.worker()
        wal = Path(f"{stage.database}-wal")
        largest = 0
        for number in range(8):
            results = stage.send_notes(range(number * 1000, number * 1000 + 1000))
            stage.assert_all_done(results)
            largest = max(largest, wal.stat().st_size)
        # It is written back from 1,000 pages of 4 KiB on; a large step may add to that.
        assert largest < 16 << 20
        assert worker.terminate() == 0

    def test_a_lock_that_is_held_too_long_is_told_to_the_caller(
        self, make_stage: MakeStage
    ) -> None:
        stage = make_stage(broker_connection_timeout=0.2)
        stage.send("note", "before")
        begun = time.monotonic()
        with locked(stage.database), pytest.raises(OperationalError, match=r"taskq\.db.*lock"):
            stage.send("note", "refused")
        # Four attempts, and the pauses between them.
        assert time.monotonic() - begun < 10
        assert stage.depth() == QueueDepth(ready=1)
        stage.send("note", "after")
        worker = stage.worker()
        stage.wait(lambda: stage.depth() == QueueDepth(), "an empty queue")
        assert {entry.key for entry in stage.journal.read("run")} == {"before", "after"}
        assert worker.terminate() == 0

    def test_a_worker_starts_while_the_file_is_locked(self, make_stage: MakeStage) -> None:
        stage = make_stage(broker_connection_timeout=10)
        result = stage.send("note", "task")
        with locked(stage.database):
            worker = stage.worker(ready=False)
            begun = time.monotonic()
            stage.wait(lambda: time.monotonic() > begun + 1, "it to come to the lock")
        worker.wait_ready()
        stage.assert_all_done([result])
        assert worker.terminate() == 0

    def test_a_file_that_was_deleted_is_made_anew(self, stage: Stage) -> None:
        """Neither worker nor producer goes on with a file that nobody else can see."""
        worker = stage.worker()
        assert stage.send("note", "before").get(timeout=20) == "before"
        for suffix in ("", "-wal", "-shm"):
            Path(f"{stage.database}{suffix}").unlink(missing_ok=True)
        with producer(stage, "p", 21) as process:
            lines = process.communicate()[0].split()
        result = stage.send("note", "after")
        assert result.get(timeout=20) == "after"
        stage.assert_all_done([result, *map(stage.app.AsyncResult, lines)])
        assert worker.terminate() == 0
        check(stage.database)


class TestNoSpace:
    @pytest.fixture
    def small_disk(self, tmp_path: Path) -> Iterator[Path]:
        """A file system of 2 MB; only root can make one."""
        folder = tmp_path / "disk"
        folder.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
        if os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
            pytest.skip("needs the right to mount a file system")
        try:
            yield folder
        finally:
            subprocess.run(["umount", "-l", str(folder)], check=True)

    def test_a_full_disk(self, make_stage: MakeStage, small_disk: Path) -> None:
        stage = make_stage(
            broker_lease=2,
            broker_url=f"sqlite:///{small_disk}/taskq.db",
            task_publish_retry=False,
        )
        worker = stage.worker(concurrency=1)
        running = stage.send("give_when", "task", 100_000)
        stage.wait_journal("start", "task")
        fill(small_disk / "filler")
        # What is in the log already may have room for it; more than that has not.
        with pytest.raises(OperationalError, match=r"taskq\.db: .*full.*free some space"):
            stage.send_all("length", ["x" * 10_000] * 100)

        stage.gates.open("task")
        worker.wait_log("cannot write outcomes")
        (small_disk / "filler").unlink()
        assert len(running.get(timeout=20)) == 100_000
        stage.wait(lambda: stage.depth() == QueueDepth(), "an empty queue")
        assert stage.journal.count("start", "task") == 1
        check(small_disk / "taskq.db")
        assert worker.terminate() == 0

    def test_a_file_that_may_not_grow(self, stage: Stage) -> None:
        """Any process may be given such a limit (setrlimit(2)); to SQLite it is a bad disk."""
        worker = stage.worker(concurrency=1)
        result = stage.send("give_when", "task", 1_000_000)
        stage.wait_journal("start", "task")
        limit = (500_000, resource.RLIM_INFINITY)
        resource.prlimit(worker.pid, resource.RLIMIT_FSIZE, limit)
        stage.gates.open("task")
        worker.wait_log("cannot write outcomes")
        infinity = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
        resource.prlimit(worker.pid, resource.RLIMIT_FSIZE, infinity)
        assert len(result.get(timeout=20)) == 1_000_000
        stage.assert_all_done([result])
        assert stage.journal.count("start", "task") == 1
        check(stage.database)
        assert worker.terminate() == 0


@pytest.mark.parametrize("kind", ["nfs", "nfs4", "cifs", "9p", "fuse.sshfs"])
def test_a_network_file_system_is_refused(tmp_path: Path, kind: str) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(
        "/dev/sda1 / ext4 rw 0 0\n"
        f"server:/home /mnt/home\\040dir {kind} rw 0 0\n"
        "/dev/sdb1 /mnt/home\\040dir/local ext4 rw 0 0\n"
    )
    with pytest.raises(ImproperlyConfigured, match=rf"network file system \({kind}.*local disk"):
        refuse_network_filesystem("/mnt/home dir/proj/taskq.db", str(mounts))
    refuse_network_filesystem("/mnt/home dir/local/taskq.db", str(mounts))
    refuse_network_filesystem("/mnt/home directory/taskq.db", str(mounts))
    refuse_network_filesystem("/mnt/home dir/taskq.db", str(tmp_path / "no such file"))


def test_two_apps_of_one_process_share_a_file(stage: Stage) -> None:
    worker = stage.worker()
    with make_app(stage.folder, **stage.settings) as other:
        assert other.send_task("note", ("other",)).get(timeout=20) == "other"
        assert stage.send("note", "mine").get(timeout=20) == "mine"
    assert stage.send("note", "still").get(timeout=20) == "still"
    assert worker.terminate() == 0
