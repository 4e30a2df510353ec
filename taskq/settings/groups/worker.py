"""Settings of workers."""

from taskq.settings.setting import Seconds, setting

WORKER_LOG_FORMAT = "[%(asctime)s: %(levelname)s/%(processName)s] %(message)s"
TASK_LOG_FORMAT = (
    "[%(asctime)s: %(levelname)s/%(processName)s] %(task_name)s[%(task_id)s]: %(message)s"
)


class WorkerSettings:
    """Settings of workers."""

    worker_concurrency: int | None = setting(
        None,
        "Tasks that a worker runs at a time. None is the number of processors that it may use.",
        minimum=1,
    )
    worker_enable_remote_control: bool = setting(
        True, "Let a worker be asked and steered by `taskq inspect` and `taskq control`."
    )
    worker_health: str | None = setting(
        None,
        "Where a worker tells probes how it does, by `/live` and `/ready`: `host:port`, `:port` or "
        "`unix:path`.",
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
    worker_log_datefmt: str | None = setting(
        None, "How `%(asctime)s` of log lines is written, as for `time.strftime`."
    )
    worker_log_format: str = setting(
        WORKER_LOG_FORMAT, "Format of log lines that no task has written."
    )
    worker_log_json: bool = setting(
        False, "Write each log record as one line of JSON, in place of the formats."
    )
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
        "Messages that a worker holds for each task it can run at a time, and more of short ones. "
        "1 is strict: nothing is held that does not run. 0 sets no limit.",
        minimum=0,
    )
    worker_redirect_stdouts: bool = setting(
        True, "Write what is printed in a worker's processes to its log."
    )
    worker_redirect_stdouts_level: str = setting("WARNING", "The level of what is printed.")
    worker_revoke_expires: Seconds = setting(
        10800.0, "Seconds for which a revoked task is remembered.", minimum=0
    )
    worker_send_task_events: bool = setting(
        False, "Tell events of tasks and of the worker itself, for monitors; `-E` does the same."
    )
    worker_services: tuple[str, ...] = setting(
        (),
        "Services of installed packages that a worker starts, by name (entry point "
        "`taskq.services`), or others as `module:Class`.",
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
    worker_task_log_datefmt: str | None = setting(
        None, "Like `worker_log_datefmt`, for the lines that tasks log."
    )
    worker_task_log_format: str = setting(
        TASK_LOG_FORMAT,
        "Format of the lines that tasks log, by whatever logger. `%(task_attempt)s` counts the "
        "runs of a task from 1.",
    )
