"""A quorum queue: kept by several nodes of a cluster, it survives the loss of one.

python quorum_queue.py
"""

from typing import Any

from taskq import Queue, TaskQ

from workers import URL, wait_until, worker

app = TaskQ(
    "quorum_queue",
    broker=URL,
    result_backend="disabled://",
    # For all queues at once: task_default_queue_type="quorum".
    task_queues=[Queue("ledger", queue_arguments={"x-queue-type": "quorum"}, max_priority=5)],
    task_default_queue="ledger",
)
seen: list[str] = []


@app.task(name="book", bind=True)
def book(self: Any, amount: int) -> None:
    seen.append(f"{amount} booked from {self.request.queue}")


def main() -> None:
    book.delay(1)
    # Before RabbitMQ 4 quorum queues have no priorities: taskq keeps a queue for each.
    book.apply_async((2,), priority=5)
    with worker(app):
        wait_until(lambda: len(seen) == 2)
    print(*sorted(seen), sep="\n")


if __name__ == "__main__":
    main()
