"""What a Redis URL says: which servers, by which way, with which options.

    redis://[user:password@]host:port/db          one server; Valkey likewise
    rediss://[user:password@]host:port/db         the same by TLS, certificate checked
    unix:///path/to/redis.sock?db=0               the same by a Unix socket
    sentinel://host:port,host:port/service/db     whichever server the sentinels call master
    rediscluster://host:port,host:port            a cluster, from any of its nodes

``sentinels://`` and ``redisclusters://`` are the last two by TLS.  Celery's forms,
``redis+socket://``, and several ``sentinel://`` URLs between semicolons with the option
``master_name``, are understood too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from taskq.exceptions import ImproperlyConfigured
from taskq.stores.urls import hide_password

if TYPE_CHECKING:
    from taskq.settings import Settings

Node = tuple[str, int]
"""Host and port of a server."""

_PORTS = {"sentinel": 26379, "sentinels": 26379}
_STORE_OPTIONS = frozenset({"global_keyprefix", "redis_cluster_tag", "master_name"})
_CONNECTION_OPTIONS: dict[str, Callable[[Any], Any]] = {
    "socket_timeout": float,
    "socket_connect_timeout": float,
    "health_check_interval": float,
    "client_name": str,
    "ssl_ca_certs": str,
    "ssl_ca_path": str,
    "ssl_certfile": str,
    "ssl_keyfile": str,
    "ssl_keyfile_password": str,
    "ssl_cert_reqs": str,
    "ssl_check_hostname": lambda value: str(value).lower() in ("1", "true", "yes", "on"),
    "ssl_min_version": lambda value: value,
    "ssl_ciphers": str,
}
_FORBIDDEN_IN_SENTINELS = ("username", "password")


@dataclass(frozen=True, slots=True)
class Address:
    """Where a Redis is, and how to connect to it.

    Attributes:
        shown: the URL without its password.
        nodes: the servers that the URL names; sentinels if `service` is given.
        path: of a Unix socket, in place of nodes.
        service: the master's name among the sentinels.
        cluster: the nodes are of a cluster.
        tls: connections are encrypted.
        db: the database's number.
        options: of redis-py's connections.
        prefix: what every key begins with.
        tag: the hash tag that keeps all keys in one slot of a cluster.
        idle: connections that are kept for each server, while they are not in use.
    """

    shown: str
    nodes: tuple[Node, ...] = ()
    path: str = ""
    service: str = ""
    cluster: bool = False
    tls: bool = False
    db: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)
    prefix: str = ""
    tag: str = ""
    idle: int = 64

    @property
    def sentinel_options(self) -> dict[str, Any]:
        """The options of connections to sentinels, which know no user of the master's."""
        return {k: v for k, v in self.options.items() if k not in _FORBIDDEN_IN_SENTINELS}

    def same_place(self, other: Address) -> bool:
        """Is it the same database of the same server, by the same kind of keys?"""
        return (self.nodes, self.path, self.service, self.db, self.prefix, self.tag) == (
            *(other.nodes, other.path, other.service, other.db, other.prefix, other.tag),
        )


def address(
    url: str, conf: Settings, transport: Mapping[str, Any], tls_options: Mapping[str, Any] | None
) -> Address:
    """Read a URL and the settings that go with it.

    Args:
        url: one of the forms above; its query holds the same options as `transport`.
        conf: for ``redis_*`` and the connection's time-out.
        transport: the setting ``broker_transport_options`` or its twin for results.
        tls_options: options of TLS from the settings.

    Raises:
        ImproperlyConfigured: it is none of the forms, or has an option that does not exist.
    """
    url = _celery_sentinels(url)
    scheme, _, _ = url.partition("://")
    tls = scheme in ("rediss", "sentinels", "redisclusters")
    parts = urlsplit(url)
    given = {**transport, **(tls_options or {} if tls else {}), **dict(parse_qsl(parts.query))}
    given.pop("virtual_host", None)
    shown = hide_password(url)
    db = dict(parse_qsl(parts.query)).get("virtual_host", given.pop("db", None))
    options = _connection_options(shown, conf, given)
    user, password = _login(parts.netloc, conf)
    if password is not None:
        options["password"] = password
    if user:
        options["username"] = user
    place, word = _place(shown, parts, given, conf)
    db = word if db is None else db
    cluster = scheme.startswith("rediscluster")
    number = _database(shown, db, conf)
    if cluster and number:
        raise ImproperlyConfigured(f"{shown!r}: a cluster has only database 0")
    tag = str(given.get("redis_cluster_tag") or "")
    if any(sign in tag for sign in "{}"):
        raise ImproperlyConfigured(f"redis_cluster_tag={tag!r} must have no braces")
    return Address(
        shown=shown,
        cluster=cluster,
        tls=tls,
        db=number,
        options=options,
        prefix=str(given.get("global_keyprefix") or ""),
        tag=tag,
        idle=conf.redis_max_connections,
        **place,
    )


def _place(
    shown: str, parts: SplitResult, given: Mapping[str, Any], conf: Settings
) -> tuple[dict[str, Any], str | None]:
    """Where the servers are, as arguments of `Address`, and the database in the URL's path."""
    scheme = parts.scheme
    if scheme in ("unix", "redis+socket"):
        if not parts.path:
            raise ImproperlyConfigured(f"{shown!r} names no socket: write unix:///path/to/socket")
        return {"path": unquote(parts.path)}, None
    words = [unquote(word) for word in parts.path.split("/") if word]
    place: dict[str, Any] = {
        "nodes": _nodes(shown, parts.netloc, _PORTS.get(scheme, 6379), conf),
    }
    if scheme.startswith("sentinel"):
        place["service"] = given.get("master_name") or (words.pop(0) if words else "")
        if not place["service"]:
            raise ImproperlyConfigured(
                f"{shown!r} names no service: write sentinel://host:26379/mymaster/0, or set "
                "broker_transport_options={'master_name': 'mymaster'}"
            )
    return place, words[0] if words else None


def _celery_sentinels(url: str) -> str:
    """Celery's ``sentinel://a:1/0;sentinel://b:2/0`` as one URL."""
    first, *others = url.split(";")
    if not others or not first.startswith("sentinel"):
        return url
    hosts = [urlsplit(other).netloc.rpartition("@")[2] for other in others if other]
    netloc = urlsplit(first).netloc
    return first.replace(netloc, ",".join([netloc, *hosts]), 1)


def _connection_options(shown: str, conf: Settings, given: Mapping[str, Any]) -> dict[str, Any]:
    unknown = given.keys() - _CONNECTION_OPTIONS.keys() - _STORE_OPTIONS
    if unknown:
        known = ", ".join(sorted({*_CONNECTION_OPTIONS, *_STORE_OPTIONS}))
        raise ImproperlyConfigured(
            f"{shown!r} has unknown options {sorted(unknown)}: there are {known}"
        )
    options: dict[str, Any] = {
        "socket_timeout": conf.redis_socket_timeout,
        "socket_connect_timeout": (
            conf.redis_socket_connect_timeout or conf.broker_connection_timeout
        ),
        "socket_keepalive": conf.redis_socket_keepalive,
    }
    if conf.redis_client_name:
        options["client_name"] = conf.redis_client_name
    for name, value in given.items():
        if name in _CONNECTION_OPTIONS:
            try:
                options[name] = _CONNECTION_OPTIONS[name](value)
            except (TypeError, ValueError) as exc:
                raise ImproperlyConfigured(f"{shown!r}: {name}={value!r}: {exc}") from exc
    return options


def _login(netloc: str, conf: Settings) -> tuple[str | None, str | None]:
    login, at, _ = netloc.rpartition("@")
    if not at:
        return conf.redis_username, conf.redis_password
    user, colon, password = login.partition(":")
    return unquote(user) or conf.redis_username, unquote(password) if colon else conf.redis_password


def _nodes(shown: str, netloc: str, port: int, conf: Settings) -> tuple[Node, ...]:
    hosts = netloc.rpartition("@")[2] or f"{conf.redis_host or 'localhost'}:{conf.redis_port or ''}"
    nodes = []
    for place in hosts.split(","):
        try:
            parts = urlsplit(f"//{place}")
            nodes.append((parts.hostname or "localhost", parts.port or port))
        except ValueError as exc:
            raise ImproperlyConfigured(f"{shown!r}: {place!r} is no host and port: {exc}") from exc
    return tuple(nodes)


def _database(shown: str, db: Any, conf: Settings) -> int:
    if db is None:
        return conf.redis_db or 0
    try:
        return int(db)
    except ValueError as exc:
        raise ImproperlyConfigured(f"{shown!r}: a database is a number, not {db!r}") from exc
