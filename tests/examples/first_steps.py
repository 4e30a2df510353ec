"""Does what a page of the guide tells a newcomer to do, block by block.

``console`` blocks are commands and what they write, ``pycon`` blocks a session in Django's shell,
``text`` blocks what the worker writes then. A ``python`` block is the file that its first line
names, or is added to that, and a ``diff`` block changes one. Three dots stand for anything.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

from tests.cli.processes import Running
from tests.servers import HOST, free_ports
from tests.waiting import wait_until

PATIENCE = 60.0
PASSWORD = "see-the-result"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
AT_THE_END = ", at the end"
TERMINAL = "import pty, sys; sys.exit(pty.spawn(sys.argv[1:]) >> 8)"


class Newcomer:
    """Somebody who has opened a terminal in an empty folder.

    Args:
        folder: it.

    Attributes:
        url: of the web server, once it runs.
    """

    url = ""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._logs = folder
        self._running: list[Running] = []
        self._worker: Running | None = None

    def follow(self, text: str) -> None:
        """Do what a part of the page says."""
        for language, block in BLOCK.findall(text):
            match language:
                case "console":
                    for command, shown in _commands(block):
                        self._type(command, shown)
                case "python":
                    self._write(block)
                case "diff":
                    self._change(block)
                case "pycon":
                    self._talk(block)
                case "text":
                    assert self._worker is not None
                    _wait_for(self._worker, block)
                case _:
                    raise AssertionError(f"nobody knows what to do with {language}")

    def close(self) -> None:
        """Kill what is left of what was started, with the children that it has."""
        for running in self._running:
            if running.process.poll() is None:
                os.killpg(running.process.pid, signal.SIGKILL)
                running.process.wait()

    # Commands

    def _type(self, command: str, shown: str) -> None:
        words = shlex.split(command)
        match words:
            case ["pip", "install", what]:
                assert what == "taskq[django]"  # which is installed where this runs
            case ["cd", folder]:
                self.folder /= folder
            case ["python", "manage.py", "shell"]:
                assert not shown  # the session is the next block
            case ["python", "manage.py", "createsuperuser", *_]:
                _check(self._answer(words), shown)
            case ["python", "manage.py", "runserver"]:
                (port,) = free_ports(1)
                self._start([*words, f"{HOST}:{port}"], shown)
                self.url = f"http://{HOST}:{port}/"
            case ["python", "manage.py", "taskq", "worker", *_]:
                self._worker = self._start(words, shown)
            case ["python", "manage.py", "taskq", "beat", *_]:
                self._start(words, shown)
            case _:
                _check(self._run(words), shown)

    def _run(self, words: list[str]) -> str:
        ended = subprocess.run(
            _program(words),
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE,
        )
        assert ended.returncode == 0, ended.stdout
        return ended.stdout

    def _start(self, words: list[str], shown: str) -> Running:
        log = self._logs / f"{words[-1]}-{len(self._running)}.log"
        running = Running(_program(words), self.folder, log)
        self._running.append(running)
        _wait_for(running, shown)
        return running

    def _answer(self, words: list[str]) -> str:
        """Run a command that asks for a password, twice, which takes a terminal."""
        process = subprocess.Popen(
            [sys.executable, "-c", TERMINAL, *_program(words)],
            cwd=self.folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        written = b""
        with process.stdin, process.stdout:
            for prompt in (b"Password: ", b"Password (again): "):
                while not written.endswith(prompt):
                    piece = os.read(process.stdout.fileno(), 1000)
                    assert piece, written
                    written += piece
                process.stdin.write(f"{PASSWORD}\n".encode())
                process.stdin.flush()
            written += process.stdout.read()
        assert process.wait(PATIENCE) == 0, written
        return written.decode()

    def _talk(self, session: str) -> None:
        """Have the session in ``manage.py shell``."""
        file = self._logs / "session.txt"
        file.write_text(session)
        program = f"import doctest; doctest.testfile({str(file)!r}, module_relative=False)"
        assert ">>>" not in self._run(["python", "manage.py", "shell", "-v0", "-c", program])

    # Files

    def _write(self, block: str) -> None:
        head, text = block.split("\n", 1)
        name = head.removeprefix("# ")
        file = self.folder / name.removesuffix(AT_THE_END)
        if name.endswith(AT_THE_END):
            with file.open("a") as old:
                old.write(text)
        else:
            file.write_text(text)

    def _change(self, block: str) -> None:
        head, text = block.split("\n", 1)
        file = self.folder / head.removeprefix("# ")
        lines = text.splitlines(keepends=True)
        before = "".join(line[1:] for line in lines if line[0] != "+")
        after = "".join(line[1:] for line in lines if line[0] != "-")
        old = file.read_text()
        assert old.count(before) == 1, f"{file} is not what the page takes it for:\n{old}"
        file.write_text(old.replace(before, after))


def _commands(block: str) -> list[tuple[str, str]]:
    """The commands of a block, each with what it writes."""
    pieces = re.split(r"^\$ ", block, flags=re.MULTILINE)
    assert not pieces[0]
    return [(command, shown) for command, _, shown in (each.partition("\n") for each in pieces[1:])]


def _program(words: list[str]) -> list[str | Path]:
    first, *rest = words
    if first == "python":
        return [sys.executable, *rest]
    return [Path(sys.executable).with_name(first), *rest]


def _missing(written: str, shown: str) -> str | None:
    """The first line of what is shown that was not written, in this order; None if all were."""
    lines = iter(written.splitlines())
    for line in shown.splitlines():
        pattern = re.compile(".*".join(re.escape(part) for part in line.split("...")))
        if not any(pattern.fullmatch(each.rstrip()) for each in lines):
            return line
    return None


def _check(written: str, shown: str) -> None:
    assert (line := _missing(written, shown)) is None, f"{line!r} is missing in:\n{written}"


def _wait_for(running: Running, shown: str) -> None:
    def is_there() -> bool:
        ended = running.process.poll() is not None
        line = _missing(running.output, shown)
        assert line is None or not ended, f"{line!r} is missing in:\n{running.output}"
        return line is None

    try:
        wait_until(is_there, PATIENCE, shown)
    except TimeoutError as exc:
        raise AssertionError(f"{exc}; it wrote:\n{running.output}") from None
