"""The tasks that the fault tests send: each notes in the journal what it does."""

from __future__ import annotations

import ctypes
import hashlib
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from taskq import Signature, TaskQ
from taskq.exceptions import Reject, SoftTimeLimitExceeded
from tests.faults.journal import Journal

GATE_POLL = 0.005
"""Seconds between two looks at a gate."""


class Gates:
    """Files that tasks wait for: what a test lets happen, and when.

    Args:
        folder: where the files are.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def open(self, name: str) -> None:
        """Let all that wait here go on, now and later."""
        (self._folder / f"gate-{name}").touch()

    def pass_through(self, name: str) -> None:
        """Wait until it is open."""
        while not (self._folder / f"gate-{name}").exists():
            time.sleep(GATE_POLL)


class Unprintable(Exception):
    """Neither its text nor its parts can be had."""

    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


def make_app(folder: Path, **settings: Any) -> TaskQ:
    """An app with these tasks, for a test and for the workers that it starts.

    Args:
        folder: the test's folder: journal and gates.
        settings: of the app.
    """
    journal, gates = Journal(folder / "journal"), Gates(folder)
    app = TaskQ("faults", set_as_current=False, **settings)
    _add_plain(app, journal, gates)
    _add_deadly(app, journal)
    _add_limited(app, journal, gates)
    _add_nested(app, journal)
    return app


def _add_plain(app: TaskQ, journal: Journal, gates: Gates) -> None:
    @app.task(name="note")
    def note(key: Any) -> Any:
        """Nothing but a line in the journal."""
        journal.write("run", key)
        return key

    @app.task(name="work")
    def work(key: Any) -> Any:
        """A few milliseconds of work."""
        time.sleep(0.003)
        journal.write("run", key)
        return key

    @app.task(name="quick")
    def quick(key: Any, gate: str | None = None) -> Any:
        """Nothing at all, so that it counts as short; unless it is told to wait."""
        if gate is not None:
            journal.write("start", key)
            gates.pass_through(gate)
        return key

    def hold(key: str, gate: str | None = None) -> int:
        """Wait at the gate of its own name, or another one."""
        journal.write("start", key)
        gates.pass_through(gate or key)
        journal.write("end", key)
        return os.getpid()

    app.task(name="hold")(hold)
    app.task(name="hold_early", acks_late=False)(hold)

    @app.task(name="stumble", bind=True)
    def stumble(self: Any, key: str) -> str:
        """Fail; but the first delivery tells of its progress, when it may, and succeeds."""
        journal.write("start", key)
        gates.pass_through(f"{key}-{self.request.deliveries}")
        if self.request.deliveries > 1:
            raise ValueError("stumbled")
        self.update_state(state="PROGRESS", meta={"percent": 50})
        journal.write("progress", key)
        return "late"

    @app.task(name="after")
    def after(value: Any, key: str) -> Any:
        """What follows another task."""
        journal.write("after", key)
        return value

    @app.task(name="clock")
    def clock(key: Any) -> float:
        """What time it is."""
        journal.write("run", key)
        return time.time()

    @app.task(name="tick", bind=True)
    def tick(self: Any) -> None:
        """What beat has sent, and for when."""
        journal.write("tick", f"{self.request.periodic_task_name}@{self.request.periodic_task_due}")

    @app.task(name="falter", bind=True)
    def falter(self: Any, key: Any, times: int, fails: bool = False) -> Any:
        """Be tried again so many times, and then succeed or fail."""
        if self.request.retries < times:
            raise self.retry(countdown=0.01, max_retries=times)
        journal.write("run", key)
        if fails:
            raise ValueError("it has faltered")
        return key

    @app.task(name="stir", bind=True)
    def stir(self: Any, key: int) -> int:
        """A little of everything, which of it by its number."""
        if key % 10 == 0:
            raise ValueError(f"number {key} fails")
        if key % 97 == 0 and self.request.retries < 1:
            raise self.retry(countdown=0.01)
        if key % 101 == 0:
            self.update_state(state="PROGRESS", meta={"number": key})
        return key

    @app.task(name="reject")
    def reject(requeue: bool) -> None:
        raise Reject("no", requeue=requeue)

    @app.task(name="give")
    def give(what: str, size: int = 0) -> Any:
        """A result that is large, or that cannot be encoded."""
        return {"bytes": "x" * size, "object": object(), "set": {1, object()}}[what]

    @app.task(name="give_when")
    def give_when(key: str, size: int) -> str:
        """A large result, when the gate of its name is open."""
        journal.write("start", key)
        gates.pass_through(key)
        return "x" * size

    @app.task(name="awkward", bind=True)
    def awkward(self: Any, how: str) -> Any:
        """End in a way that is hard to write down."""
        if how == "return":
            return "\ud800"
        if how == "raise":
            raise ValueError("\ud800")
        if how == "unprintable":
            raise Unprintable(object())
        if how == "headers":
            raise self.retry(countdown=0, headers={"x": object()})
        if how == "names":
            raise self.retry(countdown=0, headers={7: "x"})
        return float("nan"), 1 << 100, {1: {2: 3}}

    @app.task(name="length")
    def length(text: str) -> int:
        return len(text)


def _add_deadly(app: TaskQ, journal: Journal) -> None:
    @app.task(name="die", bind=True)
    def die(self: Any, key: str, times: int) -> str:
        """Kill its own process at the first so many deliveries."""
        journal.write("start", key)
        if self.request.deliveries <= times:
            os.kill(os.getpid(), signal.SIGKILL)
        journal.write("end", key)
        return "alive"

    @app.task(name="become", bind=True)
    def become(self: Any, key: str, into: Any, times: int = 0) -> Any:
        """Let a workflow take its place, after it has killed its process a few times."""
        journal.write("start", key)
        if self.request.deliveries <= times:
            os.kill(os.getpid(), signal.SIGKILL)
        return self.replace(Signature.from_dict(into, app))

    @app.task(name="strike")
    def strike(request: Any, exc: Exception, traceback: str) -> None:
        """An errback that kills its process."""
        journal.write("strike", request.id)
        os.kill(os.getpid(), signal.SIGKILL)

    @app.task(name="leave")
    def leave(key: str) -> None:
        """End its own process in an orderly way."""
        journal.write("start", key)
        sys.exit(3)

    @app.task(name="devour")
    def devour(key: str, size: int) -> int:
        """Take more memory than there is."""
        journal.write("start", key)
        memory = bytearray(size)
        memory[::4096] = b"x" * len(range(0, size, 4096))
        return len(memory)


def _add_limited(app: TaskQ, journal: Journal, gates: Gates) -> None:
    @app.task(name="swallow")
    def swallow(key: str, times: int) -> str:
        """Swallow the soft limit so many times."""
        for _ in range(times):
            try:
                gates.pass_through("never")
            except SoftTimeLimitExceeded:
                journal.write("limit", key)
        gates.pass_through("never")
        return "unreachable"

    @app.task(name="clean_up")
    def clean_up(key: str, seconds: float) -> str:
        """Catch the soft limit, and take some time to clean up."""
        try:
            gates.pass_through("never")
        except SoftTimeLimitExceeded:
            journal.write("limit", key)
            time.sleep(seconds)
            journal.write("clean", key)
        return "cleaned"

    @app.task(name="block")
    def block(key: str, rounds: int) -> str:
        """One call of C code, of about `rounds` microseconds, in which no bytecode runs."""
        journal.write("start", key)
        hashlib.pbkdf2_hmac("sha256", b"password", b"salt", rounds)
        journal.write("end", key)
        return "done"

    @app.task(name="seize")
    def seize(key: str, seconds: int) -> str:
        """C code that never lets go of the interpreter lock."""
        journal.write("start", key)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            ctypes.PyDLL(None).usleep(500_000)
        journal.write("end", key)
        return "done"

    @app.task(name="doze")
    def doze(key: int, seconds: float) -> int:
        time.sleep(seconds)
        return key

    @app.task(name="co_hold")
    async def co_hold(key: str) -> str:
        """A coroutine that waits for ever."""
        import asyncio

        journal.write("start", key)
        try:
            await asyncio.Event().wait()
        except SoftTimeLimitExceeded:
            journal.write("limit", key)
            raise
        return "unreachable"


def _add_nested(app: TaskQ, journal: Journal) -> None:
    @app.task(name="send_and_wait")
    def send_and_wait(key: str) -> Any:
        """Send another task from inside of this one, and wait for it."""
        result = app.send_task("note", (key,))
        return result.get(timeout=30, disable_sync_subtasks=False)

    @app.task(name="send_on")
    def send_on(key: Any) -> str:
        """Send another task from inside of this one; its id."""
        return app.send_task("note", (key,)).id

    @app.task(name="progress", bind=True)
    def progress(self: Any, key: str, steps: int) -> str:
        for step in range(steps):
            self.update_state(state="PROGRESS", meta={"step": step})
            journal.write("step", f"{key}-{step}")
        return "done"
