"""A program that runs a worker on the memory broker in itself, and tasks on that.

Usage: python -m tests.e2e.memory_program FOLDER POOL
It prints what came of the tasks, in JSON.
"""

from __future__ import annotations

import json
import sys
import threading
from pathlib import Path
from typing import Any

from taskq import TaskQ, chord, signals
from taskq.exceptions import ChordError
from tests.e2e.project import make_app


def main(folder: str, pool: str) -> int:
    """Run the worker until the tasks are done; its exit status."""
    app = make_app(Path(folder), broker_url="memory://")
    worker = app.Worker(pool=pool, concurrency=2)
    found: dict[str, Any] = {}

    def use() -> None:
        try:
            found.update(_use(app, nested=pool == "prefork"))
        finally:
            worker.stop()

    user = threading.Thread(target=use)
    signals.worker_ready.connect(lambda **_: user.start(), weak=False)
    status = worker.run()
    user.join()
    print(json.dumps(found))  # noqa: T201 - this is what the program is for
    return status


def _use(app: TaskQ, nested: bool) -> dict[str, Any]:
    """What came of tasks of every kind; `nested` ones need more than one process."""
    tasks = app.tasks
    many = app.send_many([tasks["add"].s(n, 1) for n in range(200)])
    chain = (tasks["add"].s(1, 2) | tasks["double"].s()).delay()
    found: dict[str, Any] = {
        "many": [result.get(timeout=30) for result in many],
        "chain": chain.get(timeout=30),
        "retry": tasks["retry"].delay(2).get(timeout=30),
        "chord": chord([tasks["add"].s(n, 1) for n in range(20)], tasks["note"].s())().get(30),
        "late": tasks["add"].apply_async((1, 1), countdown=0.2).get(timeout=30),
        "large": len(tasks["note"].delay("x" * 1_000_000).get(timeout=30)),
    }
    if nested:
        found["parent"] = tasks["parent"].delay(41).get(timeout=30)
        found["aparent"] = tasks["aparent"].delay(1).get(timeout=30)
    inner = chord([tasks["add"].s(1, 1), app.signature("careless")], tasks["note"].s())
    try:
        chord([inner, tasks["add"].s(1, 1)], tasks["note"].s())().get(timeout=30)
    except ChordError as exc:
        found["failed chord"] = str(exc)
    for name in ("wrong", "no_such", "careless"):
        try:
            app.send_task(name).get(timeout=30)
        except Exception as exc:
            found[name] = type(exc).__name__
    return found


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
