"""Settings of results, and of each kind of result store."""

from typing import Any

from taskq.settings.setting import Seconds, setting


class ResultSettings:
    """Settings of results."""

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
