"""Which task goes to which queue, and which message to which worker."""

from pathlib import Path
from typing import Any

from taskq import Broadcast, Exchange, Queue, TaskQ

sales = Exchange("sales", type="topic")

app = TaskQ(
    "tasks",
    broker="sqlite:///taskq.db",
    task_queues=[
        Queue("default"),
        Queue("reports"),
        # Sales of all of Europe go to one queue, and those of books from anywhere to another:
        # a sale of books in Europe goes to both.
        Queue("europe", sales, routing_key="europe.#"),
        Queue("books", sales, routing_key="*.books"),
        Broadcast("prices"),
    ],
    # By name or pattern; a call that names a queue itself comes first.
    task_routes={"tasks.*_report": "reports", "tasks.load_prices": "prices"},
)


@app.task(bind=True)
def daily_report(self: Any, day: str) -> str:
    return f"report of {day}, from queue {self.request.queue}"


@app.task(bind=True)
def note_sale(self: Any, what: str) -> None:
    with Path(f"sales-{self.request.queue}.txt").open("a") as file:
        file.write(f"{what}\n")


@app.task(bind=True, ignore_result=True)
def load_prices(self: Any, version: int) -> None:
    """Runs once in every worker that consumes the queue `prices`."""
    Path(f"prices-{self.request.hostname}.txt").write_text(str(version))
