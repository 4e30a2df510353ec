"""A program that sends tasks and prints the ids of those that were accepted.

Usage: python -m tests.faults.producer FOLDER SETTINGS NAME [COUNT]
"""

from __future__ import annotations

import itertools
import json
import sys
from pathlib import Path

from tests.faults.tasks import make_app

BATCH = 20


def main(folder: str, settings: str, name: str, count: str = "0") -> None:
    """Send `note` tasks with the keys NAME-1, NAME-2 …, by turns alone and in batches.

    Args:
        folder: the test's folder.
        settings: of the app, in JSON.
        name: begins the keys.
        count: how many to send at least; 0 sends until it is killed.
    """
    app = make_app(Path(folder), **json.loads(settings))
    note = app.tasks["note"]
    numbers = itertools.count(1)
    sent = 0
    for size in itertools.cycle((1, BATCH)):
        keys = [f"{name}-{next(numbers)}" for _ in range(size)]
        results = app.send_many([note.s(key) for key in keys])
        sys.stdout.write("".join(f"{result.id}\n" for result in results))
        sys.stdout.flush()
        sent += size
        if int(count) and sent >= int(count):
            return


if __name__ == "__main__":
    main(*sys.argv[1:])
