"""From a URL to a result store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from taskq.backends.base import Backend
from taskq.exceptions import ImproperlyConfigured
from taskq.stores.urls import REDIS_SCHEMES, driver, hide_password, scheme_of

if TYPE_CHECKING:
    from taskq.settings import Settings

ENTRY_POINTS = "taskq.backends"
"""Third parties add a store under this group: scheme = "module:function(url, conf)"."""


def make_backend(url: str, conf: Settings) -> Backend:
    """The result store of a URL.  Its driver is imported now, and no other.

    Raises:
        ImproperlyConfigured: there is none for that scheme.
    """
    scheme = scheme_of(url)
    expires = conf.result_expires or 0.0
    if scheme == "sqlite":
        from taskq.backends.sqlite import SqliteBackend

        return SqliteBackend(url, expires, timeout=conf.broker_connection_timeout)
    if scheme == "memory":
        from taskq.backends.memory import MemoryBackend

        return MemoryBackend(expires)
    if scheme in REDIS_SCHEMES:
        with driver(("redis", "hiredis"), "redis", scheme):
            from taskq.backends.redis import RedisBackend
            from taskq.stores.redis.address import address

        # The broker's own options hold for results in the same place.
        same = not conf.result_backend or conf.result_backend == conf.broker_url
        options = {
            **(conf.broker_transport_options if same else {}),
            **conf.result_backend_transport_options,
        }
        tls = conf.redis_backend_use_ssl or (conf.broker_use_ssl if same else None)
        return RedisBackend(address(url, conf, options, tls), expires)
    if scheme == "disabled":
        from taskq.backends.disabled import DisabledBackend

        return DisabledBackend()
    # importlib.metadata is slow to import, and only stores of third parties need it.
    from importlib.metadata import entry_points

    for entry in entry_points(group=ENTRY_POINTS, name=scheme):
        backend: Backend = entry.load()(url, conf)
        return backend
    raise ImproperlyConfigured(
        f"result_backend={hide_password(url)!r}: there is no result store for {scheme}://. There "
        "are sqlite://, redis://, memory:// and disabled://, and others by installed packages "
        f"(entry point {ENTRY_POINTS})"
    )
