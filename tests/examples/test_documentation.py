"""What README.md, the quickstart and the guide tell a reader to do works as written.

A Python block whose first line is ``# name.py`` is that file (on the quickstart, the first block is
``tasks.py``); one that is called ``test_*.py`` is run by pytest. The others are run as programs, in
the order of the page and beside a worker if there is a ``tasks.py``. Where a ``print`` is followed
by a comment, that is what it must print. Commands must have the options that they are shown with.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner

from taskq.cli.main import cli
from taskq.settings import Settings

ROOT = Path(__file__).parents[2]
TASKQ = Path(sys.executable).with_name("taskq")
GUIDE = sorted(f"docs/guide/{path.name}" for path in (ROOT / "docs" / "guide").glob("*.md"))
PAGES = ["README.md", "docs/index.md", "docs/quickstart.md", *GUIDE]
FILE_NAME = re.compile(r"# (\w+\.(?:py|toml))\n")


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


def run_program(program: str, folder: Path) -> None:
    """Run a program in a folder; it must end well and print what its comments say."""
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=folder,
        env={name: value for name, value in os.environ.items() if not name.startswith("TASKQ_")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, f"{program}\n{done.stderr}"
    prints = re.findall(r"^ *print\(.*?\)(?:  # (.*))?$", program, re.MULTILINE)
    printed = done.stdout.splitlines()
    assert len(printed) == len(prints), f"{program}\n{done.stdout}"
    for line, wanted in zip(printed, prints, strict=True):
        assert not wanted or line == wanted, program


@pytest.fixture(scope="module")
def quickstart(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("quickstart")
    (folder / "tasks.py").write_text(blocks("docs/quickstart.md", "python")[0])
    with worker(folder):
        yield folder


PROGRAMS = blocks("docs/quickstart.md", "python")[1:]


@pytest.mark.parametrize("program", PROGRAMS, ids=range(1, len(PROGRAMS) + 1))
def test_quickstart(program: str, quickstart: Path) -> None:
    run_program(program, quickstart)


# Those whose files belong in a project, and are tested there.
ELSEWHERE = ["docs/guide/django-first-steps.md"]


@pytest.mark.parametrize(
    "page", [page for page in GUIDE if blocks(page, "python") and page not in ELSEWHERE]
)
def test_guide(page: str, tmp_path: Path) -> None:
    programs = []
    for block in [*blocks(page, "python"), *blocks(page, "toml")]:
        if named := FILE_NAME.match(block):
            file = tmp_path / named[1]
            assert not file.exists(), f"{page} has two files {file.name}"
            file.write_text(block)
        else:
            programs.append(block)
    with ExitStack() as stack:
        if programs and (tmp_path / "tasks.py").exists():
            stack.enter_context(worker(tmp_path))
        for program in programs:
            run_program(program, tmp_path)
    # The plugin by its module's name: its entry point need not be installed where this is run.
    plugins = ["-p", "no:asyncio", "-p", "no:taskq", "-p", "taskq.contrib.pytest"]
    for test in sorted(path.name for path in tmp_path.glob("test_*.py")):
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-W", "error", *plugins, test],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr


def shown_commands() -> list[tuple[str, str]]:
    """Each taskq command that a page shows, with its page."""
    found = []
    for page in PAGES:
        for block in [*blocks(page, "sh"), *blocks(page, "console"), *blocks(page, "ini")]:
            lines = re.findall(r"^(?:\$ |ExecStart=\S*/)?(taskq .*)$", block, re.MULTILINE)
            found += [(page, line) for line in lines]
    return found


@pytest.mark.parametrize(("page", "command"), shown_commands())
def test_commands_exist(page: str, command: str) -> None:
    # With --help a command reads its whole command line, and then does nothing.
    done = CliRunner().invoke(cli, [*shlex.split(command, comments=True)[1:], "--help"])
    assert done.exit_code == 0, f"{page}: {command}\n{done.output}"


@pytest.mark.parametrize("page", PAGES)
def test_environment_variables_are_settings(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    assigned = re.findall(r"(?:export |Environment=)(TASKQ_\w+)=(\S+|'.*')$", text, re.MULTILINE)
    conf = Settings()
    conf.load_environ({name: shlex.split(value)[0] for name, value in assigned})
    for name, _ in assigned:
        assert conf.source(name.removeprefix("TASKQ_").lower()) != "default"


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
