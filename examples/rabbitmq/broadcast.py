"""Publish and subscribe: one message, and every worker runs the task.

python broadcast.py
"""

from typing import Any

from taskq import Broadcast, TaskQ

from workers import URL, wait_until, worker

app = TaskQ(
    "broadcast",
    broker=URL,
    result_backend="disabled://",
    task_queues=[Broadcast("caches")],
    task_routes={"forget": "caches"},
)
seen: list[str] = []


@app.task(name="forget", bind=True, ignore_result=True)
def forget(self: Any, key: str) -> None:
    seen.append(f"{self.request.hostname} forgets {key}")


def main() -> None:
    with worker(app, "one"), worker(app, "two"), worker(app, "three"):
        forget.delay("prices")
        wait_until(lambda: len(seen) == 3)
    print(*sorted(seen), sep="\n")


if __name__ == "__main__":
    main()
