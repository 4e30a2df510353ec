"""Tasks that Celery and taskq run from one source; neither is imported here."""

from __future__ import annotations

import decimal
import os
import time
import uuid
from datetime import UTC, datetime
from typing import Any


class Unlucky(Exception):
    """Raised with two arguments, as not every exception is."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(code, text)
        self.code = code


def add_tasks(app: Any, side: str, exceptions: Any) -> None:
    """Register the tasks with an app.

    Args:
        app: of Celery or of taskq.
        side: "celery" or "taskq"; some tasks return it.
        exceptions: the module of that side's exceptions.
    """
    _add_plain(app, side)
    _add_failing(app, side, exceptions)
    _add_members(app, side)


def _add_plain(app: Any, side: str) -> None:
    @app.task(name="interop.add")
    def add(x: Any, y: Any = 0) -> Any:
        return x + y

    @app.task(name="interop.echo")
    def echo(*args: Any, **kwargs: Any) -> list[Any]:
        return [list(args), kwargs]

    @app.task(name="interop.types")
    def types(value: Any) -> list[Any]:
        """The value with what it is here: a type that was lost on the way shows."""
        return [value, type(value).__name__]

    @app.task(name="interop.make")
    def make(kind: str) -> Any:
        return {
            "datetime": datetime(2030, 1, 31, 12, tzinfo=UTC),
            "decimal": decimal.Decimal("1.10"),
            "uuid": uuid.UUID(int=7),
            "bytes": b"\0\xff",
        }[kind]

    @app.task(name="interop.who", bind=True)
    def who(self: Any, *args: Any) -> dict[str, Any]:
        request = self.request
        info = request.delivery_info
        return {
            "side": side,
            "id": request.id,
            "root": request.root_id,
            "parent": request.parent_id,
            "group": request.group,
            "priority": info["priority"],
            "exchange": info["exchange"],
            "routing_key": info["routing_key"],
            "expires": request.expires,
            "timelimit": list(request.timelimit or [None, None]),
            "retries": request.retries,
            "time": time.time(),
        }

    @app.task(name="interop.hold")
    def hold(path: str) -> str:
        """Tell that it runs, and run until the file is gone."""
        with open(path, "w") as file:
            file.write(str(os.getpid()))
        while os.path.exists(path):
            time.sleep(0.01)
        return side

    @app.task(name="interop.note")
    def note(value: Any, path: str) -> None:
        """Write who was given what."""
        with open(path, "a") as file:
            file.write(f"{side}: {value}\n")

    @app.task(name="interop.ignored", ignore_result=True)
    def ignored(path: str) -> None:
        note.run(None, path)


def _add_failing(app: Any, side: str, exceptions: Any) -> None:
    @app.task(name="interop.fail")
    def fail(kind: str = "value") -> None:
        raise {
            "value": ValueError("no", 7),
            "own": Unlucky(5, "out of luck"),
            "ignore": exceptions.Ignore(),
            "reject": exceptions.Reject("spoilt", requeue=False),
        }[kind]

    @app.task(name="interop.retry", bind=True, max_retries=3)
    def retry(self: Any, times: int, queue: str | None = None) -> list[Any]:
        """Fail so often; the next attempt goes to `queue`."""
        if self.request.retries < times:
            options = {"queue": queue} if queue else {}
            raise self.retry(countdown=0.01, exc=ValueError(self.request.retries), **options)
        return [side, self.request.retries]

    @app.task(name="interop.state", bind=True)
    def state(self: Any, path: str) -> None:
        self.update_state(state="PROGRESS", meta={"done": 7})
        with open(path, "w"):
            pass
        while os.path.exists(path):
            time.sleep(0.01)

    @app.task(name="interop.errback")
    def errback(*args: Any) -> list[str]:
        """Called at once with (request, exc, traceback) by a worker that knows it."""
        kinds = [type(arg).__name__ for arg in args]
        with open(os.environ["INTEROP_FOLDER"] + "/errbacks", "a") as file:
            file.write(f"{side}: {kinds}\n")
        return kinds

    @app.task(name="interop.failed_id")
    def failed_id(task_id: str) -> str:
        """Sent with the id of what has failed."""
        with open(os.environ["INTEROP_FOLDER"] + "/failed", "a") as file:
            file.write(f"{side}: {task_id}\n")
        return task_id


def _add_members(app: Any, side: str) -> None:
    @app.task(name="interop.member")
    def member(number: int) -> list[Any]:
        return [number, side]

    @app.task(name="interop.gather")
    def gather(values: list[Any]) -> list[Any]:
        return [side, values]
