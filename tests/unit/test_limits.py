"""Time limits that make no sense are told where they are written."""

from __future__ import annotations

from typing import Any

import pytest

from taskq import TaskQ
from taskq.exceptions import ImproperlyConfigured
from taskq.task.limits import check_limits


@pytest.fixture
def app() -> TaskQ:
    return TaskQ("limits", broker="memory://", set_as_current=False)


@pytest.mark.parametrize(
    ("hard", "soft"), [(None, None), (10, None), (None, 0.5), (10, 10), (0, 5), (5, 0)]
)
def test_limits_that_can_be_obeyed(hard: Any, soft: Any) -> None:
    check_limits(hard, soft)


@pytest.mark.parametrize("limit", ["30", -1, True, float("inf"), float("nan")])
@pytest.mark.parametrize("option", ["time_limit", "soft_time_limit"])
def test_a_task_says_so_when_it_is_made(app: TaskQ, option: str, limit: Any) -> None:
    with pytest.raises(ImproperlyConfigured, match=f"^{option}={limit!r} must be a number"):
        app.task(name="wrong", **{option: limit})(lambda: None)


def test_a_soft_limit_after_the_hard_one(app: TaskQ) -> None:
    with pytest.raises(ImproperlyConfigured, match="soft_time_limit=5 would come after"):
        app.task(name="wrong", time_limit=1, soft_time_limit=5)(lambda: None)


@pytest.mark.parametrize("option", ["time_limit", "soft_time_limit"])
def test_a_call_is_refused_and_not_buried_by_a_worker(app: TaskQ, option: str) -> None:
    task = app.task(name="right")(lambda: None)
    with pytest.raises(ValueError, match=f"^{option}=-1 must be a number of seconds"):
        task.apply_async(**{option: -1})
