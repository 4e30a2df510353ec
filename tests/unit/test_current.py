"""Names for what is current when they are used."""

from __future__ import annotations

from typing import Any

import pytest

from taskq import TaskQ, bugreport, context, current_app, current_task


@pytest.fixture(autouse=True)
def no_app(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(context, "_current_app", None)


def test_the_app_is_whichever_is_current() -> None:
    first = TaskQ("first", broker="memory://")
    assert (current_app.main, current_app) == ("first", first)
    second = TaskQ("second", broker="memory://")
    assert current_app == second
    first.set_current()
    assert hash(current_app) == hash(first)
    assert repr(current_app) == repr(first)
    assert "send_task" in dir(current_app)
    assert "first" in bugreport() or "memory://" in bugreport()
    assert bugreport(second) == second.bugreport()


def test_it_can_be_changed() -> None:
    app = TaskQ("app", broker="memory://")
    current_app.spare = 1  # type: ignore[attr-defined]
    assert app.spare == 1  # type: ignore[attr-defined]
    del current_app.spare  # type: ignore[attr-defined]
    assert not hasattr(app, "spare")


def test_without_an_app_it_is_a_clear_error() -> None:
    with pytest.raises(RuntimeError, match="make one with app = TaskQ"):
        _ = current_app.conf
    assert repr(current_app) == "<nothing is current>"


def test_the_task_is_the_one_that_runs() -> None:
    app = TaskQ("app", broker="memory://", task_always_eager=True)
    assert not current_task

    @app.task(name="outer")
    def outer() -> Any:
        return current_task.name, bool(current_task), inner.delay().get(), current_task.name

    @app.task(name="inner")
    def inner() -> str:
        return f"{current_task.name} {current_task.request.id}"

    result = outer.delay()
    name, truth, other, again = result.get()
    assert (name, truth, again) == ("outer", True, "outer")
    assert other.startswith("inner ")
    assert not current_task
