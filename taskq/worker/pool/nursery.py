"""The nursery: a small process that has the app loaded and forks the children.

It is forked itself before the worker has an event loop, threads or connections, so that
every child starts from a clean copy: no lock is ever held by a thread that the child does
not have.  It never runs a task.  The worker's parent asks for children over a socket; the
nursery answers with their pids, and later with how they ended.

Nobody outlives the parent: nursery and children have the kernel kill them when the process
that made them dies (``PR_SET_PDEATHSIG``, prctl(2)), since an orphan would go on running a
task that another worker has been given.
"""

from __future__ import annotations

import gc
import os
import select
import signal
import socket
import sys
import traceback
import warnings
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import TYPE_CHECKING, NamedTuple, NoReturn

import msgspec

from taskq.exceptions import ImproperlyConfigured
from taskq.log import name_process
from taskq.worker.pool import child_program
from taskq.worker.pool.child import Child
from taskq.worker.pool.executors.base import Executor
from taskq.worker.pool.executors.registry import find_executor
from taskq.worker.pool.options import ChildOptions
from taskq.worker.pool.packets import socket_pair
from taskq.worker.pool.program import AppSource, Launch, become, command, die_with
from taskq.worker.pool.slots import LARGE_SLOT, SMALL_SLOT, SlotTable

if TYPE_CHECKING:
    from taskq.app import TaskQ


class Spawned(msgspec.Struct, tag=True):
    """A child has been forked; its pidfd comes with the packet."""

    slot: int
    pid: int


class Exited(msgspec.Struct, tag=True):
    """A child has ended, with this status as `os.waitpid` gives it."""

    pid: int
    status: int


News = Spawned | Exited
_encode = msgspec.msgpack.Encoder().encode
_decode_news = msgspec.msgpack.Decoder(News).decode
_decode_slot = msgspec.msgpack.Decoder(int).decode


class Nursery(NamedTuple):
    """The parent's handle on its nursery.

    Attributes:
        pid: the nursery's process.
        control: the socket to it.
        work: the parent's end of the socket that all children take packets from.
        slots: the memory shared with the children.
        lanes: how many slots each child has.
    """

    pid: int
    control: socket.socket
    work: socket.socket
    slots: SlotTable
    lanes: int

    @property
    def capacity(self) -> int:
        """How many children it can have at a time."""
        return self.slots.count // self.lanes

    def spawn(self, slot: int) -> socket.socket:
        """Ask for a child; the answer comes as `Spawned`.

        Returns:
            The parent's end of the child's own socket.
        """
        ours, theirs = socket_pair()
        with theirs:
            socket.send_fds(self.control, [_encode(slot)], [theirs.fileno()])
        return ours

    def receive(self) -> tuple[News, int | None] | None:
        """The next news, with a pidfd if one came along; None when the nursery is gone.

        Raises:
            BlockingIOError: there is none.
        """
        packet, fds, _, _ = socket.recv_fds(self.control, 4096, 1)
        if not packet:
            return None
        return _decode_news(packet), fds[0] if fds else None

    def close(self) -> None:
        """End the nursery, and with it whatever children it has."""
        self.work.close()
        self.control.close()
        os.waitpid(self.pid, 0)
        self.slots.close()


def start_nursery(
    app: TaskQ,
    capacity: int,
    options: ChildOptions,
    source: AppSource | None = None,
    afresh: bool = False,
) -> Nursery:
    """Start a nursery.

    Args:
        app: the app, loaded.
        capacity: how many children it can have at a time.
        options: what the children must know.
        source: how a program loads the app, for those that are none of this one's copies.
        afresh: start it as a new program that loads nothing before it forks.

    Raises:
        ImproperlyConfigured: the children must be programs, and nothing says how they load
            the app; or there is no such pool.
    """
    executor = find_executor(options.pool)
    if executor.bootstrap and source is None:
        raise ImproperlyConfigured(
            f"each process of the {options.pool} pool loads the app for itself, and must know "
            "where it is: start the worker with `taskq -A`"
        )
    slots = SlotTable(capacity * options.lanes, LARGE_SLOT if executor.single else SMALL_SLOT)
    control, their_control = socket_pair()
    work, their_work = socket_pair()
    work.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    ground = _Ground(their_control, their_work, slots, options, source, lambda: app, executor)
    pid = _start_program(ground) if source is not None and afresh else _fork(ground, control, work)
    their_control.close()
    their_work.close()
    slots.release_descriptor()
    control.setblocking(False)
    work.setblocking(False)
    return Nursery(pid, control, work, slots, options.lanes)


class _Ground(NamedTuple):
    """What a nursery grows its children from."""

    control: socket.socket
    work: socket.socket
    slots: SlotTable
    options: ChildOptions
    source: AppSource | None
    load: Callable[[], TaskQ]
    executor: type[Executor]

    def launch(self) -> Launch | None:
        """What a program must be told, apart from its own; None if none can be started."""
        if self.source is None:
            return None
        slots = self.slots
        return Launch(
            self.source,
            self.options,
            os.getpid(),
            self.work.fileno(),
            slots.fd,
            slots.count,
            slots.size,
        )


def _fork(ground: _Ground, control: socket.socket, work: socket.socket) -> int:
    parent = os.getpid()
    # What is there now stays shared with the children: the collector would write to it.
    gc.collect()
    gc.freeze()
    with warnings.catch_warnings():
        # Threads that others have started are told of where they matter, once.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        control.close()
        work.close()
        _run_as_process(partial(_serve, ground, parent))
    return pid


def _start_program(ground: _Ground) -> int:
    # subprocess is imported here since most workers fork their nursery.
    import subprocess

    launch = ground.launch()
    assert launch is not None
    launch.control = ground.control.fileno()
    process = subprocess.Popen(
        command(launch, __name__), pass_fds=launch.descriptors, stdin=subprocess.DEVNULL
    )
    process.returncode = 0  # the parent knows of its end by the control socket
    return process.pid


def _run_as_process(body: Callable[[], None]) -> NoReturn:
    """Run the body as the whole of a forked process: nothing of the parent's goes on."""
    status = 1
    try:
        body()
        status = 0
    except SystemExit as exc:
        status = exc.code if isinstance(exc.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
        os._exit(status)


def _serve(ground: _Ground, parent: int) -> None:
    """The nursery's own life: fork on request, report every end."""
    die_with(parent)
    control = ground.control
    wake_reader, wake_writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP, signal.SIGCHLD):
        signal.signal(number, _ignore)
    # A child may be signalled before it has a handler of its own.
    signal.signal(signal.SIGUSR1, _ignore)
    signal.set_wakeup_fd(wake_writer, warn_on_full_buffer=False)
    nursery = os.getpid()
    while True:
        readable, _, _ = select.select([control.fileno(), wake_reader], [], [])
        if wake_reader in readable:
            _drain(wake_reader)
            _report_exits(control)
        if control.fileno() in readable:
            packet, fds, _, _ = socket.recv_fds(control, 4096, 1)
            if not packet:
                return  # the parent has closed it: the children die with this process
            index, answers = _decode_slot(packet), socket.socket(fileno=fds[0])
            pid = os.fork()
            if pid == 0:
                signal.set_wakeup_fd(-1)
                for fd in (wake_reader, wake_writer):
                    os.close(fd)
                control.close()
                _run_as_process(partial(_grow_up, ground, index, answers, nursery))
            answers.close()
            pidfd = os.pidfd_open(pid)
            socket.send_fds(control, [_encode(Spawned(index, pid))], [pidfd])
            os.close(pidfd)


def _grow_up(ground: _Ground, index: int, answers: socket.socket, nursery: int) -> None:
    """The child's side of the fork."""
    die_with(nursery)
    executor, options = ground.executor, ground.options
    if executor.bootstrap:
        launch = ground.launch()
        assert launch is not None
        launch.parent, launch.answers, launch.index = nursery, answers.fileno(), index
        become(command(launch, child_program.__name__, executor.bootstrap), launch)
    for number in (signal.SIGCHLD, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    app, slots = ground.load(), ground.slots.slots(index, options.lanes)
    name_process(f"{options.pool}-{index + 1}")
    Child(app, options, slots, ground.work, answers).run(executor)


def _report_exits(control: socket.socket) -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        control.send(_encode(Exited(pid, status)))


def _drain(fd: int) -> None:
    try:
        while os.read(fd, 512):
            pass
    except BlockingIOError:
        pass


def _ignore(number: int, frame: FrameType | None) -> None:
    """The parent decides when to stop; a handler, so that what is started is not deaf."""


def main(text: str) -> None:
    """A nursery that is a program."""
    launch = msgspec.json.decode(text, type=Launch)
    _serve(
        _Ground(
            socket.socket(fileno=launch.control),
            socket.socket(fileno=launch.work),
            SlotTable(launch.count, launch.size, launch.slots),
            launch.options,
            launch.source,
            launch.source.load,
            find_executor(launch.options.pool),
        ),
        launch.parent,
    )
