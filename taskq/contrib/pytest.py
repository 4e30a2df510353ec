"""The pytest plugin: an app and a worker as fixtures.

pytest loads it by itself where taskq is installed.  What the fixtures need is imported when one
of them is used, since every test run of that environment pays for what is imported here.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from taskq.app import TaskQ
    from taskq.testing import RunningWorker


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line(
        "markers",
        "taskq(main, broker, backend, **settings): arguments of the app of this test's taskq_app",
    )


# What a project overrides


@pytest.fixture(scope="session")
def taskq_config() -> Mapping[str, Any]:
    """Settings of the apps; override it to have others.

    By default broker and results are in memory.
    """
    return {}


@pytest.fixture(scope="session")
def taskq_parameters() -> Mapping[str, Any]:
    """Arguments of `TaskQ` for the apps; override it to have others.

    ``app_class`` is the class to use in place of `TaskQ`.
    """
    return {}


@pytest.fixture(scope="session")
def taskq_includes() -> Sequence[str]:
    """Modules that workers import for the tasks in them; override it to name some."""
    return ()


@pytest.fixture(scope="session")
def taskq_worker_pool() -> str:
    """The pool of the workers: ``solo``, in this process; override it to have another."""
    return "solo"


@pytest.fixture(scope="session")
def taskq_worker_parameters() -> Mapping[str, Any]:
    """More arguments of `taskq.testing.start_worker`; override it to have some."""
    return {}


@pytest.fixture(scope="session")
def taskq_enable_logging() -> bool:
    """Whether what workers log at INFO is kept, for pytest to show; override it to have that."""
    return False


@pytest.fixture(scope="session")
def use_taskq_app_trap() -> bool:
    """Whether code that asks for the current app fails; override it to find such code."""
    return False


# What a test takes


@pytest.fixture
def taskq_app(
    request: pytest.FixtureRequest,
    taskq_config: Mapping[str, Any],
    taskq_parameters: Mapping[str, Any],
    taskq_enable_logging: bool,
    use_taskq_app_trap: bool,
) -> Iterator[TaskQ]:
    """An app for this test alone, with the settings of ``@pytest.mark.taskq(...)``."""
    marks = reversed(list(request.node.iter_markers("taskq")))
    settings = {name: value for mark in marks for name, value in mark.kwargs.items()}
    with (
        _logging(taskq_enable_logging),
        _app({**taskq_config, **settings}, taskq_parameters, use_taskq_app_trap) as app,
    ):
        yield app


@pytest.fixture
def taskq_worker(
    taskq_app: TaskQ,
    taskq_includes: Sequence[str],
    taskq_worker_pool: str,
    taskq_worker_parameters: Mapping[str, Any],
) -> Iterator[RunningWorker]:
    """A worker of `taskq_app`, beside the test."""
    parameters = {"pool": taskq_worker_pool, **taskq_worker_parameters}
    with _worker(taskq_app, taskq_includes, parameters) as worker:
        yield worker


@pytest.fixture(scope="session")
def taskq_session_app(
    taskq_config: Mapping[str, Any],
    taskq_parameters: Mapping[str, Any],
    taskq_enable_logging: bool,
    use_taskq_app_trap: bool,
) -> Iterator[TaskQ]:
    """An app for all tests that take it."""
    with (
        _logging(taskq_enable_logging),
        _app(taskq_config, taskq_parameters, use_taskq_app_trap) as app,
    ):
        yield app


@pytest.fixture(scope="session")
def taskq_session_worker(
    taskq_session_app: TaskQ,
    taskq_includes: Sequence[str],
    taskq_worker_pool: str,
    taskq_worker_parameters: Mapping[str, Any],
) -> Iterator[RunningWorker]:
    """A worker of `taskq_session_app`, beside all tests that follow."""
    parameters = {"pool": taskq_worker_pool, **taskq_worker_parameters}
    with _worker(taskq_session_app, taskq_includes, parameters) as worker:
        yield worker


# How


@contextmanager
def _app(config: Mapping[str, Any], parameters: Mapping[str, Any], trap: bool) -> Iterator[TaskQ]:
    from taskq.testing import make_app

    given = dict(parameters)
    # Marks may name what the constructor has arguments for.
    settings = dict(config)
    given.update((name, settings.pop(name)) for name in _ARGUMENTS if name in settings)
    with make_app(given.pop("main", "taskq.tests"), config=settings, trap=trap, **given) as app:
        yield app


@contextmanager
def _worker(
    app: TaskQ, includes: Sequence[str], parameters: Mapping[str, Any]
) -> Iterator[RunningWorker]:
    from taskq.testing import start_worker

    if includes:
        app.conf.update(include=[*app.conf.include, *includes])
    with start_worker(app, **parameters) as worker:
        yield worker


@contextmanager
def _logging(enabled: bool) -> Iterator[None]:
    logger = logging.getLogger("taskq")
    before = logger.level
    if enabled:
        logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.setLevel(before)


_ARGUMENTS = ("main", "broker", "backend", "task_cls", "strict_typing", "middleware")
"""Arguments of `TaskQ` that are no settings."""
