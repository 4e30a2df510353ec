"""What only memcached promises, and what it does not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from pymemcache.client.hash import HashClient

from taskq import states
from taskq.backends.memcached import MemcachedBackend, read_servers
from taskq.backends.registry import make_backend
from taskq.exceptions import BackendStoreError, ImproperlyConfigured, OperationalError
from taskq.settings import Settings
from tests.conformance.backends import outcome, part
from tests.servers import HOST, MemcachedServer, memcached_server

DONE = b'{"status":"SUCCESS","result":[1],"traceback":null,"children":[],"task_id":"a"}'


def opened(url: str, **settings: Any) -> MemcachedBackend:
    backend = make_backend(url, Settings(settings))
    assert isinstance(backend, MemcachedBackend)
    return backend


@pytest.fixture
def server() -> Iterator[MemcachedServer]:
    """A memcached to be ill-treated."""
    with memcached_server() as server:
        yield server


def test_results_lie_as_celery_keeps_them(memcached: MemcachedServer) -> None:
    backend = opened(memcached.url, result_backend_transport_options={"global_keyprefix": "x"})
    backend.store([outcome("a", payload=DONE)])
    assert memcached.call("get x_celery-task-meta-a").splitlines()[1] == DONE
    backend.close()


@pytest.mark.parametrize("task_id", ["with space", "line\nbreak", "é", "x" * 300, ""])
def test_ids_that_are_no_keys(memcached: MemcachedServer, task_id: str) -> None:
    backend = opened(memcached.url)
    backend.store([outcome(task_id)])
    assert set(backend.fetch([task_id])) == {task_id}
    assert backend.add_parts([part(0, 1, group=task_id)])
    backend.forget([task_id])
    assert backend.fetch([task_id]) == {}
    backend.close()


def test_several_servers_hold_keys_where_celery_looks_for_them(server: MemcachedServer) -> None:
    with memcached_server() as other:
        backend = opened(f"cache+memcached://{HOST}:{server.port};{HOST}:{other.port}/")
        ids = [f"t{n}" for n in range(50)]
        backend.store([outcome(key) for key in ids])
        assert len(backend.fetch(ids)) == 50
        client = HashClient([f"{HOST}:{server.port}", f"{HOST}:{other.port}"])
        keys = [f"celery-task-meta-{key}" for key in ids]
        assert len(client.get_many(keys)) == 50
        client.close()
        other.kill()
        # Nothing is looked for on another server because its own is away.
        with pytest.raises(OperationalError, match=f"{other.port}: .*refused"):
            backend.fetch(ids)
        backend.close()


def test_after_a_restart_it_is_empty_and_works(server: MemcachedServer) -> None:
    backend = opened(server.url)
    backend.store([outcome("a")])
    server.restart()
    assert backend.fetch(["a"]) == {}
    backend.store([outcome("a", states.FAILURE)])
    server.kill()
    with pytest.raises(OperationalError, match=f"{server.port}: .*refused"):
        backend.store([outcome("a")])
    server.start()
    backend.store([outcome("a")])
    assert backend.fetch(["a"]) == {"a": outcome("a")}
    backend.close()


def test_what_is_too_large_is_refused(memcached: MemcachedServer) -> None:
    backend = opened(memcached.url)
    with pytest.raises(BackendStoreError, match=r"meta-a is too large.*result_compress"):
        backend.store([outcome("a", payload=bytes(20 << 20))])
    assert backend.fetch(["a"]) == {}
    backend.close()


def test_long_expiries_are_dates(memcached: MemcachedServer) -> None:
    backend = opened(memcached.url, result_expires=90 * 86400)
    backend.store([outcome("a")])
    assert set(backend.fetch(["a"])) == {"a"}
    backend.close()


def test_urls() -> None:
    assert read_servers("cache+memcached://a:1;b;/run/m.sock/") == {
        "a:1": ("a", 1),
        "b:11211": ("b", 11211),
        "/run/m.sock": "/run/m.sock",
    }
    for wrong in ("cache+memcached://", "cache+memcached://a:x/"):
        with pytest.raises(ImproperlyConfigured, match="names no memcached"):
            read_servers(wrong)


def test_the_name_cache(memcached: MemcachedServer) -> None:
    backend = make_backend("cache", Settings({"cache_backend": memcached.url[len("cache+") :]}))
    assert isinstance(backend, MemcachedBackend)
    backend.close()
    with pytest.raises(ImproperlyConfigured, match="cache_backend"):
        make_backend("cache", Settings())
    with pytest.raises(ImproperlyConfigured, match=r"cache_backend_options.*no_such"):
        opened(memcached.url, cache_backend_options={"no_such": 1})
