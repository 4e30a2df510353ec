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

import ctypes
import gc
import os
import select
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import TYPE_CHECKING, NamedTuple, NoReturn

import msgspec

from taskq import discovery
from taskq.worker.pool.child import Child, ChildOptions
from taskq.worker.pool.packets import socket_pair
from taskq.worker.pool.slots import Slot, SlotTable

if TYPE_CHECKING:
    from taskq.app import TaskQ

_PR_SET_PDEATHSIG = 1
_prctl = ctypes.CDLL(None, use_errno=True).prctl


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


class FreshStart(msgspec.Struct):
    """What a nursery needs that is started as a new program instead of forked.

    Attributes:
        app: the app, as ``-A`` names it.
        settings: settings that the command line changed.
        control: file descriptors, from here on.
        work: the children's end of the work socket.
        slots: the shared memory.
        count: how many slots it has.
        options: what the children must know.
    """

    app: str
    settings: dict[str, str]
    control: int
    work: int
    slots: int
    count: int
    options: ChildOptions


class Nursery(NamedTuple):
    """The parent's handle on its nursery.

    Attributes:
        pid: the nursery's process.
        control: the socket to it.
        work: the parent's end of the socket that all children take packets from.
        slots: the memory shared with the children.
    """

    pid: int
    control: socket.socket
    work: socket.socket
    slots: SlotTable

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


def start_nursery(
    app: TaskQ, count: int, options: ChildOptions, fresh: FreshStart | None = None
) -> Nursery:
    """Start a nursery with room for `count` children.

    Args:
        app: the app, loaded.
        count: how many slots.
        options: what the children must know.
        fresh: start it as a new program that loads nothing before it forks, because
            importing the app started threads, which no fork survives whole.
    """
    slots = SlotTable(count)
    control, their_control = socket_pair()
    work, their_work = socket_pair()
    work.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    if fresh is None:
        pid = _fork(control, their_control, work, their_work, slots, app, options)
    else:
        fresh.control, fresh.work = their_control.fileno(), their_work.fileno()
        fresh.slots, fresh.count, fresh.options = slots.fd, count, options
        pid = _start_program(fresh)
    their_control.close()
    their_work.close()
    slots.release_descriptor()
    control.setblocking(False)
    work.setblocking(False)
    return Nursery(pid, control, work, slots)


def _fork(
    control: socket.socket,
    their_control: socket.socket,
    work: socket.socket,
    their_work: socket.socket,
    slots: SlotTable,
    app: TaskQ,
    options: ChildOptions,
) -> int:
    parent = os.getpid()
    # What is there now stays shared with the children: the collector would write to it.
    gc.collect()
    gc.freeze()
    pid = os.fork()
    if pid == 0:
        control.close()
        work.close()
        _run_as_process(
            partial(_serve, their_control, their_work, slots, lambda: app, options, parent)
        )
    return pid


def _start_program(fresh: FreshStart) -> int:
    # subprocess is imported here since most workers fork their nursery.
    import subprocess

    process = subprocess.Popen(
        [sys.executable, "-m", __name__, msgspec.json.encode(fresh).decode(), str(os.getpid())],
        pass_fds=(fresh.control, fresh.work, fresh.slots),
        stdin=subprocess.DEVNULL,
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


def _die_with(parent: int) -> None:
    """Have the kernel kill this process when its parent dies."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it has died before we asked
        os._exit(1)


def _serve(
    control: socket.socket,
    work: socket.socket,
    slots: SlotTable,
    load: Callable[[], TaskQ],
    options: ChildOptions,
    parent: int,
) -> None:
    """The nursery's own life: fork on request, report every end."""
    _die_with(parent)
    wake_reader, wake_writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP, signal.SIGCHLD):
        signal.signal(number, _ignore)
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
                slot = slots.slot(index)
                _run_as_process(partial(_grow_up, slot, work, answers, load, options, nursery))
            answers.close()
            pidfd = os.pidfd_open(pid)
            socket.send_fds(control, [_encode(Spawned(index, pid))], [pidfd])
            os.close(pidfd)


def _grow_up(
    slot: Slot,
    work: socket.socket,
    answers: socket.socket,
    load: Callable[[], TaskQ],
    options: ChildOptions,
    nursery: int,
) -> None:
    """The child's side of the fork."""
    _die_with(nursery)
    for number in (signal.SIGCHLD, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    Child(load(), options, slot, work, answers).run()


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


def _load_app(fresh: FreshStart) -> TaskQ:
    app: TaskQ = discovery.find_app(fresh.app)
    app.conf.update(fresh.settings)
    app.load_modules()
    return app


def main(arguments: list[str]) -> None:
    """The program behind `FreshStart`."""
    fresh = msgspec.json.decode(arguments[0], type=FreshStart)
    _serve(
        socket.socket(fileno=fresh.control),
        socket.socket(fileno=fresh.work),
        SlotTable(fresh.count, fresh.slots),
        lambda: _load_app(fresh),
        fresh.options,
        int(arguments[1]),
    )


if __name__ == "__main__":
    main(sys.argv[1:])
