"""Tasks for the pools to run."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import time
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from taskq import TaskQ
from taskq.exceptions import OperationalError, SoftTimeLimitExceeded
from taskq.routing import Exchange, Queue


def make_app() -> TaskQ:
    """An app on the memory broker; everything that it is asked for has to come from the parent."""
    app = TaskQ("pools", broker="memory://", backend="memory://", set_as_current=False)
    app.conf.update(task_queues=[Queue("q"), Queue("listening", Exchange("things", "fanout"))])
    for function in (
        add, leave, kill_itself, fail, gated, noted, length, produce, pid, nap, async_nap,
        caught, swallowed, fork_and_die, short, coroutine, eat, tidy, async_tidy, stubborn, seize,
    ):  # fmt: skip
        app.task(name=function.__name__)(function)
    app.task(name="tracked", track_started=True)(add)
    _add_those_that_look(app)

    @app.task(name="passed_on")
    def passed_on(n: int) -> str:
        return app.send_task("add", (n, n), queue="elsewhere").id

    @app.task(name="told", bind=True)
    def told(self: Any, percent: int) -> bool:
        return bool(self.send_event("task-progress", percent=percent))

    @app.task(name="steers")
    def steers() -> list[str]:
        said = []
        for attempt in (
            app.control.ping,
            lambda: app.control.pause("q"),
            lambda: app.control.resume("q"),
        ):
            try:
                attempt()
            except OperationalError as exc:
                said.append(str(exc))
        return said

    @app.task(name="asked")
    def asked(task_id: str) -> str:
        return str(app.AsyncResult(task_id).get(timeout=30, disable_sync_subtasks=False))

    @app.task(name="broadcast")
    def broadcast(n: int) -> str:
        return app.send_task("add", (n, n), exchange="things", routing_key="any").id

    @app.task(name="nowhere")
    def nowhere() -> None:
        app.send_task("add", (1, 2), exchange="nowhere", routing_key="key")

    return app


def _add_those_that_look(app: TaskQ) -> None:
    @app.task(name="itself", bind=True)
    def itself(self: Any, gate: str) -> list[Any]:
        """Who it is, before it waits and after that."""
        before = [self.request.id, app.current_task.name, MARK.get()]
        MARK.set(self.request.id)
        gated(f"{gate}-{self.request.id}", gate)
        return [*before, self.request.id, app.current_task.name, MARK.get()]

    @app.task(name="async_itself", bind=True)
    async def async_itself(self: Any, gate: str) -> list[Any]:
        before = [self.request.id, app.current_task.name, MARK.get()]
        MARK.set(self.request.id)
        touch(f"{gate}-{self.request.id}")
        while not is_there(gate):  # noqa: ASYNC110 - a file is no event
            await asyncio.sleep(0.002)
        return [*before, self.request.id, app.current_task.name, MARK.get()]


def touch(path: str) -> None:
    Path(path).touch()


def is_there(path: str) -> bool:
    return os.path.exists(path)


MARK: ContextVar[str | None] = ContextVar("mark", default=None)


def add(a: int, b: int) -> int:
    return a + b


async def coroutine(a: int) -> int:
    await asyncio.sleep(0)
    return a + 1


def fail() -> None:
    raise ValueError("no good")


def leave() -> None:
    raise SystemExit(3)


def kill_itself() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def pid() -> int:
    return os.getpid()


def length(text: str) -> int:
    return len(text)


def produce(size: int) -> str:
    return "x" * size


def eat(size: int) -> int:
    return len(bytearray(os.urandom(1)) * size)


def noted(path: str, n: int) -> None:
    """Write the number down."""
    with open(path, "a") as file:
        file.write(f"{n}\n")


def gated(started: str, gate: str) -> str:
    """Tell that it has started, and go on when the gate is there."""
    Path(started).touch()
    while not os.path.exists(gate):
        time.sleep(0.002)
    return started


def short(gate: str | None = None) -> None:
    """Usually done at once; with a gate, not before that is there."""
    while gate and not os.path.exists(gate):
        time.sleep(0.002)


def nap(seconds: float, step: float = 0) -> str:
    """Sleep, in one go or in steps of so many seconds."""
    end = time.monotonic() + seconds
    time.sleep(step or seconds)
    while time.monotonic() < end:
        time.sleep(step or max(0, end - time.monotonic()))
    return "rested"


async def async_nap(seconds: float, step: float = 0) -> str:
    try:
        await asyncio.sleep(seconds)
    except SoftTimeLimitExceeded:
        await asyncio.sleep(0)
        return "caught"
    return "rested"


def caught(seconds: float, step: float = 0) -> str:
    try:
        nap(seconds, step)
    except SoftTimeLimitExceeded:
        return "caught"
    return "rested"


def swallowed(times: int, step: float = 0) -> int:
    """Swallow so many limits, as careless code does."""
    count = 0
    while count < times:
        try:
            nap(60, step)
        except Exception:
            count += 1
    return count


def tidy(path: str, seconds: float, step: float = 0) -> None:
    """Sleep, and clean up when that is interrupted."""
    try:
        Path(f"{path}-begun").touch()
        nap(seconds, step)
    finally:
        Path(path).touch()


async def async_tidy(path: str, seconds: float, step: float = 0) -> None:
    try:
        touch(f"{path}-begun")
        await asyncio.sleep(seconds)
    finally:
        touch(path)


def stubborn(path: str) -> None:
    """Go on whatever happens, and wherever in the loop it does."""
    while True:
        try:
            Path(path).touch()
            while True:
                time.sleep(0.01)
        except Exception:
            pass


def seize(path: str, seconds: float) -> None:
    """C code that never lets go of the interpreter lock."""
    Path(path).touch()
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        ctypes.PyDLL(None).usleep(500_000)


def fork_and_die(path: str) -> None:
    """Leave a process behind that holds all descriptors of the one that dies."""
    other = os.fork()
    if other == 0:
        time.sleep(600)
        os._exit(0)
    Path(path).write_text(str(other))
    os.kill(os.getpid(), signal.SIGKILL)
