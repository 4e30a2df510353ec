"""The benchmarks run from end to end; what they measure is not judged here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from benchmarks.measures import MEASURES

CHECKOUT = Path(__file__).resolve().parents[2]
NOT_ALWAYS = {
    "backlog_growth",
    "drain_worker_cpu",
    "drain_server_cpu",
    "drain_results_worker_cpu",
    "drain_results_server_cpu",
    "drain_beside_worker_cpu",
    "drain_beside_server_cpu",
    "idle",
    "idle_server",
}


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the benchmarks read /proc")
@pytest.mark.parametrize(
    "subject",
    ["taskq-sqlite", "taskq-memory", pytest.param("taskq-redis", marks=pytest.mark.redis)],
)
def test_every_measure_yields_its_figures(
    subject: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if subject == "taskq-redis":
        request.getfixturevalue("shared_redis")  # Skips where none is installed.
    command = [sys.executable, "-m", "benchmarks", "run", "--quick", "--subjects", subject]
    done = subprocess.run(
        [*command, "--out", str(tmp_path), "--cache", str(tmp_path / "cache")],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr

    raw = json.loads((tmp_path / "raw.json").read_text())
    trials = {trial["measure"]: trial["values"] for trial in raw["trials"]}
    assert trials.keys() == MEASURES.keys()
    for name, measure in MEASURES.items():
        figures = {figure.name for figure in measure.figures}
        assert trials[name].keys() <= figures
        # The rest is processor time and growth, which such a short run may not show at all.
        for figure in figures - NOT_ALWAYS:
            assert trials[name][figure] > 0

    report = (tmp_path / "report.md").read_text()
    assert report.startswith("# Benchmark")
    assert f"| {subject} |" in report
    assert done.stdout.strip() == report.strip()
    plot = ET.parse(tmp_path / "plot.svg").getroot()
    texts = ["".join(node.itertext()) for node in plot.iter("{http://www.w3.org/2000/svg}text")]
    assert subject in texts
    assert not (tmp_path / "cache").exists(), "taskq needs no environment of its own"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the benchmarks read /proc")
def test_tasks_that_wait(tmp_path: Path) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "benchmarks.waiting", f"sqlite:///{tmp_path}/taskq.db"),
            *("--pools", "asyncio,threads", "--tasks", "20", "--concurrency", "20"),
            *("--seconds", "0.1"),
        ],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    head, *rows = [line.split() for line in done.stdout.splitlines()]
    assert head[0] == "pool"
    assert [row[0] for row in rows] == ["asyncio", "asyncio", "threads", "threads"]
    for row in rows:
        idle, peak = float(row[-5]), float(row[-4])
        assert 0 < idle <= peak
