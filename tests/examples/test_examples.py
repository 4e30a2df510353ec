"""Every example does what its docstring says, run by the commands that stand there.

Each runs in a copy of its folder, so that it has a database of its own.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.waiting import wait_until

EXAMPLES = Path(__file__).parents[2] / "examples"
FOLDERS = sorted(path.parent.name for path in EXAMPLES.glob("*/produce.py"))
BIN = Path(sys.executable).parent

PRINTED = {
    "beat": """\
in code: heart, report, tasks.clean_up
added while beat runs: guest
enabled: False
run by hand: guest
nightly: 2026-03-29 03:00:00+02:00
nightly: 2026-03-30 02:30:00+02:00
nightly: 2026-10-25 02:30:00+02:00
nightly: 2026-10-26 02:30:00+01:00
""",
    "quickstart": """\
2 + 3 = 5
Hello, you!
at once: PENDING
later: 20 + 30 = 50
urgent: 2
dropped: expired
failed: division by zero
sum of 1000 results: 999000
""",
    "retries": """\
by hand: fetched at attempt 3
by options: fetched at attempt 3
given up: busy at attempt 4
dead letter: rejected by the task: no warehouse for order 7
sent again: shipped order 7
ignored: PENDING
""",
    "routing": """\
report of Monday, from queue reports
report of Tuesday, from queue default
europe: a hat both
books: a novel both
workers with new prices: 2
""",
    "workflow": """\
chain: DIFFERENT?
the step before: different
with |: DONE!
callback: THREE!
errback: ValueError: there are no words
counted to 3
""",
}
"""What each program prints, but for its lines of progress: a slow machine may miss one."""


def commands(program: Path) -> list[list[str]]:
    """The commands that the program's docstring names."""
    docstring = program.read_text(encoding="utf-8").split('"""')[1]
    lines = [line.strip() for line in docstring.splitlines() if line.startswith("    ")]
    return [shlex.split(line) for line in lines]


def environment() -> dict[str, str]:
    """With the commands of the Python that runs the tests first on the path."""
    return {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "PYTHONUTF8": "1"}


@contextmanager
def worker(command: Sequence[str], folder: Path, log: Path) -> Iterator[None]:
    """A worker that is ready, and that must end well when it is told to."""
    with log.open("wb") as file:
        process = subprocess.Popen(
            [*command, "-c", "2"], cwd=folder, env=environment(), stdout=file, stderr=file
        )
    try:
        wait_until(
            lambda: " ready." in log.read_text() or process.poll() is not None,
            30,
            f"{shlex.join(command)} to be ready",
        )
        assert process.poll() is None, log.read_text()
        yield
        assert process.poll() is None, log.read_text()
        process.terminate()
        assert process.wait(timeout=30) == 0, log.read_text()
    finally:
        process.kill()
        process.wait()


def test_every_example_is_tested() -> None:
    folders = {path.name for path in EXAMPLES.glob("[!._]*") if path.is_dir()}
    assert sorted(PRINTED) == FOLDERS
    assert folders == {*FOLDERS, "django", "rabbitmq"}  # which have tests of their own


@pytest.mark.parametrize("name", FOLDERS)
def test_example(name: str, tmp_path: Path) -> None:
    unwanted = shutil.ignore_patterns("__pycache__", "*.db*", "*.txt", "warehouse-is-open")
    folder = shutil.copytree(EXAMPLES / name, tmp_path / name, ignore=unwanted)
    *workers, (python, *arguments) = commands(folder / "produce.py")
    assert workers
    assert python == "python"
    with ExitStack() as stack:
        for number, command in enumerate(workers):
            assert command[0] == "taskq"
            stack.enter_context(worker(command, folder, tmp_path / f"worker-{number}.log"))
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=folder,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    printed = done.stdout.splitlines(keepends=True)
    steady = [line for line in printed if not line.startswith("progress:")]
    assert "".join(steady) == PRINTED[name]
    assert (name == "workflow") == (len(steady) < len(printed))
