"""The command line of the benchmarks."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from benchmarks.catalogue import SUBJECTS
from benchmarks.measures import MEASURES, Measure
from benchmarks.plan import QUICK, Plan
from benchmarks.report import write
from benchmarks.runner import run

T = TypeVar("T")

_LEAST = {"tasks": 10, "delayed": 0}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command and returns its exit status: 1 if a trial failed, 2 if none could begin."""
    if not sys.platform.startswith("linux"):
        print("the benchmarks read /proc: run them on Linux", file=sys.stderr)
        return 2
    options = _parser().parse_args(arguments)
    return _list() if options.command == "list" else _run(options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="show subjects and measures")
    command = commands.add_parser("run", help="measure, and write a report")
    command.add_argument("--subjects", metavar="A,B", help="task queues (default: all)")
    command.add_argument("--measure", metavar="A,B", help="measures (default: all)")
    command.add_argument("--out", type=Path, required=True, help="folder for the report")
    command.add_argument(
        "--cache",
        type=Path,
        default=Path("~/.cache/taskq-bench"),
        help="folder for the peers' virtual environments (default: %(default)s)",
    )
    command.add_argument("--quick", action="store_true", help="a smoke run; ignore its figures")
    for name, kind, about in (
        ("tasks", int, "no-op tasks of a rate"),
        ("rounds", int, "how often everything is repeated"),
        ("batch", int, "tasks in one bulk call"),
        ("backlog", int, "tasks waiting in a long queue"),
        ("delayed", int, "delayed tasks waiting beside a long queue"),
        ("trips", int, "round trips of a latency"),
        ("imports", int, "fresh interpreters for an import time"),
        ("idle", float, "seconds that an idle worker is watched"),
        ("hold", float, "seconds of a long task in the mixed load"),
    ):
        default = getattr(Plan(), name)
        command.add_argument(f"--{name}", type=kind, help=f"{about} (default: {default})")
    return parser


def _list() -> int:
    print("subjects:")
    for subject in SUBJECTS.values():
        needs = ", ".join((*subject.environment.requirements, *subject.servers)) or "nothing"
        print(f"  {subject.name:20} needs {needs}")
    print("measures:")
    for measure in MEASURES.values():
        print(f"  {measure.name:20} {measure.about}")
    return 0


def _run(options: argparse.Namespace) -> int:
    try:
        subjects = _chosen(options.subjects, SUBJECTS, "subject")
        measures = _chosen(options.measure, MEASURES, "measure")
        plan = _plan(options, measures)
        # Ended from outside, it must still end the processes that it has started.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
        result = run(subjects, measures, plan, options.cache.expanduser().resolve())
    # What a user can mend: a wrong name, a missing package or server.
    except (ValueError, RuntimeError) as error:
        print(error, file=sys.stderr)
        return 2
    print(write(result, options.out))
    return 1 if result.failed else 0


def _chosen(names: str | None, known: Mapping[str, T], what: str) -> list[T]:
    if names is None:
        return list(known.values())
    for name in names.split(","):
        if name not in known:
            raise ValueError(f"unknown {what} {name!r}: choose from {', '.join(known)}")
    return [known[name] for name in names.split(",")]


def _plan(options: argparse.Namespace, measures: Sequence[Measure]) -> Plan:
    sizes = ("tasks", "rounds", "batch", "backlog", "delayed", "trips", "imports", "idle", "hold")
    given = {name: getattr(options, name) for name in sizes if getattr(options, name) is not None}
    for name, value in given.items():
        least = _LEAST.get(name, 1 if isinstance(value, int) else 0)
        if value < least:
            raise ValueError(f"--{name} {value} is too small: give at least {least}")
    plan = replace(QUICK if options.quick else Plan(), **given)
    if MEASURES["backlog"] in measures and plan.backlog < plan.few:
        raise ValueError(
            f"--backlog {plan.backlog} is too small for --tasks {plan.tasks}: "
            f"give at least {plan.few}, or fewer tasks"
        )
    return plan
