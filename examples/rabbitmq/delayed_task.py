"""A delayed task: it waits in RabbitMQ, whether a worker runs or not.

python delayed_task.py
"""

import time

from taskq import TaskQ

from workers import URL, wait_until, worker

app = TaskQ(
    "delayed_task",
    broker=URL,
    result_backend="disabled://",
    # The queues that delayed messages wait in: quorum queues by default, which a cluster copies.
    broker_native_delayed_delivery_queue_type="classic",
)
ran: dict[str, float] = {}


@app.task(name="remind")
def remind(what: str) -> None:
    ran[what] = time.monotonic()


def main() -> None:
    start = time.monotonic()
    remind.apply_async(("later",), countdown=1.2)
    remind.delay("now")
    with worker(app):
        wait_until(lambda: len(ran) == 2)
    print("in this order:", *ran)
    print("later than 1.2 s:", ran["later"] - start >= 1.2)


if __name__ == "__main__":
    main()
