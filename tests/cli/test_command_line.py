"""The options that all commands share, how commands are found, and what users are told."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import click
import pytest

from taskq import __version__
from taskq.cli.main import COMMANDS, ENTRY_POINTS
from tests.cli.conftest import Run
from tests.cli.processes import TASKQ


def test_version_loads_no_more_than_it_needs() -> None:
    program = (
        "import sys\n"
        "from taskq.cli.main import COMMANDS, main\n"
        "sys.argv = ['taskq', '--version']\n"
        "try:\n"
        "    main()\n"
        "finally:\n"
        "    print(*sorted({'asyncio', 'kombu', 'rich', 'sqlite3', 'taskq.worker',"
        " 'taskq.cli.worker', 'importlib.metadata'} & sys.modules.keys()))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"taskq {__version__}\n\n"


@pytest.mark.parametrize("arguments", [["--version"], ["worker", "--version"]])
def test_version(run: Run, arguments: list[str]) -> None:
    assert run(*arguments).stdout == f"taskq {__version__}\n"


def test_python_m_is_the_same_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "taskq", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"taskq {__version__}\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(run: Run, name: str) -> None:
    own = run(name, "--help")
    assert own.exit_code == 0
    assert f"Usage: taskq {name}" in own.stdout
    assert "--broker URL" in own.stdout


def test_help_lists_all_commands(run: Run) -> None:
    listing = run("--help").stdout.split("Commands:")[1]
    assert [line.split()[0] for line in listing.splitlines() if line.startswith("  ")] == sorted(
        COMMANDS
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ["-A", "proj", "list", "tasks"],
        ["list", "-A", "proj", "tasks"],
        ["list", "tasks", "-A", "proj"],
        ["list", "tasks", "-A", "proj:app"],
        ["list", "tasks", "-A", "proj.app"],
    ],
)
def test_common_options_stand_anywhere(run: Run, arguments: list[str]) -> None:
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (0, "proj.add\nproj.fail\n")


def test_the_later_app_wins(run: Run) -> None:
    assert run("-A", "absent", "list", "tasks", "-A", "proj").exit_code == 0


def test_app_from_the_environment(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASKQ_APP", "proj")
    assert run("list", "tasks").stdout == "proj.add\nproj.fail\n"
    assert run("-A", "absent", "list", "tasks").exit_code == 2


def test_workdir(run: Run, project: Path) -> None:
    (project / "sub").mkdir()
    (project / "proj.py").rename(project / "sub" / "other.py")
    assert run("-A", "other", "--workdir", "sub", "list", "tasks").stdout.startswith("other.add")
    result = run("-A", "other", "--workdir", "absent", "list", "tasks")
    assert result.exit_code == 2
    assert "--workdir absent: No such file or directory" in result.output


def test_config_module_and_toml_file(run: Run, project: Path) -> None:
    (project / "production.py").write_text("task_time_limit = 7\n")
    (project / "taskq.toml").write_text("[taskq]\ntask_time_limit = 8\n")
    assert '"value": 7.0' in run("settings", "--json", "--config", "production").stdout
    assert (
        '"value": 8.0' in run("-A", "proj", "settings", "--json", "--config", "taskq.toml").stdout
    )
    result = run("settings", "--config", "absent.toml")
    assert result.exit_code == 2
    assert "absent.toml" in result.output


def test_deleted_working_folder(run: Run, project: Path) -> None:
    (project / "gone").mkdir()
    os.chdir(project / "gone")
    (project / "gone").rmdir()
    result = run("-A", "proj", "list", "tasks")
    assert result.exit_code == 2
    assert "the working folder has been deleted" in result.output


def test_completion() -> None:
    """Click's own, for bash, zsh and fish; it must find commands that are not loaded yet."""
    words = {"_TASKQ_COMPLETE": "bash_complete", "COMP_WORDS": "taskq wor", "COMP_CWORD": "1"}
    done = subprocess.run(
        [TASKQ], env={**os.environ, **words}, capture_output=True, text=True, check=False
    )
    assert done.stdout == "plain,worker\n"


def test_unknown_command(run: Run) -> None:
    result = run("wroker")
    assert result.exit_code == 2
    assert "there is no command 'wroker': did you mean 'worker'?" in result.output
    assert "did you mean 'retry'?" in run("dlq", "rety").output


def test_unknown_option(run: Run) -> None:
    assert run("worker", "--concurency", "1").exit_code == 2


def test_no_app(run: Run) -> None:
    result = run("worker")
    assert result.exit_code == 2
    assert result.output.startswith("Error: which app? Name the module that holds it: -A proj")


@pytest.mark.parametrize(
    ("app", "said"),
    [
        ("porj", "there is no module 'porj'"),
        ("porj", "did you mean 'proj'?"),
        ("proj:application", "proj has no 'application'"),
        ("proj:add", "it is a add"),
        ("empty", "no TaskQ object is in it"),
    ],
)
def test_bad_app(run: Run, project: Path, app: str, said: str) -> None:
    (project / "empty.py").touch()
    result = run("-A", app, "list", "tasks")
    assert result.exit_code == 2
    assert said in result.output
    assert "Traceback" not in result.output


def test_module_that_raises_is_shown_as_the_users_code(run: Run, project: Path) -> None:
    (project / "broken.py").write_text("import helper\n")
    (project / "helper.py").write_text("def boom():\n    raise ValueError('boom')\n\nboom()\n")
    result = run("-A", "broken", "list", "tasks")
    assert result.exit_code == 2
    first, *_, last = result.output.splitlines()
    assert first == "Traceback (most recent call last):"
    assert last == ("Error: -A broken: module 'helper' cannot be imported: ValueError: boom")
    files = [line for line in result.output.splitlines() if line.startswith("  File ")]
    assert len(files) == 3  # broken.py, helper.py, and boom() in it
    assert all(str(project) in line for line in files)


def test_module_with_a_syntax_error(run: Run, project: Path) -> None:
    (project / "broken.py").write_text("def f(:\n")
    result = run("-A", "broken", "list", "tasks")
    assert result.exit_code == 2
    assert "line 1" in result.output
    assert f"Error: -A broken: {project}/broken.py cannot be imported: Syntax" in result.output
    assert "importlib" not in result.output


def test_module_that_exits(run: Run, project: Path) -> None:
    (project / "broken.py").write_text("import sys\nsys.exit(0)\n")
    result = run("-A", "broken", "list", "tasks")
    assert result.exit_code == 2
    assert "module 'broken' cannot be imported: SystemExit: 0" in result.output


def test_wrong_setting_names_its_line(run: Run, project: Path) -> None:
    (project / "broken.py").write_text(
        "from taskq import TaskQ\n\napp = TaskQ('broken', broker_lease='soon')\n"
    )
    result = run("-A", "broken", "list", "tasks")
    assert result.exit_code == 2
    assert "'broker_lease' must be a number of seconds of at least 1, not 'soon'" in result.output
    assert f"(in {project}/broken.py, line 3)" in result.output
    assert "Traceback" not in result.output


def test_wrong_setting_in_the_environment(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASKQ_TASK_TIME_LIMIT", "long")
    result = run("settings")
    assert result.exit_code == 2
    assert "environment variable TASKQ_TASK_TIME_LIMIT" in result.output


def test_no_broker_is_guessed(run: Run, project: Path) -> None:
    result = run("queues")
    assert result.exit_code == 2
    assert "which broker?" in result.output
    assert not list(project.glob("*.db"))
    assert run("queues", "-b", "sqlite:///other.db").exit_code == 0


def test_memory_broker_cannot_be_looked_at(run: Run) -> None:
    result = run("queues", "-b", "memory://")
    assert result.exit_code == 2
    assert "lives within one process" in result.output


def test_broker_option_wins_over_the_app(run: Run) -> None:
    result = run("-A", "proj", "settings", "-b", "sqlite:///other.db", "--json")
    assert '"source": "--broker"' in result.stdout


def test_commands_of_other_packages(
    run: Run, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "plugin.py").write_text(
        "import click\n\n@click.command()\ndef hello():\n    '''Greet.'''\n    click.echo('hi')\n"
    )
    monkeypatch.syspath_prepend(project)
    entry = EntryPoint("hello", "plugin:hello", ENTRY_POINTS)

    def entry_points(group: str, name: str | None = None) -> list[EntryPoint]:
        return [entry] if group == ENTRY_POINTS and name in (None, "hello") else []

    monkeypatch.setattr("importlib.metadata.entry_points", entry_points)
    assert run("hello").stdout == "hi\n"
    assert "Greet." in run("--help").stdout


def test_the_reference_has_every_command() -> None:
    page = Path(__file__).parents[2] / "docs" / "reference" / "commands.md"
    rows = [line.split("|")[1] for line in page.read_text().splitlines() if line.startswith("| `")]
    assert sorted(re.findall(r"`taskq (\w+)`", " ".join(rows))) == sorted(COMMANDS)


def test_interrupt(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("taskq.cli.settings.show_json", interrupt)
    assert run("settings", "--json").exit_code == 130


@pytest.mark.parametrize("how", ["option", "variable"])
def test_no_color(run: Run, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    colors = []
    monkeypatch.setattr(
        "taskq.cli.settings.show_json",
        lambda value: colors.append(click.get_current_context().color),
    )
    if how == "variable":
        monkeypatch.setenv("NO_COLOR", "1")
        run("settings", "--json")
    else:
        run("-C", "settings", "--json")
    run("settings", "--json")
    assert colors == [False, False] if how == "variable" else [False, None]
