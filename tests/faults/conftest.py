"""Fixtures for tests that ill-treat real workers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.stage import Stage

MakeStage = Callable[..., Stage]


@pytest.fixture
def make_stage(tmp_path: Path) -> Iterator[MakeStage]:
    """Makes a stage with settings of one's own; all that it starts is ended."""
    stages: list[Stage] = []

    def make(**settings: object) -> Stage:
        folder = tmp_path / f"stage{len(stages) + 1}"
        folder.mkdir()
        stages.append(Stage(folder, **settings))
        return stages[-1]

    yield make
    for stage in stages:
        stage.close()


@pytest.fixture
def stage(make_stage: MakeStage) -> Stage:
    """A stage with a short lease: what a dead worker held is free again within two seconds."""
    return make_stage(broker_lease=2)
