"""Errors of a database: which pass, and what to say of the others."""

from __future__ import annotations

from sqlalchemy import exc as sa_errors

from taskq.exceptions import BackendError, OperationalError, TaskQError

# Two transactions were in each other's way; the same again will do.  PostgreSQL's codes
# (https://www.postgresql.org/docs/current/errcodes-appendix.html) and MySQL's.
_COLLISIONS = {"40001", "40P01", 1205, 1213, 1020}


def passes(error: Exception) -> bool:
    """May the same succeed now?  The connection was an old one, or somebody was in the way."""
    if not isinstance(error, sa_errors.DBAPIError):
        return False
    if error.connection_invalidated or isinstance(error, sa_errors.IntegrityError):
        return True
    return _code(error) in _COLLISIONS


def _code(error: sa_errors.DBAPIError) -> object:
    """The database's own code of an error, where it has one."""
    cause = error.orig
    code = getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None)
    arguments = getattr(cause, "args", ())
    return code or (arguments[0] if arguments else None)


def is_there(error: Exception) -> bool:
    """Is what was to be made there already, or just being made?"""
    if not isinstance(error, sa_errors.DBAPIError):
        return False
    text = str(error.orig).lower()
    return passes(error) or any(word in text for word in ("exist", "duplicate"))


def explain(error: Exception, place: str) -> TaskQError:
    """An error that says where it was.

    Args:
        error: what SQLAlchemy raised.
        place: the database, as it may be shown.
    """
    reason = " ".join(str(getattr(error, "orig", None) or error).split())
    gone = isinstance(error, sa_errors.DBAPIError) and error.connection_invalidated
    away = (sa_errors.OperationalError, sa_errors.InterfaceError, sa_errors.TimeoutError)
    if gone or isinstance(error, away):
        return OperationalError(f"the database at {place}: {reason}")
    return BackendError(f"the database at {place} refuses: {reason}")
