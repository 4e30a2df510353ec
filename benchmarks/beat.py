"""What a large schedule costs: the time until beat sends, its memory, and ticks a second.

    python -m benchmarks.beat sqlite:////tmp/taskq-beat.db
    python -m benchmarks.beat redis://localhost:6379/0 --entries 100000

The broker must be one that may be emptied: its schedule and its queue ``default`` are deleted.
"""

from __future__ import annotations

import argparse
import gc
import random
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager

from taskq import TaskQ
from taskq.beat import Scheduler
from taskq.beat.stores import open_store
from taskq.schedules import ScheduleEntry, crontab, schedule


def noop(number: int) -> None:
    """Nobody runs it."""


@contextmanager
def timed(what: str, per: int = 0) -> Iterator[None]:
    """Print how long something takes; by the piece and by the second, if there are pieces."""
    start = time.perf_counter()
    yield
    took = time.perf_counter() - start
    rate = f"  {took / per * 1e6:8.1f} µs each  {per / took:10,.0f} a second" if per else ""
    print(f"{what:40} {took:8.3f} s{rate}")


def peak() -> float:
    """The most memory that this process has had, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def make_app(broker: str) -> TaskQ:
    app = TaskQ("benchmark", broker=broker, set_as_current=False)
    app.task(noop, name="noop")
    return app


def empty(app: TaskQ) -> None:
    with open_store(app) as store:
        store.remove([record.name for record in store.load()])
    app.broker.purge("default")


def start(app: TaskQ, entries: dict[str, ScheduleEntry]) -> Scheduler:
    # As `Beat` does: what is made now is no garbage.
    gc.disable()
    try:
        scheduler = Scheduler(app, open_store(app), entries)
        scheduler.start()
    finally:
        gc.enable()
    return scheduler


def measure_start(broker: str, count: int) -> None:
    rng = random.Random(1)
    gc.disable()
    entries = {
        f"entry {n}": ScheduleEntry(
            f"entry {n}", "noop", crontab(rng.randrange(60), rng.randrange(24)), (n,)
        )
        for n in range(count)
    }
    gc.enable()
    before = peak()
    app = make_app(broker)
    empty(app)
    with timed("start, the store is empty", count):
        scheduler = start(app, entries)
    with timed("start, the store knows them", count):
        scheduler = start(app, entries)
    print(f"{'memory besides the entries themselves':40} {peak() - before:8.0f} MiB")
    with timed("a look at nothing that is due", 10_000):
        for _ in range(10_000):
            scheduler.tick()
    empty(app)
    app.close()


def measure_ticks(broker: str, count: int) -> None:
    app = make_app(broker)
    empty(app)
    entries = {
        f"entry {n}": ScheduleEntry(f"entry {n}", "noop", schedule(1.0), (n,)) for n in range(count)
    }
    scheduler = start(app, entries)
    while (rest := (scheduler.timetable.first() or 0.0) - scheduler.now()) > 0:
        time.sleep(rest)
    with timed(f"{count} entries that are due at once", count):
        scheduler.tick()
    assert scheduler.sent == count, scheduler.sent
    empty(app)
    app.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("broker", help="a URL; what is in it is deleted")
    parser.add_argument("--entries", type=int, default=100_000)
    options = parser.parse_args()
    measure_start(options.broker, options.entries)
    measure_ticks(options.broker, min(10_000, options.entries))


if __name__ == "__main__":
    main()
