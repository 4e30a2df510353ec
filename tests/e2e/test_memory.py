"""A worker inside of a program, on the memory broker: everything lives in one process."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.faults.stage import CHECKOUT


def run(folder: Path, pool: str) -> dict[str, Any]:
    """Run the program; what it found."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "tests.e2e.memory_program", str(folder), pool],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=90,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("pool", ["prefork", "solo"])
def test_tasks_of_every_kind(tmp_path: Path, pool: str) -> None:
    found = run(tmp_path, pool)
    assert found["many"] == list(range(1, 201))
    assert found["chain"] == 6
    assert found["chord"] == list(range(1, 21))
    assert "ChordError" in found["failed chord"], "of the chord within the chord"
    assert found["retry"] == 2
    assert found["late"] == 2
    assert found["large"] == 1_000_000
    assert found["no_such"] == "NotRegistered"
    assert found["careless"] == "RuntimeError"


def test_inside_of_a_task_everything_goes_through_the_parent(tmp_path: Path) -> None:
    found = run(tmp_path, "prefork")
    child = found["parent"].pop("child")
    assert found["parent"] == {"value": 42, "state": "PROGRESS", "info": {"sent": child}}
    assert found["aparent"] == 2
    assert found["wrong"] == "QueueNotFound", "errors reach the task that caused them"
