"""Settings of Redis, as broker and as result store."""

from typing import Any

from taskq.settings.setting import Seconds, setting


class RedisSettings:
    """Settings of Redis."""

    redis_backend_use_ssl: dict[str, Any] | None = setting(
        None, "Like `broker_use_ssl`, for results alone. None is the broker's."
    )
    redis_client_name: str | None = setting(
        None, "Name of this program's connections in `CLIENT LIST`."
    )
    redis_db: int | None = setting(None, "Database of URLs that name none.", minimum=0)
    redis_host: str | None = setting(None, "Host of URLs that name none.")
    redis_max_connections: int = setting(
        64, "Idle connections that a process keeps for each server at most.", minimum=1
    )
    redis_password: str | None = setting(None, "Password for URLs that have none.")
    redis_port: int | None = setting(None, "Port of URLs that name no host.", minimum=1)
    redis_retry_on_timeout: bool = setting(
        False, "Accepted for Celery's sake: what can be tried again without harm always is."
    )
    redis_socket_connect_timeout: Seconds | None = setting(
        None,
        "Seconds to wait for a connection. None is `broker_connection_timeout`.",
        minimum=0,
    )
    redis_socket_keepalive: bool = setting(True, "Let the system test idle connections.")
    redis_socket_timeout: Seconds | None = setting(
        10.0,
        "Seconds to wait for an answer; a connection that is silent for longer is given up. None "
        "waits for ever.",
        minimum=0,
    )
    redis_username: str | None = setting(None, "User of URLs that name none.")
