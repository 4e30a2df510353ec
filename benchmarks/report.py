"""A run as a folder of files: `report.md`, `plot.svg` and `raw.json`."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.figures import Figure, Summary, show
from benchmarks.plot import draw
from benchmarks.runner import Run


def write(run: Run, out: Path) -> str:
    """Writes the three files into `out`, which is made if needed; returns the report's text."""
    out.mkdir(parents=True, exist_ok=True)
    text = markdown(run)
    (out / "report.md").write_text(text)
    (out / "raw.json").write_text(json.dumps(run.record(), indent=1) + "\n")
    (out / "plot.svg").write_text(draw(run))
    return text


def markdown(run: Run) -> str:
    """Returns the report: the machine, the medians side by side, then every figure's spread."""
    headlines = [figure for figure in run.figures if figure.headline]
    sizes = f"{run.plan.tasks:,} tasks, {run.plan.trips:,} round trips"
    if any(measure.delayed for measure in run.measures):
        sizes += f", {run.plan.backlog:,} in a long queue beside {run.plan.delayed:,} delayed"
    rounds = f"{run.plan.rounds} rounds" if run.plan.rounds > 1 else "1 round"
    parts = [
        "# Benchmark",
        f"{run.machine.line()}.\n{rounds}; {sizes}; {run.plan.batch} tasks a bulk call.",
        _table(run, headlines, spread=False),
        "## Every figure",
        "Median of the rounds, with the lowest and the highest in parentheses.",
        *(_table(run, list(measure.figures), spread=True) for measure in run.measures),
        "## Versions",
        "\n".join(f"- {name}: {_versions(run, name)}" for name in run.subjects),
    ]
    if run.left_out:
        reasons = "\n".join(f"- {name}: {reason}" for name, reason in run.left_out.items())
        parts += ["## Left out", reasons]
    if run.failed:
        parts += ["## Failed trials", *(_failure(run, index) for index in range(len(run.failed)))]
    return "\n\n".join(parts) + "\n"


def _table(run: Run, figures: list[Figure], *, spread: bool) -> str:
    rows = [
        ["subject", *(f"{figure.title}, {figure.unit}" for figure in figures)],
        ["---", *("---:" for _ in figures)],
    ]
    for name in run.subjects:
        cells = [_cell(run.summary(name, figure), spread=spread) for figure in figures]
        rows.append([name, *cells])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _cell(summary: Summary | None, *, spread: bool) -> str:
    if summary is None:
        return "–"
    if not spread or summary.low == summary.high:
        return show(summary.median)
    return f"{show(summary.median)} ({show(summary.low)}–{show(summary.high)})"


def _versions(run: Run, subject: str) -> str:
    return ", ".join(f"{name} {version}" for name, version in run.versions[subject].items())


def _failure(run: Run, index: int) -> str:
    trial = run.failed[index]
    return f"Round {trial.round}, {trial.measure}, {trial.subject}:\n\n```text\n{trial.error}\n```"
