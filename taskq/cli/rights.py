"""As whom a process runs: user, group and mode of its files."""

from __future__ import annotations

import grp
import os
import pwd

from taskq.cli.failure import Failure, Misuse


def set_umask(mode: int | None) -> None:
    """Take these rights from all files that are made; None leaves all as it is."""
    if mode is not None:
        os.umask(mode)


def drop_rights(user: str | None, group: str | None) -> None:
    """Go on as this user and group, for good.

    Args:
        user: a name or number; None stays who it is.
        group: likewise; None is the user's own.

    Raises:
        Misuse: there is no such user or group.
        Failure: only root may become somebody else.
    """
    if user is None and group is None:
        return
    uid, name, gid = _find_user(user) if user is not None else (os.geteuid(), "", os.getegid())
    if group is not None:
        gid = _find_group(group)
    if (uid, gid) == (os.geteuid(), os.getegid()):
        return
    if os.geteuid() != 0:
        raise Failure(
            f"--uid {user or os.geteuid()} --gid {gid}: only root can become somebody else; "
            f"start it as that user, without these options"
        )
    _become(uid, gid, name)


def _become(uid: int, gid: int, name: str) -> None:
    # In this order: who is no longer root cannot change groups.
    if name:
        os.initgroups(name, gid)
    else:
        os.setgroups([gid])
    os.setgid(gid)
    if uid:
        os.setuid(uid)
        try:
            os.setuid(0)
        except PermissionError:
            return
        raise Failure(f"--uid {name or uid}: the rights of root could be had again")


def _find_user(text: str) -> tuple[int, str, int]:
    try:
        found = pwd.getpwuid(int(text)) if text.isdecimal() else pwd.getpwnam(text)
    except KeyError:
        if text.isdecimal():  # containers often run as numbers that have no name
            return int(text), "", int(text)
        raise Misuse(f"--uid {text}: there is no such user") from None
    return found.pw_uid, found.pw_name, found.pw_gid


def _find_group(text: str) -> int:
    if text.isdecimal():
        return int(text)
    try:
        return grp.getgrnam(text).gr_gid
    except KeyError:
        raise Misuse(f"--gid {text}: there is no such group") from None
