"""The parts of the benchmarks that decide what a figure says."""

from __future__ import annotations

import asyncio
import importlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks import procfs
from benchmarks.adapters.base import Setup
from benchmarks.adapters.producer import run_blocking
from benchmarks.catalogue import SUBJECTS, Subject
from benchmarks.cli import main
from benchmarks.environments import Environment
from benchmarks.figures import Summary, percentile, show
from benchmarks.machine import Machine
from benchmarks.marks import Marks
from benchmarks.measures import MEASURES
from benchmarks.plan import QUICK
from benchmarks.plot import draw
from benchmarks.report import markdown
from benchmarks.runner import Run, Trial
from tests.servers import RedisServer
from tests.waiting import wait_until

linux_only = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="the benchmarks read /proc"
)


def test_marks_are_seen_by_another_process(tmp_path: Path) -> None:
    marks = Marks.create(tmp_path / "marks", 10)
    code = "import sys; from benchmarks.marks import Marks, Path; Marks(Path(sys.argv[1])).put(3)"
    before = time.monotonic()
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "marks")], check=True)
    assert before < marks.get(3) < time.monotonic()
    assert [marks.reached(0, 10), marks.reached(0, 3), marks.reached(3, 2)] == [1, 0, 1]
    assert marks.read(2, 3) == [0.0, marks.get(3), 0.0]
    marks.close()


@pytest.mark.parametrize(
    ("percent", "expected"), [(0, 1), (1, 1), (50, 50), (95, 95), (99, 99), (100, 100)]
)
def test_percentile_is_a_value_of_the_list(percent: int, expected: int) -> None:
    assert percentile(list(range(100, 0, -1)), percent) == expected


def test_percentile_of_few_values_is_the_largest() -> None:
    assert percentile([3.0, 1.0, 2.0], 99) == 3.0


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0, "0"),
        (0.01234, "0.0123"),
        (12.345, "12.3"),
        (999.4, "999"),
        (1234.5, "1,230"),
        (74_049, "74,000"),
        (1_999_999, "2,000,000"),
    ],
)
def test_figures_have_three_digits(value: float, shown: str) -> None:
    assert show(value) == shown


def test_setup_survives_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    setup = Setup("redis://a", "redis://b", "queue", keep_results=True, marks=tmp_path)
    for name, value in setup.environ().items():
        monkeypatch.setenv(name, value)
    assert Setup.from_environ() == setup


def test_a_blocking_adapter_that_waits_is_refused() -> None:
    async def waits() -> None:
        await asyncio.sleep(0)

    with pytest.raises(RuntimeError, match="uses_asyncio"):
        run_blocking(waits())


@linux_only
def test_a_tree_holds_descendants_and_their_cost() -> None:
    code = """if True:
        import os, time
        if os.fork():
            os.wait()
        while time.process_time() < 0.2:
            pass
        time.sleep(600)
    """
    process = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
    try:
        wait_until(lambda: len(procfs.tree(process.pid)) == 2, 30, "the child to be forked")
        tree = procfs.tree(process.pid)
        assert process.pid in tree
        assert os.getpid() not in tree
        wait_until(lambda: procfs.cpu_seconds(tree) > 0.1, 30, "the child's work to count")
        assert procfs.pss_bytes(tree) > 2**20
    finally:
        for pid in procfs.tree(process.pid):
            os.kill(pid, 9)
        process.wait()
    assert procfs.cpu_seconds({process.pid}) == procfs.pss_bytes({process.pid}) == 0


def test_figures_have_names_of_their_own() -> None:
    names = [figure.name for measure in MEASURES.values() for figure in measure.figures]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("subject", SUBJECTS.values(), ids=SUBJECTS)
def test_every_subject_names_what_exists(subject: Subject) -> None:
    names = dict.fromkeys(("redis", "amqp", "pika", "adapter", "bin", "directory", "queue"), "x")
    for template in (subject.broker, subject.results, subject.worker):
        template.format(**names)
    assert set(subject.servers) <= {"redis", "rabbitmq"}
    assert set(subject.measures) <= MEASURES.keys()
    assert (Path(__file__).parents[2] / f"{subject.module.replace('.', '/')}.py").exists()


def test_measures_leave_out_whom_they_do_not_suit() -> None:
    suited = {
        name: {subject.name for subject in SUBJECTS.values() if measure.suits(subject)}
        for name, measure in MEASURES.items()
    }
    assert suited["enqueue"] == set(SUBJECTS)
    assert suited["drain"] == set(SUBJECTS) - {"bare-xadd"}
    assert suited["bulk"] >= {"taskq-redis", "celery-redis", "bare-loop"}
    assert "saq" not in suited["bulk"]
    own = {name for name in SUBJECTS if name.startswith("taskq-")}
    assert suited["backlog"] == own - {"taskq-rpc"}


@pytest.mark.redis
async def test_the_bare_xadd_sends_one_message_a_call(
    redis: RedisServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for package in ("redis", "uvloop"):
        pytest.importorskip(package)
    setup = Setup(redis.url, redis.url, "queue", keep_results=False, marks=tmp_path)
    for name, value in setup.environ().items():
        monkeypatch.setenv(name, value)
    peer = importlib.import_module(SUBJECTS["bare-xadd"].module).Peer()
    redis.call("CONFIG", "RESETSTAT")
    for slot in range(3):
        await peer.enqueue(slot)
    assert b"cmdstat_xadd:calls=3," in redis.call("INFO", "commandstats")
    assert redis.call("XLEN", "queue") == b":3\r\n"


def test_an_environment_that_cannot_be_made_says_why(tmp_path: Path) -> None:
    broken = Environment("broken", (str(tmp_path / "no-such-package"),), ())
    with pytest.raises(RuntimeError, match=r"cannot prepare the environment 'broken'.*--subjects"):
        broken.prepare(tmp_path)


def test_a_missing_package_is_named() -> None:
    missing = Environment("missing", (), ("no-such-package",))
    with pytest.raises(RuntimeError, match=r"lacks one of no-such-package: install it"):
        missing.versions(Path(sys.executable))


@linux_only
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--subjects", "huey"], "unknown subject 'huey': choose from taskq-sqlite"),
        (["--measure", "speed"], "unknown measure 'speed': choose from enqueue"),
        (["--tasks", "3"], "--tasks 3 is too small: give at least 10"),
        (["--rounds", "0"], "--rounds 0 is too small: give at least 1"),
        (["--delayed", "-1"], "--delayed -1 is too small: give at least 0"),
        (["--tasks", "50", "--backlog", "149"], "--backlog 149 is too small for --tasks 50: give"),
    ],
)
def test_wrong_arguments(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "--out", str(tmp_path), *arguments]) == 2
    assert message in capsys.readouterr().err


@linux_only
def test_list_names_everything(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    shown = capsys.readouterr().out.split()
    assert set(shown) >= SUBJECTS.keys() | MEASURES.keys()


def a_run(*trials: Trial) -> Run:
    machine = Machine("A <CPU>", 2, 24, "Linux 6", "3.11.7", {"Redis": "7.0"}, 0.5)
    return Run(
        machine=machine,
        plan=QUICK,
        subjects=("taskq-sqlite", "rq"),
        measures=(MEASURES["enqueue"],),
        versions={"taskq-sqlite": {"taskq": "1"}, "rq": {"rq": "2"}},
        trials=trials,
    )


def test_report_shows_median_spread_and_failures() -> None:
    rates = [Trial(n, "enqueue", "rq", 0.0, {"enqueue": 100.0 * n}) for n in (3, 1, 2)]
    failed = Trial(1, "enqueue", "taskq-sqlite", 0.0, {}, error="TrialError: broken")
    run = a_run(*rates, failed)
    assert run.summary("rq", run.figures[0]) == Summary(200.0, 100.0, 300.0)
    text = markdown(run)
    assert "A <CPU>, 2 cores, 24 GiB, Linux 6, Python 3.11.7, Redis 7.0, load 0.50" in text
    assert "| rq | 200 |" in text
    assert "| rq | 200 (100–300) | – |" in text
    assert "| taskq-sqlite | – | – |" in text
    assert "long queue" not in text
    assert "TrialError: broken" in text


def test_plot_escapes_and_leaves_empty_panels_out() -> None:
    drawn = draw(a_run(Trial(1, "enqueue", "rq", 0.0, {"enqueue": 5.0})))
    assert "A &lt;CPU&gt;" in drawn
    assert drawn.count("<rect") == 2, "background and one bar"
    assert "<g" not in draw(a_run())
