"""Signals: connecting, senders, and that receivers cannot harm the sender."""

import gc
import logging
from typing import Any

import pytest

from taskq import signals
from taskq.signals import Signal

NAMES = [
    "before_task_publish",
    "after_task_publish",
    "task_received",
    "task_prerun",
    "task_postrun",
    "task_success",
    "task_retry",
    "task_failure",
    "task_internal_error",
    "task_revoked",
    "task_rejected",
    "task_unknown",
    "worker_init",
    "worker_before_create_process",
    "worker_process_init",
    "worker_process_shutdown",
    "worker_ready",
    "worker_shutting_down",
    "worker_shutdown",
    "heartbeat_sent",
    "import_modules",
    "setup_logging",
    "after_setup_logger",
    "after_setup_task_logger",
    "beat_init",
    "beat_embedded_init",
    "user_preload_options",
]


@pytest.fixture
def signal() -> Signal:
    return Signal("thing_happened")


def test_all_signals_are_there() -> None:
    found = {name: item for name, item in vars(signals).items() if isinstance(item, Signal)}
    assert sorted(found) == sorted(NAMES)
    assert all(item.name == name for name, item in found.items())


def test_what_a_receiver_is_given(signal: Signal) -> None:
    def receiver(**kwargs: Any) -> Any:
        return kwargs

    assert signal.connect(receiver) is receiver
    sender = object()
    assert signal.send(sender, a=1) == [
        (receiver, {"signal": signal, "sender": sender, "a": 1}),
    ]


def test_decorator_with_and_without_arguments(signal: Signal) -> None:
    @signal.connect
    def all_senders(**_: Any) -> str:
        return "all"

    @signal.connect(sender="proj.add")
    def one_sender(**_: Any) -> str:
        return "one"

    assert signal.send("proj.add") == [(all_senders, "all"), (one_sender, "one")]
    assert signal.send("proj." + "mul") == [(all_senders, "all")]


def test_senders_are_told_apart_by_identity(signal: Signal) -> None:
    class Equal:
        def __eq__(self, other: object) -> bool:
            return True

        __hash__ = None  # type: ignore[assignment]

    def receiver(**_: Any) -> None: ...

    sender = Equal()
    signal.connect(receiver, sender)
    assert len(signal.send(sender)) == 1
    assert signal.send(Equal()) == []
    assert signal.send(None) == []


def test_receivers_are_called_in_the_order_of_connecting(signal: Signal) -> None:
    def make(number: int) -> Any:
        return lambda **_: number

    receivers = [make(number) for number in range(50)]
    for receiver in receivers:
        signal.connect(receiver)
    assert [answer for _, answer in signal.send(None)] == list(range(50))


def test_errors_are_logged_and_kept_from_the_sender(
    signal: Signal, caplog: pytest.LogCaptureFixture
) -> None:
    error = ValueError("mine")

    @signal.connect
    def broken(**_: Any) -> None:
        raise error

    @signal.connect
    def whole(**_: Any) -> str:
        return "ran"

    assert signal.send(None) == [(broken, error), (whole, "ran")]
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert "thing_happened" in record.message
    assert record.exc_info is not None


def test_exits_are_not_held_back(signal: Signal) -> None:
    @signal.connect
    def leave(**_: Any) -> None:
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        signal.send(None)


def test_weak_and_strong_receivers(signal: Signal) -> None:
    def connect() -> None:
        signal.connect(lambda **_: "weak")
        signal.connect(lambda **_: "strong", weak=False)

    connect()
    gc.collect()
    assert [answer for _, answer in signal.send(None)] == ["strong"]


def test_methods(signal: Signal) -> None:
    class Plugin:
        def on_thing(self, **_: Any) -> str:
            return "method"

    plugin = Plugin()
    signal.connect(plugin.on_thing, dispatch_uid="plugin")
    gc.collect()
    assert [answer for _, answer in signal.send(None)] == ["method"]
    assert signal.disconnect(plugin.on_thing)
    assert signal.send(None) == []


def test_disconnect(signal: Signal) -> None:
    def receiver(**_: Any) -> None: ...

    assert not signal.disconnect(receiver)
    signal.connect(receiver)
    assert signal.disconnect(receiver)
    assert signal.send(None) == []
    assert not signal


def test_disconnect_one_sender(signal: Signal) -> None:
    def receiver(**_: Any) -> None: ...

    signal.connect(receiver, sender="a")
    signal.connect(receiver, sender="b")
    signal.disconnect(receiver, sender="a")
    assert signal.send("a") == []
    assert len(signal.send("b")) == 1


def test_dispatch_uid(signal: Signal) -> None:
    def first(**_: Any) -> str:
        return "first"

    def second(**_: Any) -> str:
        return "second"

    signal.connect(first, dispatch_uid="only")
    signal.connect(second, dispatch_uid="only")
    assert signal.send(None) == [(first, "first")]
    assert signal.disconnect(dispatch_uid="only")
    assert not signal.disconnect(dispatch_uid="only")
    signal.connect(second, dispatch_uid="only")
    assert signal.send(None) == [(second, "second")]


def test_a_dead_receivers_uid_is_free(signal: Signal) -> None:
    def connect() -> None:
        signal.connect(lambda **_: None, dispatch_uid="only")

    connect()
    gc.collect()

    @signal.connect(dispatch_uid="only")
    def receiver(**_: Any) -> str:
        return "new"

    assert signal.send(None) == [(receiver, "new")]


def test_is_anybody_there(signal: Signal) -> None:
    assert not signal
    assert not signal.receivers
    assert not signal.has_listeners()

    @signal.connect(sender="a")
    def receiver(**_: Any) -> None: ...

    assert signal
    assert signal.receivers
    assert signal.has_listeners("a")
    assert not signal.has_listeners("b")


def test_a_receiver_may_disconnect_itself(signal: Signal) -> None:
    @signal.connect
    def once(**_: Any) -> str:
        signal.disconnect(once)
        return "once"

    @signal.connect
    def always(**_: Any) -> str:
        return "always"

    assert [answer for _, answer in signal.send(None)] == ["once", "always"]
    assert [answer for _, answer in signal.send(None)] == ["always"]
