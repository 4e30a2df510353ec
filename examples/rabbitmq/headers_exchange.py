"""A headers exchange: the message's headers decide, and its routing key does not count.

python headers_exchange.py
"""

from typing import Any

from taskq import Exchange, Queue, TaskQ
from taskq.exceptions import QueueNotFound

from workers import URL, wait_until, worker

files = Exchange("files", type="headers")
previews = Exchange("previews", type="headers", durable=False, delivery_mode=1)

app = TaskQ(
    "headers_exchange",
    broker=URL,
    result_backend="disabled://",
    task_queues=[
        Queue(
            "files.reports",
            files,
            binding_arguments={"x-match": "all", "format": "pdf", "kind": "report"},
        ),
        Queue(
            "files.urgent",
            files,
            binding_arguments={"x-match": "any", "urgent": True, "kind": "alarm"},
        ),
        Queue("previews.small", previews, binding_arguments={"size": "small"}, durable=False),
    ],
)
seen: list[str] = []


@app.task(name="note", bind=True)
def note(self: Any, what: str) -> None:
    seen.append(f"{self.request.queue}: {what}")


def main() -> None:
    with worker(app):
        report = {"format": "pdf", "kind": "report"}
        note.apply_async(("a report",), exchange="files", headers=report)
        note.apply_async(("a report today",), exchange="files", headers={**report, "urgent": True})
        note.apply_async(("an alarm",), exchange="files", headers={"kind": "alarm"})
        note.apply_async(("a picture",), exchange="previews", headers={"size": "small"})
        try:
            note.apply_async(("a song",), exchange="files", headers={"format": "ogg"})
        except QueueNotFound:
            print("no queue wants a song")
        wait_until(lambda: len(seen) == 5)
    print(*sorted(seen), sep="\n")


if __name__ == "__main__":
    main()
