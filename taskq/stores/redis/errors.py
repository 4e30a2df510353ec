"""Redis's errors in taskq's words."""

from __future__ import annotations

import redis.exceptions as redis_errors

from taskq.exceptions import BackendError, OperationalError, TaskQError

_ADVICE = {
    "OOM": "it is out of memory: raise maxmemory, or let workers catch up",
    "READONLY": "it is a replica: name the master, or its sentinels with sentinel://",
    "LOADING": "it is still reading its data from disk",
    "MISCONF": "it cannot save its data to disk, and takes no writes: see its log",
    "NOREPLICAS": "too few of its replicas are there",
    "MASTERDOWN": "it has lost its master",
    "CLUSTERDOWN": "some of the cluster's slots are served by nobody",
    "TRYAGAIN": "the cluster is just moving these keys to another node",
    "UNBLOCKED": "it has become a replica",
    "NOAUTH": "it wants a password: put user and password into the URL",
    "WRONGPASS": "user or password are wrong",
    "NOPERM": "its user may not do that: see the permissions in the documentation",
    "BUSY": "it is busy with another program's script",
}
"""What can pass by itself or by an administrator's hand; nothing was written."""


# redis-py takes the word off the text of those that it has a class for.
_CLASSES: dict[type[Exception], str] = {
    redis_errors.OutOfMemoryError: "OOM",
    redis_errors.ReadOnlyError: "READONLY",
    redis_errors.BusyLoadingError: "LOADING",
    redis_errors.MasterDownError: "MASTERDOWN",
    redis_errors.ClusterDownError: "CLUSTERDOWN",
    redis_errors.TryAgainError: "TRYAGAIN",
    redis_errors.NoPermissionError: "NOPERM",
    redis_errors.NoScriptError: "NOSCRIPT",
}


def code_of(error: Exception) -> str:
    """The word that a reply of error begins with, whichever way a script has wrapped it."""
    for kind, code in _CLASSES.items():
        if isinstance(error, kind):
            return code
    text = str(error)
    known = [word for word in (*_ADVICE, "NOGROUP", "WRONGTYPE", "NOSCRIPT") if word in text]
    return known[0] if known else text.partition(" ")[0]


def explain(error: Exception, place: str) -> TaskQError:
    """An error that says what was wrong and what to do.

    Args:
        error: what redis-py raised, or Redis answered.
        place: the server, as it may be shown.
    """
    code = code_of(error)
    if code in _ADVICE:
        return OperationalError(f"Redis at {place} refuses: {_ADVICE[code]} ({error})")
    if isinstance(error, redis_errors.AuthenticationError):
        return OperationalError(f"Redis at {place} refuses: {error}")
    if isinstance(error, redis_errors.ConnectionError | redis_errors.TimeoutError | OSError):
        return OperationalError(
            f"cannot reach Redis at {place}: {str(error) or 'no answer in time'}"
        )
    if code == "WRONGTYPE":
        return BackendError(
            f"Redis at {place}: a key that taskq needs holds another program's data: {error}. Set "
            "another database, or the option global_keyprefix"
        )
    return BackendError(f"Redis at {place} answers with an error: {error}")
