"""Settings of the app as a whole."""

from datetime import tzinfo

from taskq.settings.setting import setting


class GeneralSettings:
    """Settings that belong to no one part."""

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
    outbox: bool = setting(
        False,
        "In Django: what is sent within a transaction is written to the database with it, and "
        "published once that is committed, by whichever process comes to it.",
    )
    timezone: str | tzinfo | None = setting(
        None,
        "Time zone of dates without one (`eta`, `expires`): an IANA name or a tzinfo. None is UTC, "
        "or the machine's own with `enable_utc` off.",
    )
