"""Celery's programs as processes of the tests: its worker, its client, Flower."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.faults.stage import CHECKOUT, PATIENCE
from tests.waiting import wait_until


class CeleryProcess:
    """A program in Celery's own environment.

    Args:
        python: of that environment.
        arguments: its own.
        folder: where its log goes, and where tasks write.
        name: of its log.
        settings: of Celery's app.
        environ: more environment variables.
    """

    def __init__(
        self,
        python: str,
        arguments: Sequence[str],
        folder: Path,
        name: str,
        settings: Mapping[str, Any],
        **environ: str,
    ) -> None:
        self.name = name
        self._log = folder / f"{name}.log"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [python, *arguments],
                cwd=CHECKOUT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE if name == "client" else log,
                stderr=log,
                text=True,
                env={
                    **os.environ,
                    "PYTHONPATH": str(CHECKOUT),
                    "INTEROP_FOLDER": str(folder),
                    "INTEROP_SETTINGS": json.dumps(settings),
                    **environ,
                },
            )

    def log(self) -> str:
        """What it has written so far."""
        return self._log.read_text(errors="replace")

    def wait_log(self, text: str, timeout: float = PATIENCE) -> None:
        """Wait until this is in its log."""
        try:
            wait_until(
                lambda: text in self.log() or self.process.poll() is not None,
                timeout,
                f"{text!r} in the log",
            )
        except TimeoutError as exc:
            raise AssertionError(f"{self.name}: {exc}\n{self.log()}") from None
        if text not in self.log():
            raise AssertionError(f"{self.name} ended before {text!r}:\n{self.log()}")

    def close(self) -> None:
        """End it, and show what it has written: pytest does if a test fails."""
        sys.stdout.write(f"--- {self.name}\n{self.log()}")
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                stream.close()


class CeleryWorker(CeleryProcess):
    """Celery's worker, with the pool that has no processes."""

    def __init__(
        self, python: str, folder: Path, name: str, settings: Mapping[str, Any], *options: str
    ) -> None:
        arguments = [
            *("-m", "celery", "-A", "tests.interop.celery_side", "worker", "-P", "solo"),
            *("-n", f"{name}@there", "-l", "INFO", *options),
        ]
        super().__init__(python, arguments, folder, name, settings)

    def wait_ready(self) -> CeleryWorker:
        """Wait until it consumes."""
        self.wait_log(" ready.")
        return self


class CeleryClient(CeleryProcess):
    """Celery's client: its functions are those of `tests.interop.celery_client`."""

    def __init__(self, python: str, folder: Path, settings: Mapping[str, Any]) -> None:
        arguments = ["-m", "tests.interop.celery_client"]
        super().__init__(python, arguments, folder, "client", settings)

    def wait_ready(self) -> None:
        """Wait until it answers."""
        self._read()

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **options: self.do(name, *args, **options)

    def do(self, name: str, *args: Any, **options: Any) -> Any:
        """Call a function there.

        Raises:
            AssertionError: it raised.
        """
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps([name, args, options]) + "\n")
        self.process.stdin.flush()
        answer = self._read()
        if "error" in answer:
            raise AssertionError(f"Celery's client: {name}{args}: {answer['error']}")
        return answer["value"]

    def _read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise AssertionError(f"Celery's client has ended:\n{self.log()}")
        answer: dict[str, Any] = json.loads(line)
        return answer
