"""A small project such as a user might write: one task for each thing that tasks can do."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from taskq import TaskQ
from taskq.exceptions import Ignore
from taskq.task import Task
from tests.faults.journal import Journal


class Flaky(Exception):
    """What goes wrong at first, and then no more."""


class Counted(Task[..., Any]):
    """A base class that notes in the journal which handlers were called."""

    journal: Journal

    def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
        self.journal.write("before_start", args[0])

    def on_success(self, retval: Any, task_id: str, args: Any, kwargs: Any) -> None:
        self.journal.write("on_success", args[0])

    def on_retry(
        self, exc: BaseException, task_id: str, args: Any, kwargs: Any, einfo: Any
    ) -> None:
        self.journal.write("on_retry", args[0])

    def on_failure(
        self, exc: BaseException, task_id: str, args: Any, kwargs: Any, einfo: Any
    ) -> None:
        self.journal.write("on_failure", args[0])

    def after_return(
        self, status: str, retval: Any, task_id: str, args: Any, kwargs: Any, einfo: Any
    ) -> None:
        self.journal.write(f"after_{status}", args[0])


def make_app(folder: Path, **settings: Any) -> TaskQ:
    """The project's app.

    Args:
        folder: where its journal is.
        settings: of the app.
    """
    journal = Journal(folder / "journal")
    app = TaskQ("project", set_as_current=False, **settings)
    _add_functions(app, journal)
    _add_bound(app, journal)
    _add_parents(app)
    return app


def _add_functions(app: TaskQ, journal: Journal) -> None:
    @app.task(name="add")
    def add(x: int, y: int) -> int:
        return x + y

    @app.task(name="note")
    def note(key: str) -> str:
        journal.write("run", key)
        return key

    @app.task(name="told", ignore_result=True)
    def told(value: Any, key: str) -> None:
        journal.write("told", f"{key}={value}")

    @app.task(name="total")
    def total(values: list[int], key: str) -> int:
        journal.write("total", key)
        return sum(values)

    @app.task(name="double")
    async def double(x: int) -> int:
        await asyncio.sleep(0.001)
        return 2 * x

    @app.task(name="fail", throws=(KeyError,))
    def fail(kind: str) -> None:
        raise {"expected": KeyError, "unexpected": ValueError, "ignore": Ignore}[kind](kind)


def _add_bound(app: TaskQ, journal: Journal) -> None:
    @app.task(name="retry", bind=True, default_retry_delay=0.05)
    def retry(self: Any, times: int) -> int:
        if self.request.retries < times:
            raise self.retry(exc=Flaky(self.request.retries))
        return int(self.request.retries)

    @app.task(
        name="flaky",
        bind=True,
        base=Counted,
        autoretry_for=(Flaky,),
        retry_backoff=0.02,
        journal=journal,
    )
    def flaky(self: Any, key: str, times: int) -> int:
        if self.request.retries < times:
            raise Flaky(self.request.retries)
        return int(self.request.retries)

    @app.task(name="who", bind=True)
    def who(self: Any) -> dict[str, Any]:
        request = self.request
        return {
            "id": request.id,
            "hostname": request.hostname,
            "queue": request.delivery_info["queue"],
            "priority": request.delivery_info["priority"],
            "parent": request.parent_id,
            "root": request.root_id,
        }


def _add_parents(app: TaskQ) -> None:
    @app.task(name="parent", bind=True)
    def parent(self: Any, number: int) -> Any:
        """Send, tell of the progress, wait: all from inside of a task."""
        child = app.send_task("add", (number, 1))
        self.update_state(state="PROGRESS", meta={"sent": child.id})
        seen = app.AsyncResult(self.request.id)
        state, info = seen.state, seen.info
        value = child.get(timeout=30, disable_sync_subtasks=False)
        return {"value": value, "state": state, "info": info, "child": child.id}

    @app.task(name="aparent", bind=True)
    async def aparent(self: Any, number: int) -> Any:
        """The same, in a coroutine."""
        child = await app.asend_task("add", (number, 1))
        await self.aupdate_state(state="PROGRESS", meta={"sent": child.id})
        return await child.aget(timeout=30)

    @app.task(name="careless")
    def careless() -> Any:
        """Wait without saying that it is meant."""
        return app.send_task("add", (1, 1)).get(timeout=5)

    @app.task(name="wrong")
    def wrong() -> None:
        """Send to an exchange that nothing is bound to."""
        app.send_task("add", (1, 1), exchange="nowhere", routing_key="nothing", retry=False)
