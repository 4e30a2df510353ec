"""Running a server as somebody without privileges, where it refuses to run as root."""

from __future__ import annotations

import os
import pwd

from tests.servers.base import find_binary

USER = "nobody"
"""Whom such a server runs as if the tests run as root."""


def unprivileged() -> list[str]:
    """What stands before a command that must not run as root."""
    if os.geteuid() != 0:
        return []
    owner = pwd.getpwnam(USER)
    program = find_binary("setpriv")
    return [program, f"--reuid={owner.pw_uid}", f"--regid={owner.pw_gid}", "--clear-groups"]
