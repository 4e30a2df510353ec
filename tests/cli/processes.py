"""Real commands, and what they write."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from tests.waiting import wait_until

TASKQ = Path(sys.executable).with_name("taskq")
PATIENCE = 20.0


class Running:
    """A command that runs; standard output and standard error go to one file, in order."""

    def __init__(self, command: Sequence[str | Path], folder: Path, log: Path) -> None:
        self._log = log
        with log.open("wb") as file:
            self.process = subprocess.Popen(
                command,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                # What it writes is waited for, as at a terminal.
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )

    @property
    def output(self) -> str:
        return self._log.read_text()

    def wait_for(self, text: str, timeout: float = PATIENCE) -> None:
        """Wait until it has written something."""

        def written() -> bool:
            if self.process.poll() is not None and text not in self.output:
                raise AssertionError(f"it ended without {text!r}:\n{self.output}")
            return text in self.output

        try:
            wait_until(written, timeout, text)
        except TimeoutError as exc:
            raise AssertionError(f"{exc}; it wrote:\n{self.output}") from None

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Signal it; returns its exit status."""
        self.process.send_signal(number)
        return self.process.wait(PATIENCE)


class Processes:
    """The commands of one test."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._running: list[Running] = []

    def start(self, *arguments: str, launcher: Sequence[str] = ()) -> Running:
        """Run ``taskq``, by way of another program if `launcher` names one."""
        log = self._folder / f"output-{len(self._running)}.log"
        self._running.append(Running([*launcher, TASKQ, *arguments], self._folder, log))
        return self._running[-1]

    def worker(self, *arguments: str) -> Running:
        """A worker of the project's app that has started."""
        worker = self.start("-A", "proj", "worker", "-c", "1", "-l", "INFO", *arguments)
        worker.wait_for("ready.")
        return worker

    def finish(self, *arguments: str, launcher: Sequence[str] = ()) -> tuple[int, str]:
        """Run a command to its end; returns its exit status, and what it wrote."""
        running = self.start(*arguments, launcher=launcher)
        return running.process.wait(PATIENCE), running.output

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        for running in self._running:
            if running.process.poll() is None:
                os.killpg(running.process.pid, signal.SIGKILL)
                running.process.wait()
