"""Where the brokers and result stores under test are: URLs of servers of the test run."""

from __future__ import annotations

import pytest

from tests.servers import RedisServer


def redis_url(request: pytest.FixtureRequest) -> str:
    """A Redis that is empty when a test begins."""
    server: RedisServer = request.getfixturevalue("redis")
    return server.url
