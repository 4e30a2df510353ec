"""An environment of Celery's own, made once and kept between runs."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import sys
from pathlib import Path

from tests.servers.shared import locked

PACKAGES = ("celery[redis]==5.7.*", "flower==2.*", "cryptography>=44")
"""What taskq is tested against."""
DJANGO_PACKAGES = ("django==5.2.*", "django-celery-beat==2.9.*", "django-celery-results==2.6.*")
"""Whose tables are moved; django-celery-beat cannot be installed beside Django 6.1."""
_ROOT = Path(__file__).resolve().parents[2] / ".tox"


class NoCeleryError(RuntimeError):
    """Celery cannot be installed; the message says why."""


def celery_python(packages: tuple[str, ...] = PACKAGES) -> str:
    """The Python that has Celery and Flower; installed now, if they are not there yet.

    Args:
        packages: what it has instead.

    Raises:
        NoCeleryError: they cannot be installed.
    """
    name = f"celery-{sys.version_info.major}.{sys.version_info.minor}-{_key(packages)}"
    home = _ROOT / name
    _ROOT.mkdir(exist_ok=True)
    with locked(_ROOT / f"{name}.lock", fcntl.LOCK_EX):
        if not (home / "complete").exists():
            shutil.rmtree(home, ignore_errors=True)
            _run([sys.executable, "-m", "venv", str(home)])
            _run([str(home / "bin" / "python"), "-m", "pip", "install", "--quiet", *packages])
            (home / "complete").touch()
    return str(home / "bin" / "python")


def _key(packages: tuple[str, ...]) -> str:
    """Changes with the packages."""
    import zlib

    return f"{zlib.crc32(' '.join(packages).encode()):08x}"


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode != 0:
        raise NoCeleryError(
            f"Celery cannot be installed: {' '.join(command)}\n{done.stdout}{done.stderr}"
        )
