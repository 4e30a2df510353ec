"""``--detach``, ``--uid``, ``--gid`` and ``--umask`` of ``taskq worker`` and ``taskq beat``."""

from __future__ import annotations

import grp
import os
import pwd
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from taskq import TaskQ
from taskq.cli.rights import drop_rights
from tests.cli.conftest import TASKS, Run
from tests.cli.processes import Processes
from tests.waiting import wait_until

WORKER = ("-A", "proj", "worker", "-c", "1", "-l", "INFO", "-n", "w1@here", "-D")
BEAT = ("-A", "proj", "beat", "-l", "INFO", "-n", "b1@here", "-D")


def pid_of(path: Path) -> int:
    return int(path.read_text())


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def end(pid: int, number: signal.Signals = signal.SIGTERM) -> None:
    os.kill(pid, number)
    wait_until(lambda: not is_alive(pid), 20, f"the end of process {pid}")


@pytest.fixture(autouse=True)
def left_behind(project: Path) -> Iterator[None]:
    """Kill what a test that failed has left in the background."""
    yield
    for file in project.glob("*.pid"):
        if is_alive(pid_of(file)):
            end(pid_of(file), signal.SIGKILL)


def test_a_worker_in_the_background(processes: Processes, project: Path, app: TaskQ) -> None:
    status, output = processes.finish(*WORKER, "--pidfile", "%n.pid", "-f", "%n.log")
    pid = pid_of(project / "w1.pid")
    assert (status, output) == (0, f"w1@here runs in the background as process {pid}\n")
    # It was ready before the command ended.
    assert "w1@here ready." in (project / "w1.log").read_text()
    assert os.getsid(pid) != pid, "it leads a session, and could get a terminal again"
    assert os.getsid(pid) != os.getsid(0)
    for fd in (0, 1, 2):
        target = Path(f"/proc/{pid}/fd/{fd}").readlink()
        assert target == (Path("/dev/null") if fd == 0 else project / "w1.log")
    assert app.send_task("proj.add", (1, 2)).get(timeout=20) == 3
    end(pid)
    assert not (project / "w1.pid").exists()
    assert "w1@here stopped." in (project / "w1.log").read_text()


def test_a_beat_in_the_background(processes: Processes, project: Path) -> None:
    assert processes.finish(*BEAT, "-q", "--pidfile", "b.pid") == (0, "")
    pid = pid_of(project / "b.pid")
    end(pid)
    # Without --logfile the log is named after the node.
    assert "beat: Shutting down" in (project / "b1.log").read_text()


@pytest.mark.parametrize(
    ("code", "arguments", "status", "said"),
    [
        ("1 / 0", (), 2, "ZeroDivisionError: division by zero"),
        ("app.conf.update(broker_url='sqlite:////proc/absent/x.db')", (), 1, "unable to open"),
        ("", ("-f", "no/such.log"), 1, "--logfile no/such.log cannot be written"),
        ("import os; os._exit(7)", (), 7, ""),
        ("", ("--pidfile", "living.pid"), 1, "is running. Stop it first"),
    ],
)
def test_what_goes_wrong_is_told_on_the_terminal(
    processes: Processes,
    project: Path,
    code: str,
    arguments: tuple[str, ...],
    status: int,
    said: str,
) -> None:
    (project / "living.pid").write_text(f"{os.getpid()}\n")
    with (project / "proj.py").open("a") as file:
        file.write(code)
    found, output = processes.finish(*WORKER, *arguments)
    (project / "living.pid").unlink()
    assert (found, said in output) == (status, True), output
    log = project / "w1.log"
    # What happened after the log was set up is in there as well.
    assert "unable to open" not in said or "unable to open" in log.read_text()


def test_a_stale_pid_file_is_replaced(processes: Processes, project: Path) -> None:
    first = processes.worker("--pidfile", "w.pid")
    first.stop(signal.SIGKILL)
    assert pid_of(project / "w.pid") == first.process.pid
    assert processes.finish(*WORKER, "--pidfile", "w.pid")[0] == 0
    assert pid_of(project / "w.pid") != first.process.pid
    end(pid_of(project / "w.pid"))


def test_hup_starts_it_anew_in_its_place(processes: Processes, project: Path, app: TaskQ) -> None:
    assert processes.finish(*WORKER, "--pidfile", "w.pid")[0] == 0
    pid = pid_of(project / "w.pid")
    (project / "proj.py").write_text(TASKS.replace("x + y", "x * y + 0"))
    os.kill(pid, signal.SIGHUP)
    log = project / "w1.log"
    wait_until(lambda: log.read_text().count("w1@here ready.") == 2, 20, "the second start")
    assert pid_of(project / "w.pid") == pid
    assert app.send_task("proj.add", (3, 4)).get(timeout=20) == 12
    end(pid)


@pytest.mark.parametrize("command", ["worker", "beat"])
@pytest.mark.parametrize("kind", ["path", "abstract"])
def test_systemd_is_told_when_it_is_ready(
    processes: Processes, project: Path, monkeypatch: pytest.MonkeyPatch, command: str, kind: str
) -> None:
    address = "notify.sock" if kind == "path" else f"@taskq-test-{os.getpid()}-{command}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
        notified.bind(address.replace("@", "\0"))
        notified.settimeout(20)
        monkeypatch.setenv("NOTIFY_SOCKET", address)
        running = processes.start("-A", "proj", command, "-l", "INFO")
        assert notified.recv(100) == b"READY=1"
        assert running.stop() == 0


# Rights


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_group_and_umask(processes: Processes, project: Path) -> None:
    group = grp.getgrnam("nogroup").gr_gid
    worker = processes.start(
        *("-A", "proj", "worker", "-c", "1", "-l", "INFO", "-f", "w.log"),
        *("--gid", "nogroup", "--umask", "027"),
    )
    path = project / "w.log"
    wait_until(lambda: path.exists() and "ready." in path.read_text(), 20, "its start")
    status = Path(f"/proc/{worker.process.pid}/status").read_text()
    ids = {line.split()[0]: line.split()[1:] for line in status.splitlines() if line}
    assert ids["Gid:"] == [str(group)] * 4
    assert ids["Groups:"] == [str(group)]
    log = path.stat()
    assert (log.st_gid, log.st_mode & 0o777) == (group, 0o640)
    assert worker.stop() == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_another_user_for_good() -> None:
    # In a fork, and not by a command: the interpreter may be in a folder that is root's alone.
    nobody = pwd.getpwnam("nobody")
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            drop_rights("nobody", None)
            os.write(writer, repr((os.getresuid(), os.getresgid(), os.getgroups())).encode())
        finally:
            os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    user, group = nobody.pw_uid, nobody.pw_gid
    assert os.read(reader, 1000).decode() == repr(((user,) * 3, (group,) * 3, [group]))
    os.close(reader)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--uid", "no-such-user"), "--uid no-such-user: there is no such user"),
        (("--gid", "no-such-group"), "--gid no-such-group: there is no such group"),
        (("--umask", "9"), "'9' is no mode of files"),
    ],
)
@pytest.mark.parametrize("command", ["worker", "beat"])
def test_mistakes(run: Run, command: str, arguments: tuple[str, ...], said: str) -> None:
    result = run("-A", "proj", command, *arguments)
    assert (result.exit_code, said in result.stderr) == (2, True), result.stderr


def test_who_is_not_root_can_become_nobody_else(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    result = run("-A", "proj", "worker", "--uid", "root")
    assert result.exit_code == 1
    assert "only root can become somebody else" in result.stderr
