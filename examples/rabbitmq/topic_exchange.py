"""A topic exchange: routing keys are words, and bindings are patterns.

python topic_exchange.py
"""

from typing import Any

from taskq import Exchange, Queue, TaskQ

from workers import URL, wait_until, worker

logs = Exchange("logs", type="topic")
metrics = Exchange("metrics", type="topic", durable=False, delivery_mode=1)

app = TaskQ(
    "topic_exchange",
    broker=URL,
    result_backend="disabled://",
    task_queues=[
        Queue("logs.all", logs, routing_key="#"),  # any number of words
        Queue("logs.errors", logs, routing_key="*.error"),  # * is one word
        Queue("logs.kernel", logs, routing_key="kernel.#"),
        Queue("metrics.disks", metrics, routing_key="*.disk.*", durable=False),
    ],
)
seen: list[str] = []


@app.task(name="note", bind=True)
def note(self: Any) -> None:
    delivery = self.request.delivery_info
    seen.append(f"{delivery['routing_key']} -> {self.request.queue}")


def main() -> None:
    with worker(app):
        for key in ("kernel.error", "mail.error", "kernel.info.boot"):
            note.apply_async(exchange="logs", routing_key=key)
        note.apply_async(exchange="metrics", routing_key="one.disk.free")
        wait_until(lambda: len(seen) == 8)
    print(*sorted(seen), sep="\n")


if __name__ == "__main__":
    main()
