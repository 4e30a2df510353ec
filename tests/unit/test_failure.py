"""Exceptions on their way through the result store, and back into Python."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import pytest

from taskq import exceptions
from taskq.failure import ExceptionInfo, describe, rebuild


class Plain(Exception):
    class Nested(Exception):
        pass


class Demanding(Exception):
    """Its constructor wants something else than what its args hold."""

    def __init__(self, code: int, *, hint: str) -> None:
        super().__init__(f"code {code}, {hint}")
        self.code = code


def encodable(value: Any) -> bool:
    try:
        json.dumps(value)
    except TypeError:
        return False
    return True


def travel(error: BaseException) -> BaseException:
    return rebuild(json.loads(json.dumps(describe(error, encodable))))


@pytest.mark.parametrize(
    "error",
    [
        ValueError("no good"),
        ValueError(),
        KeyError("key", 5, None, [1, 2]),
        OSError(2, "No such file"),
        Plain("x"),
        Plain.Nested("x"),
        exceptions.OperationalError("away"),
        exceptions.MaxRetriesExceededError("enough"),
        json.JSONDecodeError("bad", "doc", 2),
        UnicodeDecodeError("utf-8", b"x", 0, 1, "bad"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_comes_back(error: BaseException) -> None:
    again = travel(error)
    assert type(again) is type(error)
    if not isinstance(error, UnicodeDecodeError):  # bytes are no JSON
        assert again.args == error.args


def test_the_stored_form_is_that_of_celery() -> None:
    assert describe(Plain.Nested("x", 5), encodable) == {
        "exc_type": "Plain.Nested",
        "exc_message": ["x", 5],
        "exc_module": __name__,
    }


def test_arguments_that_cannot_be_encoded_are_kept_as_text() -> None:
    thing = object()
    again = travel(ValueError("x", thing, {"set": {1}}))
    assert again.args == ("x", repr(thing), "{'set': {1}}")


def test_a_constructor_that_wants_something_else() -> None:
    again = travel(Demanding(5, hint="try later"))
    assert type(again) is Demanding
    assert again.args == ("code 5, try later",)


def test_unknown_classes_are_made_on_the_spot() -> None:
    again = rebuild({"exc_type": "A.Strange", "exc_message": ["x"], "exc_module": "not.here"})
    assert isinstance(again, Exception)
    assert (type(again).__name__, again.args) == ("Strange", ("x",))
    local = type("Local", (Exception,), {"__qualname__": "f.<locals>.Local"})
    assert type(travel(local("x"))).__name__ == "Local"


def test_nothing_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "ftplib", raising=False)
    again = rebuild({"exc_type": "Error", "exc_message": ["x"], "exc_module": "ftplib"})
    assert "ftplib" not in sys.modules
    assert type(again).__name__ == "Error"


@pytest.mark.parametrize("name", ["getenv", "os.path", "environ", "__name__"])
def test_only_exceptions_are_made(name: str) -> None:
    again = rebuild({"exc_type": name, "exc_message": ["x"], "exc_module": "os"})
    assert isinstance(again, Exception)


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, asyncio.CancelledError])
def test_exits_of_a_worker_are_no_exits_here(error: type[BaseException]) -> None:
    again = travel(error("x"))
    assert isinstance(again, Exception)
    assert type(again).__name__ == error.__name__


@pytest.mark.parametrize(
    ("module", "name", "kind"),
    [
        ("celery.exceptions", "SoftTimeLimitExceeded", exceptions.SoftTimeLimitExceeded),
        ("billiard.exceptions", "WorkerLostError", exceptions.WorkerLostError),
        ("exceptions", "ValueError", ValueError),
    ],
)
def test_errors_of_celery(module: str, name: str, kind: type[Exception]) -> None:
    document = {"exc_type": name, "exc_message": "one text", "exc_module": module}
    again = rebuild(document)
    assert type(again) is kind
    assert again.args == ("one text",)


def test_the_traceback_is_a_note() -> None:
    again = rebuild({"exc_type": "ValueError", "exc_message": ["x"]}, "Traceback: line 5")
    assert again.__notes__ == ["\nIn the worker:\nTraceback: line 5"]
    assert not hasattr(rebuild({"exc_type": "ValueError", "exc_message": ["x"]}), "__notes__")


def test_exception_info() -> None:
    try:
        try:
            raise KeyError("first")
        except KeyError as cause:
            raise ValueError("second") from cause
    except ValueError as exc:
        error = exc
    info = ExceptionInfo(error)
    assert (info.exception, info.type) == (error, ValueError)
    assert str(info) == info.traceback
    for part in ("KeyError: 'first'", "ValueError: second", "test_exception_info"):
        assert part in info.traceback
