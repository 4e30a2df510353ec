"""The result store in an SQL database, through SQLAlchemy, in Celery's tables."""

from taskq.backends.sql.backend import SqlBackend

__all__ = ["SqlBackend"]
