"""The demo's worker: a process of its own, as everywhere else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Self

import taskq
from taskq.cli.failure import Failure

_STOP_WITHIN = 10.0
"""Seconds that it has to stop."""


class DemoWorker:
    """``taskq worker`` on the demo's tasks, while the block runs.

    Args:
        folder: where its log goes.
        url: the broker and result store.
    """

    def __init__(self, folder: Path, url: str) -> None:
        self._log = folder / "worker.log"
        options = ["-c", "2", "-b", url, "--result-backend", url, "-f", str(self._log)]
        # It does not run in the user's folder, where something else may be called taskq.
        paths = [str(Path(taskq.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "taskq", "-A", "taskq.cli.demo.tasks", "worker", *options],
                cwd=folder,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                # Ctrl-C is for the demo alone, which then stops the worker itself.
                process_group=0,
            )

    def check(self) -> None:
        """Raise if it has ended.

        Raises:
            Failure: it has, with what its log says.
        """
        if self._process.poll() is not None:
            log = self._log.read_text(encoding="utf-8", errors="replace")
            raise Failure(f"the worker has ended with status {self._process.returncode}", log)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int | None:
        """Ask it to stop; its exit status, or None if it does not."""
        if self._process.poll() is None:
            self._process.send_signal(how)
        try:
            return self._process.wait(_STOP_WITHIN)
        except subprocess.TimeoutExpired:
            return None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        # Nobody waits for tasks that are still running now.
        self.stop(signal.SIGQUIT)
        self._process.kill()
        self._process.wait()
