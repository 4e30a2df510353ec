"""Exchanges bound to exchanges: one place to publish, and each team arranges its own part.

python exchange_to_exchange.py
"""

from typing import Any

from taskq import Exchange, Queue, TaskQ, binding

from workers import URL, wait_until, worker

events = Exchange("events", type="topic")
# What concerns payments goes on from `events` to an exchange of its own, and there to everyone.
payments = Exchange("payments", type="fanout", bindings=(binding(events, "payment.#"),))

app = TaskQ(
    "exchange_to_exchange",
    broker=URL,
    result_backend="disabled://",
    task_queues=[
        Queue("payments.books", payments),
        Queue("payments.fraud", payments),
        # A queue may have several bindings; it still gets one copy of a message.
        Queue("events.log", bindings=(binding(events, "#"), binding(payments))),
    ],
)
seen: list[str] = []


@app.task(name="note", bind=True)
def note(self: Any, what: str) -> None:
    seen.append(f"{self.request.queue}: {what}")


def main() -> None:
    with worker(app):
        note.apply_async(("paid",), exchange="events", routing_key="payment.card")
        note.apply_async(("logged in",), exchange="events", routing_key="user.login")
        wait_until(lambda: len(seen) == 4)
    print(*sorted(seen), sep="\n")


if __name__ == "__main__":
    main()
