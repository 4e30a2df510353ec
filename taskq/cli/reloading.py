"""``--reload``: a worker in development that starts anew when its code changes."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import sysconfig
import time
import traceback
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, NoReturn

import click

import taskq
from taskq.cli.failure import Failure, Misuse
from taskq.cli.session import Session

if TYPE_CHECKING:
    from taskq.app import TaskQ
    from taskq.worker import Worker

logger = logging.getLogger("taskq.worker")

_NOT_OURS = ("site-packages", "dist-packages")


def watcher() -> Any:
    """The module that watches files.

    Raises:
        Misuse: it is not installed.
    """
    try:
        import watchfiles
    except ImportError:
        raise Misuse("--reload needs watchfiles: pip install 'taskq[reload]'") from None
    return watchfiles


def load_when_it_can_be(session: Session) -> TaskQ:
    """The app; while its code has an error this shows it, and waits for a change.

    Raises:
        Misuse: watchfiles is not installed.
    """
    watchfiles = watcher()
    folder, started = os.getcwd(), time.time()
    # Compiled files are told apart by size and by the second in which the source was written.
    sys.dont_write_bytecode = True
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    try:
        return session.app()
    except Failure as exc:
        exc.show()
    click.echo("waiting for a change", err=True)
    roots = outermost({*import_roots(sys.modules.values()), Path.cwd()})
    for changes in watchfiles.watch(*roots, **_options(watchfiles)):
        if changes or newer(roots, started):
            start_anew(folder)
    raise KeyboardInterrupt  # which ends the watch, and is not raised by it


def start_anew(folder: str) -> NoReturn:
    """Become the same command again, with new code.

    Args:
        folder: where it was called.
    """
    os.chdir(folder)
    os.execv(sys.executable, sys.orig_argv)


async def restart_on_change(worker: Worker, started: float) -> None:
    """Restart a worker when a Python file of the app's has changed, until cancelled.

    A file that is no Python shows its error, and the next change is waited for.

    Args:
        worker: which one.
        started: when its code was about to be loaded, a Unix time.
    """
    watchfiles = watcher()
    roots = outermost(import_roots(sys.modules.values()))
    logger.warning("--reload: watching %s", ", ".join(map(str, roots)))
    looked = False
    async for changes in watchfiles.awatch(*roots, **_options(watchfiles)):
        paths = sorted({Path(path) for _, path in changes})
        if not looked:  # what has changed before anybody watched
            paths, looked = paths or await asyncio.to_thread(newer, roots, started), True
        if not paths:
            continue
        errors = await asyncio.to_thread(syntax_errors, paths)
        if errors:
            logger.error(
                "%s\n--reload: the worker goes on with the code that it has, until the next change",
                "\n".join(errors),
            )
            continue
        logger.warning("--reload: %s changed", ", ".join(path.name for path in paths))
        worker.restart()
        return


def _options(watchfiles: Any) -> dict[str, Any]:
    """How to watch: Python files, with a look at them as soon as they are watched."""
    return {
        "watch_filter": watchfiles.PythonFilter(),
        "rust_timeout": 500,
        "yield_on_timeout": True,
    }


def newer(roots: Iterable[Path], moment: float) -> list[Path]:
    """The Python files below some folders that were written after a moment, a Unix time."""
    ignored = watcher().PythonFilter.ignore_dirs
    found = []
    for root in roots:
        for folder, folders, files in os.walk(root):
            folders[:] = [name for name in folders if name not in ignored]
            paths = (Path(folder, name) for name in files if name.endswith(".py"))
            found += [path for path in paths if _written(path) > moment]
    return found


def _written(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0  # it has just been deleted


def syntax_errors(paths: Iterable[Path]) -> list[str]:
    """What is wrong with Python files, as Python says it."""
    errors = []
    for path in paths:
        try:
            compile(path.read_bytes(), str(path), "exec")
        except FileNotFoundError:
            pass  # deleted, which may well be meant
        except (SyntaxError, ValueError) as exc:
            errors.append("".join(traceback.format_exception_only(exc)).rstrip())
    return errors


def import_roots(modules: Iterable[ModuleType]) -> set[Path]:
    """The folders of modules that belong neither to Python nor to an installed package."""
    python = {Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib")}
    python.add(Path(taskq.__file__).parent)
    roots = set()
    for module in list(modules):
        file = getattr(module, "__file__", None)
        if not file or not file.endswith(".py"):
            continue
        folder = Path(file).resolve().parent
        if any(name in folder.parts for name in _NOT_OURS):
            continue
        if folder.is_dir() and not any(folder.is_relative_to(path) for path in python):
            roots.add(folder)
    return roots


def outermost(folders: Iterable[Path]) -> list[Path]:
    """Those of some folders that lie in none of the others."""
    found: list[Path] = []
    for folder in sorted(folders):
        if not any(folder.is_relative_to(outer) for outer in found):
            found.append(folder)
    return found
