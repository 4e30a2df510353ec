"""Commands that never outlive the process that started them.

A command runs below a small guard: this file run as a script, in a session of its own. The guard
reads signal numbers from a pipe, passes each on and acknowledges it; when the pipe ends, because
the owner closed it or died, however suddenly, the guard kills the command and whatever that
started. Signals take this way because only the parent of a process can know that a process id
still belongs to that process.

Only the standard library is used: the guard starts in a bare interpreter.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path


class Guarded:
    """A command that runs below a guard process.

    Args:
        command: the program, and its arguments; it must stay in the foreground.
        environment: variables to set beside those of this process.
        log: the file that what it prints is appended to.

    Attributes:
        pid: the process id of the command itself.

    Raises:
        RuntimeError: the command could not be run.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        with log.open("ab") as output:
            self._guard = subprocess.Popen(
                [sys.executable, "-I", "-S", __file__, *command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                env={**os.environ, **environment},
                start_new_session=True,
            )
        line = self._answer()
        if not line:
            self.end(signal.SIGKILL, timeout=10.0)
            raise RuntimeError(f"{command[0]} could not be run; see {log}:\n{log.read_text()}")
        self.pid = int(line)

    def alive(self) -> bool:
        """Whether the command still runs; a stopped one does."""
        return self._guard.poll() is None

    def send(self, number: signal.Signals) -> None:
        """Send a signal; return when it was sent, and after SIGSTOP when the command stands."""
        assert self._guard.stdin is not None
        # A guard that ended meanwhile breaks the pipe, and its answer is empty.
        with contextlib.suppress(BrokenPipeError):
            self._guard.stdin.write(b"%d\n" % number)
            self._guard.stdin.flush()
        self._answer()

    def end(self, number: signal.Signals, timeout: float) -> bool:
        """Send a signal and wait; tell whether the command is gone.

        Args:
            number: SIGTERM, SIGKILL, ...
            timeout: seconds to wait.
        """
        if self.alive():
            self.send(number)
        try:
            self._guard.wait(timeout)
        except subprocess.TimeoutExpired:
            return False
        for pipe in (self._guard.stdin, self._guard.stdout):
            assert pipe is not None
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
        return True

    def _answer(self) -> bytes:
        assert self._guard.stdout is not None
        return self._guard.stdout.readline()


def guard(command: Sequence[str]) -> None:
    """Run ``command``; pass on the signals named on stdin; kill it when stdin ends."""
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=sys.stderr)

    def answer(number: int) -> None:
        sys.stdout.write(f"{number}\n")
        sys.stdout.flush()

    def obey() -> None:
        for line in sys.stdin:
            number = int(line)
            child.send_signal(number)
            if number == signal.SIGSTOP and hasattr(os, "waitid"):
                os.waitid(os.P_PID, child.pid, os.WSTOPPED)
            answer(number)
        child.kill()

    answer(child.pid)
    threading.Thread(target=obey, daemon=True).start()
    child.wait()
    # What the command started and left behind is in this session's process group, and so is
    # this guard: nothing after this line runs.
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    guard(sys.argv[1:])
