"""Settings of tasks: how they are sent and run."""

from typing import Any

from taskq.settings.setting import Seconds, setting


class TaskSettings:
    """Settings of tasks."""

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
        None,
        "Task attributes by task name (`*` for all), to be changed without touching the code; or "
        "objects with a method `annotate(task)`. An attribute `@run` is a function around `run`.",
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
    task_retry_on_worker_lost: bool = setting(
        False,
        "Send a task again as `retry` does, with its `default_retry_delay` and `max_retries`, if "
        "the process that ran it died. Comes before `task_reject_on_worker_lost`.",
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
