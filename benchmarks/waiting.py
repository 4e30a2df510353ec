"""What a thousand tasks that wait cost one process: memory, processor time, and how many end.

    python -m benchmarks.waiting sqlite:////tmp/taskq-waiting.db
    python -m benchmarks.waiting redis://localhost:6379/0 --pools asyncio,gevent --tasks 10000

The broker must be one that may be emptied: its queue ``default`` is deleted.  Each pool gets a
worker of its own, which runs `--concurrency` tasks at a time in one process.  The tasks sleep for
`--seconds`; then others ask a web server on this machine that answers after as long.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from benchmarks.procfs import cpu_seconds, pss_bytes, tree

POOLS = ("asyncio", "gevent", "eventlet", "threads")
_WARM = 20
_LOOK = 0.2
_BODY = b"x" * 1024


class Figures(NamedTuple):
    """What was measured.

    Attributes:
        idle: bytes before.
        peak: bytes at the most.
        seconds: until all had ended.
        processor: seconds of it in all of the worker's processes.
    """

    idle: int
    peak: int
    seconds: float
    processor: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m benchmarks.waiting")
    parser.add_argument("broker", help="its URL")
    parser.add_argument("--pools", default=",".join(POOLS), help="which, with commas between")
    parser.add_argument("--tasks", type=int, default=5000)
    parser.add_argument("--concurrency", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=1.0, help="how long each task waits")
    given = parser.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # a socket for each task, and ours
    os.environ["WAITING_URL"] = given.broker
    print(f"{'pool':10} {'waits for':10} {'idle MiB':>9} {'peak MiB':>9} {'KiB a task':>11} "
          f"{'tasks/s':>8} {'CPU µs a task':>14}")  # fmt: skip
    with web_server(given.seconds) as port:
        for pool in given.pools.split(","):
            kinds = ("async_sleep", "async_get") if pool == "asyncio" else ("sleep", "get")
            for kind, argument in zip(kinds, (given.seconds, port), strict=True):
                found = measure(pool, kind, argument, given.tasks, given.concurrency)
                each = (found.peak - found.idle) / given.concurrency / 1024
                print(
                    f"{pool:10} {'HTTP' if 'get' in kind else 'a timer':10} "
                    f"{found.idle / 2**20:9.1f} {found.peak / 2**20:9.1f} {each:11.1f} "
                    f"{given.tasks / found.seconds:8.0f} "
                    f"{found.processor / given.tasks * 1e6:14.0f}",
                    flush=True,
                )


def measure(pool: str, kind: str, argument: float, count: int, concurrency: int) -> Figures:
    """One worker, and so many tasks of one kind."""
    # Read when it is imported: where the broker is.
    from benchmarks.waiting_app import app

    app.broker.purge("default")
    with worker(pool, concurrency) as pid:
        for result in app.send_many([app.tasks[kind].s(argument)] * _WARM):
            result.get(timeout=60)
        idle, before = pss_bytes(tree(pid)), cpu_seconds(tree(pid))
        begun = time.perf_counter()
        results = app.ResultSet(app.send_many([app.tasks[kind].s(argument)] * count))
        sizes = [idle]
        with _every(_LOOK, lambda: sizes.append(pss_bytes(tree(pid)))):
            values = results.join(timeout=600)
        seconds = time.perf_counter() - begun
        expected = len(_BODY) if "get" in kind else argument
        assert set(values) == {expected}, "an answer is not what it must be"
        return Figures(idle, max(sizes), seconds, cpu_seconds(tree(pid)) - before)


@contextmanager
def worker(pool: str, concurrency: int) -> Iterator[int]:
    """A worker with one process; its pid."""
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "taskq", "-A", "benchmarks.waiting_app", "worker"),
            *("-P", pool, "-c", str(concurrency), "-l", "ERROR"),
        ],
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


@contextmanager
def web_server(seconds: float) -> Iterator[int]:
    """A web server that answers after so many seconds; its port."""
    loop = asyncio.new_event_loop()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(seconds)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(_BODY) + _BODY)
        await writer.drain()
        writer.close()

    async def serve() -> int:
        server = await asyncio.start_server(answer, "127.0.0.1", 0, backlog=4096)
        return int(server.sockets[0].getsockname()[1])

    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    yield asyncio.run_coroutine_threadsafe(serve(), loop).result(10)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()


@contextmanager
def _every(seconds: float, look: Any) -> Iterator[None]:
    """Look now and then while the block runs."""
    ended = threading.Event()

    def run() -> None:
        while not ended.wait(seconds):
            look()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    yield
    ended.set()
    thread.join()


if __name__ == "__main__":
    main()
