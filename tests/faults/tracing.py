"""Stopping a process between two instructions of our choice, with ptrace(2)."""

from __future__ import annotations

import ctypes
import os
import platform
import signal
from collections.abc import Iterator
from contextlib import contextmanager

_SEIZE, _INTERRUPT, _SYSCALL, _GET_SYSCALL_INFO = 0x4206, 0x4207, 24, 0x420E
_OPTIONS = 0x1 | 0x100000
"""System call stops are told from signals; the process dies with its tracer."""
_WALL = 0x40000000
_EXIT_STOP = 2
_RECVMSG = {"x86_64": 47, "aarch64": 212}.get(platform.machine())


class _Info(ctypes.Structure):
    """``struct ptrace_syscall_info`` as far as it is read here."""

    _fields_ = (
        ("op", ctypes.c_uint8),
        ("pad", ctypes.c_uint8 * 3),
        ("arch", ctypes.c_uint32),
        ("instruction", ctypes.c_uint64),
        ("stack", ctypes.c_uint64),
        ("number_or_result", ctypes.c_int64),
        ("arguments", ctypes.c_uint64 * 7),
    )


class Traced:
    """A process under our eyes; every method belongs to the thread that began it."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    def kill_after_receiving(self) -> None:
        """SIGKILL it as soon as a ``recvmsg`` has brought it something, before it can look."""
        number = None
        while True:
            info = self._next_stop()
            if info is None:
                continue
            if info.op != _EXIT_STOP:
                number = info.number_or_result
            elif number == _RECVMSG and info.number_or_result > 0:
                os.kill(self.pid, signal.SIGKILL)
                # Its parent is told of its death only when its tracer has been.
                os.waitpid(self.pid, _WALL)
                return

    def _next_stop(self) -> _Info | None:
        """Let it go on to the next entry to or return from a system call."""
        _ptrace(_SYSCALL, self.pid, 0, 0)
        _, status = os.waitpid(self.pid, _WALL)
        if not os.WIFSTOPPED(status):
            raise AssertionError(f"process {self.pid} ended by itself: {status:#x}")
        if os.WSTOPSIG(status) != signal.SIGTRAP | 0x80:
            return None
        info = _Info()
        _ptrace(_GET_SYSCALL_INFO, self.pid, ctypes.sizeof(info), ctypes.addressof(info))
        return info


@contextmanager
def traced(pid: int) -> Iterator[Traced | None]:
    """Trace a process; None where that is not possible."""
    if _RECVMSG is None:
        yield None
        return
    try:
        _ptrace(_SEIZE, pid, 0, _OPTIONS)
    except OSError:
        yield None
        return
    _ptrace(_INTERRUPT, pid, 0, 0)
    os.waitpid(pid, _WALL)
    yield Traced(pid)


def _ptrace(request: int, pid: int, address: int, data: int) -> None:
    function = ctypes.CDLL(None, use_errno=True).ptrace
    function.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    function.restype = ctypes.c_long
    if function(request, pid, address, data) < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"ptrace request {request:#x}: {os.strerror(number)}")
