"""What an AMQP URL says: which nodes, by which driver, with which options.

    amqp://[user:password@]host:port/vhost        py-amqp, kombu's own driver
    amqps://…                                     the same by TLS, certificate checked
    pika://… and pikas://…                        pika, likewise

Several nodes stand between semicolons, as in Celery, and are tried in turn.  A virtual host is
written as in the AMQP URI specification (https://www.rabbitmq.com/docs/uri-spec): ``/%2F`` is
the one called ``/``; an empty path and ``//``, kombu's form of it, are too.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urlsplit

from taskq.exceptions import ImproperlyConfigured
from taskq.stores.amqp.nodes import STRATEGIES, Node, Nodes
from taskq.stores.urls import hide_password

if TYPE_CHECKING:
    from taskq.settings import Settings

_PORT, _TLS_PORT = 5672, 5671
_TLS_OPTIONS = {
    "ca_certs": "ca_certs",
    "certfile": "certfile",
    "keyfile": "keyfile",
    "cert_reqs": "cert_reqs",
    "server_hostname": "server_hostname",
    "check_hostname": "check_hostname",
    "cacertfile": "ca_certs",  # RabbitMQ's own words
    "verify": "cert_reqs",
}
_REQUIREMENTS = {
    "none": ssl.CERT_NONE,
    "verify_none": ssl.CERT_NONE,
    "optional": ssl.CERT_OPTIONAL,
    "required": ssl.CERT_REQUIRED,
    "verify_peer": ssl.CERT_REQUIRED,
}


@dataclass(frozen=True, slots=True)
class Tls:
    """How TLS is spoken.

    Attributes:
        ca_certs: file of the authorities that are trusted; None is those of the system.
        certfile: the client's own certificate.
        keyfile: its key.
        cert_reqs: one of ``ssl.CERT_…``.
        check_hostname: the certificate must be for the host.
        server_hostname: the name in it, if that is not the host's.
    """

    ca_certs: str | None = None
    certfile: str | None = None
    keyfile: str | None = None
    cert_reqs: ssl.VerifyMode = ssl.CERT_REQUIRED
    check_hostname: bool = True
    server_hostname: str | None = None


@dataclass(frozen=True, slots=True)
class Address:
    """Where RabbitMQ is, and how to speak with it.

    Attributes:
        shown: the URL without its passwords.
        driver: ``amqp`` or ``pika``.
        nodes: where it is, in the order in which they are tried.
        tls: None speaks in the clear.
        connect_timeout: seconds until a connection must stand.
        heartbeat: seconds of silence after which either side gives a connection up; twice that
            in fact, as AMQP has it.
        confirm_timeout: seconds until the broker must have confirmed what was published.
        login_method: PLAIN, AMQPLAIN or EXTERNAL.
        links: connections for publishing that a process keeps at most.
        delay_queue_type: of the queues that delayed messages wait in: quorum or classic.
        queue_type: of queues that say nothing of it: classic or quorum.
        max_priority: of queues that say nothing of it.
        interop: Celery declares the same queues, with the same arguments.
        delivery_mode: of messages that say nothing of it: 1 in memory, 2 on disk.
    """

    shown: str
    driver: str
    nodes: Nodes
    tls: Tls | None = None
    connect_timeout: float = 4.0
    heartbeat: int = 60
    confirm_timeout: float = 30.0
    login_method: str = "PLAIN"
    links: int = 10
    delay_queue_type: str = "quorum"
    queue_type: str = "classic"
    max_priority: int | None = None
    interop: bool = False
    delivery_mode: int = 2

    @property
    def answer_timeout(self) -> float:
        """Seconds after which a broker that does not answer is taken to be gone."""
        return 2.5 * self.connect_timeout


def address(url: str, conf: Settings) -> Address:
    """Read a URL and the settings that go with it.

    Raises:
        ImproperlyConfigured: it is not of that form, or an option does not exist.
    """
    shown = ";".join(hide_password(part) for part in url.split(";"))
    first, *others = [part for part in url.split(";") if part]
    scheme = first.partition("://")[0].lower()
    parts = [part if "://" in part else f"{scheme}://{part}" for part in (first, *others)]
    options = {
        **conf.broker_transport_options,
        **dict(pair for part in parts for pair in parse_qsl(urlsplit(part).query)),
    }
    tls = _tls(shown, conf.broker_use_ssl, options) if _encrypted(scheme, conf) else None
    if conf.broker_failover_strategy not in STRATEGIES:
        raise ImproperlyConfigured(
            f"broker_failover_strategy={conf.broker_failover_strategy!r}: it must be one of "
            f"{', '.join(STRATEGIES)}"
        )
    nodes = Nodes(
        [_node(shown, part, tls is not None) for part in parts], conf.broker_failover_strategy
    )
    heartbeat = _number(shown, "heartbeat", options.pop("heartbeat", conf.broker_heartbeat))
    confirm = _number(shown, "confirm_timeout", options.pop("confirm_timeout", 30.0))
    timeout = _number(
        shown, "connect_timeout", options.pop("connect_timeout", conf.broker_connection_timeout)
    )
    options.pop("confirm_publish", None)  # Celery's option: here it is always so
    if options:
        raise ImproperlyConfigured(
            f"{shown!r} has unknown options {sorted(options)}: there are confirm_timeout, "
            f"connect_timeout, heartbeat and, for TLS, {', '.join(sorted(_TLS_OPTIONS))}"
        )
    delay_type = conf.broker_native_delayed_delivery_queue_type
    for name, value in [
        ("broker_native_delayed_delivery_queue_type", delay_type),
        ("task_default_queue_type", conf.task_default_queue_type),
    ]:
        if value not in ("classic", "quorum"):
            raise ImproperlyConfigured(f"{name}={value!r}: it must be 'classic' or 'quorum'")
    return Address(
        shown,
        "pika" if scheme.startswith("pika") else "amqp",
        nodes,
        tls,
        timeout,
        int(heartbeat),
        confirm,
        (conf.broker_login_method or "PLAIN").upper(),
        conf.broker_pool_limit,
        delay_type,
        conf.task_default_queue_type,
        conf.task_queue_max_priority,
        conf.celery_interop,
        conf.task_default_delivery_mode,
    )


def _encrypted(scheme: str, conf: Settings) -> bool:
    return scheme in ("amqps", "pikas") or (conf.broker_use_ssl is not None)


def _number(shown: str, name: str, value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = -1.0
    if number < 0:
        raise ImproperlyConfigured(f"{shown!r}: {name}={value!r} is no number of seconds")
    return number


def _node(shown: str, url: str, tls: bool) -> Node:
    parts = urlsplit(url)
    try:
        host, port = parts.hostname or "localhost", parts.port or (_TLS_PORT if tls else _PORT)
    except ValueError as exc:
        raise ImproperlyConfigured(f"{shown!r}: {exc}") from exc
    path = parts.path[1:]
    return Node(
        host,
        port,
        unquote(parts.username) if parts.username else "guest",
        unquote(parts.password) if parts.password else "guest",
        "/" if path in ("", "/") else unquote(path),
    )


def _tls(shown: str, given: Mapping[str, Any] | None, options: dict[str, Any]) -> Tls:
    """The options of TLS from the setting ``broker_use_ssl`` and the URL, out of `options`."""
    known: dict[str, Any] = {}
    asked = dict(given or {})
    for name in list(options):
        if name.removeprefix("ssl_") in _TLS_OPTIONS:
            asked[name] = options.pop(name)
    for name, value in asked.items():
        plain = _TLS_OPTIONS.get(name.removeprefix("ssl_"))
        if plain is None:
            raise ImproperlyConfigured(
                f"{shown!r}: TLS has no option {name!r}: there are "
                f"{', '.join(sorted(_TLS_OPTIONS))}"
            )
        known[plain] = value
    needs = known.get("cert_reqs")
    if needs is not None and not isinstance(needs, ssl.VerifyMode):
        word = str(needs).lower().removeprefix("cert_")
        if word not in _REQUIREMENTS:
            raise ImproperlyConfigured(
                f"{shown!r}: cert_reqs={needs!r}: it must be one of {', '.join(_REQUIREMENTS)}"
            )
        known["cert_reqs"] = _REQUIREMENTS[word]
    if known.get("cert_reqs") is ssl.CERT_NONE:
        known["check_hostname"] = False
    elif isinstance(known.get("check_hostname"), str):
        known["check_hostname"] = known["check_hostname"].lower() in ("1", "true", "yes", "on")
    return Tls(**known)


def tls_context(tls: Tls) -> ssl.SSLContext:
    """The context that these options mean."""
    context = ssl.create_default_context(cafile=tls.ca_certs)
    context.check_hostname = tls.check_hostname
    context.verify_mode = tls.cert_reqs
    if tls.certfile:
        context.load_cert_chain(tls.certfile, tls.keyfile)
    return context
