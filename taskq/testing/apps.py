"""Apps for tests: one that is made for them, or the program's own kept to itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from taskq import context
from taskq.app import TaskQ
from taskq.backends.memory import MemoryBackend
from taskq.brokers.memory import MemoryBroker

if TYPE_CHECKING:
    from taskq.brokers.base import Broker

DEFAULTS = {"broker_url": "memory://", "worker_hijack_root_logger": False}
"""Settings of an app that is made for tests, unless others are given."""

_MADE_FROM_SETTINGS = ("broker", "backend", "router", "producer", "result_codec")
"""What an app makes when it is first used, and keeps."""


@contextmanager
def make_app(
    main: str = "taskq.tests",
    *,
    config: Mapping[str, Any] | None = None,
    trap: bool = False,
    **parameters: Any,
) -> Iterator[TaskQ]:
    """An app for a test: broker and results in memory, and shared tasks in it.

    While it lasts it is the current app, and shared tasks are sent by it; afterwards all is as
    before.

    Args:
        main: the name of the program, which tasks are named after.
        config: settings.
        trap: there is no current app at all, so that code that needs one raises.
        parameters: more of `TaskQ`; ``app_class`` makes it of another class.
    """
    before = context.get_current_app() if context.has_current_app() else None
    app_class = parameters.pop("app_class", TaskQ)
    settings = {**DEFAULTS, **(config or {})}
    # The names that the constructor has arguments for win over settings in it.
    for argument, name in (("broker", "broker_url"), ("backend", "result_backend")):
        if argument in parameters:
            settings.pop(name, None)
    app: TaskQ = app_class(main, set_as_current=False, **parameters, **settings)
    context.set_current_app(None if trap else app)
    # Each belongs to the first app that took it in; calls of it shall go to this one.
    shared = [task for _, _, task in context.shared_tasks() if task is not None]
    owners = [task.app for task in shared]
    for task in shared:
        task.app = app
    try:
        yield app
    finally:
        for task, owner in zip(shared, owners, strict=True):
            task.app = owner
        context.set_current_app(before)
        app.close()


@contextmanager
def in_memory(app: TaskQ, **settings: Any) -> Iterator[TaskQ]:
    """Let an app keep messages and results in this process, for as long as the block lasts.

    Args:
        app: the app; its settings, broker and result store are as before afterwards.
        settings: settings for that time, such as ``task_always_eager=True``.

    Raises:
        UnknownSetting: a name is no setting.
        ImproperlyConfigured: a value has a wrong type.
    """
    kept = app.__dict__
    with app.conf.override(**settings):
        before = {name: kept.pop(name) for name in _MADE_FROM_SETTINGS if name in kept}
        app.use(MemoryBroker(), MemoryBackend())
        try:
            yield app
        finally:
            app.close()
            for name in _MADE_FROM_SETTINGS:
                kept.pop(name, None)
            kept.update(before)


def queue_names(app: TaskQ, broker: Broker) -> list[str]:
    """The app's queues, and all others that the broker knows."""
    return list(dict.fromkeys([*(queue.name for queue in app.queues()), *broker.queues()]))
