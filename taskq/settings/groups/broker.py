"""Settings of brokers, and of what is told to everybody by them."""

from typing import Any

from taskq.settings.setting import Seconds, setting


class BrokerSettings:
    """Settings of brokers, remote control and events."""

    # Broker
    broker_url: str = setting(
        "sqlite:///taskq.db",
        "Where messages are kept. Several nodes of RabbitMQ are a list, or stand between "
        "semicolons.",
        joined=";",
    )
    broker_connection_max_retries: int | None = setting(
        None,
        "Attempts, one a second, after which a worker gives up whose broker is away, and ends with "
        "status 1. None and 0 are without end.",
        minimum=0,
    )
    broker_connection_retry: bool = setting(
        True, "A worker whose broker goes away waits for it; otherwise it ends with status 1."
    )
    broker_connection_retry_on_startup: bool = setting(
        False,
        "A worker waits for a broker that is not there when it starts; otherwise that is an error.",
    )
    broker_connection_timeout: Seconds = setting(
        4.0, "Seconds to wait for a connection to the broker.", minimum=0
    )
    broker_failover_strategy: str = setting(
        "round-robin",
        "Which node of several is tried first: `round-robin` takes the last one that answered, "
        "`shuffle` any.",
    )
    broker_heartbeat: Seconds = setting(
        60.0,
        "Seconds of silence, as AMQP counts them, after which a connection to RabbitMQ is given "
        "up; 0 never does.",
        minimum=0,
    )
    broker_lease: Seconds = setting(
        30.0,
        "Seconds after which a message goes to another worker, if its own has fallen silent. A "
        "living worker renews it, however long the task runs.",
        minimum=1,
    )
    broker_login_method: str | None = setting(
        None, "How to log in to RabbitMQ: PLAIN (None too), AMQPLAIN or EXTERNAL."
    )
    broker_native_delayed_delivery_queue_type: str = setting(
        "quorum",
        "Type of the queues in which delayed messages wait in RabbitMQ: quorum or classic. Celery "
        "shares them, so both must say the same.",
    )
    broker_pool_limit: int = setting(
        10, "Idle connections to RabbitMQ that a process keeps for publishing at most.", minimum=0
    )
    broker_transport_options: dict[str, Any] = setting(
        {}, "Options that only one kind of broker knows; its page lists them."
    )

    broker_use_ssl: dict[str, Any] | None = setting(
        None,
        "Options of TLS for brokers whose URL asks for it, such as `ssl_ca_certs`. Certificates "
        "are checked unless `ssl_cert_reqs` says otherwise.",
    )

    # Remote control
    control_exchange: str = setting(
        "taskq",
        "What the exchanges are named after by which workers are asked and steered.",
        interop="celery",
    )

    # Events
    event_exchange: str = setting(
        "taskqev", "Name of the exchange that events are told by.", interop="celeryev"
    )
    event_queue_prefix: str = setting(
        "taskqev",
        "What the queues of those are named after who listen to events, where brokers have such.",
        interop="celeryev",
    )
