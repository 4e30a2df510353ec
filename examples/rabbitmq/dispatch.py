"""Workers of one queue: tasks are dealt out in turn, and a fair worker hoards nothing.

python dispatch.py
"""

import threading
from typing import Any

from taskq import TaskQ

from workers import URL, wait_until, worker

app = TaskQ(
    "dispatch",
    broker=URL,
    result_backend="disabled://",
    # Fair: a worker of long tasks holds none beyond the one that it runs, so no task waits
    # behind a long one while another worker is idle.
    worker_prefetch_multiplier=1,
)
gates = {"turn": threading.Event(), "night": threading.Event()}
ran: list[tuple[str, str]] = []


@app.task(name="long", bind=True)
def long(self: Any, gate: str) -> None:
    ran.append((gate, self.request.hostname))
    gates[gate].wait(timeout=30)


@app.task(name="short", bind=True)
def short(self: Any) -> None:
    ran.append(("short", self.request.hostname))


def who_ran(what: str) -> list[str]:
    return sorted(name for task, name in ran if task == what)


def main() -> None:
    with worker(app, "one"), worker(app, "two"):
        long.delay("turn")
        long.delay("turn")
        wait_until(lambda: len(who_ran("turn")) == 2)
        print("in turn:", *who_ran("turn"))
        gates["turn"].set()

        long.delay("night")
        wait_until(lambda: len(who_ran("night")) == 1)
        for _ in range(4):
            short.delay()
        wait_until(lambda: len(who_ran("short")) == 4)  # while the long one still runs
        idle = {"one", "two"} - set(who_ran("night"))
        print("short tasks went to the idle worker:", set(who_ran("short")) == idle)
        gates["night"].set()


if __name__ == "__main__":
    main()
