"""Which Python a peer's environment is made with."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import interpreters
from benchmarks.catalogue import SUBJECTS, Subject
from benchmarks.environments import Environment
from benchmarks.interpreters import InterpreterMissing, find
from benchmarks.plan import QUICK
from benchmarks.report import markdown
from benchmarks.runner import run

UNBORN = (90, 1)
"""A version that no machine has."""


def fake_python(path: Path, script: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def subject(name: str, least_python: tuple[int, int]) -> Subject:
    environment = Environment(name, (), (), least_python)
    if least_python == UNBORN:
        environment = replace(environment, requirements=("never-installed",))
    return replace(SUBJECTS["taskq-sqlite"], name=name, environment=environment)


def test_the_python_of_the_benchmark_is_taken_where_it_is_new_enough() -> None:
    assert find(sys.version_info[:2], {}) == Path(sys.executable)


def test_the_oldest_that_is_new_enough_is_taken(tmp_path: Path) -> None:
    for minor in (0, 4, 2):
        fake_python(tmp_path / f"python90.{minor}", f"echo 90.{minor}")
    assert find(UNBORN, {"PATH": f"/nowhere:{tmp_path}"}) == tmp_path / "python90.2"


@pytest.mark.parametrize("script", ["exit 127", "echo 90.2"])
@pytest.mark.parametrize("root", [{"PYENV_ROOT": "{tmp}/.pyenv"}, {"HOME": "{tmp}"}])
def test_one_of_pyenv_is_taken_where_that_on_path_is_not_what_it_says(
    script: str, root: dict[str, str], tmp_path: Path
) -> None:
    fake_python(tmp_path / "shims" / "python90.1", script)
    real = fake_python(tmp_path / ".pyenv/versions/90.1.3/bin/python90.1", "echo 90.1")
    root = {name: value.format(tmp=tmp_path) for name, value in root.items()}
    assert find(UNBORN, {"PATH": str(tmp_path / "shims"), **root}) == real


def test_a_missing_python_is_named(tmp_path: Path) -> None:
    with pytest.raises(InterpreterMissing, match=r"needs Python 90\.1 or newer.*pyenv install"):
        find(UNBORN, {"PATH": str(tmp_path), "HOME": str(tmp_path)})


def test_the_environment_is_made_with_the_python_that_was_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Asked for `-m venv FOLDER` it puts itself there, and whatever pip is asked for succeeds.
    made = 'echo 90.1; if [ "$2" = venv ]; then mkdir -p "$3/bin"; cp "$0" "$3/bin/python"; fi'
    base = fake_python(tmp_path / "bin/python90.1", made)
    monkeypatch.setattr(interpreters, "_candidates", lambda version, environ: [base])
    python = Environment("peer", ("package",), (), UNBORN).prepare(tmp_path / "cache")
    assert python == tmp_path / "cache/peer-py90.1/bin/python"
    assert python.read_text() == base.read_text()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the benchmarks read /proc")
def test_a_subject_without_its_python_is_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done = run([subject("here", (3, 0)), subject("ahead", UNBORN)], [], QUICK, tmp_path)
    assert done.subjects == ("here",)
    assert done.versions["here"]["Python"] == sys.version.split()[0]
    assert "leaving out ahead: needs Python 90.1 or newer" in capsys.readouterr().err
    assert "## Left out\n\n- ahead: needs Python 90.1 or newer" in markdown(done)
    assert done.record()["left_out"] == dict(done.left_out)


def test_no_subject_left_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="no subject is left"):
        run([subject("ahead", UNBORN)], [], QUICK, tmp_path)
