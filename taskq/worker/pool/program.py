"""Processes of a pool that are programs of their own, and load the app for themselves.

A nursery is one if importing the app started threads, which no fork survives whole.  A child is
one if its executor must change Python before anything else is imported.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from typing import TYPE_CHECKING, NoReturn

import msgspec

from taskq.worker.pool.options import ChildOptions

if TYPE_CHECKING:
    from taskq.app import TaskQ

_PR_SET_PDEATHSIG = 1
_prctl = ctypes.CDLL(None, use_errno=True).prctl

HELD_BACK = (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP, signal.SIGUSR1)
"""Signals that wait until a program that starts has its handlers."""


class AppSource(msgspec.Struct):
    """How a program loads the app.

    Attributes:
        app: the app, as ``-A`` names it.
        settings: settings that the command line changed.
        path: where modules are looked for.
        level: the log's level.
        logfile: the file it goes to; standard error by default.
    """

    app: str
    settings: dict[str, str]
    path: list[str]
    level: int = 30
    logfile: str | None = None

    def load(self) -> TaskQ:
        """Load the app, and set up the log."""
        # What is imported before the app is known is kept small.
        from taskq.discovery import find_app
        from taskq.log import redirect_stdouts, setup_logging

        app: TaskQ = find_app(self.app)
        app.conf.update(self.settings)
        setup_logging(app.conf, self.level, self.logfile)
        redirect_stdouts(app.conf)
        app.load_modules()
        return app


class Launch(msgspec.Struct):
    """What such a program is told.

    Attributes:
        source: how it loads the app.
        options: what children must know.
        parent: the process that it must not outlive.
        work: file descriptor of the children's end of the work socket.
        slots: that of the shared memory.
        count: how many slots it has.
        size: bytes of each.
        control: descriptor of a nursery's socket to the worker.
        answers: descriptor of a child's socket to the worker.
        index: which of the children it is.
    """

    source: AppSource
    options: ChildOptions
    parent: int
    work: int
    slots: int
    count: int
    size: int
    control: int = -1
    answers: int = -1
    index: int = 0

    @property
    def descriptors(self) -> list[int]:
        """Those that it is to inherit."""
        fds = (self.work, self.slots, self.control, self.answers)
        return [fd for fd in fds if fd >= 0]


def command(launch: Launch, module: str, bootstrap: str = "") -> list[str]:
    """The command line of a program that calls `main` of a module with `Launch`."""
    flags = [f"-W{option}" for option in sys.warnoptions]
    code = (
        f"import sys; sys.path[:] = {launch.source.path!r}\n{bootstrap}\n"
        f"from {module} import main; main(sys.argv.pop())"
    )
    return [sys.executable, *flags, "-c", code, msgspec.json.encode(launch).decode()]


def become(arguments: list[str], launch: Launch) -> NoReturn:
    """Go on as that program, in this process."""
    for fd in launch.descriptors:
        os.set_inheritable(fd, True)
    signal.pthread_sigmask(signal.SIG_BLOCK, HELD_BACK)
    os.execv(arguments[0], arguments)


def die_with(parent: int) -> None:
    """Have the kernel kill this process when its parent dies."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it has died before we asked
        os._exit(1)
