"""taskq sends a task, and a program without taskq reads it.

    python plain_consumer.py

`receive` uses pika alone, and so could any client of RabbitMQ in any language.
"""

import json

import pika
from taskq import TaskQ

from workers import URL

app = TaskQ("plain_consumer", broker=URL, result_backend="disabled://")


def receive(queue: str) -> None:
    with pika.BlockingConnection(parameters()) as connection:
        channel = connection.channel()
        for method, properties, body in channel.consume(queue, inactivity_timeout=10):
            if method is None:
                raise TimeoutError("no message within 10 s")
            args, kwargs, _ = json.loads(body)
            print("task:", properties.headers["task"])
            print("arguments:", args, kwargs)
            print("content type:", properties.content_type)
            print(
                "id is also the correlation id:",
                properties.headers["id"] == properties.correlation_id,
            )
            channel.basic_ack(method.delivery_tag)  # only when the work is done
            break
        channel.cancel()


def parameters() -> pika.URLParameters:
    # `//` is how kombu writes the virtual host `/`, and `%2F` is how pika does.
    url = URL.replace("pika://", "amqp://", 1)
    return pika.URLParameters(url[:-1] + "%2F" if url.endswith("//") else url)


def main() -> None:
    # No task of that name is known here: a name is all that the sender needs.
    app.send_task("thumbnails.make", ("cat.png",), {"size": 64}, queue="thumbnails")
    receive("thumbnails")


if __name__ == "__main__":
    main()
