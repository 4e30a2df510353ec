"""Fixtures for tests that ill-treat real workers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.stage import Stage
from tests.servers import RedisServer, VirtualHost, redis_server

MakeStage = Callable[..., Stage]

_RABBITMQ = pytest.param("rabbitmq", marks=[pytest.mark.rabbitmq, pytest.mark.slow])

everywhere = pytest.mark.parametrize("place", ["sqlite", "redis"], indirect=True)
"""Run a test once for each kind of broker; without it a stage is in an SQLite file."""
and_rabbitmq = pytest.mark.parametrize("place", ["sqlite", "redis", _RABBITMQ], indirect=True)
"""The same on RabbitMQ, with results on Redis, as well."""


@pytest.fixture
def place(request: pytest.FixtureRequest) -> str:
    """The kind of broker that stages are made with."""
    return str(getattr(request, "param", "sqlite"))


@pytest.fixture
def leases(place: str) -> None:
    """For tests that ask what workers hold, or wait for a lease to end."""
    if place == "rabbitmq":
        pytest.skip("RabbitMQ leases to connections, and does not say what workers hold")


@pytest.fixture
def broker_url(place: str, request: pytest.FixtureRequest) -> str:
    """An empty broker of that kind, which no other test uses at the same time."""
    if place == "sqlite":
        return "sqlite:///{folder}/taskq.db"
    if place == "rabbitmq":
        host: VirtualHost = request.getfixturevalue("rabbitmq")
        return host.url
    redis: RedisServer = request.getfixturevalue("redis")
    return redis.url


@pytest.fixture
def results_url(place: str) -> Iterator[str]:
    """A result store of that kind that can be away while the broker is there."""
    if place == "sqlite":
        yield "sqlite:///{folder}/results.db?timeout=0.3"
    else:
        with redis_server() as server:
            yield server.url


@pytest.fixture
def make_stage(
    tmp_path: Path, broker_url: str, place: str, request: pytest.FixtureRequest
) -> Iterator[MakeStage]:
    """Makes a stage with settings of one's own; all that it starts is ended."""
    stages: list[Stage] = []
    own: dict[str, object] = {"broker_url": broker_url}
    if place == "rabbitmq":  # which keeps no results
        own["result_backend"] = request.getfixturevalue("redis").url

    def make(**settings: object) -> Stage:
        folder = tmp_path / f"stage{len(stages) + 1}"
        folder.mkdir()
        stages.append(Stage(folder, **{**own, **settings}))
        return stages[-1]

    yield make
    for stage in stages:
        stage.close()


@pytest.fixture
def stage(make_stage: MakeStage) -> Stage:
    """A stage with a short lease: what a dead worker held is free again within two seconds."""
    return make_stage(broker_lease=2)
