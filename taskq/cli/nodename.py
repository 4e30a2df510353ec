"""The worker's name, and what ``%`` stands for in options."""

from __future__ import annotations

import re
import socket

from taskq.exceptions import ImproperlyConfigured


def node_name(text: str | None) -> str:
    """The name of a worker, such as ``taskq@host``.

    Args:
        text: ``name@host``, or the host's part alone; ``%h`` is this host's name, ``%n``
            that name up to the first dot, ``%d`` the rest of it.

    Raises:
        ImproperlyConfigured: it holds another ``%``, or is empty.
    """
    host = socket.gethostname()
    name = expand(text or "%h", host.partition(".")[0])
    return name if "@" in name else f"taskq@{name}"


def expand(text: str, name: str) -> str:
    """Replace ``%h`` (host), ``%d`` (its domain), ``%n`` (`name`) and ``%%``.

    Celery's ``%i`` and ``%I``, the number of a process in the pool, are those of the parent: a
    worker's processes share one log.

    Raises:
        ImproperlyConfigured: it holds another ``%``.
    """
    host = socket.gethostname()
    values = {"h": host, "d": host.partition(".")[2], "n": name, "i": "0", "I": "", "%": "%"}

    def value(found: re.Match[str]) -> str:
        if found[1] not in values:
            raise ImproperlyConfigured(
                f"{text!r} has {found[0]!r}: there are %h (host name), %n (name), %d (domain) "
                "and %% (a percent sign)"
            )
        return values[found[1]]

    return re.sub(r"%(.?)", value, text)
