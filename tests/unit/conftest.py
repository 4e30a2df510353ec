"""Fixtures for unit tests: apps that do no I/O."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from taskq import TaskQ, context


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> Iterator[TaskQ]:
    """An app with broker and results in memory; the current one while the test runs."""
    monkeypatch.setattr(context, "_current_app", None)
    monkeypatch.setattr(context, "_shared", [])
    with TaskQ("proj", broker="memory://", backend="memory://") as app:
        yield app
