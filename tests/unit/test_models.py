"""Tasks whose arguments and results are pydantic models."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from pydantic import BaseModel, ValidationInfo, field_validator

from taskq import Task, TaskQ
from taskq.exceptions import ImproperlyConfigured
from tests.unit.sequential import SequentialWorker


class Point(BaseModel):
    x: int
    y: int = 0


class Named(Point):
    name: str


class Seen(BaseModel):
    where: str = ""

    @field_validator("where")
    @classmethod
    def note(cls, value: str, info: ValidationInfo) -> str:
        context: Any = info.context
        return f"{context['extra']} {context['taskq_task_name']}" if value else value


@pytest.fixture
def worker(app: TaskQ) -> SequentialWorker:
    return SequentialWorker(app)


def sent_arguments(app: TaskQ) -> Any:
    (message,) = app.broker.browse("default", 5)
    return app.serializers.decode(
        message.body, message.content_type, "utf-8", frozenset({message.content_type})
    )[:2]


def test_models_travel_as_plain_data(app: TaskQ, worker: SequentialWorker) -> None:
    @app.task(name="move", pydantic=True)
    def move(point: Point, by: int, *, other: Point | None = None) -> Point:
        assert isinstance(point, Point)
        assert other is None or isinstance(other, Point)
        return Point(x=point.x + by, y=other.y if other else point.y)

    result = move.delay(Point(x=1, y=2), 3, other=Point(x=0, y=9))
    assert sent_arguments(app) == [[{"x": 1, "y": 2}, 3], {"other": {"x": 0, "y": 9}}]
    worker.run()
    assert result.get(timeout=0) == {"x": 4, "y": 9}
    result = app.send_task("move", ({"x": "5"}, 1))
    worker.run()
    assert result.get(timeout=0) == {"x": 6, "y": 0}
    assert move.apply((Point(x=1), 1)).get() == {"x": 2, "y": 0}
    assert move(Point(x=1), 1) == {"x": 2, "y": 0}, "as in Celery"


@pytest.mark.parametrize("how", ["wrong", "strict"])
def test_arguments_that_are_no_model(app: TaskQ, worker: SequentialWorker, how: str) -> None:
    @app.task(name="move", pydantic=True, pydantic_strict=how == "strict")
    def move(point: Point) -> None:
        pytest.fail("it ran")

    result = move.delay({"x": "no number"} if how == "wrong" else {"x": "5"})
    worker.run()
    with pytest.raises(Exception) as caught:  # noqa: PT011
        result.get(timeout=0)
    assert type(caught.value).__name__ == "ValidationError"
    assert "validation error for Point" in result.traceback


def test_options(app: TaskQ, worker: SequentialWorker) -> None:
    @app.task(
        name="see",
        bind=True,
        pydantic=True,
        pydantic_context={"extra": 5},
        pydantic_dump_kwargs={"exclude": {"y"}},
    )
    def see(self: Task[..., Any], seen: Seen) -> Point:
        assert seen.where == "5 see"
        return Point(x=1, y=2)

    result = see.delay({"where": "?"})
    worker.run()
    assert result.get(timeout=0) == {"x": 1}


async def test_coroutines(app: TaskQ, worker: SequentialWorker) -> None:
    @app.task(name="move", pydantic=True)
    async def move(point: Point) -> Point | None:
        return point if point.x else None

    assert await move(Point(x=1)) == {"x": 1, "y": 0}  # type: ignore[misc]
    assert await move(Point(x=0)) is None  # type: ignore[misc]


def test_another_model_than_the_annotated_one_is_left_to_the_serializer(app: TaskQ) -> None:
    @app.task(name="move", pydantic=True)
    def move(point: Point, *rest: Any) -> None: ...

    app.serializers.register_type(Named, "named")
    move.delay(Named(x=1, name="a"), Point(x=1))
    (first, _), _ = sent_arguments(app)
    assert first == Named(x=1, name="a")


def test_without_pydantic(app: TaskQ, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pydantic", None)
    with pytest.raises(ImproperlyConfigured, match=r"pip install 'taskq\[pydantic\]'"):

        @app.task(pydantic=True)
        def move(point: Any) -> None: ...
