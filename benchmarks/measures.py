"""Everything that can be measured, each as one trial of one subject."""

from __future__ import annotations

import statistics
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from benchmarks import plan
from benchmarks.catalogue import Subject
from benchmarks.figures import Figure, percentile
from benchmarks.session import Session, TrialError

Values = dict[str, float]

_FILL = 50_000
"""Tasks that the producer sends at one request, so that its time-out is one for that many."""

_TIMED = """
import time
began = time.perf_counter()
{application}
print(time.perf_counter() - began)
"""


@dataclass(frozen=True, slots=True)
class Measure:
    """A kind of trial.

    Args:
        name: What it is called on the command line.
        about: One line for the list.
        figures: What `run` returns, by name.
        run: Does the trial.
        keep_results: Whether the subject stores results in it.
        bulk: Whether it needs a subject with a call for many tasks.
        delayed: Whether it needs a subject with a call for many delayed tasks.
        workflows: Whether it needs a subject with groups, chords and chains.
    """

    name: str
    about: str
    figures: tuple[Figure, ...]
    run: Callable[[Session], Values]
    keep_results: bool = False
    bulk: bool = False
    delayed: bool = False
    workflows: bool = False

    def suits(self, subject: Subject) -> bool:
        """Tells whether the subject can be measured in this way."""
        wanted = not subject.measures or self.name in subject.measures
        able = (subject.bulk or not self.bulk) and (subject.delayed or not self.delayed)
        return wanted and able and (subject.workflows or not self.workflows)


def enqueue(session: Session) -> Values:
    """Sends the tasks one by one; no worker runs."""
    count = session.plan.tasks
    took = session.ask("enqueue", first=0, count=count)
    return {"enqueue": count / took["seconds"], "enqueue_cpu": took["cpu"] / count * 1e6}


def bulk(session: Session) -> Values:
    """Sends the tasks in batches; no worker runs."""
    count = session.plan.tasks
    took = session.ask("bulk", first=0, count=count, batch=session.plan.batch)
    return {"bulk": count / took["seconds"], "bulk_cpu": took["cpu"] / count * 1e6}


def drain(session: Session) -> Values:
    """Lets a worker start on a full queue, with results off."""
    return _drain(session, "drain")


def drain_results(session: Session) -> Values:
    """Lets a worker start on a full queue, with every result stored."""
    return _drain(session, "drain_results")


def drain_beside(session: Session) -> Values:
    """The same as `drain`, while one of the worker's processes is busy with a long task."""
    session.ask("hold", slot=session.plan.tasks, seconds=plan.BESIDE)
    return _drain(session, "drain_beside")


def _drain(session: Session, prefix: str) -> Values:
    count = session.plan.tasks
    session.ask("enqueue", first=0, count=count)
    session.start_worker()

    def reached() -> int:
        return session.marks.reached(0, count)

    # Processor time is counted from a tenth of the way on, which leaves start-up out. The first
    # look at the marks may come later than that; what was done by then is left out too.
    session.wait_for(lambda: min(reached(), count // 10), count // 10)
    before = reached()
    used = _Meter(session)
    session.wait_for(reached, count)
    time.sleep(session.plan.settle)
    worker, server = used.read()
    clocks = sorted(session.marks.read(0, count))
    low, high = count // 10, count * 9 // 10
    values = {
        prefix: (count - 1) / (clocks[-1] - clocks[0]),
        f"{prefix}_mid": (high - low) / (clocks[high] - clocks[low]),
    }
    rest = count - before
    # Too few tasks left to say what one costs: the load was too small for this subject.
    if rest >= count // 4:
        values[f"{prefix}_worker_cpu"] = worker / rest * 1e6
        if server is not None:
            values[f"{prefix}_server_cpu"] = server / rest * 1e6
    return values


def backlog(session: Session) -> Values:
    """Lets a worker start on a long queue, after another one that starts on a short queue."""
    with session.beside("short") as short:
        few = _window(short, session.plan.few, 0)
    many = _window(session, session.plan.backlog, session.plan.delayed)
    values = {
        "backlog": many.rate,
        "backlog_short": few.rate,
        "backlog_ratio": many.rate / few.rate * 100,
        "backlog_memory": many.pss / 2**20,
    }
    if many.growth is not None:
        values["backlog_growth"] = many.growth / 2**20
    return values


class _Window(NamedTuple):
    """Tasks a second, the worker's bytes at the end, and how many more these are than before."""

    rate: float
    pss: int
    growth: int | None


def _window(session: Session, waiting: int, delayed: int) -> _Window:
    """Fills the queue, starts the worker, and watches the second `tasks` of those that it runs.

    The first `few` tasks have slots of their own: the worker may change their order, and nothing
    but those that wait behind them is left to do when the window ends.
    """
    sizes = session.plan
    session.ask("bulk", first=0, count=sizes.few, batch=sizes.batch)
    _fill(session, sizes.shared_slot, waiting - sizes.few)
    _fill(session, sizes.delayed_slot, delayed, countdown=plan.DELAY)
    session.start_worker()

    def reached() -> int:
        return session.marks.reached(0, sizes.few)

    first, last = sizes.tasks, 2 * sizes.tasks
    session.wait_for(lambda: min(reached(), first), first)
    before, done = session.worker_pss_bytes(), reached()
    session.wait_for(lambda: min(reached(), last), last)
    after = session.worker_pss_bytes()
    if session.marks.get(sizes.delayed_slot):
        raise TrialError(f"{session.subject.name}: a task has run {plan.DELAY} s too early")
    clocks = sorted(clock for clock in session.marks.read(0, sizes.few) if clock)
    rate = sizes.tasks / (clocks[last - 1] - clocks[first - 1])
    # The first look may come late: too few tasks were left then to show a growth.
    return _Window(rate, after, after - before if done < (first + last) // 2 else None)


def _fill(session: Session, slot: int, count: int, countdown: float = 0.0) -> None:
    for at in range(0, count, _FILL):
        session.ask(
            "fill",
            slot=slot,
            count=min(_FILL, count - at),
            batch=session.plan.batch,
            countdown=countdown,
        )


class _Meter:
    """Processor time of the worker and of its servers since it was made, in seconds."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._worker = session.worker_cpu_seconds()
        self._server = session.server_cpu_seconds()

    def read(self) -> tuple[float, float | None]:
        """Returns the worker's time, and the servers' unless the subject has none."""
        now = self._session.server_cpu_seconds()
        server = None if now is None or self._server is None else now - self._server
        return self._session.worker_cpu_seconds() - self._worker, server


def latency(session: Session) -> Values:
    """Sends and waits, one task after the other, with a warm and idle worker."""
    session.warm_up(session.plan.warm_up)
    answer = session.ask("round_trips", first=0, count=session.plan.trips, timeout=10.0)
    trips = [seconds * 1000 for seconds in answer["trips"]]
    return {
        "latency_p50": percentile(trips, 50),
        "latency_p95": percentile(trips, 95),
        "latency_p99": percentile(trips, 99),
        "latency_max": max(trips),
    }


def workflows(session: Session) -> Values:
    """Sends a group, a chord and a chain, one after the other, and waits for each."""
    session.warm_up(session.plan.warm_up)
    trips, steps = session.plan.trips, session.plan.trips
    answer = session.ask("round_trips", first=0, count=trips, timeout=10.0)
    values = {"workflow_trip": percentile(answer["trips"], 50) * 1000}
    for kind in ("group", "chord"):
        done = session.ask("workflow", kind=kind, count=session.plan.tasks, timeout=600.0)
        values[f"{kind}_sent"] = done["sent"] * 1000
        values[f"{kind}_rate"] = session.plan.tasks / done["done"]
    done = session.ask("workflow", kind="chain", count=steps, timeout=600.0)
    return {**values, "chain_step": done["done"] / steps * 1000}


def memory(session: Session) -> Values:
    """Reads the memory of a worker that has run a few tasks and rests."""
    session.warm_up(session.plan.warm_up)
    return {"memory": session.worker_pss_bytes() / 2**20}


def idle(session: Session) -> Values:
    """Watches the processor time of a worker that has nothing to do."""
    session.warm_up(session.plan.warm_up)
    used = _Meter(session)
    began = time.monotonic()
    time.sleep(session.plan.idle)
    worker, server = used.read()
    took = time.monotonic() - began
    values = {"idle": worker / took * 100}
    if server is not None:
        values["idle_server"] = server / took * 100
    return values


def start(session: Session) -> Values:
    """Starts a worker on one waiting task."""
    session.ask("enqueue", first=0, count=1)
    began = session.start_worker()
    session.wait_for(lambda: session.marks.reached(0, 1), 1)
    return {"start": (session.marks.get(0) - began) * 1000}


def import_time(session: Session) -> Values:
    """Imports the library and makes an app with one task, in fresh interpreters.

    The first one writes compiled files and does not count; starting Python itself does not either.
    """
    code = _TIMED.format(application=session.subject.application)
    command = [str(session.python), "-c", code]
    times = []
    for _ in range(session.plan.imports + 1):
        done = subprocess.run(command, capture_output=True, text=True, cwd=session.directory)
        if done.returncode:
            raise TrialError(f"{session.subject.name}: cannot make an application: {done.stderr}")
        times.append(float(done.stdout) * 1000)
    return {"import": statistics.median(times[1:])}


def mixed(session: Session) -> Values:
    """Runs long tasks among no-ops: how long after its end can a no-op's result be read?"""
    session.warm_up(session.plan.warm_up)
    answer = session.ask(
        "mixed",
        first=0,
        short=plan.MIXED_SHORT,
        long=plan.MIXED_LONG,
        hold=session.plan.hold,
        timeout=30.0 + session.plan.hold * plan.MIXED_LONG,
    )
    seen = {int(slot): clock for slot, clock in answer["seen"].items()}
    delays = [(clock - session.marks.get(slot)) * 1000 for slot, clock in seen.items()]
    return {"mixed_max": max(delays), "mixed_p50": percentile(delays, 50)}


def _drain_figures(prefix: str, what: str) -> tuple[Figure, ...]:
    return (
        Figure(prefix, f"drain, {what}", "1/s", more_is_better=True, headline=True),
        Figure(f"{prefix}_mid", f"drain 10–90 %, {what}", "1/s", more_is_better=True),
        Figure(f"{prefix}_worker_cpu", f"worker CPU, {what}", "µs/task", headline=True),
        Figure(f"{prefix}_server_cpu", f"server CPU, {what}", "µs/task"),
    )


MEASURES: dict[str, Measure] = {
    measure.name: measure
    for measure in (
        Measure(
            "enqueue",
            "no-op tasks sent, one call each",
            (
                Figure("enqueue", "enqueue", "1/s", more_is_better=True, headline=True),
                Figure("enqueue_cpu", "producer CPU", "µs/task"),
            ),
            enqueue,
        ),
        Measure(
            "bulk",
            "no-op tasks sent, many with one call (where the subject has such a call)",
            (
                Figure("bulk", "bulk", "1/s", more_is_better=True, headline=True),
                Figure("bulk_cpu", "producer CPU, bulk", "µs/task"),
            ),
            bulk,
            bulk=True,
        ),
        Measure(
            "drain",
            "a full queue worked off without results, and processor time per task",
            _drain_figures("drain", "results off"),
            drain,
        ),
        Measure(
            "drain-results",
            "the same with every result stored",
            _drain_figures("drain_results", "results on"),
            drain_results,
            keep_results=True,
        ),
        Measure(
            "drain-beside",
            "the first of these while one process is busy with a task of a minute",
            _drain_figures("drain_beside", "beside a long task"),
            drain_beside,
        ),
        Measure(
            "backlog",
            "a long queue worked off beside delayed tasks, against a short one (where the subject "
            "can send many delayed tasks with one call)",
            (
                Figure("backlog", "drain, long queue", "1/s", more_is_better=True, headline=True),
                Figure("backlog_short", "drain, short queue", "1/s", more_is_better=True),
                Figure(
                    "backlog_ratio", "long against short", "%", more_is_better=True, headline=True
                ),
                Figure("backlog_memory", "worker memory, long queue", "MiB"),
                Figure("backlog_growth", "its growth meanwhile", "MiB"),
            ),
            backlog,
            bulk=True,
            delayed=True,
        ),
        Measure(
            "workflows",
            "a group and a chord of no-op tasks, a chain, and round trips beside them",
            (
                Figure("group_sent", "group sent", "ms", headline=True),
                Figure("group_rate", "group to its end", "1/s", more_is_better=True, headline=True),
                Figure("chord_sent", "chord sent", "ms", headline=True),
                Figure("chord_rate", "chord to its end", "1/s", more_is_better=True, headline=True),
                Figure("chain_step", "a step of a chain", "ms", headline=True),
                Figure("workflow_trip", "round trip p50 beside", "ms", headline=True),
            ),
            workflows,
            keep_results=True,
            workflows=True,
        ),
        Measure(
            "latency",
            "send-and-wait round trips with a warm, idle worker",
            (
                Figure("latency_p50", "round trip p50", "ms", headline=True),
                Figure("latency_p95", "round trip p95", "ms"),
                Figure("latency_p99", "round trip p99", "ms", headline=True),
                Figure("latency_max", "round trip max", "ms"),
            ),
            latency,
            keep_results=True,
        ),
        Measure(
            "memory",
            "proportional set size of an idle worker's processes",
            (Figure("memory", "idle memory", "MiB", headline=True),),
            memory,
        ),
        Measure(
            "import",
            "import and app with one task, in a fresh interpreter",
            (Figure("import", "import + app", "ms", headline=True),),
            import_time,
        ),
        Measure(
            "start",
            "from the start of the worker's command to its first task",
            (Figure("start", "start to first task", "ms", headline=True),),
            start,
        ),
        Measure(
            "idle",
            "processor time of an idle worker and its server, as a share of one core",
            (
                Figure("idle", "idle worker", "% of a core", headline=True),
                Figure("idle_server", "idle server", "% of a core"),
            ),
            idle,
        ),
        Measure(
            "mixed",
            "long tasks among no-ops: from a no-op's end to its result being readable",
            (
                Figure("mixed_max", "mixed load, longest delay", "ms", headline=True),
                Figure("mixed_p50", "mixed load, median delay", "ms"),
            ),
            mixed,
            keep_results=True,
        ),
    )
}
