"""``taskq beat``, ``taskq worker -B`` and ``taskq schedule``."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from taskq import TaskQ
from tests.cli.conftest import Run
from tests.cli.processes import Processes
from tests.waiting import wait_until

ENTRIES = """
from taskq.schedules import crontab

app.conf.update(
    timezone="Europe/Berlin",
    beat_schedule={
        "nightly": {"task": "proj.add", "schedule": crontab(30, 2), "args": (1, 2)},
        "often": {"task": "proj.add", "schedule": 0.2, "args": (3, 4)},
    },
)
"""


RECEIVER = """
@app.on_after_configure.connect
def set_up(sender, **kwargs):
    sender.add_periodic_task("x", add.s(1, 2), name="a")
"""


@pytest.fixture
def scheduled(project: Path) -> Path:
    """The project with entries in its code."""
    with (project / "proj.py").open("a") as file:
        file.write(ENTRIES)
    return project


def rows(run: Run, *options: str) -> dict[str, dict[str, object]]:
    """What ``schedule list`` says, by name."""
    found = json.loads(run("-A", "proj", "schedule", "list", "--json", *options).stdout)
    return {row["name"]: row for row in found}


# beat


def test_sends_and_stops(scheduled: Path, processes: Processes, app: TaskQ) -> None:
    beat = processes.start("-A", "proj", "beat", "-l", "INFO", "--pidfile", "beat.pid")
    beat.wait_for("Sending due task often (proj.add)")
    assert (scheduled / "beat.pid").read_text().strip() == str(beat.process.pid)
    assert "2 in code" in beat.output
    assert beat.stop() == 0
    assert not (scheduled / "beat.pid").exists()
    assert app.broker.depth("default").ready > 0


def test_ctrl_c_is_a_clean_end(scheduled: Path, processes: Processes) -> None:
    beat = processes.start("beat", "-A", "proj", "-l", "INFO", "-f", "%n.log", "-n", "b1@here")
    log = scheduled / "b1.log"
    wait_until(lambda: log.exists() and "Starting" in log.read_text(), 20, "its start")
    assert beat.stop(signal.SIGINT) == 0
    assert "beat: Shutting down" in log.read_text()


def test_a_file_of_its_own(scheduled: Path, processes: Processes, run: Run) -> None:
    beat = processes.start("-A", "proj", "beat", "-l", "INFO", "-s", "mine.db")
    beat.wait_for("Sending due task often")
    beat.stop()
    assert (scheduled / "mine.db").exists()
    assert rows(run)["often"]["state"] == "new"
    assert rows(run, "-s", "mine.db")["often"]["state"] == "on"


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("app.conf.update(beat_schedule={'a': {'task': 't'}})", "entry 'a' has no 'schedule'"),
        ("app.conf.update(beat_schedule={'a': 5})", "entry 'a' must be a mapping"),
        ("app.conf.update(beat_missed='never')", "choose one of once, all, skip"),
        ("app.conf.update(beat_scheduler='dynamo')", "beat_scheduler='dynamo' is not known"),
        (RECEIVER, "entry 'a': 'x' has 1 fields"),
    ],
)
@pytest.mark.parametrize("command", [["beat"], ["worker", "-B"]])
def test_a_mistake_is_told_in_words(
    project: Path, run: Run, code: str, says: str, command: list[str]
) -> None:
    with (project / "proj.py").open("a") as file:
        file.write(code)
    result = run("-A", "proj", *command)
    assert result.exit_code == 2
    assert says in result.stderr


def test_a_worker_with_a_beat(scheduled: Path, processes: Processes, run: Run) -> None:
    worker = processes.worker("-B")
    worker.wait_for("Sending due task often")
    worker.wait_for("succeeded in")
    assert worker.stop() == 0
    assert worker.output.index("beat: Shutting down") < worker.output.index("stopped.")
    assert int(str(rows(run)["often"]["runs"])) > 0


def test_a_worker_whose_beat_cannot_start_says_so_and_ends(
    scheduled: Path, processes: Processes
) -> None:
    status, output = processes.finish(
        "-A", "proj", "worker", "-B", "-c", "1", "-s", "no/such/dir.db"
    )
    assert status == 1
    assert "the worker stops: service beat" in output
    assert "no/such/dir.db: unable to open database file" in output
    assert "Traceback" not in output


# schedule


def test_list_shows_what_no_beat_has_seen_yet(scheduled: Path, run: Run) -> None:
    found = rows(run)
    assert sorted(found) == ["nightly", "often"]
    assert found["nightly"]["schedule"] == "30 2 * * *"
    assert found["often"]["schedule"] == "every 0.2"
    assert found["nightly"]["state"] == "new"
    lines = run("-A", "proj", "schedule", "list").stdout.splitlines()
    assert lines[0].split()[:6] == ["name", "task", "schedule", "state", "next", "here"]


def test_list_of_nothing(project: Path, run: Run) -> None:
    assert run("-A", "proj", "schedule", "list").stdout == "no schedule entries\n"


def test_next_runs_are_shown_in_the_entrys_zone_and_here(
    scheduled: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = json.loads(run("-A", "proj", "schedule", "next", "nightly", "-c", "3", "--json").stdout)
    assert len(found) == 3
    assert all("T02:30:00+0" in moment or "T03:00:00+02:00" in moment for moment in found)
    lines = run("-A", "proj", "schedule", "next", "nightly").stdout.splitlines()
    assert lines[0].split() == ["next", "here"]
    assert len(lines) == 6
    assert lines[1].split()[2] in ("CET", "CEST")


def test_entries_are_added_changed_and_removed(project: Path, run: Run) -> None:
    added = run(
        *("-A", "proj", "schedule", "add", "report", "proj.add", "-a", "[1, 2]"),
        *("--crontab", "0 9 * * mon-fri", "--tz", "Asia/Tokyo", "--queue", "slow"),
    )
    assert added.exit_code == 0
    assert "report runs next at" in added.stdout
    assert "09:00:00 JST" in added.stdout
    row = rows(run)["report"]
    assert (row["state"], row["schedule"]) == ("on", "0 9 * * mon-fri Asia/Tokyo")
    again = ("-A", "proj", "schedule", "add", "report", "proj.add", "--every", "60")
    assert "there is a schedule entry 'report' already" in run(*again).stderr
    assert run(*again, "--replace").exit_code == 0
    assert rows(run)["report"]["schedule"] == "every 60"
    assert run("-A", "proj", "schedule", "remove", "report").stdout == "removed report\n"
    assert rows(run) == {}


def test_once_and_by_the_sun(project: Path, run: Run) -> None:
    run("-A", "proj", "schedule", "add", "a", "proj.add", "--at", "2099-01-01T12:00")
    run("-A", "proj", "schedule", "add", "b", "proj.add", "--solar", "sunset,48.85,2.35")
    found = rows(run)
    assert str(found["a"]["next"]).startswith("2099-01-01 12:00:00")
    assert found["b"]["state"] == "on"


def test_disable_enable_and_reset(project: Path, run: Run) -> None:
    run("-A", "proj", "schedule", "add", "a", "proj.add", "--every", "60")
    assert run("-A", "proj", "schedule", "disable", "a").exit_code == 0
    assert (rows(run)["a"]["state"], rows(run)["a"]["next"]) == ("disabled", "")
    assert "does not run again" in run("-A", "proj", "schedule", "next", "a").stdout
    assert run("-A", "proj", "schedule", "enable", "a").exit_code == 0
    assert rows(run)["a"]["state"] == "on"
    assert run("-A", "proj", "schedule", "reset", "a").stdout == "reset a\n"


def test_run_sends_it_now(scheduled: Path, run: Run, app: TaskQ) -> None:
    task_id = run("-A", "proj", "schedule", "run", "nightly").stdout.strip()
    (message,) = app.broker.browse("default", 10)
    assert message.id == task_id
    assert message.headers["periodic_task_name"] == "nightly"
    assert rows(run)["nightly"]["runs"] == 0


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (("next", "nobody"), 1, "there is no schedule entry 'nobody': see `taskq schedule list`"),
        (("run", "nobody"), 1, "there is no schedule entry 'nobody'"),
        (("remove", "nightly"), 2, "is written in code: remove it there, or disable it"),
        (("disable", "nightly"), 1, "that a beat has seen"),
        (("enable", "nightly"), 1, "that a beat has seen"),
        (("reset", "nightly"), 1, "that a beat has seen"),
        (("add", "nightly", "proj.add", "--every", "9"), 2, "is written in code: change it there"),
        (("add", "a", "proj.add"), 2, "when? Give one of"),
        (
            ("add", "a", "proj.add", "--every", "9", "--crontab", "* * * * *"),
            2,
            "when? Give one of",
        ),
        (("add", "a", "proj.add", "--crontab", "0 0 31 2 *"), 2, "no such day in any year"),
        (
            ("add", "a", "proj.add", "--crontab", "0 0 * * *", "--tz", "X/Y"),
            2,
            "no time zone 'X/Y'",
        ),
        (("add", "a", "proj.add", "--every", "9", "--tz", "UTC"), 2, "--tz belongs to --crontab"),
        (("add", "a", "proj.add", "--solar", "noon,1,2"), 2, "'noon' is not known"),
        (("add", "a", "proj.add", "--solar", "sunset"), 2, "EVENT,LAT,LON"),
        (("list", "-S", "redis"), 2, "beat_scheduler='redis' means the broker"),
    ],
)
def test_what_cannot_be_done_is_told_in_words(
    scheduled: Path, run: Run, arguments: tuple[str, ...], status: int, says: str
) -> None:
    result = run("-A", "proj", "schedule", *arguments)
    assert (result.exit_code, says in result.stderr) == (status, True), result.stderr


def test_an_entry_that_cannot_be_read_is_shown_as_broken(project: Path, run: Run) -> None:
    from taskq.beat.stores import Record, open_store

    with TaskQ("proj", broker=f"sqlite:///{project / 'proj.db'}", set_as_current=False) as app:
        open_store(app).put([Record("bad", b"{", "store", "r", due=1.0)])
    result = run("-A", "proj", "schedule", "list")
    assert "broken" in result.stdout
    assert "'bad' of the store cannot be read" in result.stderr
    assert run("-A", "proj", "schedule", "remove", "bad").exit_code == 0
