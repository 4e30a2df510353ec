"""``taskq worker``, as a real process."""

from __future__ import annotations

import os
import signal
import sqlite3
from pathlib import Path

import pytest

from taskq import TaskQ
from taskq.cli.banner import banner
from tests.cli.processes import Processes
from tests.waiting import wait_until


def test_works_and_stops(processes: Processes, app: TaskQ) -> None:
    worker = processes.worker()
    assert app.send_task("proj.add", (1, 2)).get(timeout=10) == 3
    assert worker.stop() == 0
    assert worker.output.index("concurrency  1 (prefork)") < worker.output.index("ready.")
    assert "broker       sqlite:///proj.db" in worker.output
    assert " proj.add\n" in worker.output
    assert "celery." not in worker.output  # taskq's own tasks are no news
    assert "Task proj.add" in worker.output
    assert worker.output.count("concurrency") == 1  # a child that is forked prints nothing again


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGQUIT])
def test_every_way_to_stop_is_a_clean_end(processes: Processes, number: signal.Signals) -> None:
    assert processes.worker("-P", "solo").stop(number) == 0


def test_default_log_level_is_warning(processes: Processes, app: TaskQ) -> None:
    worker = processes.start("-A", "proj", "worker", "-c", "1")
    worker.wait_for("concurrency")
    assert app.send_task("proj.add", (1, 2)).get(timeout=10) == 3
    assert worker.stop() == 0
    assert "ready." not in worker.output
    assert "proj.add" not in worker.output


def test_quiet(processes: Processes) -> None:
    worker = processes.worker("-q")
    assert worker.stop() == 0
    assert "concurrency" not in worker.output


def test_queues_name_and_modules(processes: Processes, project: Path, app: TaskQ) -> None:
    (project / "more.py").write_text(
        "from proj import app\n\n@app.task\ndef where():\n"
        "    return app.current_task.request.hostname\n"
    )
    waiting = app.send_task("more.where")
    processes.worker("-Q", "slow,default", "-X", "default", "-I", "more", "-n", "w1@here")
    assert app.send_task("more.where", queue="slow").get(timeout=10) == "w1@here"
    assert waiting.state == "PENDING"


def test_purge(processes: Processes, app: TaskQ) -> None:
    gone = app.send_task("proj.add", (1, 1))
    worker = processes.worker("--purge")
    assert app.send_task("proj.add", (1, 2)).get(timeout=10) == 3
    assert "deleted 1 message from default" in worker.output
    assert gone.state == "PENDING"


def test_log_file(processes: Processes, project: Path) -> None:
    worker = processes.start(
        *("-A", "proj", "worker", "-P", "solo", "-l", "info", "-n", "w1@h", "-f", "%n.log")
    )
    log = project / "w1.log"
    wait_until(lambda: log.exists() and "ready." in log.read_text(), 20, "the worker's log")
    assert worker.stop() == 0
    assert "stopped." in log.read_text()
    assert "ready." not in worker.output


def test_pid_file(processes: Processes, project: Path) -> None:
    path = project / "w.pid"
    worker = processes.worker("--pidfile", str(path))
    assert path.read_text() == f"{worker.process.pid}\n"
    status, output = processes.finish("-A", "proj", "worker", "--pidfile", str(path))
    assert status == 1
    assert f"process {worker.process.pid} is running" in output
    assert worker.stop() == 0
    assert not path.exists()


def test_time_limit_option(processes: Processes, project: Path, app: TaskQ) -> None:
    (project / "slow.py").write_text(
        "import time\nfrom proj import app\n\n@app.task\ndef sleep():\n    time.sleep(60)\n"
    )
    processes.worker("--time-limit", "0.2", "-I", "slow")
    error = app.send_task("slow.sleep").get(timeout=20, propagate=False)
    assert type(error).__name__ == "TimeLimitExceeded"


def test_a_fresh_start_keeps_the_options(processes: Processes, project: Path, app: TaskQ) -> None:
    """An app that starts a thread on import has children that import it for themselves."""
    (project / "threaded.py").write_text(
        "import threading\nfrom proj import app\n\n"
        "threading.Thread(target=threading.Event().wait, daemon=True, name='mine').start()\n\n"
        "@app.task\ndef broker():\n    return app.conf.broker_url\n"
    )
    other = f"sqlite:///{project / 'other.db'}"
    worker = processes.worker("-I", "threaded", "-b", other)
    assert "mine" in worker.output
    with TaskQ("other", broker=other, set_as_current=False) as there:
        assert there.send_task("threaded.broker").get(timeout=10) == other


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["-P", "fibres"], 2, "there is no pool 'fibres'"),
        (["-c", "0"], 2, "'0' is neither a number of at least 1 nor auto"),
        (["-n", "%z"], 2, "has '%z'"),
        (["-X", "other"], 2, "-X other: not among the queues default"),
        (["-I", "absent"], 2, "there is no module 'absent'"),
        (["-f", "absent/log"], 1, "--logfile absent/log cannot be written: No such file"),
        (["-b", "carrier-pigeon://"], 2, "there is no broker for carrier-pigeon://"),
        (["-b", "sqlite:////proc/absent/taskq.db"], 1, "unable to open database file"),
        (["--max-tasks-per-child", "0"], 2, "0 is not in the range"),
        (["--time-limit", "1", "--soft-time-limit", "5"], 2, "soft_time_limit=5 would come after"),
        (["-s", "beat.db"], 2, "--schedule is for the beat of --beat"),
        (["--scheduler", "sqlite:///b.db"], 2, "--scheduler is for the beat of --beat"),
    ],
)
def test_refusals(processes: Processes, arguments: list[str], status: int, said: str) -> None:
    found, output = processes.finish("-A", "proj", "worker", *arguments)
    assert (found, "Traceback" in output) == (status, False), output
    assert said in output


def test_broken_module(processes: Processes, project: Path) -> None:
    (project / "broken.py").write_text("1 / 0\n")
    status, output = processes.finish("-A", "broken", "worker")
    assert status == 2
    assert output.endswith(
        "Error: -A broken: module 'broken' cannot be imported: ZeroDivisionError: "
        "division by zero\n"
    )


def test_locked_database(processes: Processes, project: Path, app: TaskQ) -> None:
    app.send_task("proj.add")
    lock = sqlite3.connect(project / "proj.db", isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")
    status, output = processes.finish("-A", "proj", "worker")
    lock.close()
    assert status == 1
    assert "proj.db: database is locked - another process holds its lock for too long" in output
    assert "Traceback" not in output


def test_corrupt_database(processes: Processes, project: Path) -> None:
    (project / "proj.db").write_bytes(b"this is not a database, but it is long enough" * 20)
    status, output = processes.finish("-A", "proj", "worker")
    assert status == 1
    assert "it is no SQLite database: move it away, or name another file" in output
    assert "Traceback" not in output


def test_read_only_database(processes: Processes, project: Path, app: TaskQ) -> None:
    # Root writes everything, unless it gives up that right.
    launcher = ["setpriv", "--bounding-set=-dac_override"] if os.geteuid() == 0 else []
    app.send_task("proj.add")
    app.close()
    (project / "proj.db").chmod(0o400)
    status, output = processes.finish("-A", "proj", "worker", launcher=launcher)
    assert status == 1
    assert "it cannot be written: check the owner and mode" in output
    assert "Traceback" not in output


def test_banner_shows_what_differs_and_no_password(project: Path) -> None:
    app = TaskQ(
        "proj",
        broker="redis://user:geheim@host/0",
        task_queues={"mail": {"exchange": "post", "exchange_type": "topic", "routing_key": "m.#"}},
        task_time_limit=7,
        set_as_current=False,
    )
    worker = app.Worker(hostname="w1@here", concurrency=3, pool="solo")
    text = banner(worker, "proj:app", with_tasks=False)
    assert text.startswith("w1@here  taskq ")
    assert "  broker       redis://user:***@host/0\n" in text
    assert "  queues       mail (exchange post of type topic, m.#)\n" in text
    assert "task_time_limit = 7.0  (keyword)" in text
    assert "tasks " not in text
