"""Install the servers that the tests start, where that can be done without asking.

On Debian and Ubuntu as root missing ones come from the distribution's packages, and are kept from
being started as services. Everywhere else one line says what to install. The exit status is 0
either way: what is missing is then skipped by the tests at home, and fails them where CI is set.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

# A program's own folder comes first, where tests/typing hides the standard library's typing.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
if str(Path(__file__).resolve().parent) in sys.path:
    sys.path.remove(str(Path(__file__).resolve().parent))

from tests.servers import (
    MissingServerError,
    chromedriver_binary,
    chromium_binary,
    mariadb_binary,
    memcached_binary,
    postgresql_binary,
    rabbitmq_binary,
    redis_binary,
)

#: Debian package -> what finds its binary.
SERVERS: dict[str, Callable[[], str]] = {
    "redis-server": redis_binary,  # which is a sentinel too, and a node of a cluster
    "rabbitmq-server": rabbitmq_binary,
    "postgresql": postgresql_binary,
    "mariadb-server": mariadb_binary,
    "memcached": memcached_binary,
    "chromium": chromium_binary,  # looks at the admin of Django
    "chromium-driver": chromedriver_binary,
}

#: Asked by every package script before it starts a service; 101 means "no".
POLICY = Path("/usr/sbin/policy-rc.d")


def missing() -> list[str]:
    """The packages whose servers cannot be found."""
    return [package for package, find in SERVERS.items() if not _found(find)]


def _found(find: Callable[[], str]) -> bool:
    try:
        find()
    except MissingServerError:
        return False
    return True


@contextlib.contextmanager
def no_services(policy: Path = POLICY) -> Iterator[None]:
    """Keep packages from starting what they install; a policy that is there already stays."""
    if policy.exists():
        yield
        return
    policy.write_text("#!/bin/sh\nexit 101\n")
    policy.chmod(0o755)
    try:
        yield
    finally:
        policy.unlink()


def install(packages: list[str]) -> None:
    """Install Debian packages.

    Raises:
        subprocess.CalledProcessError: apt-get failed.
    """
    apt = ["apt-get", "-qq", "-o", "DPkg::Lock::Timeout=120"]
    with no_services():
        for arguments in (["update"], ["install", "-y", "--no-install-recommends", *packages]):
            subprocess.run(
                [*apt, *arguments],
                check=True,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
            )


def main() -> None:
    """Install what is missing, or say what to install."""
    if not (packages := missing()):
        return
    if os.geteuid() == 0 and shutil.which("apt-get"):
        print(f"installing {', '.join(packages)} with apt-get", flush=True)
        try:
            install(packages)
        except subprocess.CalledProcessError as error:
            print(f"apt-get ended with status {error.returncode}", file=sys.stderr)
    if packages := missing():
        print(
            f"missing: {', '.join(packages)}; install with 'sudo apt-get install "
            f"{' '.join(packages)}' (Debian, Ubuntu) or 'brew install redis rabbitmq postgresql "
            "mariadb memcached' (macOS)",
            file=sys.stderr,
        )


if __name__ == "__main__":
    main()
