"""A program without taskq sends a task, in Celery's task protocol 2, and a taskq worker runs it.

    python plain_producer.py

`send` uses pika alone, and so could any client of RabbitMQ in any language.
"""

import json
import uuid

import pika
from taskq import TaskQ

from workers import URL, wait_until, worker

app = TaskQ("plain_producer", broker=URL, result_backend="disabled://", task_default_queue="plain")
seen: list[str] = []


@app.task(name="shop.greet")
def greet(name: str, *, loud: bool = False) -> None:
    seen.append(f"Hello, {name.upper() if loud else name}!")


def send(queue: str) -> None:
    task_id = str(uuid.uuid4())
    body = [["world"], {"loud": True}, {}]  # args, kwargs, and what follows: nothing
    properties = pika.BasicProperties(
        content_type="application/json",
        content_encoding="utf-8",
        correlation_id=task_id,
        delivery_mode=2,  # on disk
        # A taskq worker needs these two; a Celery worker wants the others of the protocol as well.
        headers={"task": "shop.greet", "id": task_id},
    )
    with pika.BlockingConnection(parameters()) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        channel.basic_publish("", queue, json.dumps(body).encode(), properties, mandatory=True)


def parameters() -> pika.URLParameters:
    # `//` is how kombu writes the virtual host `/`, and `%2F` is how pika does.
    url = URL.replace("pika://", "amqp://", 1)
    return pika.URLParameters(url[:-1] + "%2F" if url.endswith("//") else url)


def main() -> None:
    with worker(app):  # which has declared the queue
        send("plain")
        wait_until(lambda: bool(seen))
    print(*seen)


if __name__ == "__main__":
    main()
