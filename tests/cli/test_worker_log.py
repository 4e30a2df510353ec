"""What a real worker writes to its log, in every pool."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from taskq import TaskQ
from tests.cli.processes import Processes

LOGGING = """
import logging
from taskq.log import get_task_logger

logger = get_task_logger(__name__)


@app.task(bind=True, max_retries=1)
def talk(self):
    logger.info("from the task")
    logging.getLogger("lib").warning("from a library")
    print("printed", 1)
    if not self.request.retries:
        self.retry(countdown=0)


@app.task
async def whisper():
    logging.getLogger("lib").warning("from a coroutine")
"""


@pytest.mark.parametrize("pool", ["prefork", "threads", "asyncio", "gevent", "eventlet", "solo"])
def test_every_record_knows_its_task(
    processes: Processes, project: Path, app: TaskQ, pool: str
) -> None:
    with (project / "proj.py").open("a") as file:
        file.write(LOGGING)
    worker = processes.worker("-P", pool, "--log-format", "json", "-q")
    first, second = app.send_task("proj.talk"), app.send_task("proj.whisper")
    first.get(timeout=20)
    second.get(timeout=20)
    assert worker.stop() == 0
    records = [json.loads(line) for line in worker.output.splitlines() if line.startswith("{")]
    mine = [r for r in records if r.get("task_id") == first.id and r["logger"] != "taskq.worker"]
    texts = ["from the task", "from a library", "printed 1"]
    assert [(r["message"], r["task_attempt"]) for r in mine] == [
        *((text, 1) for text in texts),
        *((text, 2) for text in texts),
    ]
    assert {r["task_name"] for r in mine} == {"proj.talk"}
    assert [r["logger"] for r in mine[:3]] == ["proj", "lib", "taskq.redirected"]
    assert [r["message"] for r in records if r.get("task_id") == second.id] == ["from a coroutine"]
    assert {r["process_name"] for r in mine} == {"MainProcess" if pool == "solo" else f"{pool}-1"}


def test_lines_for_people(processes: Processes, project: Path, app: TaskQ) -> None:
    with (project / "proj.py").open("a") as file:
        file.write(LOGGING)
        file.write("app.conf.update(worker_redirect_stdouts_level='ERROR')\n")
    worker = processes.worker()
    result = app.send_task("proj.talk")
    result.get(timeout=20)
    assert worker.stop() == 0
    assert f": WARNING/prefork-1] proj.talk[{result.id}]: from a library\n" in worker.output
    assert f": ERROR/prefork-1] proj.talk[{result.id}]: printed 1\n" in worker.output
    assert ": INFO/MainProcess] taskq@" in worker.output
    assert worker.output.count("concurrency") == 1, "the banner goes to the terminal as it is"


def test_a_log_that_is_moved_away_is_opened_anew(
    processes: Processes, project: Path, app: TaskQ
) -> None:
    with (project / "proj.py").open("a") as file:
        file.write(LOGGING)
    log = project / "w.log"
    worker = processes.start("-A", "proj", "worker", "-c", "1", "-f", str(log), "-q")
    app.send_task("proj.whisper").get(timeout=20)
    log.rename(project / "w.log.1")
    app.send_task("proj.whisper").get(timeout=20)
    assert worker.stop() == 0
    assert log.read_text().count("from a coroutine") == 1
    assert (project / "w.log.1").read_text().count("from a coroutine") == 1
