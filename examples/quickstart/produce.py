"""Calling tasks: delay, apply_async with options, many calls at once, and their results.

In this folder, in two terminals:

    taskq -A proj worker --loglevel INFO
    python produce.py
"""

from taskq.exceptions import TaskRevokedError

from proj.app import app
from proj.tasks import add, divide, greet


def main() -> None:
    # The plain call. What comes back at once is a handle; get() waits for the value.
    result = add.delay(2, 3)
    print("2 + 3 =", result.get(timeout=30))
    print(greet.delay("you").get(timeout=30))

    # Not before half a second has passed.
    late = add.apply_async((20, 30), countdown=0.5)
    print("at once:", late.state)
    print("later: 20 + 30 =", late.get(timeout=30))

    # Ahead of whatever else waits: 0 to 9, 9 first.
    print("urgent:", add.apply_async((1, 1), priority=9).get(timeout=30))

    # Due after it has expired: it is dropped unrun, and whoever waits for it is told.
    dropped = add.apply_async((1, 1), countdown=0.5, expires=0.1)
    try:
        dropped.get(timeout=30)
    except TaskRevokedError as exc:
        print("dropped:", exc)

    # A task that fails raises its exception here, with the worker's traceback as a note.
    try:
        divide.delay(1, 0).get(timeout=30)
    except ZeroDivisionError as exc:
        print("failed:", exc)

    # A thousand calls in one round trip.
    results = app.send_many(add.s(number, number) for number in range(1000))
    print("sum of 1000 results:", sum(result.get(timeout=30) for result in results))


if __name__ == "__main__":
    main()
