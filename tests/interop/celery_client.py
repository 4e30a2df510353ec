"""A client of Celery's that does what it is told: a program for Celery's own environment.

Each line of its input is ``[name, arguments]`` in JSON, and each line of its output what the
function of that name below has returned, or an error.
"""

from __future__ import annotations

import json
import sys
import threading
import time
import traceback
from typing import Any

from celery import chain, chord, exceptions, group, signature
from celery.result import GroupResult
from kombu import Connection

from tests.interop.celery_side import app

PATIENCE = 15


def send(name: str, args: list[Any], kwargs: dict[str, Any], **options: Any) -> str:
    """Send a task; its id."""
    return str(app.send_task(name, args, kwargs, **options).id)


def get(task_id: str, timeout: float = PATIENCE) -> dict[str, Any]:
    """Wait for a result, and tell of it what Celery makes of it."""
    result = app.AsyncResult(task_id)
    value = result.get(timeout=timeout, propagate=False)
    if isinstance(value, BaseException):
        value = [type(value).__name__, type(value).__module__, list(value.args)]
    return {
        "state": result.state,
        "value": value,
        "traceback": result.traceback,
        "type": type(result.result).__name__,
    }


def catches(task_id: str, name: str) -> bool:
    """Does `except` with that class of Celery's catch what `get` raises?"""
    try:
        app.AsyncResult(task_id).get(timeout=PATIENCE)
    except getattr(exceptions, name):
        return True
    except Exception:
        return False
    return False


def run(document: Any, timeout: float = PATIENCE, **options: Any) -> Any:
    """Send a signature that is given as a document, and get its result."""
    return _call(document, **options).get(timeout=timeout)


def post(document: Any, **options: Any) -> str:
    """Send a signature that is given as a document; the id of its result."""
    return str(_call(document, **options).id)


def _call(document: Any, **options: Any) -> Any:
    return signature(document, app=app).apply_async(**options)


def build(kind: str, *documents: Any) -> Any:
    """The document of a chain, a group or a chord, as Celery writes it."""
    parts = [signature(document, app=app) for document in documents]
    made = {"chain": chain, "group": group, "chord": lambda *all: chord(all[:-1], all[-1])}
    return json.loads(json.dumps(made[kind](*parts)))


def collect(task_id: str) -> list[Any]:
    """The results of a task and all that it has led to."""
    return [value for _, value in app.AsyncResult(task_id).collect(timeout=PATIENCE)]


def join(ids: list[str]) -> list[Any]:
    """Wait for several results together."""
    return GroupResult("group", [app.AsyncResult(one) for one in ids]).join(timeout=PATIENCE)


def revoke(task_id: str, **options: Any) -> None:
    """Tell all workers not to run it."""
    app.control.revoke(task_id, **options)


def state(task_id: str) -> list[Any]:
    """The state at the moment."""
    result = app.AsyncResult(task_id)
    return [result.state, result.info if isinstance(result.info, dict) else None]


def broadcast(command: str, **options: Any) -> Any:
    """Ask workers; their replies."""
    return app.control.broadcast(
        command,
        reply=True,
        timeout=10,
        limit=len(options.get("destination") or ()) or None,
        **options,
    )


def inspect(command: str, destination: list[str] | None = None, *args: Any) -> Any:
    """Ask workers as `celery inspect` does; their replies, one in a document each."""
    count = len(destination) if destination else 2
    found = getattr(app.control.inspect(timeout=10, destination=destination, limit=count), command)(
        *args
    )
    return [{name: value} for name, value in (found or {}).items()]


_events: list[dict[str, Any]] = []


def listen() -> None:
    """Begin to note events."""

    def receive() -> None:
        with app.connection_for_read() as connection:
            receiver = app.events.Receiver(connection, handlers={"*": _events.append})
            receiver.capture(limit=None, timeout=None, wakeup=True)

    threading.Thread(target=receive, daemon=True).start()
    # The worker answers the receiver's call for a heartbeat.
    deadline = time.monotonic() + PATIENCE
    while not _events and time.monotonic() < deadline:
        time.sleep(0.01)


def heard(task_id: str, types: list[str]) -> list[dict[str, Any]]:
    """The events of a task, of these types, when all are there."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        found = [e for e in _events if e.get("uuid") == task_id and e["type"] in types]
        if {event["type"] for event in found} == {*types}:
            return found
        time.sleep(0.01)
    raise AssertionError([event for event in _events if event.get("uuid") == task_id])


def protocol_1(name: str, args: list[Any], kwargs: dict[str, Any], queue: str, **more: Any) -> None:
    """Send a task as Celery did before version 4."""
    app.conf.task_protocol = 1
    try:
        with app.connection_for_write() as connection:
            message = app.amqp.as_task_v1(more.pop("task_id"), name, args, kwargs, **more)
            producer = app.amqp.Producer(connection)
            app.amqp.send_task_message(producer, name, message, queue=queue)
    finally:
        app.conf.task_protocol = 2


def put(queue: str, body: Any, headers: dict[str, Any], **properties: Any) -> None:
    """Put a message of any kind into a queue."""
    with Connection(app.conf.broker_url) as connection:
        connection.Producer().publish(
            body,
            content_encoding="utf-8",
            exchange="",
            routing_key=queue,
            headers=headers,
            **properties,
        )


def main() -> None:
    """Answer until the input ends."""
    _answer({"ready": True})
    for line in sys.stdin:
        name, args, options = json.loads(line)
        try:
            _answer({"value": globals()[name](*args, **options)})
        except BaseException:
            _answer({"error": traceback.format_exc()})


def _answer(document: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(document, default=repr) + "\n")
    sys.stdout.flush()


main()
