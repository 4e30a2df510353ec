"""Queues and routes, a topic exchange, and a broadcast to every worker.

In this folder, in three terminals; the workers first, since a broadcast reaches those that run:

    taskq -A tasks worker -n one -Q default,reports,prices --loglevel INFO
    taskq -A tasks worker -n two -Q europe,books,prices --loglevel INFO
    python produce.py
"""

import time
from collections.abc import Callable
from pathlib import Path

from tasks import daily_report, load_prices, note_sale


def main() -> None:
    for file in [*Path().glob("sales-*.txt"), *Path().glob("prices-*.txt")]:
        file.unlink()

    # The route of its name leads to the queue `reports`, and so to worker one.
    print(daily_report.delay("Monday").get(timeout=30))
    # The call's own choice comes first.
    print(daily_report.apply_async(("Tuesday",), queue="default").get(timeout=30))

    # A topic exchange: the routing key decides, and one message can go to several queues.
    sales = {"a hat": "europe.hats", "a novel": "asia.books", "both": "europe.books"}
    for what, key in sales.items():
        note_sale.apply_async((what,), exchange="sales", routing_key=key)
    wait_until(lambda: len(lines("europe")) == 2 and len(lines("books")) == 2)
    print("europe:", *lines("europe"))
    print("books:", *lines("books"))

    # A broadcast: every worker that consumes the queue gets a copy.
    load_prices.delay(42)
    wait_until(lambda: len(list(Path().glob("prices-*.txt"))) == 2)
    print("workers with new prices: 2")


def lines(queue: str) -> list[str]:
    file = Path(f"sales-{queue}.txt")
    return sorted(file.read_text().splitlines()) if file.exists() else []


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("nothing happened within 30 s: are both workers running?")
        time.sleep(0.05)


if __name__ == "__main__":
    main()
