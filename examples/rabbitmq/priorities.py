"""Priorities: of what waits in a queue, the highest goes first.

python priorities.py
"""

from taskq import Queue, TaskQ

from workers import URL, wait_until, worker

app = TaskQ(
    "priorities",
    broker=URL,
    result_backend="disabled://",
    # RabbitMQ must know the highest beforehand; without this, taskq's queues have 9.
    task_queues=[Queue("jobs", max_priority=9)],
    task_default_queue="jobs",
)
seen: list[str] = []


@app.task(name="job")
def job(name: str) -> None:
    seen.append(name)


def main() -> None:
    job.apply_async(("low",), priority=1)
    job.apply_async(("none",))
    job.apply_async(("high",), priority=9)
    job.apply_async(("middle",), priority=5)
    with worker(app):
        wait_until(lambda: len(seen) == 4)
    print("in this order:", *seen)


if __name__ == "__main__":
    main()
