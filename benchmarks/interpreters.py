"""Finds the Pythons of this machine, for peers that do not run on the benchmark's own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

_NEWEST_TRIED = 20
"""How many minor versions above the least one are looked for."""


class InterpreterMissing(RuntimeError):
    """No Python of the wanted version is installed; the message says where it was looked for."""


def find(least: tuple[int, int], environ: Mapping[str, str] = os.environ) -> Path:
    """Returns the interpreter that runs this, or the oldest other one of at least `least`.

    Args:
        least: Major and minor version.
        environ: Where `PATH`, and `PYENV_ROOT` or `HOME`, come from.

    Raises:
        InterpreterMissing: If there is none.
    """
    if sys.version_info[:2] >= least:
        return Path(sys.executable)
    major, minor = least
    for version in ((major, minor + more) for more in range(_NEWEST_TRIED)):
        for path in _candidates(version, environ):
            if _answers(path, version):
                return path
    raise InterpreterMissing(
        f"needs Python {major}.{minor} or newer, and neither PATH nor pyenv has one: "
        f"install it, as with 'pyenv install {major}.{minor}'"
    )


def version(python: Path) -> str:
    """Returns the major and minor version of an interpreter, `3.13`.

    Raises:
        OSError: If it cannot be started.
        subprocess.CalledProcessError: If it fails.
    """
    code = "import sys; print(*sys.version_info[:2], sep='.')"
    return subprocess.run(
        [str(python), "-c", code], check=True, capture_output=True, text=True
    ).stdout.strip()


def _candidates(version: tuple[int, int], environ: Mapping[str, str]) -> Iterator[Path]:
    name = f"python{version[0]}.{version[1]}"
    for folder in environ.get("PATH", os.defpath).split(os.pathsep):
        yield Path(folder, name)
    # On PATH pyenv has shims, which refuse to run a version that is not chosen for the folder.
    root = environ.get("PYENV_ROOT") or Path(environ.get("HOME", "/"), ".pyenv")
    yield from sorted(Path(root, "versions").glob(f"{version[0]}.{version[1]}.*/bin/{name}"))


def _answers(path: Path, wanted: tuple[int, int]) -> bool:
    if not path.is_file():
        return False
    try:
        return version(path) == f"{wanted[0]}.{wanted[1]}"
    except (OSError, subprocess.CalledProcessError):
        return False
