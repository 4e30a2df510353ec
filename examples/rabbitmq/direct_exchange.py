"""A direct exchange: a message goes to the queues that are bound with exactly its routing key.

python direct_exchange.py
"""

from typing import Any

from taskq import Exchange, Queue, TaskQ

from workers import URL, wait_until, worker

# Durable: exchange, queues and messages outlive a restart of RabbitMQ.
orders = Exchange("shop.orders", type="direct")
# Transient: they do not, and the messages are kept in memory (`delivery_mode=1`).
clicks = Exchange("shop.clicks", type="direct", durable=False, delivery_mode=1)

app = TaskQ(
    "direct_exchange",
    broker=URL,
    result_backend="disabled://",
    task_queues=[
        Queue("shop.new", orders, routing_key="new"),
        Queue("shop.audit", orders, routing_key="new"),  # the same key: each gets a copy
        Queue("shop.paid", orders, routing_key="paid"),
        Queue("shop.clicks", clicks, routing_key="click", durable=False),
    ],
)
seen: list[str] = []


@app.task(name="note", bind=True)
def note(self: Any, what: str) -> None:
    seen.append(f"{self.request.queue}: {what}")


def main() -> None:
    with worker(app):
        note.apply_async(("a hat",), exchange="shop.orders", routing_key="new")
        note.apply_async(("a coat",), exchange="shop.orders", routing_key="paid")
        note.apply_async(("the banner",), exchange="shop.clicks", routing_key="click")
        wait_until(lambda: len(seen) == 4)
    print(*sorted(seen), sep="\n")


if __name__ == "__main__":
    main()
