"""The producer's process: obeys requests on stdin and answers on stdout, one JSON line each.

    python -m benchmarks.adapters.producer MODULE

It runs inside the subject's own environment. A request is `{"do": VERB, ...arguments}`, an
answer an object of figures, or `{"error": TRACEBACK}`. What the library prints goes to stderr.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import sys
import threading
import time
import traceback
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, TextIO

from benchmarks.adapters.base import (
    Adapter,
    BulkAdapter,
    DelayingAdapter,
    InProcessAdapter,
    Setup,
    WorkflowAdapter,
)
from benchmarks.marks import Marks

Answer = dict[str, Any]


class Producer:
    """Serves the requests of the benchmark with one adapter.

    Args:
        adapter: The subject's verbs.
        marks: The trial's clocks.
        answers: Where answers are written.
    """

    def __init__(self, adapter: Adapter, marks: Marks, answers: TextIO) -> None:
        self._adapter = adapter
        self._marks = marks
        self._answers = answers
        self.worker_wanted = threading.Event()
        self._verbs: dict[str, Callable[..., Awaitable[Answer]]] = {
            "enqueue": self.enqueue,
            "bulk": self.bulk,
            "fill": self.fill,
            "hold": self.hold,
            "round_trips": self.round_trips,
            "mixed": self.mixed,
            "workflow": self.workflow,
            "start_worker": self.start_worker,
        }

    async def serve(self) -> None:
        """Answers requests until stdin ends."""
        await self._adapter.open()
        self._say({"ready": True})
        # Reading blocks the event loop of an asyncio library on purpose: between two requests
        # the producer has to do nothing at all.
        for line in sys.stdin:
            request = json.loads(line)
            try:
                answer = await self._verbs[request.pop("do")](**request)
            except Exception:
                answer = {"error": traceback.format_exc()}
            self._say(answer)

    def _say(self, answer: Answer) -> None:
        self._answers.write(json.dumps(answer) + "\n")
        self._answers.flush()

    async def enqueue(self, first: int, count: int) -> Answer:
        """Sends `count` tasks, one call each."""
        enqueue = self._adapter.enqueue
        began, cpu = time.perf_counter(), time.process_time()
        for slot in range(first, first + count):
            await enqueue(slot)
        return {"seconds": time.perf_counter() - began, "cpu": time.process_time() - cpu}

    async def bulk(self, first: int, count: int, batch: int) -> Answer:
        """Sends `count` tasks, `batch` with each call."""
        send = self._bulk_call(0.0)
        slots = range(first, first + count)
        began, cpu = time.perf_counter(), time.process_time()
        for at in range(0, count, batch):
            await send(slots[at : at + batch])
        return {"seconds": time.perf_counter() - began, "cpu": time.process_time() - cpu}

    async def fill(self, slot: int, count: int, batch: int, countdown: float) -> Answer:
        """Sends `count` tasks that all mark one slot, in `countdown` seconds; not timed."""
        send = self._bulk_call(countdown)
        for at in range(0, count, batch):
            await send([slot] * min(batch, count - at))
        return {}

    async def hold(self, slot: int, seconds: float) -> Answer:
        """Sends one task that keeps a process busy; not timed."""
        await self._adapter.enqueue_hold(slot, seconds)
        return {}

    def _bulk_call(self, countdown: float) -> Callable[[Sequence[int]], Awaitable[None]]:
        """Returns the library's call for many tasks, or for many delayed ones."""
        adapter = self._adapter
        if not countdown and isinstance(adapter, BulkAdapter):
            return adapter.bulk
        if countdown and isinstance(adapter, DelayingAdapter):
            return lambda slots: adapter.bulk_delayed(slots, countdown)
        kind = "delayed tasks" if countdown else "tasks"
        raise TypeError(f"{type(adapter).__module__} has no call for many {kind}")

    async def round_trips(self, first: int, count: int, timeout: float) -> Answer:
        """Sends a task and waits for its result, `count` times, one after the other."""
        trips = []
        for slot in range(first, first + count):
            began = time.perf_counter()
            handle = await self._adapter.enqueue(slot)
            value = await self._adapter.wait(handle, timeout)
            trips.append(time.perf_counter() - began)
            if value != slot:
                raise ValueError(f"the result of task {slot} is {value!r}: expected {slot}")
        return {"trips": trips}

    async def workflow(self, kind: str, count: int, timeout: float) -> Answer:
        """Sends a group, a chord or a chain, and waits for its end."""
        adapter = self._adapter
        if not isinstance(adapter, WorkflowAdapter):
            raise TypeError(f"{type(adapter).__module__} has no workflows")
        began = time.perf_counter()
        handle = await adapter.workflow(kind, count)
        sent = time.perf_counter() - began
        value = await adapter.wait(handle, timeout)
        done = time.perf_counter() - began
        found = len(value) if kind == "group" else value
        if found != count:
            raise ValueError(f"the {kind} of {count} came to {found}")
        return {"sent": sent, "done": done}

    async def mixed(self, first: int, short: int, long: int, hold: float, timeout: float) -> Answer:
        """Sends `long` tasks of `hold` seconds spread among `short` no-ops.

        The answer says for every no-op at which clock its result was first seen. Only results of
        tasks that have left their mark are asked for, so that asking takes little from the worker.
        """
        stride = short // (long + 1)
        pending: dict[int, Any] = {}
        seen: dict[int, float] = {}
        holds = 0
        for index in range(short):
            if index and index % stride == 0 and holds < long:
                await self._adapter.enqueue_hold(first + short + holds, hold)
                holds += 1
            pending[first + index] = await self._adapter.enqueue(first + index)
            await self._look(pending, seen)
        deadline = time.monotonic() + timeout
        while pending and time.monotonic() < deadline:
            await self._look(pending, seen)
            # Not asyncio's: a blocking library has no event loop, and of an asyncio library
            # nothing is needed in this half millisecond.
            time.sleep(0.0005)  # noqa: ASYNC251
        if pending:
            ended = sum(self._marks.get(slot) > 0 for slot in pending)
            raise TimeoutError(
                f"{len(pending)} results were not there after {timeout} s; "
                f"{ended} of their tasks had ended"
            )
        return {"seen": seen}

    async def _look(self, pending: dict[int, Any], seen: dict[int, float]) -> None:
        """Moves what can be read by now from `pending` to `seen`."""
        for slot in [slot for slot in pending if self._marks.get(slot)]:
            if await self._adapter.ready(pending[slot]):
                seen[slot] = time.monotonic()
                del pending[slot]

    async def start_worker(self) -> Answer:
        """Lets the main thread start its worker."""
        self.worker_wanted.set()
        return {"clock": time.monotonic()}


def run_blocking(coroutine: Coroutine[Any, Any, object]) -> None:
    """Runs a coroutine that never waits, without an event loop.

    Raises:
        RuntimeError: If the coroutine waits for something.
    """
    try:
        coroutine.send(None)
    except StopIteration:
        return
    coroutine.close()
    raise RuntimeError("the adapter awaits: set uses_asyncio = True on its class")


def serve_beside_worker(producer: Producer, adapter: InProcessAdapter) -> None:
    """Serves requests on a thread and keeps the main thread, with its signals, for the worker."""

    def serve() -> None:
        try:
            run_blocking(producer.serve())
        finally:
            # The main thread waits or runs a worker; without requests nothing is left to do.
            os._exit(0)

    threading.Thread(target=serve, name="producer").start()
    producer.worker_wanted.wait()
    adapter.run_worker()


def main() -> None:
    """Starts the producer of the adapter module named on the command line."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    adapter: Adapter = importlib.import_module(sys.argv[1]).Peer()
    producer = Producer(adapter, Marks(Setup.from_environ().marks), answers)
    if isinstance(adapter, InProcessAdapter):
        serve_beside_worker(producer, adapter)
    elif adapter.uses_asyncio:
        asyncio.run(producer.serve())
    else:
        run_blocking(producer.serve())


if __name__ == "__main__":
    main()
