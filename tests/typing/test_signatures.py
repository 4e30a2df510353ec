"""The calls of a task keep the types of its function, as mypy and pyright see them.

Each snippet is a module of its own. A line that ends in ``# error`` must be refused and every
other line accepted, by both checkers; ``reveal_type`` lines end in ``# AsyncResult[int]`` or
whatever type must be shown.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

PREAMBLE = """\
from taskq import AsyncResult, Task, TaskQ
app = TaskQ("snippets", broker="memory://", set_as_current=False)
@app.task
def add(x: int, y: int = 0) -> int:
    return x + y
@app.task(max_retries=5, queue="fast")
def name_of(number: int, *, upper: bool = False) -> str:
    return str(number)
@app.task
async def fetch(url: str) -> bytes:
    return b""
@app.task(bind=True)
def bound(self: Task[..., str], x: int) -> str:
    return ""
"""

SNIPPETS = {
    "delay_takes_the_arguments_of_the_function": """\
        add.delay(1)
        add.delay(1, 2)
        add.delay(1, y=2)
        add.delay(x=1)
    """,
    "delay_refuses_other_arguments": """\
        add.delay("x")  # error
        add.delay()  # error
        add.delay(1, 2, 3)  # error
        add.delay(1, z=2)  # error
        name_of.delay(1, True)  # error
    """,
    "delay_returns_the_result_type": """\
        reveal_type(add.delay(1))  # AsyncResult[int]
        reveal_type(add.delay(1).get())  # int
        text: str = add.delay(1).get()  # error
    """,
    "options_do_not_change_types": """\
        reveal_type(name_of.delay(1, upper=True))  # AsyncResult[str]
        name_of.delay("x")  # error
    """,
    "a_task_is_called_like_its_function": """\
        reveal_type(add(1, 2))  # int
        add("x")  # error
    """,
    "an_async_task_gives_what_is_awaited": """\
        reveal_type(fetch.delay("x"))  # AsyncResult[bytes]
        reveal_type(fetch.delay("x").get())  # bytes
        fetch.delay(1)  # error
    """,
    "bind_drops_self": """\
        reveal_type(bound.delay(1))  # AsyncResult[str]
        bound.delay(None, 1)  # error
        bound.delay("x")  # error
    """,
    "a_result_can_be_annotated": """\
        one: AsyncResult[int] = add.delay(1)
        other: AsyncResult[str] = add.delay(1)  # error
    """,
    "delay_on_commit_takes_the_arguments_of_the_function": """\
        reveal_type(add.delay_on_commit(1, y=2))  # str
        add.delay_on_commit("x")  # error
        name_of.delay_on_commit(1, True)  # error
        reveal_type(add.apply_async_on_commit([1], using="other", priority=3))  # str
        add.apply_async_on_commit([1], prority=3)  # error
    """,
    "apply_async_returns_the_result_type": """\
        reveal_type(add.apply_async((1,), countdown=5))  # AsyncResult[int]
        add.apply_async((1,), count_down=5)  # error
    """,
    "periodic_keeps_the_task": """\
        periodic = app.periodic(30.0, args=(1,))(add)
        reveal_type(periodic.delay(1).get())  # int
        app.periodic(30.0)(len)  # error
    """,
    "adelay_is_the_same_for_asyncio": """\
        async def caller() -> None:
            reveal_type(await add.adelay(1))  # AsyncResult[int]
            await add.adelay("x")  # error
    """,
}

NAMES = sorted(SNIPPETS)


@dataclass
class Report:
    """What a checker said of one snippet, by line number."""

    errors: dict[int, str] = field(default_factory=dict)
    types: dict[int, str] = field(default_factory=dict)


Reports = dict[str, Report]


@pytest.fixture(scope="session")
def snippets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one module a snippet."""
    folder = tmp_path_factory.mktemp("snippets")
    for name in NAMES:
        (folder / f"{name}.py").write_text(PREAMBLE + _dedented(name))
    return folder


@pytest.fixture(scope="session")
def mypy(snippets: Path) -> Reports:
    """What ``mypy --strict`` says."""
    options = ["--strict", "--no-error-summary", "--show-absolute-path", "--hide-error-context"]
    command = [
        sys.executable,
        "-m",
        "mypy",
        *options,
        "--config-file",
        str(ROOT / "pyproject.toml"),
    ]
    done = subprocess.run(
        [*command, "--cache-dir", str(snippets / "cache"), *_files(snippets)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    reports: Reports = defaultdict(Report)
    for line in done.stdout.splitlines():
        if match := re.match(r"(.+?):(\d+): (error|note): (.*)", line):
            path, number, severity, message = match.groups()
            _note(reports[Path(path).stem], int(number), severity, message)
    return reports


@pytest.fixture(scope="session")
def pyright(snippets: Path) -> Reports:
    """What pyright says."""
    command = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable]
    done = subprocess.run(
        [*command, *_files(snippets)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    reports: Reports = defaultdict(Report)
    for found in json.loads(done.stdout)["generalDiagnostics"]:
        number = found["range"]["start"]["line"] + 1
        report = reports[Path(found["file"]).stem]
        _note(report, number, found["severity"], found["message"])
    return reports


@pytest.mark.parametrize("name", NAMES)
def test_mypy(name: str, mypy: Reports) -> None:
    _check(name, mypy[name])


@pytest.mark.parametrize("name", NAMES)
def test_pyright(name: str, pyright: Reports) -> None:
    _check(name, pyright[name])


def _note(report: Report, number: int, severity: str, message: str) -> None:
    if revealed := re.search(r'(?:Revealed type is|Type of ".*" is) "(.*)"', message):
        report.types[number] = re.sub(r"\b(?:\w+\.)+(?=\w)", "", revealed[1])
    elif severity == "error":
        report.errors[number] = message


def _check(name: str, report: Report) -> None:
    """Compare what the comments of a snippet ask for with what the checker said."""
    wanted = Report()
    first = PREAMBLE.count("\n") + 1
    for number, line in enumerate(_dedented(name).splitlines(), first):
        code, _, comment = line.partition("  # ")
        if comment == "error":
            wanted.errors[number] = report.errors.get(number, f"an error for: {code}")
        elif comment:
            wanted.types[number] = comment
    assert report.errors == wanted.errors
    assert report.types == wanted.types


def _dedented(name: str) -> str:
    return "".join(
        line.removeprefix(" " * 8) + "\n" for line in SNIPPETS[name].rstrip().split("\n")
    )


def _files(folder: Path) -> list[str]:
    return [str(path) for path in sorted(folder.glob("*.py"))]
