"""``taskq shell`` and ``taskq completion``."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.cli.processes import TASKQ


def typed(project: Path, text: str, *options: str) -> str:
    done = subprocess.run(
        [TASKQ, "-A", "proj", "shell", "--python", *options],
        cwd=project,
        input=text,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout + done.stderr


def test_what_is_at_hand(project: Path) -> None:
    found = typed(project, "chain(add.s(1, 2), add.s(3)).apply().get()\napp.main\n")
    assert "Names: AsyncResult, add, app, chain, chord" in found
    assert "6" in found
    assert "'proj'" in found


def test_without_tasks(project: Path) -> None:
    found = typed(project, "add\n", "-T", "-q")
    assert "NameError: name 'add' is not defined" in found
    assert "Names:" not in found


@pytest.mark.parametrize("kind", ["ipython", "bpython"])
def test_one_that_is_not_installed(run: Run, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setattr("taskq.cli.shell.find_spec", lambda name: None)
    result = run("-A", "proj", "shell", f"--{kind}")
    assert result.exit_code == 2
    assert f"--{kind}: it is not installed; try pip install {kind}" in result.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(run: Run, shell: str) -> None:
    result = run("completion", shell)
    assert result.exit_code == 0
    assert f"_TASKQ_COMPLETE={shell}_complete" in result.stdout


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
def test_bash_completes(project: Path) -> None:
    """The script is read by a real bash, and its function called as bash does."""
    script = (
        'eval "$(taskq completion bash)"; complete -p taskq; '
        "COMP_WORDS=(taskq work); COMP_CWORD=1; _taskq_completion taskq; echo ${COMPREPLY[@]}; "
        "COMPREPLY=(); COMP_WORDS=(taskq worker --autos); COMP_CWORD=2; _taskq_completion taskq; "
        "echo ${COMPREPLY[@]}"
    )
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=project,
        env={**os.environ, "PATH": f"{TASKQ.parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.splitlines()[-2:] == ["worker", "--autoscale"], done.stderr
    assert "taskq" in done.stdout.splitlines()[0]
