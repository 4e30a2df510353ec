"""The errors: their tree, their words, and that they survive pickling."""

import builtins
import inspect
import pickle
import re
from datetime import UTC, datetime

import pytest

from taskq import exceptions
from taskq.exceptions import (
    BackendStoreError,
    MaxRetriesExceededError,
    NotRegistered,
    QueueNotFound,
    Reject,
    Retry,
    TaskQError,
    UnknownSetting,
)

CLASSES = [
    cls
    for _, cls in inspect.getmembers(exceptions, inspect.isclass)
    if issubclass(cls, BaseException) and cls.__module__ == exceptions.__name__
]


@pytest.mark.parametrize("cls", CLASSES)
def test_every_error_survives_pickling(cls: type[BaseException]) -> None:
    error = cls("what was wrong")
    error.extra = 1  # type: ignore[attr-defined]
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is cls
    assert str(copy) == str(error)
    assert vars(copy) == vars(error)


def test_attributes_survive_pickling() -> None:
    when = datetime(2026, 1, 1, tzinfo=UTC)
    retry = pickle.loads(pickle.dumps(Retry("again", ValueError("x"), when, True, {"task": "a"})))
    assert (retry.message, retry.when, retry.is_eager, retry.sig) == (
        "again",
        when,
        True,
        {"task": "a"},
    )
    assert isinstance(retry.exc, ValueError)
    reject = pickle.loads(pickle.dumps(Reject("no", requeue=True)))
    assert (reject.reason, reject.requeue, reject.args) == ("no", True, ("no", True))
    lost = pickle.loads(pickle.dumps(BackendStoreError("full", state="SUCCESS", task_id="1")))
    assert (lost.state, lost.task_id) == ("SUCCESS", "1")
    spent = MaxRetriesExceededError("spent", task_args=(1,), task_kwargs={"a": 2})
    spent = pickle.loads(pickle.dumps(spent))
    assert (spent.task_args, spent.task_kwargs) == ((1,), {"a": 2})


def test_the_drawn_tree_is_the_real_one() -> None:
    drawn = re.findall(r"[├└]─ (\w+)", exceptions.__doc__ or "")
    real = [cls.__name__ for cls in CLASSES if cls is not TaskQError]
    assert sorted(drawn) == sorted(real)


def test_one_root() -> None:
    outside = [cls.__name__ for cls in CLASSES if not issubclass(cls, TaskQError)]
    assert outside == ["WorkerShutdown", "WorkerTerminate"]
    assert issubclass(exceptions.WorkerShutdown, SystemExit)
    assert issubclass(exceptions.WorkerTerminate, SystemExit)


def test_errors_that_are_also_built_in_ones() -> None:
    assert issubclass(exceptions.TimeoutError, builtins.TimeoutError)
    assert issubclass(UnknownSetting, AttributeError)
    for cls in (NotRegistered, QueueNotFound, UnknownSetting):
        assert issubclass(cls, KeyError)
        # A plain KeyError would show the repr.
        assert str(cls("no task 'a'")) == "no task 'a'"


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (Retry("because"), "because"),
        (Retry(exc=ValueError("x"), when=3), "Retry in 3s: ValueError('x')"),
        (Retry(when=datetime(2026, 1, 1, tzinfo=UTC)), "Retry at 2026-01-01 00:00:00+00:00"),
        (Reject("bad", requeue=True), "reject requeue=True: bad"),
    ],
)
def test_words(error: Exception, text: str) -> None:
    assert str(error) == text
