"""One trial's stage: a fresh folder, a producer, and a worker of one subject."""

from __future__ import annotations

import json
import os
import select
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from benchmarks import procfs
from benchmarks.adapters.base import Setup
from benchmarks.catalogue import Subject
from benchmarks.marks import Marks
from benchmarks.plan import Plan
from benchmarks.servers import Servers

CHECKOUT = Path(__file__).resolve().parent.parent
_LOG_TAIL = 4000


class TrialError(RuntimeError):
    """A subject's process failed or stopped making progress; the message ends with its log."""


class Session:
    """Starts the producer on entry; kills producer and worker on exit.

    Args:
        subject: What is measured.
        python: The interpreter of its environment.
        plan: Sizes and time-outs.
        servers: The run's servers.
        directory: An empty folder for this trial alone.
        keep_results: Whether the subject stores results.
    """

    def __init__(
        self,
        subject: Subject,
        python: Path,
        plan: Plan,
        servers: Servers,
        directory: Path,
        *,
        keep_results: bool,
    ) -> None:
        self.subject = subject
        self._servers = servers
        self.python = python
        self.plan = plan
        self.directory = directory
        self._keep_results = keep_results
        names = {
            **servers.urls(),
            "adapter": subject.module,
            "bin": str(python.parent),
            "directory": str(directory),
            "queue": directory.name,
        }
        setup = Setup(
            broker=subject.broker.format(**names),
            results=subject.results.format(**names),
            queue=directory.name,
            keep_results=keep_results,
            marks=directory / "marks",
        )
        self.marks = Marks.create(setup.marks, plan.slots)
        self._worker_command = [word.format(**names) for word in shlex.split(subject.worker)]
        self._environ = {**os.environ, **setup.environ(), "PYTHONPATH": str(CHECKOUT)}
        # An environment that is activated for the benchmark is not the subject's: cauli's worker
        # would take its packages from there.
        self._environ.pop("VIRTUAL_ENV", None)
        self._producer: subprocess.Popen[bytes] | None = None
        self._worker: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Session:
        command = [str(self.python), "-m", "benchmarks.adapters.producer", self.subject.module]
        self._producer = self._spawn(command, "producer", {}, pipes=True)
        try:
            self._answer(self.plan.timeout)
        except BaseException:
            self._kill(self._producer)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._kill(self._worker)
        self._kill(self._producer)
        self.marks.close()

    def beside(self, name: str) -> Session:
        """Returns a stage of the same kind below this one's folder: nothing of it is shared."""
        directory = self.directory / f"{self.directory.name}-{name}"
        directory.mkdir()
        return Session(
            self.subject,
            self.python,
            self.plan,
            self._servers,
            directory,
            keep_results=self._keep_results,
        )

    def ask(self, verb: str, **arguments: Any) -> dict[str, Any]:
        """Lets the producer do something and returns its figures.

        Raises:
            TrialError: If it fails or takes longer than the plan's time-out.
        """
        producer = self._running(self._producer)
        assert producer.stdin is not None
        producer.stdin.write(json.dumps({"do": verb, **arguments}).encode() + b"\n")
        producer.stdin.flush()
        return self._answer(self.plan.timeout)

    def start_worker(self) -> float:
        """Starts the worker and returns the clock of that moment; does not wait for it."""
        if not self._worker_command:
            clock: float = self.ask("start_worker")["clock"]
            return clock
        clock = time.monotonic()
        self._worker = self._spawn(
            self._worker_command, "worker", self.subject.worker_environment, pipes=False
        )
        return clock

    def warm_up(self, slots: Sequence[int]) -> None:
        """Starts the worker and waits until it has run a task for each of `slots`."""
        self.start_worker()
        self.ask("enqueue", first=slots[0], count=len(slots))
        self.wait_for(lambda: self.marks.reached(slots[0], len(slots)), len(slots))
        time.sleep(self.plan.settle)

    def wait_for(self, done: Callable[[], int], wanted: int) -> None:
        """Waits until `done()` is `wanted`.

        Raises:
            TrialError: If the worker ends, or makes no progress for the plan's time-out.
        """
        last, since = done(), time.monotonic()
        while last < wanted:
            time.sleep(0.01)
            self._running(self._worker_process)
            now = done()
            if now != last:
                last, since = now, time.monotonic()
            elif time.monotonic() - since > self.plan.timeout:
                raise TrialError(
                    f"{self.subject.name}: no task ended for {self.plan.timeout} s, "
                    f"{last} of {wanted} had; {self._logs()}"
                )

    def worker_cpu_seconds(self) -> float:
        """Returns the processor time of the worker's tree so far."""
        return procfs.cpu_seconds(self._worker_tree())

    def server_cpu_seconds(self) -> float | None:
        """Returns the processor time of the subject's servers so far; None if it has none."""
        kinds = self.subject.servers
        return self._servers.cpu_seconds(kinds) if kinds else None

    def worker_pss_bytes(self) -> int:
        """Returns the proportional set size of the worker's tree."""
        return procfs.pss_bytes(self._worker_tree())

    @property
    def _worker_process(self) -> subprocess.Popen[bytes] | None:
        return self._worker if self._worker_command else self._producer

    def _worker_tree(self) -> set[int]:
        return procfs.tree(self._running(self._worker_process).pid)

    def _spawn(
        self, command: list[str], name: str, environ: dict[str, str], *, pipes: bool
    ) -> subprocess.Popen[bytes]:
        with (self.directory / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                command,
                stdin=subprocess.PIPE if pipes else subprocess.DEVNULL,
                stdout=subprocess.PIPE if pipes else log,
                stderr=log,
                cwd=self.directory,
                env={**self._environ, **environ},
                start_new_session=True,
            )

    def _answer(self, timeout: float) -> dict[str, Any]:
        producer = self._running(self._producer)
        assert producer.stdout is not None
        if not select.select([producer.stdout], [], [], timeout)[0]:
            raise TrialError(
                f"{self.subject.name}: the producer did not answer for {timeout} s; {self._logs()}"
            )
        line = producer.stdout.readline()
        if not line:
            raise TrialError(f"{self.subject.name}: the producer ended; {self._logs()}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise TrialError(f"{self.subject.name}: {answer['error']}{self._logs()}")
        return answer

    def _running(self, process: subprocess.Popen[bytes] | None) -> subprocess.Popen[bytes]:
        if process is None:
            raise TrialError(f"{self.subject.name}: no worker was started")
        if process.poll() is not None:
            raise TrialError(
                f"{self.subject.name}: a process exited with {process.returncode}; {self._logs()}"
            )
        return process

    def _kill(self, process: subprocess.Popen[bytes] | None) -> None:
        """Kills a process and its session.

        Stopping is not measured, and some peers take ten seconds and more to stop gracefully.
        """
        if process is None:
            return
        for pid in procfs.tree(process.pid):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()

    def _logs(self) -> str:
        tails = []
        for path in sorted(self.directory.glob("*.log")):
            text = path.read_text(errors="replace")[-_LOG_TAIL:]
            tails.append(f"{path.name} ends:\n{text}" if text else f"{path.name} is empty")
        return "\n".join(tails)
