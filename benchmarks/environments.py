"""Virtual environments for the peers, made on demand and kept in a cache folder."""

from __future__ import annotations

import fcntl
import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks import interpreters

_VERSIONS = """
import importlib.metadata, json, platform, sys
found = {name: importlib.metadata.version(name) for name in sys.argv[1:]}
print(json.dumps({"Python": platform.python_version(), **found}))
"""


@dataclass(frozen=True, slots=True)
class Environment:
    """The packages that a subject needs.

    Args:
        name: Folder name in the cache.
        requirements: What pip installs; empty for the interpreter that runs the benchmark.
        packages: Names whose installed versions are reported.
        least_python: Oldest Python that they run on. Where the benchmark's own is older, another
            one that is installed is taken.
    """

    name: str
    requirements: tuple[str, ...]
    packages: tuple[str, ...]
    least_python: tuple[int, int] = (3, 0)

    def prepare(self, cache: Path) -> Path:
        """Makes the environment below `cache` unless it is there, and returns its interpreter.

        Raises:
            InterpreterMissing: If no Python is installed that the packages run on.
            RuntimeError: If pip fails, with its output.
        """
        if not self.requirements:
            return Path(sys.executable)
        base = interpreters.find(self.least_python)
        folder = cache / f"{self.name}-py{interpreters.version(base)}"
        cache.mkdir(parents=True, exist_ok=True)
        with (cache / f"{folder.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self._install(folder, base)
        return folder / "bin" / "python"

    def _install(self, folder: Path, base: Path) -> None:
        # Written last: an environment without it was interrupted and is made anew.
        finished = folder / "benchmark-requirements.txt"
        wanted = "\n".join(self.requirements)
        if finished.exists() and finished.read_text() == wanted:
            return
        print(f"preparing {folder}", file=sys.stderr)
        shutil.rmtree(folder, ignore_errors=True)
        python = str(folder / "bin" / "python")
        pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        for command in ([str(base), "-m", "venv", str(folder)], [*pip, *self.requirements]):
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                raise RuntimeError(
                    f"cannot prepare the environment {self.name!r}: {' '.join(command)} "
                    f"exited with {done.returncode}; leave its subjects out of --subjects or "
                    f"mend this:\n{done.stderr or done.stdout}"
                )
        finished.write_text(wanted)

    def versions(self, python: Path) -> dict[str, str]:
        """Returns the version of Python and the installed one of each of `packages`.

        Raises:
            RuntimeError: If one is not installed.
        """
        command = [str(python), "-c", _VERSIONS, *self.packages]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(
                f"{python} lacks one of {', '.join(self.packages)}: "
                f"install it there with pip, taskq with 'pip install -e .'\n{done.stderr}"
            )
        found: dict[str, str] = json.loads(done.stdout)
        return found
