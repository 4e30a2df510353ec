"""The help for tests: the pytest plugin in test runs of its own, and workers with processes."""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from taskq import Task, TaskQ, chord
from taskq.testing import assert_enqueued, drain, enqueued, make_app, start_worker

pytest_plugins = ["pytester"]

PLUGIN = "taskq.contrib.pytest"
ROOT = Path(__file__).parents[2]


@pytest.fixture
def run(pytester: pytest.Pytester) -> Callable[..., None]:
    """Runs a file of tests; all of them must pass, and end without a warning."""

    def run(test: str, passed: int, conftest: str = "", *arguments: str) -> None:
        # The entry point need not be installed where this is run.
        pytester.makeini("[pytest]\nfilterwarnings = error\naddopts = --strict-markers")
        pytester.makepyfile(test)
        if conftest:
            pytester.makeconftest(conftest)
        pytester.syspathinsert(ROOT)
        arguments = arguments or ("-p", "no:asyncio")
        done = pytester.runpytest_subprocess("-p", "no:taskq", "-p", PLUGIN, *arguments)
        done.assert_outcomes(passed=passed)

    return run


def test_pytest_finds_the_plugin() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["entry-points"]["pytest11"] == {"taskq": PLUGIN}


def test_the_plugin_is_cheap(pytester: pytest.Pytester) -> None:
    program = f"""
import sys, pytest, taskq
before = set(sys.modules)
import {PLUGIN}
print(sorted(set(sys.modules) - before))
"""
    pytester.syspathinsert(ROOT)
    done = pytester.run(sys.executable, "-c", program)
    assert done.outlines == [f"{sorted(['taskq.contrib', PLUGIN])}"], done.errlines


def test_fixtures(run: Callable[..., None]) -> None:
    run(
        """
        import pytest
        from taskq import get_current_app, shared_task
        from taskq.testing import assert_enqueued, drain

        @shared_task
        def twice(x):
            return 2 * x

        def test_app(taskq_app):
            assert get_current_app() is taskq_app
            assert taskq_app.conf.broker_url == "memory://"
            assert taskq_app.conf.task_default_queue == "from config"
            assert taskq_app.main == "from parameters"
            twice.delay(4)
            assert_enqueued(twice, (4,), queue="from config")
            assert [run.result for run in drain(taskq_app)] == [8]

        @pytest.mark.taskq(task_default_queue="outer", result_expires=60)
        class TestMarks:
            @pytest.mark.taskq(task_default_queue="inner", main="marked")
            def test_settings(self, taskq_app):
                conf = taskq_app.conf
                assert (conf.task_default_queue, conf.result_expires) == ("inner", 60)
                assert taskq_app.main == "marked"

        def test_worker(taskq_app, taskq_worker):
            @taskq_app.task
            def mul(x, y):
                return x * y

            taskq_worker.reload()
            assert mul.delay(4, 4).get(timeout=20) == 16
            assert twice.delay(4).get(timeout=20) == 8
            assert taskq_app.tasks["included.task"].delay().get(timeout=20) == "included"
            assert taskq_worker.worker.hostname == "mine"

        async def check(app):
            return await (await app.tasks["included.task"].adelay())

        def test_worker_from_asyncio(taskq_app, taskq_worker):
            import asyncio
            assert asyncio.run(check(taskq_app)) == "included"

        apps = []

        @pytest.mark.parametrize("n", range(2))
        def test_session(taskq_session_app, taskq_session_worker, n):
            apps.append(taskq_session_app)
            assert get_current_app() is taskq_session_app
            assert apps[0] is taskq_session_app
            assert twice.delay(n).get(timeout=20) == 2 * n
        """,
        6,
        """
        import sys, types
        import pytest
        from taskq import shared_task

        module = types.ModuleType("included")
        sys.modules["included"] = module

        @shared_task(name="included.task")
        def task():
            return "included"

        @pytest.fixture(scope="session")
        def taskq_config():
            return {"task_default_queue": "from config"}

        @pytest.fixture(scope="session")
        def taskq_parameters():
            return {"main": "from parameters"}

        @pytest.fixture(scope="session")
        def taskq_includes():
            return ["included"]

        @pytest.fixture(scope="session")
        def taskq_worker_parameters():
            return {"hostname": "mine"}
        """,
    )


def test_switches(run: Callable[..., None]) -> None:
    run(
        """
        import logging
        import pytest
        from taskq import get_current_app

        def test_trap(taskq_app):
            with pytest.raises(RuntimeError, match="no current app"):
                get_current_app()

        def test_logging_and_threads(taskq_app, taskq_worker, caplog):
            import threading
            names = set()

            @taskq_app.task(name="named")
            def named():
                names.add(threading.current_thread().name)

            named.delay().get(timeout=20)
            assert names <= {"taskq-solo-1", "taskq-solo-2"}
            assert taskq_worker.worker.concurrency == 2
            assert "Task named" in caplog.text
        """,
        2,
        """
        import pytest

        @pytest.fixture(scope="session")
        def use_taskq_app_trap():
            return True

        @pytest.fixture(scope="session")
        def taskq_enable_logging():
            return True

        @pytest.fixture(scope="session")
        def taskq_worker_pool():
            return "threads"

        @pytest.fixture(scope="session")
        def taskq_worker_parameters():
            return {"concurrency": 2}
        """,
    )


def test_with_pytest_asyncio(run: Callable[..., None]) -> None:
    run(
        """
        from taskq.testing import adrain, start_worker

        async def test_worker(taskq_app, taskq_worker):
            @taskq_app.task
            async def co(x):
                return x

            assert await (await co.adelay(1)) == 1

        async def test_drain(taskq_app):
            @taskq_app.task
            async def co(x):
                return x

            await co.adelay(1)
            assert [run.result for run in await adrain(taskq_app)] == [1]
            async with start_worker(taskq_app, pool="prefork"):
                assert await (await co.adelay(2)) == 2
        """,
        2,
        "",
        "-o",
        "asyncio_mode=auto",
        "-o",
        "asyncio_default_fixture_loop_scope=function",
    )


# Processes beneath the worker, and real brokers


@pytest.fixture(params=["memory", "sqlite", "redis"])
def app(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[TaskQ]:
    url = {"memory": "memory://", "sqlite": f"sqlite:///{tmp_path}/t.db"}.get(request.param)
    if url is None:
        url = f"{request.getfixturevalue('redis').url}"
    with make_app(broker=url) as app:
        yield app


@pytest.mark.parametrize("pool", ["prefork", "threads", "asyncio", "solo"])
def test_a_worker_on_every_broker(app: TaskQ, pool: str) -> None:
    @app.task
    def add(x: int, y: int) -> int:
        return x + y

    @app.task
    async def total(numbers: list[int]) -> int:
        return sum(numbers)

    with start_worker(app, pool=pool, concurrency=2) as worker:
        assert chord([add.s(n, 1) for n in range(5)], total.s()).delay().get(timeout=30) == 15

        @app.task
        def late(x: int) -> int:
            return -x

        worker.reload()
        assert late.delay(3).get(timeout=30) == -3


def test_looking_and_draining_on_every_broker(app: TaskQ) -> None:
    @app.task(bind=True)
    def again(self: Task[..., Any], n: int) -> int:
        if self.request.retries < n:
            raise self.retry(countdown=3600)
        return n

    again.delay(2)
    again.apply_async((0,), countdown=3600, queue="other")
    assert_enqueued(again, (2,), {}, times=1)
    assert_enqueued(again, (0,), queue="other")
    assert [run.state for run in drain(app)] == ["RETRY"]
    assert len(enqueued(again)) == 2
    ran = drain(app, ignore_delays=True)
    assert sorted((run.args, run.state) for run in ran) == [
        ((0,), "SUCCESS"), ((2,), "RETRY"), ((2,), "SUCCESS"),
    ]  # fmt: skip
    assert enqueued(again) == []
