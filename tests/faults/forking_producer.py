"""A program that publishes, from threads too, forks with its connections open, and goes on.

Usage: python -m tests.faults.forking_producer FOLDER SETTINGS
Parent and children publish at the same time; the exit status tells whether all went well.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from pathlib import Path

from taskq import TaskQ
from tests.faults.tasks import make_app

CHILDREN = THREADS = 4
EACH = 100
TOTAL = EACH * (THREADS + 2 * CHILDREN)
"""How many tasks it sends in all."""


def main(folder: str, settings: str) -> int:
    """Publish and fork; the exit status."""
    app = make_app(Path(folder), **json.loads(settings))
    threads = [
        threading.Thread(target=publish, args=(app, f"thread{number}")) for number in range(THREADS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    children = []
    for number in range(CHILDREN):
        pid = os.fork()
        if pid == 0:
            inherited = connections()
            publish(app, f"child{number}")
            # It has opened a connection of its own, and uses none of the parent's.
            return 0 if connections() - inherited and inherited else 1
        children.append(pid)
        publish(app, f"parent{number}")
    return max(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children)


def publish(app: TaskQ, name: str) -> None:
    """Send tasks one by one."""
    for number in range(EACH):
        app.send_task("note", (f"{name}-{number}",))


def connections() -> set[tuple[str, str]]:
    """What of this process leads to the broker: descriptors of a file, or sockets."""
    found = set()
    for descriptor in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{descriptor}")
        except FileNotFoundError:
            continue  # that of the listing itself
        if target.endswith("/taskq.db"):
            found.add((descriptor, target))
        elif target.startswith("socket:"):
            found.add(("", target))
    return found


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
