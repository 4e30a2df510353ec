"""Results in memcached, under Celery's keys.

memcached may forget anything at any time: when it is full, and when it is restarted.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable, Sequence
from operator import methodcaller
from typing import TYPE_CHECKING, Any

from pymemcache import exceptions as memcache_errors
from pymemcache.client.base import PooledClient
from pymemcache.client.rendezvous import RendezvousHash

from taskq.backends.keyvalue import CountingKeyValueBackend, Entry, key_prefix
from taskq.exceptions import BackendError, BackendStoreError, ImproperlyConfigured, OperationalError

if TYPE_CHECKING:
    from taskq.settings import Settings

_MONTH = 30 * 86400
"""Seconds from which memcached takes an expiry for a date."""
_KEYS = 100
"""Keys in one question at most."""
_MAX_KEY = 250
_IGNORED = frozenset({"behaviors", "binary", "default_noreply", "ignore_exc", "serde"})
"""Options of pylibmc, and those on which the promises of a result store hang."""


class MemcachedBackend(CountingKeyValueBackend):
    """The result store of ``cache+memcached://host:11211/``, and of several hosts with ``;``.

    Args:
        url: where it is.
        conf: ``cache_backend_options`` and the time-outs.
        expires: seconds that an outcome is kept; 0 keeps it for ever.
    """

    def __init__(self, url: str, conf: Settings, expires: float = 86400.0) -> None:
        super().__init__(expires, key_prefix(conf.result_backend_transport_options))
        self._servers = read_servers(url)
        options = {k: v for k, v in conf.cache_backend_options.items() if k not in _IGNORED}
        self._options = {
            "connect_timeout": conf.broker_connection_timeout,
            "timeout": 10.0,
            "no_delay": True,
            **options,
            "default_noreply": False,
        }
        self._ring = RendezvousHash()  # as in Celery: each side finds a key on the same server
        for name in self._servers:
            self._ring.add_node(name)
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._clients: dict[str, PooledClient] = self._connect()

    def _connect(self) -> dict[str, PooledClient]:
        try:
            return {
                name: PooledClient(server, **self._options)
                for name, server in self._servers.items()
            }
        except TypeError as exc:
            raise ImproperlyConfigured(f"cache_backend_options: {exc}") from exc

    def _node(self, key: str) -> str:
        return str(self._ring.get_node(key))

    def _client(self, server: str) -> PooledClient:
        if self._pid != os.getpid():
            with self._lock:
                if self._pid != os.getpid():
                    self._clients, self._pid = self._connect(), os.getpid()
        return self._clients[server]

    def _ask(self, server: str, question: Callable[[PooledClient], Any], key: str = "") -> Any:
        """Ask a server, and again on a new connection if the old one was dead."""
        for attempt in range(2):
            client = self._client(server)
            try:
                return question(client)
            except (OSError, memcache_errors.MemcacheUnexpectedCloseError) as exc:
                client.close()  # the others of its pool are as old
                if attempt:
                    reason = str(exc) or "it has hung up"
                    raise OperationalError(f"memcached at {server}: {reason}") from exc
            except memcache_errors.MemcacheServerError as exc:
                raise _refused(exc, server, key) from exc
            except memcache_errors.MemcacheError as exc:
                raise BackendError(f"memcached at {server}: {exc}") from exc
        raise AssertionError("the second attempt returns or raises")

    def _expiry(self) -> int:
        if not self.expires:
            return 0
        # Its clock ticks once a second: one more, never to keep for less than was asked.
        seconds = math.ceil(min(self.expires, 1e9)) + 1
        return seconds if seconds <= _MONTH else int(time.time()) + seconds

    def legal(self, key: str) -> bool:
        return len(key) <= _MAX_KEY and key.isascii() and key.isprintable() and " " not in key

    def read(self, keys: Sequence[str]) -> dict[str, Entry]:
        by_server: dict[str, list[str]] = {}
        for key in keys:
            by_server.setdefault(self._node(key), []).append(key)
        found: dict[str, Entry] = {}
        for server, names in by_server.items():
            for start in range(0, len(names), _KEYS):
                question = methodcaller("gets_many", names[start : start + _KEYS])
                for key, (value, cas) in self._ask(server, question).items():
                    found[key] = Entry(value, cas)
        return found

    def write(self, key: str, value: bytes, token: object | None) -> bool:
        expires = self._expiry()
        if token is None:
            question = methodcaller("add", key, value, expire=expires)
        else:
            question = methodcaller("cas", key, value, token, expire=expires)
        return bool(self._ask(self._node(key), question, key))

    def touch(self, keys: Sequence[str]) -> None:
        expires = self._expiry()
        for key in keys:
            self._ask(self._node(key), methodcaller("touch", key, expire=expires))

    def delete(self, keys: Sequence[str]) -> None:
        for key in keys:
            self._ask(self._node(key), methodcaller("delete", key))

    def close(self) -> None:
        if self._pid == os.getpid():
            for client in self._clients.values():
                client.close()


def read_servers(url: str) -> dict[str, str | tuple[str, int]]:
    """The servers in a URL, by their names as Celery has them.

    Raises:
        ImproperlyConfigured: there is none, or one that cannot be read.
    """
    servers: dict[str, str | tuple[str, int]] = {}
    for text in url.partition("://")[2].rstrip("/").split(";"):
        if text.startswith(("/", "unix:")):
            path = text.removeprefix("unix:")
            servers[path] = path
            continue
        host, colon, port = text.rpartition(":")
        if not colon or text.endswith("]"):
            host, port = text, "11211"
        host = host.strip("[]")
        if not host or not port.isdigit():
            raise ImproperlyConfigured(
                f"{url!r} names no memcached server: write cache+memcached://127.0.0.1:11211/, "
                "and ; between several"
            )
        servers[f"{host}:{port}"] = (host, int(port))
    return servers


def _refused(error: Exception, server: str, key: str) -> Exception:
    text = str(error)
    if "too large" in text:
        return BackendStoreError(
            f"memcached at {server}: {key} is too large for it: start it with -I 16m, compress "
            "results (result_compression), or keep them elsewhere"
        )
    return OperationalError(f"memcached at {server} refuses: {text}")
