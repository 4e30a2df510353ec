"""Every setting, once: name, type, default and what it does.

A line in ``Declarations`` is all that a new setting needs: type checkers read the
annotation, conversion and its error messages come from it, and the documentation and
``taskq settings`` are made from the rest. Times are in seconds.
"""

from collections.abc import Mapping
from datetime import tzinfo
from types import MappingProxyType
from typing import Any

from taskq.settings.setting import Seconds, Setting, setting

WORKER_LOG_FORMAT = "[%(asctime)s: %(levelname)s/%(processName)s] %(message)s"
TASK_LOG_FORMAT = (
    "[%(asctime)s: %(levelname)s/%(processName)s] %(task_name)s[%(task_id)s]: %(message)s"
)


class Declarations:
    """The settings as attributes; ``Settings`` fills them in."""

    # General
    accept_content: tuple[str, ...] = setting(
        ("json",),
        "Serializers, by name or content type, whose messages and results are read. All else is "
        "refused before it is decoded.",
    )
    celery_interop: bool = setting(
        False,
        "Use Celery's default names (queue, exchanges, result keys, built-in tasks), to work "
        "beside Celery.",
    )
    enable_utc: bool = setting(
        True,
        "Dates without a time zone are in UTC where `timezone` says nothing; otherwise in the "
        "machine's own.",
    )
    imports: tuple[str, ...] = setting((), "Modules that a worker imports when it starts.")
    include: tuple[str, ...] = setting((), "More modules that a worker imports, after `imports`.")
    timezone: str | tzinfo | None = setting(
        None,
        "Time zone of dates without one (`eta`, `expires`): an IANA name or a tzinfo. None is UTC, "
        "or the machine's own with `enable_utc` off.",
    )

    # Beat
    beat_cron_starting_deadline: Seconds | None = setting(
        None,
        "Seconds after which a tick of a crontab entry is not sent any more, if the entry says "
        "nothing of its own.",
        minimum=0,
    )
    beat_lease: Seconds = setting(
        10.0,
        "Seconds after which another beat sends what a dead one has claimed and not sent; only "
        "where the schedule store is not the broker itself.",
        minimum=1,
    )
    beat_max_loop_interval: Seconds = setting(
        0.5,
        "Seconds between two looks at the schedule store, for entries that have been edited; 0 "
        "is the default.",
        minimum=0,
    )
    beat_missed: str = setting(
        "once",
        "What becomes of ticks that no beat could send in time: `once` sends the last of them, "
        "`all` each of them, `skip` none.",
    )
    beat_schedule: dict[str, Any] = setting(
        {}, "The entries of the schedule, by name: what beat sends, and when."
    )
    beat_schedule_filename: str = setting(
        "taskq-beat.db",
        "The file of the schedule store, where the broker cannot be the store.",
    )
    beat_scheduler: str | None = setting(
        None,
        "The schedule store: sqlite, redis, memory, a URL, or one of an installed package. None is "
        "the broker itself where it can be one (SQLite, Redis), otherwise a file.",
    )
    beat_sync_every: int = setting(
        0, "Accepted for Celery's sake: each tick is kept when it is sent.", minimum=0
    )

    # Broker
    broker_url: str = setting("sqlite:///taskq.db", "Where messages are kept.")
    broker_connection_timeout: Seconds = setting(
        4.0, "Seconds to wait for a connection to the broker.", minimum=0
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

    # Results
    result_backend: str | None = setting(
        None,
        "Where outcomes are stored. None is the broker itself, where that can store them; "
        "`disabled://` stores none.",
    )
    result_accept_content: tuple[str, ...] | None = setting(
        None, "Like `accept_content`, for results alone. None is the same as `accept_content`."
    )
    result_backend_transport_options: dict[str, Any] = setting(
        {}, "Options that only one kind of result store knows; its page lists them."
    )
    result_cache_max: int = setting(
        100_000,
        "Results that a process keeps with `rpc://` until somebody reads them, at most.",
        minimum=1,
    )
    result_compression: str | None = setting(
        None, "Compression of results: gzip, bzip2, lzma, brotli or zstd."
    )
    result_expires: Seconds | None = setting(
        86400.0, "Seconds that a result is kept. None or 0 keeps it for ever.", minimum=0
    )
    result_extended: bool = setting(
        False, "Store name, arguments, worker, retries and queue with each result."
    )
    result_persistent: bool = setting(
        False, "Results that are sent (`rpc://`) survive a restart of RabbitMQ."
    )
    result_serializer: str = setting("json", "Serializer of results.")

    # Results in an SQL database
    database_create_tables_at_setup: bool = setting(
        True, "Create missing tables when the store is made; otherwise when it is first used."
    )
    database_engine_callback: Any = setting(
        None,
        "Called with each SQLAlchemy engine that is made, to add listeners to it: a function or "
        "its dotted name.",
    )
    database_engine_options: dict[str, Any] = setting(
        {}, "Arguments of SQLAlchemy's `create_engine`, such as `pool_size` and `connect_args`."
    )
    database_short_lived_sessions: bool = setting(
        False, "Keep no connection open; each use makes one of its own."
    )
    database_table_names: dict[str, Any] | None = setting(
        None,
        "Names of tables by what is in them: `task`, `group` and `chord`. None is Celery's names, "
        "and `taskq_chord_parts`.",
    )
    database_table_schemas: dict[str, Any] | None = setting(
        None, "Schemas of tables, likewise. None is the database's default."
    )
    database_url: str | None = setting(
        None, 'The database of `result_backend="database"`, without `db+`.'
    )

    # Results in memcached
    cache_backend: str | None = setting(
        None, 'The servers of `result_backend="cache"`, such as `memcached://127.0.0.1:11211/`.'
    )
    cache_backend_options: dict[str, Any] = setting(
        {}, "Arguments of pymemcache's clients, such as `timeout` and `tls_context`."
    )

    # Results in MongoDB
    mongodb_backend_settings: dict[str, Any] | None = setting(
        None,
        "What the URL does not say: `database`, `taskmeta_collection`, `user`, `password`, and any "
        "option of pymongo's client.",
    )

    # Results in object stores
    azureblockblob_base_path: str = setting(
        "", "Beginning of the names of results in Azure's blob storage."
    )
    azureblockblob_container_name: str = setting(
        "celery", "Container of results in Azure's blob storage; it must exist."
    )
    gcs_base_path: str = setting("", "Folder of results in Google's storage.")
    gcs_bucket: str | None = setting(None, "Bucket of results in Google's storage.")
    gcs_project: str | None = setting(None, "Project of that bucket.")
    s3_access_key_id: str | None = setting(
        None, "Key id for S3. None looks where Amazon's own tools do."
    )
    s3_base_path: str | None = setting(
        None, "Beginning of the names of results in S3, with its slash."
    )
    s3_bucket: str | None = setting(None, "Bucket of results in S3.")
    s3_endpoint_url: str | None = setting(None, "Where S3 is, if it is not Amazon's.")
    s3_region: str | None = setting(None, "Region of the bucket.")
    s3_secret_access_key: str | None = setting(None, "Secret that belongs to `s3_access_key_id`.")

    # Redis, as broker and as result store
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

    # Tasks
    task_acks_late: bool = setting(
        True,
        "Acknowledge a message when its outcome is stored, so that a lost worker loses nothing. "
        "False, Celery's default: just before the task runs.",
    )
    task_acks_on_failure: bool = setting(
        True,
        "Acknowledge the message of a task that failed; otherwise it goes to the dead letters.",
    )
    task_acks_on_failure_or_timeout: bool | None = setting(
        None,
        "Celery's older name for `task_acks_on_failure` and `task_acks_on_timeout`; sets both.",
    )
    task_acks_on_timeout: bool = setting(
        True,
        "Acknowledge the message of a task that passed its hard time limit; otherwise it is put "
        "back.",
    )
    task_allow_error_cb_on_chord_header: bool = setting(
        False, "Send the errbacks of a chord for each member that fails, too."
    )
    task_always_eager: bool = setting(
        False, "Run tasks at once in the calling process instead of sending them; for tests."
    )
    task_annotations: Any = setting(
        None, "Task attributes by task name (`*` for all), to be changed without touching the code."
    )
    task_compression: str | None = setting(
        None, "Compression of messages: gzip, bzip2, lzma, brotli or zstd."
    )
    task_create_missing_queues: bool = setting(
        True, "Create a queue that is used but not in `task_queues`; otherwise that is an error."
    )
    task_default_delivery_mode: int = setting(
        2,
        "1 keeps messages in memory only, 2 (persistent) on disk, where the broker knows the "
        "difference.",
        minimum=1,
        names={"transient": 1, "persistent": 2},
    )
    task_default_exchange: str | None = setting(
        None,
        "Exchange of the default queue. None is the broker's nameless exchange.",
        interop="celery",
    )
    task_default_exchange_type: str = setting(
        "direct", "Type of the default exchange: direct, topic, fanout or headers."
    )
    task_default_priority: int | None = setting(
        None, "Priority of tasks that have none, from 0 to 9; 9 goes first.", minimum=0
    )
    task_default_queue: str = setting(
        "default", "Queue of tasks that no option or route sends elsewhere.", interop="celery"
    )
    task_default_queue_type: str = setting(
        "classic",
        "Type of queues in RabbitMQ that say nothing of it: classic, or quorum, which survives "
        "the loss of a node.",
    )
    task_default_rate_limit: str | float | None = setting(
        None,
        "How many tasks of one name a worker may start, for tasks that do not say so themselves: "
        "such as `10/s`, `100/m` or `5/h`.",
    )
    task_default_routing_key: str | None = setting(
        None, "Routing key of the default queue. None is the queue's name."
    )
    task_eager_propagates: bool = setting(
        False, "Let errors of tasks that run eagerly reach the caller."
    )
    task_ignore_result: bool = setting(
        False, "Store no outcome, unless a task or call asks for it."
    )
    task_inherit_parent_priority: bool = setting(
        False, "Tasks sent from inside of a task take over its priority."
    )
    task_max_crashes: int = setting(
        3,
        "Times a task may kill the process that runs it. Past it, its message goes to the dead "
        "letters.",
        minimum=1,
    )
    task_max_deliveries: int = setting(
        20,
        "Times a message may be delivered again, for whatever reason. Past it, it goes to the "
        "dead letters.",
        minimum=1,
    )
    task_publish_retry: bool = setting(
        True, "Try again when a message cannot be sent, as `task_publish_retry_policy` says."
    )
    task_publish_retry_policy: dict[str, Any] = setting(
        {"max_retries": 3, "interval_start": 0, "interval_step": 0.2, "interval_max": 1},
        "How often, and with what pauses (seconds), sending is tried again.",
    )
    task_queue_max_priority: int | None = setting(
        None,
        "Highest priority of queues that do not say so themselves, for brokers that must know "
        "it beforehand.",
        minimum=0,
    )
    task_queues: Any = setting(
        None,
        "The queues: `Queue` objects, or a mapping from name to options. None is the default "
        "queue alone.",
    )
    task_reject_on_worker_lost: bool = setting(
        True,
        "Run a task again if the process that ran it died. False, Celery's default: it fails "
        "with WorkerLostError.",
    )
    task_remote_tracebacks: bool = setting(
        True, "Errors raised by `get()` carry the worker's traceback as a note."
    )
    task_routes: Any = setting(
        None,
        "Which queue a task goes to: a mapping from name or pattern to queue or options, a "
        "router, or a list of these.",
    )
    task_send_sent_event: bool = setting(False, "Tell an event for each task that is sent.")
    task_serializer: str = setting("json", "Serializer of messages.")
    task_soft_time_limit: Seconds | None = setting(
        None, "Seconds after which SoftTimeLimitExceeded is raised inside of the task.", minimum=0
    )
    task_store_eager_result: bool = setting(False, "Store the results of tasks that run eagerly.")
    task_store_errors_even_if_ignored: bool = setting(
        False, "Store errors of tasks whose results are ignored."
    )
    task_time_limit: Seconds | None = setting(
        None,
        "Seconds after which the process that runs the task is killed and replaced.",
        minimum=0,
    )
    task_track_started: bool = setting(False, "Store the state STARTED when a task begins.")

    # Worker
    worker_concurrency: int | None = setting(
        None,
        "Tasks that a worker runs at a time. None is the number of processors that it may use.",
        minimum=1,
    )
    worker_enable_remote_control: bool = setting(
        True, "Let a worker be asked and steered by `taskq inspect` and `taskq control`."
    )
    worker_heartbeat_interval: Seconds | None = setting(
        2.0,
        "Seconds between two heartbeats of a worker that tells events. None or 0 sends none.",
        minimum=0,
    )
    worker_disable_rate_limits: bool = setting(False, "Ignore all rate limits.")
    worker_hijack_root_logger: bool = setting(
        True, "Remove the handlers of the root logger when a worker sets up its log."
    )
    worker_log_color: bool | None = setting(
        None, "Colour log lines by level. None does if they go to a terminal."
    )
    worker_log_format: str = setting(WORKER_LOG_FORMAT, "Format of log lines.")
    worker_max_memory_per_child: int | None = setting(
        None,
        "KiB of resident memory past which a child is replaced once its task is done.",
        minimum=1,
    )
    worker_max_tasks_per_child: int | None = setting(
        None, "Tasks after which a child is replaced.", minimum=1
    )
    worker_pool: str = setting(
        "prefork",
        "How tasks run: prefork (one at a time in each process), threads, asyncio, eventlet or "
        "gevent (many in one process), or solo (in the worker itself, to debug).",
    )
    worker_processes: int | None = setting(
        None,
        "Multiplies `worker_concurrency`: so many processes, each with that many tasks at a time. "
        "None is 1.",
        minimum=1,
    )
    worker_prefetch_multiplier: int = setting(
        4,
        "Messages that a worker holds for each task it can run at a time. 0 sets no limit.",
        minimum=0,
    )
    worker_revoke_expires: Seconds = setting(
        10800.0, "Seconds for which a revoked task is remembered.", minimum=0
    )
    worker_send_task_events: bool = setting(
        False, "Tell events of tasks and of the worker itself, for monitors; `-E` does the same."
    )
    worker_soft_shutdown_timeout: Seconds = setting(
        0.0,
        "Seconds that running tasks have to finish after QUIT or a second TERM, before the cold "
        "shutdown gives them back.",
        minimum=0,
    )
    worker_shutdown_timeout: Seconds | None = setting(
        None,
        "Seconds that running tasks have to finish after TERM; what is left is put back. None "
        "waits for ever.",
        minimum=0,
    )
    worker_task_log_format: str = setting(TASK_LOG_FORMAT, "Format of the lines that tasks log.")


SETTINGS: Mapping[str, Setting[Any]] = MappingProxyType(
    {name: item for name, item in vars(Declarations).items() if isinstance(item, Setting)}
)
