"""Periodic tasks: what runs when, entries that are added while beat runs, changes of the clock.

In this folder, in two terminals:

    taskq -A tasks worker --beat --loglevel INFO
    python produce.py
"""

import time
from collections.abc import Callable
from datetime import datetime
from zoneinfo import ZoneInfo

from taskq.beat import ScheduleEditor
from taskq.schedules import ScheduleEntry, crontab, schedule

from tasks import app


def main() -> None:
    editor = ScheduleEditor(app)
    wait(lambda: editor.record("heart").runs >= 3)
    names = [record.name for record in editor.records() if record.source == "code"]
    print("in code:", ", ".join(names))

    # On the command line:
    #   taskq -A tasks schedule add guest tasks.pulse --every 0.2 --args '["guest"]'
    guest = ScheduleEntry("guest", "tasks.pulse", schedule(0.2), args=("guest",))
    editor.add(guest, replace=True)
    wait(lambda: editor.record("guest").runs >= 3)
    print("added while beat runs: guest")

    #   taskq -A tasks schedule disable guest
    editor.disable("guest")
    print("enabled:", editor.record("guest").enabled)

    # Sent now, besides its ticks:  taskq -A tasks schedule run guest
    (task_id,) = editor.run("guest")
    print("run by hand:", app.AsyncResult(task_id).get(timeout=30).split(",")[0])
    editor.remove("guest")

    # In the night of 29 March 2026 there is no half past two in Berlin; in that of 25 October
    # there are two. A fixed time counts once on each.
    for day in ("2026-03-28", "2026-10-24"):
        moment: datetime | None = datetime.fromisoformat(day).replace(
            hour=12, tzinfo=ZoneInfo("Europe/Berlin")
        )
        for _ in range(2):
            assert moment is not None
            moment = crontab(30, 2).next(moment)
            print("nightly:", moment)


def wait(condition: Callable[[], bool]) -> None:
    """Wait until something has happened."""
    deadline = time.monotonic() + 30
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("is a worker with a beat running?")
        time.sleep(0.05)


if __name__ == "__main__":
    main()
