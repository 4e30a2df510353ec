"""What README.md and the quickstart tell a reader to do works as written.

The first Python block of a page is the file ``tasks.py``. The others are run as programs beside a
worker; where a ``print`` is followed by a comment, that is what it must print.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TASKQ = Path(sys.executable).with_name("taskq")


def blocks(page: str, language: str) -> list[str]:
    """The code blocks of a page that are in one language."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


@contextmanager
def worker(folder: Path) -> Iterator[None]:
    """A worker of the folder's ``tasks.py``, which must end well when it is told to."""
    with (folder / "worker.log").open("wb") as log:
        process = subprocess.Popen(
            [TASKQ, "-A", "tasks", "worker", "-c", "2"], cwd=folder, stderr=log, stdout=log
        )
    try:
        yield
        assert process.poll() is None, (folder / "worker.log").read_text()
        process.terminate()
        assert process.wait(timeout=30) == 0, (folder / "worker.log").read_text()
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def quickstart(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("quickstart")
    (folder / "tasks.py").write_text(blocks("docs/quickstart.md", "python")[0])
    with worker(folder):
        yield folder


PROGRAMS = blocks("docs/quickstart.md", "python")[1:]


@pytest.mark.parametrize("program", PROGRAMS, ids=range(1, len(PROGRAMS) + 1))
def test_quickstart(program: str, quickstart: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=quickstart,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    prints = re.findall(r"^print\(.*?\)(?:  # (.*))?$", program, re.MULTILINE)
    printed = done.stdout.splitlines()
    assert len(printed) == len(prints)
    for line, wanted in zip(printed, prints, strict=True):
        assert not wanted or line == wanted


def test_readme(tmp_path: Path) -> None:
    (tmp_path / "tasks.py").write_text(blocks("README.md", "python")[0])
    (tmp_path / "session.txt").write_text(blocks("README.md", "pycon")[0])
    with worker(tmp_path):
        done = subprocess.run(
            [sys.executable, "-m", "doctest", "session.txt"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert (done.returncode, done.stdout) == (0, "")


def test_ci_runs_the_second_command_of_the_readme() -> None:
    first, second = [block for block in blocks("README.md", "sh") if ".venv" in block]
    assert first.rstrip().endswith("taskq demo")
    *_, command = (ROOT / ".ci" / "run").read_text().splitlines()
    assert command == second.strip()
