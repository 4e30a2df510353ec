"""Exceptions on their way through the result store, and back into Python.

The form is Celery's: ``{"exc_type": name, "exc_message": [args], "exc_module": module}``.
"""

from __future__ import annotations

import builtins
import sys
import traceback
from collections.abc import Callable
from typing import Any

from taskq import exceptions


class ExceptionInfo:
    """An exception with its traceback as text; what handlers get as ``einfo``.

    Attributes:
        exception: the exception.
        type: its class.
        traceback: the formatted traceback.
    """

    def __init__(self, exception: BaseException) -> None:
        self.exception = exception
        self.type = type(exception)
        text = "".join(traceback.format_exception(_strip(exception)))
        # Half of a surrogate pair, which no file and no message can hold, is written out.
        self.traceback = text.encode("utf-8", "backslashreplace").decode()

    def __str__(self) -> str:
        return self.traceback


def _strip(exception: BaseException) -> BaseException:
    """Leave taskq's own frames out: a traceback begins where the user's code does."""
    frame = exception.__traceback__
    while frame is not None and frame.tb_frame.f_globals.get("__name__", "").startswith("taskq."):
        frame = frame.tb_next
    return exception.with_traceback(frame) if frame is not None else exception


def safe_repr(value: object) -> str:
    """The `repr` of a value, or why there is none."""
    try:
        return repr(value)
    except Exception as exc:
        return f"<unprintable {type(value).__name__}: {type(exc).__name__}>"


_OF_CELERY = frozenset(
    {
        "AlreadyRegistered",
        "BackendError",
        "BackendStoreError",
        "ChordError",
        "Ignore",
        "ImproperlyConfigured",
        "InvalidTaskError",
        "MaxRetriesExceededError",
        "NotRegistered",
        "OperationalError",
        "QueueNotFound",
        "Reject",
        "Retry",
        "SecurityError",
        "SoftTimeLimitExceeded",
        "TaskRevokedError",
        "Terminated",
        "TimeLimitExceeded",
        "TimeoutError",
        "WorkerLostError",
    }
)
"""Exceptions of taskq's that Celery has under the same name."""


def describe(
    exception: BaseException, encodable: Callable[[Any], bool], for_celery: bool = False
) -> dict[str, Any]:
    """The stored form of an exception.

    Args:
        exception: what was raised.
        encodable: whether the result serializer can carry a value; arguments that it
            cannot are replaced by their `repr`.
        for_celery: Celery's clients read it as well, and are to find their own classes.
    """
    kind = type(exception)
    module = kind.__module__
    if for_celery and module == exceptions.__name__ and kind.__name__ in _OF_CELERY:
        module = "celery.exceptions"
    return {
        "exc_type": kind.__qualname__,
        "exc_message": [arg if encodable(arg) else safe_repr(arg) for arg in exception.args],
        "exc_module": module,
    }


def rebuild(document: dict[str, Any], remote_traceback: str | None = None) -> BaseException:
    """The exception that `describe` has described.

    Only classes of modules that this process has imported already are used: a name that
    comes from outside never makes it import anything.  Others, and exits, become a class
    of the same name, made on the spot, which `except Exception` catches.

    Args:
        document: the stored form.
        remote_traceback: added as a note, so that it is printed with the exception.
    """
    name = document.get("exc_type", "Exception")
    kind = _find_class(document.get("exc_module", ""), name)
    if kind is None:
        kind = _stand_in(name)
    message = document.get("exc_message", ())
    args = message if isinstance(message, list | tuple) else [message]
    try:
        exception = kind(*args)
    except Exception:  # its constructor wants something else than its args
        try:
            exception = kind.__new__(kind, *args)
        except Exception:  # nobody but its module can make one
            exception = _stand_in(name)(*args)
        exception.args = tuple(args)
    if remote_traceback:
        exception.add_note(f"\nIn the worker:\n{remote_traceback}")
    return exception


def _stand_in(name: str) -> type[Exception]:
    return type(name.rpartition(".")[2], (Exception,), {"__module__": __name__})


def _find_class(module: str, qualname: str) -> type[Exception] | None:
    place: Any = sys.modules.get(module) or (builtins if module == "exceptions" else None)
    if place is None:
        place = exceptions if module.startswith(("celery.", "billiard.")) else None
    for part in qualname.split("."):
        place = getattr(place, part, None)
    return place if isinstance(place, type) and issubclass(place, Exception) else None
