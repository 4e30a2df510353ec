"""A worker beside the test, in the test's own process."""

from __future__ import annotations

import gc
import threading
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from taskq.exceptions import TaskQError
from taskq.worker import Worker
from taskq.worker.pools import PoolPlan

if TYPE_CHECKING:
    from taskq.app import TaskQ

IN_PROCESS = ("solo", "threads")
"""Pools whose tasks run in threads of the test's process, where they see what the test sees."""


class WorkerHere(Worker):
    """A worker whose tasks run in threads of this process.

    Args:
        app: the app.
        threads: how many tasks at a time.
        options: more of `Worker`.
    """

    def __init__(self, app: TaskQ, threads: int = 1, **options: Any) -> None:
        super().__init__(app, pool="solo", **options)
        self.plan = PoolPlan("solo", 1, threads, threads)
        self.concurrency = threads


class RunningWorker:
    """A worker that runs beside the test; what `start_worker` returns.

    Use it in a ``with`` or an ``async with`` block: it works when the block begins, and has
    stopped when it has ended.

    Attributes:
        app: whose tasks it runs.
        worker: the `Worker` itself, while it runs.
    """

    def __init__(
        self,
        app: TaskQ,
        concurrency: int,
        pool: str,
        timeout: float,
        shutdown_timeout: float,
        options: dict[str, Any],
    ) -> None:
        self.app = app
        self.worker: Worker | None = None
        self._concurrency = concurrency
        self._pool = pool
        self._timeout = timeout
        self._shutdown_timeout = shutdown_timeout
        self._options = options
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None
        self._failed = False
        self._collector: tuple[int, int, int] | None = None

    def _make(self) -> Worker:
        if self._pool in IN_PROCESS:
            threads = self._concurrency if self._pool == "threads" else 1
            return WorkerHere(self.app, threads, **self._options)
        return self.app.Worker(pool=self._pool, concurrency=self._concurrency, **self._options)

    def start(self) -> None:
        """Start it, and wait until it consumes.

        Raises:
            TaskQError: it cannot start, or takes longer than the time-out.
        """
        self._collector = gc.get_threshold()
        worker = self.worker = self._make()
        self._error, self._failed = None, False
        worker.prepare()
        self._thread = threading.Thread(
            target=self._run, args=(worker,), name="taskq-worker", daemon=True
        )
        self._thread.start()
        if not self._is_ready(worker):
            error = self._error
            self._stop()
            if isinstance(error, TaskQError):
                raise error
            raise TaskQError(
                f"the worker is not ready after {self._timeout:g} seconds; its log says more"
            ) from error

    def _is_ready(self, worker: Worker) -> bool:
        assert self._thread is not None
        # A worker that has failed will never be ready.
        tries = max(1, int(self._timeout / _STEP))
        for _ in range(tries):
            if worker.wait_ready(_STEP):
                return True
            if not self._thread.is_alive():
                return False
        return False

    def _run(self, worker: Worker) -> None:
        try:
            self._failed = worker.run() != 0
        except BaseException as exc:  # raised where it is waited for
            self._error = exc

    def stop(self) -> None:
        """Stop it: no new tasks, and what runs may end; a task that goes on for long is given back.

        Raises:
            TaskQError: it had failed, or does not stop.
        """
        is_alive = self._stop()
        if self._error is not None or self._failed:
            raise TaskQError(
                "the worker has failed while the test ran; its log says more"
            ) from self._error
        if is_alive:
            raise TaskQError(f"the worker has not stopped after {self._shutdown_timeout:g} seconds")

    def _stop(self) -> bool:
        """Stop it, and say whether it still runs."""
        worker, thread = self.worker, self._thread
        if worker is None or thread is None:
            return False
        worker.stop()
        thread.join(self._shutdown_timeout)
        if thread.is_alive():
            worker.stop(cold=True)
            thread.join(_COLD)
        self.worker = self._thread = None
        # The worker keeps the collector from looking at what lives long; a test may not want that.
        gc.unfreeze()
        if self._collector is not None:
            gc.set_threshold(*self._collector)
        return thread.is_alive()

    def reload(self) -> None:
        """Let it know the tasks that were defined since it started.

        In this process it knows them already; processes beneath it are copies of an earlier
        time, so that a new worker is started with the same options.
        """
        if self._pool not in IN_PROCESS:
            self.stop()
            self.start()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if exc is None:
            self.stop()
        else:
            self._stop()  # the test's own error says more

    async def __aenter__(self) -> Self:
        # Forking is for the main thread; the rest is short.
        self.start()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # Loaded by those who run it already.
        import asyncio

        await asyncio.to_thread(self.__exit__, exc_type, exc, traceback)


_STEP = 0.05
"""Seconds after which a worker that is not ready yet is looked at again."""
_COLD = 5.0
"""Seconds that a worker which was told to stop at once is waited for."""


def start_worker(
    app: TaskQ,
    *,
    concurrency: int = 1,
    pool: str = "solo",
    timeout: float = 30.0,
    shutdown_timeout: float = 10.0,
    **options: Any,
) -> RunningWorker:
    """A worker in this process, for as long as a ``with`` or ``async with`` block lasts.

    Its own loop is in a thread.  With ``solo`` and ``threads`` the tasks run in threads of
    this process too: they see what the test patches, a test sees what they change, and tasks
    that are defined later are known at once; there are no time limits.  Other pools have
    processes beneath it, as a worker from the command line has.

    Args:
        app: whose tasks it runs.
        concurrency: tasks at a time; always one with ``solo``.
        pool: ``solo``, ``threads``, ``prefork``, ``asyncio`` or another; eventlet and gevent
            must be told with `app_spec` where the app is.
        timeout: seconds until it must be ready.
        shutdown_timeout: seconds that running tasks have at the end before they are given back.
        options: more of `taskq.worker.Worker`, such as ``queues``.

    Raises:
        TaskQError: when the block begins: it cannot start; when it ends: it has failed.
    """
    return RunningWorker(app, concurrency, pool, timeout, shutdown_timeout, options)
