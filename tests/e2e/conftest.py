"""Fixtures of the end-to-end tests: the stage of the fault tests, with a user's project on it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.stage import Stage


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(tmp_path, tasks="tests.e2e.project")
    yield stage
    stage.close()
