"""Settings of beat."""

from typing import Any

from taskq.settings.setting import Seconds, setting


class BeatSettings:
    """Settings of beat, by name."""

    beat_cron_starting_deadline: Seconds | None = setting(
        None,
        "Seconds after which a tick of a crontab entry is not sent any more, if the entry says "
        "nothing of its own.",
        minimum=0,
    )
    beat_health: str | None = setting(
        None,
        "Where beat tells probes how it does, by `/live` and `/ready`: `host:port`, `:port` or "
        "`unix:path`.",
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
        "The schedule store: sqlite, redis, memory, django, a URL, or one of an installed package. "
        "None is the broker itself where it can be one (SQLite, Redis), otherwise a file.",
    )
    beat_sync_every: int = setting(
        0, "Accepted for Celery's sake: each tick is kept when it is sent.", minimum=0
    )
