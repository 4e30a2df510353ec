"""``--health`` of real workers and beats."""

from __future__ import annotations

import json
import socket
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from taskq import TaskQ
from tests.cli.processes import Processes
from tests.servers import redis_server
from tests.servers.base import free_ports
from tests.waiting import wait_until

SLOW = """
@app.task
def wait():
    import time, pathlib
    pathlib.Path("begun").touch()
    while not pathlib.Path("go").exists():
        time.sleep(0.01)
"""


def ask(port: int, path: str) -> tuple[int, dict[str, Any]]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as exc:
        with exc:
            return exc.code, json.load(exc)


def test_a_worker_from_ready_to_stopped(processes: Processes, project: Path, app: TaskQ) -> None:
    with (project / "proj.py").open("a") as file:
        file.write(SLOW)
    (port,) = free_ports(1)
    worker = processes.worker("-n", "w1@here", "--health", f"127.0.0.1:{port}")
    status, found = ask(port, "/ready")
    assert (status, found["status"], found["worker"]) == (200, "ok", "w1@here")
    app.send_task("proj.wait")
    wait_until((project / "begun").exists, 20, "the task")
    assert ask(port, "/ready")[1]["running"] == 1
    worker.process.terminate()
    wait_until(lambda: ask(port, "/ready")[0] == 503, 20, "a worker that is not ready")
    assert ask(port, "/ready")[1]["reason"] == "the worker is shutting down"
    assert ask(port, "/live")[0] == 200  # it must not be killed while its task runs
    (project / "go").touch()
    assert worker.process.wait(20) == 0


def test_a_worker_whose_broker_goes_and_comes(processes: Processes, project: Path) -> None:
    (port,) = free_ports(1)
    with redis_server() as server:
        worker = processes.worker("-b", server.url, "--health", f":{port}")
        assert ask(port, "/ready")[0] == 200
        server.kill()
        wait_until(lambda: ask(port, "/ready")[0] == 503, 20, "a worker that is not ready")
        assert "cannot consume" in ask(port, "/ready")[1]["reason"]
        assert ask(port, "/live")[0] == 200
        server.start()
        wait_until(lambda: ask(port, "/ready")[0] == 200, 30, "a worker that is ready again")
        assert worker.stop() == 0


@pytest.mark.parametrize("command", ["worker", "beat"])
def test_a_port_in_use(processes: Processes, project: Path, command: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        status, output = processes.finish("-A", "proj", command, "--health", address)
    assert status == 1
    assert f"Error: health: cannot listen on {address}: Address already in use" in output
    assert "Traceback" not in output


@pytest.mark.parametrize("command", ["worker", "beat"])
def test_an_address_that_is_none(processes: Processes, project: Path, command: str) -> None:
    status, output = processes.finish("-A", "proj", command, "--health", "8080")
    assert (status, "'8080' is no address: write host:port" in output) == (2, True)


def test_a_beat(processes: Processes, project: Path) -> None:
    entry = {"task": "proj.add", "schedule": 0.1, "args": (1, 2)}
    with (project / "proj.py").open("a") as file:
        file.write(f"app.conf.update(beat_schedule={{'a': {entry}}})\n")
    (port,) = free_ports(1)
    beat = processes.start("-A", "proj", "beat", "--health", f":{port}", "-l", "INFO")
    beat.wait_for("Sending due task")
    status, found = ask(port, "/ready")
    assert (status, found["status"], found["entries"]) == (200, "ok", 1)
    assert found["sent"] >= 1
    assert 0 <= found["lateness"] < 60
    assert ask(port, "/live")[0] == 200
    assert beat.stop() == 0
