"""From a URL to a result store."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from taskq.backends.base import Backend
from taskq.exceptions import ImproperlyConfigured
from taskq.stores.urls import AMQP_SCHEMES, REDIS_SCHEMES, driver, hide_password, scheme_of

if TYPE_CHECKING:
    from taskq.settings import Settings

ENTRY_POINTS = "taskq.backends"
"""Third parties add a store under this group: scheme = "module:function(url, conf)"."""

Factory = Callable[[str, "Settings"], Backend]


def make_backend(url: str, conf: Settings) -> Backend:
    """The result store of a URL.  Its driver is imported now, and no other.

    Args:
        url: where it is; of Celery's short names those whose place a setting tells:
            ``database``, ``cache``, ``mongodb``, ``s3``, ``gs``, ``django-db``, ``django-cache``.
        conf: the settings.

    Raises:
        ImproperlyConfigured: there is none for that scheme.
    """
    url = _by_name(url, conf)
    scheme = scheme_of(url)
    factory = _FACTORIES.get(scheme) or _FAMILIES.get(scheme.partition("+")[0])
    if factory is not None:
        return factory(url, conf)
    # importlib.metadata is slow to import, and only stores of third parties need it.
    from importlib.metadata import entry_points

    for entry in entry_points(group=ENTRY_POINTS, name=scheme):
        backend: Backend = entry.load()(url, conf)
        return backend
    raise ImproperlyConfigured(
        f"result_backend={hide_password(url)!r}: there is no result store for {scheme}://. There "
        "are sqlite://, redis://, db+postgresql:// and other db+…://, cache+memcached://, "
        "mongodb://, file://, s3://, gs://, azureblockblob://, fsspec+…://, rpc://, django-db, "
        "django-cache, memory:// and disabled://, and others by installed packages (entry point "
        f"{ENTRY_POINTS})"
    )


def _by_name(url: str, conf: Settings) -> str:
    """The URL of a store that is named by a word, whose place a setting tells."""
    if url in {"database", "db"}:
        if not conf.database_url:
            raise ImproperlyConfigured(
                f"result_backend={url!r} needs the setting database_url; or set result_backend to "
                "db+postgresql://user:password@host/name"
            )
        return f"db+{conf.database_url.removeprefix('db+')}"
    if url == "cache":
        if not conf.cache_backend:
            raise ImproperlyConfigured(
                "result_backend='cache' needs the setting cache_backend; or set result_backend to "
                "cache+memcached://host:11211/"
            )
        return f"cache+{conf.cache_backend.removeprefix('cache+')}"
    return f"{url}://" if url in _NAMES else url


_NAMES = {"disabled", "mongodb", "rpc", "s3", "gs", "gcs", "django-db", "django-cache"}
"""Words that stand for a URL without anything behind it."""


def _expires(conf: Settings) -> float:
    return conf.result_expires or 0.0


def _sqlite(url: str, conf: Settings) -> Backend:
    from taskq.backends.sqlite import SqliteBackend

    return SqliteBackend(url, _expires(conf), timeout=conf.broker_connection_timeout)


def _memory(url: str, conf: Settings) -> Backend:
    from taskq.backends.memory import MemoryBackend

    return MemoryBackend(_expires(conf))


def _redis(url: str, conf: Settings) -> Backend:
    with driver(("redis", "hiredis"), "redis", scheme_of(url)):
        from taskq.backends.redis import RedisBackend
        from taskq.backends.redis.celery_chords import CeleryChords
        from taskq.stores.redis.address import address

    # The broker's own options hold for results in the same place.
    same = not conf.result_backend or conf.result_backend == conf.broker_url
    options = {
        **(conf.broker_transport_options if same else {}),
        **conf.result_backend_transport_options,
    }
    tls = conf.redis_backend_use_ssl or (conf.broker_use_ssl if same else None)
    where = address(url, conf, options, tls)
    # Celery's workers take messages from other brokers than taskq's own on Redis.
    beside = conf.celery_interop and scheme_of(conf.broker_url) not in REDIS_SCHEMES
    kind = CeleryChords if beside and not where.cluster else RedisBackend
    return kind(where, _expires(conf))


def _sql(url: str, conf: Settings) -> Backend:
    with driver(("sqlalchemy",), "sqlalchemy", scheme_of(url)):
        from taskq.backends.sql import SqlBackend

    return SqlBackend(url, conf, _expires(conf))


def _memcached(url: str, conf: Settings) -> Backend:
    with driver(("pymemcache",), "memcached", scheme_of(url)):
        from taskq.backends.memcached import MemcachedBackend

    return MemcachedBackend(url, conf, _expires(conf))


def _files(url: str, conf: Settings) -> Backend:
    from taskq.backends.files import FilesBackend
    from taskq.backends.keyvalue import key_prefix

    return FilesBackend(url, _expires(conf), key_prefix(conf.result_backend_transport_options))


def _objects(url: str, conf: Settings) -> Backend:
    scheme = scheme_of(url)
    from taskq.backends.keyvalue import key_prefix
    from taskq.backends.object_urls import object_place
    from taskq.backends.objects import ObjectsBackend

    place = object_place(url, conf)
    prefix = key_prefix(conf.result_backend_transport_options)
    module, extra = _FILE_SYSTEMS.get(place.protocol, ("fsspec", "fsspec"))
    with driver(("fsspec", module), extra, scheme):
        __import__("fsspec")
        __import__(module)
    return ObjectsBackend(*place, _expires(conf), prefix)


_FILE_SYSTEMS = {"s3": ("s3fs", "s3"), "gcs": ("gcsfs", "gcs"), "az": ("adlfs", "azure")}
"""fsspec's protocols whose file systems are packages: module, and taskq's extra."""


def _mongodb(url: str, conf: Settings) -> Backend:
    with driver(("pymongo", "bson"), "mongodb", scheme_of(url)):
        from taskq.backends.mongodb import MongoBackend

    return MongoBackend(url, conf, _expires(conf))


def _rpc_place(url: str, conf: Settings) -> str:
    """The RabbitMQ that results are sent by: the broker, or the one that the URL names."""
    scheme = scheme_of(conf.broker_url)
    own = url.partition("://")[2]
    if own:
        name = "pika" if scheme.startswith("pika") else "amqp"
        return f"{name}s://{own}" if scheme_of(url) == "rpcs" else f"{name}://{own}"
    if scheme not in AMQP_SCHEMES:
        raise ImproperlyConfigured(
            "result_backend='rpc://' sends results by RabbitMQ, and broker_url="
            f"{hide_password(conf.broker_url)!r} is none: name one (rpc://user:password@host/vhost)"
            ", use amqp:// or pika:// as broker, or keep results in another store"
        )
    return conf.broker_url


def _rpc(url: str, conf: Settings) -> Backend:
    place = _rpc_place(url, conf)
    from taskq.backends.rpc import RpcBackend
    from taskq.serialization import SerializerRegistry
    from taskq.stores.amqp.address import address
    from taskq.stores.amqp.drivers import drivers

    try:
        content = SerializerRegistry().encode(None, conf.result_serializer)[:2]
    except ImproperlyConfigured:
        content = (f"application/x-{conf.result_serializer}", "binary")  # the app's own
    where = address(place, conf)
    return RpcBackend(
        where,
        *drivers(where),
        expires=_expires(conf),
        limit=conf.result_cache_max,
        persistent=conf.result_persistent,
        content=content,
    )


def sends_results(conf: Settings) -> bool:
    """Are results sent to addresses, so that each message must bear one?"""
    return (conf.result_backend or "").partition(":")[0] in ("rpc", "rpcs")


def _disabled(url: str, conf: Settings) -> Backend:
    from taskq.backends.disabled import DisabledBackend

    return DisabledBackend()


_FACTORIES: dict[str, Factory] = {
    "sqlite": _sqlite,
    "memory": _memory,
    "disabled": _disabled,
    **dict.fromkeys(("rpc", "rpcs"), _rpc),
    "cache+memory": _memory,
    **dict.fromkeys(
        ("cache+memcached", "cache+memcache", "cache+pymemcache", "cache+pylibmc"), _memcached
    ),
    "file": _files,
    **dict.fromkeys(("mongodb", "mongodb+srv"), _mongodb),
    **dict.fromkeys(("s3", "gs", "gcs", "azureblockblob"), _objects),
    **dict.fromkeys(REDIS_SCHEMES, _redis),
}

_FAMILIES: dict[str, Factory] = {"db": _sql, "fsspec": _objects}
"""What stands before a ``+`` with whatever there may be behind it."""
