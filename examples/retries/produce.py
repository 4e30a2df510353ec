"""Trying again: by hand, by options, and after a rejection from the dead letters.

In this folder, in two terminals:

    taskq -A tasks worker --loglevel INFO
    python produce.py
"""

import time
from pathlib import Path

from taskq.brokers.base import DeadLetter

from tasks import ServiceBusy, app, fetch, fetch_by_itself, ship, tidy


def main() -> None:
    print("by hand:", fetch.delay(2).get(timeout=30))
    print("by options:", fetch_by_itself.delay(2).get(timeout=30))

    # Past max_retries it has failed, and get() raises its last exception.
    try:
        fetch_by_itself.delay(100).get(timeout=30)
    except ServiceBusy as exc:
        print("given up:", exc)

    # A rejected message is kept, with the reason. On the command line:
    #   taskq -A tasks dlq list
    Path("warehouse-is-open").unlink(missing_ok=True)
    app.broker.purge_dead()
    result = ship.delay(7)
    letter = wait_for_dead_letter()
    print("dead letter:", letter.reason)

    # When its cause is mended it is sent again, under the same id. On the command line:
    #   taskq -A tasks dlq retry --all
    Path("warehouse-is-open").touch()
    app.broker.retry_dead([letter.id])
    print("sent again:", result.get(timeout=30))

    # A task that raises Ignore leaves no result, so there is nothing to wait for.
    print("ignored:", tidy.delay().state)


def wait_for_dead_letter() -> DeadLetter:
    deadline = time.monotonic() + 30
    while not (letters := app.broker.dead_letters(limit=1)):
        if time.monotonic() > deadline:
            raise TimeoutError("no dead letter within 30 s: is a worker running?")
        time.sleep(0.05)
    return letters[0]


if __name__ == "__main__":
    main()
