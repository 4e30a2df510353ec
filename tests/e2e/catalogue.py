"""A project that uses every option, method and handler that a task has."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from taskq import TaskQ, chain, exceptions, group, signals
from taskq.exceptions import Ignore, Reject, SoftTimeLimitExceeded
from taskq.task import Task
from tests.faults.journal import Journal


class Order(BaseModel):
    """What a pydantic task is given."""

    number: int
    note: str = ""


class Watched(Task[..., Any]):
    """A base class with all handlers; each notes the call's first argument."""

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
        self.journal.write(f"after_return-{status}", args[0])

    def on_replace(self, sig: Any) -> Any:
        self.journal.write("on_replace", self.request.args[0])
        return super().on_replace(sig)

    def shadow_name(self, args: Any, kwargs: Any, options: Any) -> str | None:
        return f"shadow-of-{args[0]}"


def make_app(folder: Path, **settings: Any) -> TaskQ:
    """The project's app.

    Args:
        folder: where its journal is.
        settings: of the app.
    """
    journal = Journal(folder / "journal")
    app = TaskQ("catalogue", set_as_current=False, **settings)
    _add_plain(app, journal)
    _add_ends(app, journal)
    _add_bound(app, journal)
    _connect(app, journal)
    return app


def _add_plain(app: TaskQ, journal: Journal) -> None:
    @app.task(name="add")
    def add(x: int, y: int = 0) -> int:
        return x + y

    @app.task(name="total")
    def total(values: list[int]) -> int:
        return sum(values)

    @app.task(name="note", ignore_result=True)
    def note(*values: Any) -> None:
        journal.write("note", "-".join(map(str, values)))

    @app.task(name="fail")
    def fail(text: str = "wrong") -> None:
        raise ValueError(text)

    for how in ("json", "msgpack", "yaml"):

        @app.task(name=f"by-{how}", serializer=how, compression="zlib")
        def echo(value: Any) -> Any:
            return value

    @app.task(name="pair", pydantic=True, pydantic_context={"key": "here"})
    def pair(order: Order, other: Order | None = None) -> Order:
        assert isinstance(order, Order)
        return Order(number=order.number + (other.number if other else 0), note=order.note)

    @app.task(name="strict", pydantic=True, pydantic_strict=True)
    def strict(order: Order) -> int:
        return order.number

    @app.task(name="brief", pydantic=True, pydantic_dump_kwargs={"exclude_defaults": True})
    def brief(order: Order) -> Order:
        return order


def _add_ends(app: TaskQ, journal: Journal) -> None:
    @app.task(name="soft", soft_time_limit=0.2, time_limit=20)
    def soft() -> str:
        try:
            time.sleep(10)
        except SoftTimeLimitExceeded:
            return "in time"
        return "too late"

    @app.task(name="hard", time_limit=0.3)
    def hard() -> None:
        time.sleep(30)

    @app.task(name="hard-again", time_limit=0.3, acks_on_timeout=False)
    def hard_again(key: str) -> str:
        journal.write("hard", key)
        if journal.count("hard", key) == 1:
            time.sleep(30)
        return key

    @app.task(name="to-dead-letters", acks_on_failure=False)
    def to_dead_letters() -> None:
        raise ValueError("unwanted")

    @app.task(name="crash", reject_on_worker_lost=False)
    def crash() -> None:
        os._exit(3)

    @app.task(name="crash-again", reject_on_worker_lost=True)
    def crash_again(key: str) -> str:
        journal.write("crash", key)
        if journal.count("crash", key) == 1:
            os._exit(3)
        return key

    @app.task(name="crash-retry", retry_on_worker_lost=True, default_retry_delay=0.05, bind=True)
    def crash_retry(self: Any) -> int:
        if not self.request.retries:
            os._exit(3)
        return int(self.request.retries)

    @app.task(name="crash-early", acks_late=False)
    def crash_early(key: str) -> None:
        journal.write("crash", key)
        os._exit(3)

    @app.task(name="reject")
    def reject(key: str, requeue: bool) -> str:
        journal.write("reject", key)
        if journal.count("reject", key) == 1:
            raise Reject("not now", requeue=requeue)
        return key

    @app.task(name="ignore")
    def ignore() -> None:
        raise Ignore

    @app.task(name="kept-error", ignore_result=True, store_errors_even_if_ignored=True)
    def kept_error() -> None:
        raise ValueError("kept")

    @app.task(name="unfit")
    def unfit() -> object:
        return object()

    @app.task(name="expected", throws=(KeyError,))
    def expected() -> None:
        raise KeyError("expected")

    @app.task(name="raise")
    def raise_(name: str) -> None:
        raise getattr(exceptions, name)("told")


def _add_bound(app: TaskQ, journal: Journal) -> None:
    @app.task(name="tracked", track_started=True)
    def tracked(key: str) -> str:
        journal.write("started", key)
        while not journal.count("note", key):
            time.sleep(0.005)
        return "x" * 200

    @app.task(
        name="watched",
        bind=True,
        base=Watched,
        journal=journal,
        autoretry_for=(OSError,),
        dont_autoretry_for=(FileNotFoundError,),
        retry_backoff=0.02,
        retry_backoff_max=0.05,
        retry_jitter=False,
        retry_kwargs={"max_retries": 2},
        resultrepr_maxsize=12,
    )
    def watched(self: Any, key: str) -> Any:
        if key == "flaky" and self.request.retries < 2:
            raise ConnectionError("again")
        if key == "gone":
            raise FileNotFoundError(key)
        if key == "replaced":
            return self.replace(app.signature("add", (20, 22)))
        return key * 50

    @app.task(name="stubborn", bind=True, max_retries=1, default_retry_delay=0.02)
    def stubborn(self: Any, number: int) -> int:
        if number < 3:
            raise self.retry((number + 1,), max_retries=5, countdown=0.01)
        raise self.retry(exc=RuntimeError("no more"), max_retries=2)

    @app.task(name="request", bind=True)
    def request(self: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        found = self.request
        names = (
            "id args kwargs retries eta expires delivery_info headers hostname is_eager root_id"
            " parent_id group group_index chord chain callbacks errbacks correlation_id reply_to"
            " timelimit called_directly children origin shadow stamps stamped_headers properties"
            " ignore_result task"
        )
        return {name: getattr(found, name) for name in names.split()} | {
            "children": len(found.children)
        }

    @app.task(name="progress", bind=True)
    def progress(self: Any) -> list[Any]:
        self.update_state(state="HALFWAY", meta={"percent": 50})
        seen = self.AsyncResult(self.request.id)
        return [seen.state, seen.info, self.send_event("task-progress", percent=50)]

    @app.task(name="once-more", bind=True)
    def once_more(self: Any, number: int) -> Any:
        if number:
            return self.signature_from_request(args=(0,), task_id=None).apply_async().id
        return "again"

    @app.task(name="parent", bind=True)
    def parent(self: Any) -> list[str]:
        one = app.tasks["add"].delay(1, 1)
        two = app.tasks["add"].apply_async((2, 2), add_to_parent=False)
        return [one.id, two.id]

    @app.task(name="untold", bind=True, trail=False)
    def untold(self: Any) -> str:
        return str(app.tasks["add"].delay(1, 1).id)

    @app.task(name="grow", bind=True)
    def grow(self: Any, number: int) -> int:
        self.add_to_chord(app.signature("add", (number, 100)))
        return number

    @app.task(name="replace", bind=True)
    def replace(self: Any, kind: str) -> Any:
        add = app.tasks["add"]
        whole: dict[str, Any] = {
            "task": add.s(1, 2),
            "chain": chain(add.s(1, 2), add.s(10)),
            "group": group([add.s(n, n) for n in range(3)]),
            "failing": app.tasks["fail"].s("in place"),
        }
        return self.replace(whole[kind])


def _connect(app: TaskQ, journal: Journal) -> None:
    """Have each signal noted, with the names of its arguments."""

    def hear(name: str) -> Any:
        def receiver(signal: Any, sender: Any, **kwargs: Any) -> None:
            journal.write(f"signal-{name}", ",".join(sorted(kwargs)) or "none")

        return receiver

    for name in vars(signals):
        signal = getattr(signals, name)
        # Whoever listens to setup_logging sets up the log, which other tests need.
        if isinstance(signal, signals.Signal) and name != "setup_logging":
            signal.connect(hear(name), weak=False)
