"""Runs trials in interleaved rounds and collects what they yield."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from benchmarks.catalogue import Subject
from benchmarks.figures import Figure, Summary, show
from benchmarks.interpreters import InterpreterMissing
from benchmarks.machine import Machine
from benchmarks.measures import Measure, Values
from benchmarks.plan import Plan
from benchmarks.servers import Servers
from benchmarks.session import Session


@dataclass(frozen=True, slots=True)
class Trial:
    """One measure of one subject in one round: values, or the error that ended it.

    Args:
        load: Load average of the machine when the trial began.
    """

    round: int
    measure: str
    subject: str
    load: float
    values: Values
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Run:
    """Everything a report is made from.

    Args:
        left_out: Why a subject that was asked for is not among `subjects`, by its name.
    """

    machine: Machine
    plan: Plan
    subjects: tuple[str, ...]
    measures: tuple[Measure, ...]
    versions: Mapping[str, Mapping[str, str]]
    trials: tuple[Trial, ...]
    left_out: Mapping[str, str] = field(default_factory=dict)

    @property
    def figures(self) -> list[Figure]:
        """The figures of the measures that were run, in their order."""
        return [figure for measure in self.measures for figure in measure.figures]

    def summary(self, subject: str, figure: Figure) -> Summary | None:
        """Sums up a figure over the rounds; None if no trial yielded it."""
        values = [
            trial.values[figure.name]
            for trial in self.trials
            if trial.subject == subject and figure.name in trial.values
        ]
        return Summary.of(values) if values else None

    @property
    def failed(self) -> list[Trial]:
        """The trials that ended with an error."""
        return [trial for trial in self.trials if trial.error is not None]

    def record(self) -> dict[str, object]:
        """Returns the raw data."""
        return {
            "machine": self.machine.record(),
            "plan": asdict(self.plan),
            "versions": {name: dict(found) for name, found in self.versions.items()},
            "left_out": dict(self.left_out),
            "trials": [asdict(trial) for trial in self.trials],
        }


def run(subjects: Sequence[Subject], measures: Sequence[Measure], plan: Plan, cache: Path) -> Run:
    """Measures every subject in every round, with the subjects of a measure side by side.

    Neighbours in time see the same machine: what disturbs one round disturbs all subjects alike,
    and shows as spread instead of as a difference. A subject is left out if this machine has no
    Python that it runs on.

    Args:
        subjects: What is measured.
        measures: How.
        plan: Sizes.
        cache: Folder for the peers' environments.

    Raises:
        RuntimeError: If an environment or a server cannot be made, or if no subject is left.
    """
    pythons, left_out = _prepare(subjects, cache)
    subjects = [subject for subject in subjects if subject.name in pythons]
    kinds = {kind for subject in subjects for kind in subject.servers}
    with Servers(kinds) as servers:
        return Run(
            machine=Machine.here(servers),
            plan=plan,
            subjects=tuple(subject.name for subject in subjects),
            measures=tuple(measures),
            versions={
                subject.name: subject.environment.versions(pythons[subject.name])
                for subject in subjects
            },
            trials=tuple(_trials(subjects, measures, plan, servers, pythons)),
            left_out=left_out,
        )


def _prepare(subjects: Sequence[Subject], cache: Path) -> tuple[dict[str, Path], dict[str, str]]:
    """Returns the interpreters by subject, and why the other subjects have none."""
    pythons: dict[str, Path] = {}
    left_out: dict[str, str] = {}
    for subject in subjects:
        try:
            pythons[subject.name] = subject.environment.prepare(cache)
        except InterpreterMissing as missing:
            left_out[subject.name] = str(missing)
            print(f"leaving out {subject.name}: {missing}", file=sys.stderr)
    if not pythons:
        raise RuntimeError("no subject is left: give --subjects one that runs on this machine")
    return pythons, left_out


def _trials(
    subjects: Sequence[Subject],
    measures: Sequence[Measure],
    plan: Plan,
    servers: Servers,
    pythons: Mapping[str, Path],
) -> Iterator[Trial]:
    for number in range(1, plan.rounds + 1):
        for measure in measures:
            for subject in subjects:
                if not measure.suits(subject):
                    continue
                trial = _trial(number, measure, subject, plan, servers, pythons[subject.name])
                _tell(trial)
                yield trial


def _trial(
    number: int,
    measure: Measure,
    subject: Subject,
    plan: Plan,
    servers: Servers,
    python: Path,
) -> Trial:
    servers.empty()
    load = os.getloadavg()[0]
    values: Values = {}
    error = None
    with tempfile.TemporaryDirectory(prefix="taskq-bench-") as folder:
        stage = Session(
            subject, python, plan, servers, Path(folder), keep_results=measure.keep_results
        )
        try:
            with stage as session:
                values = measure.run(session)
        # A subject that fails must not cost the others their figures: it is reported instead.
        except Exception as failure:
            error = f"{type(failure).__name__}: {failure}"
    return Trial(number, measure.name, subject.name, load, values, error)


def _tell(trial: Trial) -> None:
    found = ", ".join(f"{name} {show(value)}" for name, value in trial.values.items())
    print(
        f"round {trial.round} {trial.measure} {trial.subject}: {trial.error or found}",
        file=sys.stderr,
        flush=True,
    )
