"""Signals: functions of the user's that are called at given moments.

    @task_failure.connect
    def report(sender, task_id, exception, **kwargs): ...

Each signal's comment gives its sender and its keyword arguments. Receivers should take
``**kwargs``, since arguments may be added. The names and arguments are Celery's.
"""

import logging
from collections.abc import Callable, Hashable, Iterator
from typing import Any, TypeVar, cast, overload
from weakref import ref

import blinker
from blinker.base import ANY

logger = logging.getLogger(__name__)

Receiver = Callable[..., Any]
R = TypeVar("R", bound=Receiver)


class _OrderedSet(dict[Any, None]):
    """The part of a set that blinker uses, in the order of insertion."""

    def add(self, item: Any) -> None:
        self[item] = None

    def discard(self, item: Any) -> None:
        self.pop(item, None)

    remove = discard

    def copy(self) -> "_OrderedSet":
        return _OrderedSet(self)


class _Blinker(blinker.Signal):
    # Receivers are called in the order in which they were connected.
    set_class = cast("type[set[Any]]", _OrderedSet)


class Signal:
    """A moment that functions can be connected to.

    ``if signal.receivers:`` is the cheap question whether anybody is connected.

    Args:
        name: for the log.
    """

    def __init__(self, name: str = "unnamed") -> None:
        self.name = name
        self._blinker = _Blinker()
        #: What is connected; empty if nothing is.
        self.receivers = self._blinker.receivers
        self._by_uid: dict[tuple[Hashable, int | str], Callable[[], Receiver | None]] = {}

    @overload
    def connect(
        self,
        receiver: R,
        sender: object = None,
        weak: bool = True,
        dispatch_uid: Hashable = None,
    ) -> R: ...

    @overload
    def connect(
        self,
        receiver: None = None,
        sender: object = None,
        weak: bool = True,
        dispatch_uid: Hashable = None,
    ) -> Callable[[R], R]: ...

    def connect(
        self,
        receiver: R | None = None,
        sender: object = None,
        weak: bool = True,
        dispatch_uid: Hashable = None,
    ) -> R | Callable[[R], R]:
        """Have a function called; also as decorator, with and without arguments.

        Args:
            receiver: the function; it is called with keyword arguments only, ``signal`` and
                ``sender`` among them.
            sender: only call it for this sender: an object, or a task's name where the
                sender is one.
            weak: drop it when nothing else refers to it, as happens to functions defined
                inside of others.
            dispatch_uid: a name for this connection; while it stands, others of the same
                name and sender change nothing.

        Returns:
            The function, as it was.
        """
        if receiver is None:
            return lambda function: self.connect(function, sender, weak, dispatch_uid)
        if dispatch_uid is not None:
            key = (dispatch_uid, _sender_key(sender))
            known = self._by_uid.get(key)
            if known is not None and known() is not None:
                return receiver
            self._by_uid[key] = _reference(receiver) if weak else lambda: receiver
        self._blinker.connect(receiver, ANY if sender is None else sender, weak)
        return receiver

    def disconnect(
        self,
        receiver: Receiver | None = None,
        sender: object = None,
        dispatch_uid: Hashable = None,
    ) -> bool:
        """Undo ``connect``.

        Args:
            receiver: the function; not needed with ``dispatch_uid``.
            sender: as when it was connected.
            dispatch_uid: as when it was connected.

        Returns:
            Whether it was connected.
        """
        if dispatch_uid is not None:
            known = self._by_uid.pop((dispatch_uid, _sender_key(sender)), None)
            receiver = known() if known is not None else None
        if receiver is None or all(found is not receiver and found != receiver for found in self):
            return False
        self._blinker.disconnect(receiver, ANY if sender is None else sender)
        return True

    def send(self, sender: object, **kwargs: Any) -> list[tuple[Receiver, Any]]:
        """Call what is connected.

        What a receiver raises is logged and goes no further: it must not change what the
        sender does.

        Args:
            sender: what sends it.
            **kwargs: for the receivers.

        Returns:
            Each receiver with what it returned, or with the error that it raised.
        """
        if not self.receivers:
            return []
        answers: list[tuple[Receiver, Any]] = []
        for receiver in list(self._blinker.receivers_for(sender)):
            try:
                answer = receiver(signal=self, sender=sender, **kwargs)
            except Exception as exc:
                logger.exception("receiver %r of signal %s raised", receiver, self.name)
                answer = exc
            answers.append((receiver, answer))
        return answers

    def has_listeners(self, sender: object = None) -> bool:
        """Tell whether anything would be called for a sender, or without one, at all."""
        if sender is None or not self.receivers:
            return bool(self.receivers)
        return any(True for _ in self._blinker.receivers_for(sender))

    def __bool__(self) -> bool:
        return bool(self.receivers)

    def __iter__(self) -> Iterator[Receiver]:
        for held in list(self.receivers.values()):
            receiver = held() if isinstance(held, ref) else held
            if receiver is not None:
                yield receiver

    def __repr__(self) -> str:
        return f"<Signal {self.name}: {len(self.receivers)} receivers>"


# Sending messages. Sender: the task's name. What follows a task is sent in the step that settles
# the task: both signals are sent just before, in the process that has run it.

#: body, exchange, routing_key, headers, properties, declare, retry_policy
before_task_publish = Signal("before_task_publish")
#: body, exchange, routing_key, headers
after_task_publish = Signal("after_task_publish")

# Tasks. Sender: the task; for what the worker's parent sends, the consumer.

#: request. Sender: the consumer.
task_received = Signal("task_received")
#: task_id, task, args, kwargs
task_prerun = Signal("task_prerun")
#: task_id, task, args, kwargs, retval, state
task_postrun = Signal("task_postrun")
#: result, runtime (seconds)
task_success = Signal("task_success")
#: request, reason, einfo
task_retry = Signal("task_retry")
#: task_id, exception, args, kwargs, traceback, einfo
task_failure = Signal("task_failure")
#: task_id, args, kwargs, request, exception, traceback, einfo. It returned, but not to be recorded.
task_internal_error = Signal("task_internal_error")
#: request, terminated, signum, expired
task_revoked = Signal("task_revoked")
#: message, exc. Sender: the app. It could not be read, or has raised Reject.
task_rejected = Signal("task_rejected")
#: message, exc, name, id. Sender: the app.
task_unknown = Signal("task_unknown")

# Workers. Sender: the worker; in pool processes, the app.

#: (none)
worker_init = Signal("worker_init")
#: (none)
worker_before_create_process = Signal("worker_before_create_process")
#: (none)
worker_process_init = Signal("worker_process_init")
#: pid, exitcode
worker_process_shutdown = Signal("worker_process_shutdown")
#: (none)
worker_ready = Signal("worker_ready")
#: sig, how, exitcode
worker_shutting_down = Signal("worker_shutting_down")
#: (none)
worker_shutdown = Signal("worker_shutdown")
#: (none)
heartbeat_sent = Signal("heartbeat_sent")

# The app, its log, beat and the command line.

#: (none). Sender: the app; its modules are about to be imported.
import_modules = Signal("import_modules")
#: loglevel, logfile, format, colorize. A receiver means that the app sets up its own log.
setup_logging = Signal("setup_logging")
#: logger, loglevel, logfile, format, colorize
after_setup_logger = Signal("after_setup_logger")
#: logger, loglevel, logfile, format, colorize
after_setup_task_logger = Signal("after_setup_task_logger")
#: (none). Sender: the beat service.
beat_init = Signal("beat_init")
#: (none). Sender: the beat service, which runs within a worker.
beat_embedded_init = Signal("beat_embedded_init")
#: app, options (values of the options that the app adds to commands). Sender: the app.
user_preload_options = Signal("user_preload_options")


def _sender_key(sender: object) -> int | str:
    return sender if isinstance(sender, str) else id(sender)


def _reference(receiver: Receiver) -> Callable[[], Receiver | None]:
    # A bound method is a new object each time, which a plain reference would lose at once.
    from weakref import WeakMethod

    return WeakMethod(receiver) if hasattr(receiver, "__self__") else ref(receiver)
