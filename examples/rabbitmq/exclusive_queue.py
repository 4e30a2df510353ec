"""An exclusive queue: it belongs to one worker's connection, and is gone with it.

python exclusive_queue.py
"""

from taskq import Exchange, Queue, TaskQ
from taskq.exceptions import QueueNotFound

from workers import URL, wait_until, worker

news = Exchange("news", type="fanout")
app = TaskQ(
    "exclusive_queue",
    broker=URL,
    result_backend="disabled://",
    task_queues=[Queue("news.mine", news, exclusive=True)],
)
seen: list[str] = []


@app.task(name="read")
def read(headline: str) -> None:
    seen.append(headline)


def send(headline: str) -> bool:
    """Whether there was a queue for it: what no queue takes is refused, and not lost in silence."""
    try:
        read.apply_async((headline,), exchange="news")
    except QueueNotFound:
        return False
    return True


def main() -> None:
    with worker(app):
        # The queue comes with the connection that consumes, a moment after the worker is ready.
        wait_until(lambda: send("all is well"))
        wait_until(lambda: bool(seen))
        print("read:", *seen)
    # RabbitMQ deletes it when that connection has closed.
    wait_until(lambda: not send("nobody reads this"))
    print("the queue went with its worker")


if __name__ == "__main__":
    main()
