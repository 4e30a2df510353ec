"""A fanout exchange: every queue that is bound gets a copy, whatever the routing key.

python fanout_exchange.py
"""

from typing import Any

from taskq import Exchange, Queue, TaskQ

from workers import URL, wait_until, worker

signups = Exchange("signups", type="fanout")
ticks = Exchange("ticks", type="fanout", durable=False, delivery_mode=1)

app = TaskQ(
    "fanout_exchange",
    broker=URL,
    result_backend="disabled://",
    task_queues=[
        Queue("signups.mail", signups),
        Queue("signups.billing", signups),
        Queue("ticks.screen", ticks, durable=False),
        Queue("ticks.history", ticks, durable=False),
    ],
)
seen: list[str] = []


@app.task(name="note", bind=True)
def note(self: Any, what: str) -> None:
    seen.append(f"{self.request.queue}: {what}")


def main() -> None:
    with worker(app):
        note.apply_async(("Ada",), exchange="signups")
        note.apply_async(("12:00",), exchange="ticks")
        wait_until(lambda: len(seen) == 4)
    print(*sorted(seen), sep="\n")


if __name__ == "__main__":
    main()
