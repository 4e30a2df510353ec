"""Which file a ``sqlite:`` URL names, and whether it may lie there."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, unquote

from taskq.exceptions import ImproperlyConfigured

_NETWORK_FILESYSTEMS = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "fuse.sshfs"}


def parse_url(url: str) -> tuple[str, dict[str, Any]]:
    """The file that a ``sqlite:`` URL names, and its options.

    Raises:
        ImproperlyConfigured: there is no path, or an option is unknown.
    """
    address, _, query = url.partition("?")
    path = unquote(address.removeprefix("sqlite://").removeprefix("/"))
    if not address.startswith("sqlite:///") or not path or path == ":memory:":
        raise ImproperlyConfigured(
            f"{url!r} names no file: write sqlite:///taskq.db for a file in the working "
            "directory, sqlite:////var/lib/taskq.db for an absolute path, or memory:// for tests"
        )
    return os.path.abspath(path), checked_options(url, dict(parse_qsl(query)))


def checked_options(url: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a file, if there are such.

    Raises:
        ImproperlyConfigured: one of them does not exist, or cannot have that value.
    """
    unknown = options.keys() - {"synchronous", "timeout"}
    if unknown:
        raise ImproperlyConfigured(
            f"{url!r} has unknown options {sorted(unknown)}: synchronous and timeout exist"
        )
    if options.get("synchronous", "normal") not in {"off", "normal", "full", "extra"}:
        raise ImproperlyConfigured(f"{url!r}: synchronous is one of off, normal, full and extra")
    return dict(options)


def refuse_network_filesystem(path: str, mounts: str = "/proc/self/mounts") -> None:
    """Raise if the file would lie on a network file system.

    Write-ahead logs need memory that all processes share, which no network file system
    gives (https://www.sqlite.org/wal.html, "Disadvantages"); the file would be corrupted.

    Raises:
        ImproperlyConfigured: it would.
    """
    try:
        with open(mounts) as lines:
            entries = [line.split()[1:3] for line in lines]
    except OSError:
        return  # no such list on this system
    place = os.path.realpath(path)
    best, kind = "", ""
    for mount, filesystem in entries:
        mount = mount.replace("\\040", " ")
        inside = place == mount or place.startswith(mount.rstrip("/") + "/")
        if inside and len(mount) >= len(best):
            best, kind = mount, filesystem
    if kind in _NETWORK_FILESYSTEMS:
        raise ImproperlyConfigured(
            f"{path} lies on a network file system ({kind}, mounted at {best}), where SQLite "
            "loses data: use a local disk, or a Redis or RabbitMQ broker for several machines"
        )
