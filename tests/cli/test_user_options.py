"""Options that an app adds to commands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Run

OPTIONS = """
import json
from click import Option
from taskq.signals import user_preload_options

app.user_options["preload"].add(Option(["-Z", "--template"], default="default", help="Which."))
app.user_options["call"].add(Option(["--dry"], is_flag=True))


@user_preload_options.connect
def note(sender, app, options, **kwargs):
    with open("options.json", "w") as file:
        json.dump({"app": app.main, "options": options}, file)
"""


@pytest.fixture
def options(project: Path) -> Path:
    with (project / "proj.py").open("a") as file:
        file.write(OPTIONS)
    return project / "options.json"


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (("settings",), {"template": "default"}),
        (("settings", "-Z", "dark"), {"template": "dark"}),
        (("call", "proj.add", "-a", "[1, 2]", "--dry"), {"template": "default", "dry": True}),
        (("call", "--template=x", "proj.add", "-a", "[1, 2]"), {"template": "x", "dry": False}),
    ],
)
@pytest.mark.parametrize("where", ["before", "after", "long", "variable"])
def test_values_reach_the_app(
    run: Run,
    options: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    found: dict[str, Any],
    where: str,
) -> None:
    if where == "variable":
        monkeypatch.setenv("TASKQ_APP", "proj")
    before = {"before": ("-A", "proj")}.get(where, ())
    after = {"after": ("-A", "proj"), "long": ("--app=proj",)}.get(where, ())
    result = run(*before, *arguments, *after)
    assert result.exit_code == 0, result.stderr
    assert json.loads(options.read_text()) == {"app": "proj", "options": found}


def test_what_nobody_knows_is_a_mistake_still(run: Run, options: Path) -> None:
    for arguments in (("-A", "proj", "settings", "--what"), ("settings", "--what")):
        result = run(*arguments)
        assert result.exit_code == 2
        assert "No such option" in result.stderr
        assert "--what" in result.stderr
    assert run("-A", "absent", "settings", "--what").exit_code == 2
