"""A program that is itself the app can give commands, without naming the app."""

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import sys
from taskq import TaskQ

app = TaskQ("prog", broker="sqlite:///prog.db")

@app.task
def add(x, y):
    return x + y

if __name__ == "__main__":
    if sys.argv[1] == "main":
        app.worker_main(sys.argv[2:])
    app.start(sys.argv[1:])
"""


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The program, run with arguments."""
    path = folder / "prog.py"
    path.write_text(PROGRAM)
    command = [sys.executable, str(path), *arguments]
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )


def test_start_gives_any_command(tmp_path: Path) -> None:
    assert run(tmp_path, "call", "prog.add", "-a", "[1, 2]").returncode == 0
    shown = run(tmp_path, "queues", "--json")
    assert '"ready": 1' in shown.stdout


def test_worker_main_is_the_worker_command(tmp_path: Path) -> None:
    shown = run(tmp_path, "main", "--help")
    assert shown.returncode == 0
    assert "--concurrency" in shown.stdout


def test_it_can_be_a_worker(tmp_path: Path) -> None:
    (tmp_path / "prog.py").write_text(PROGRAM)
    command = [sys.executable, "prog.py", "worker", "-l", "INFO", "-P", "solo"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen(command, cwd=tmp_path, **pipes) as worker:
        shown = []
        for line in worker.stdout:
            shown.append(line)
            if " ready." in line:
                worker.terminate()
    assert worker.returncode == 0
    assert any(line.split() == ["app", "prog"] for line in shown)
    assert "Traceback" not in "".join(shown)


def test_mistakes_are_told_in_words(tmp_path: Path) -> None:
    shown = run(tmp_path, "wrker")
    assert shown.returncode == 2
    assert "did you mean 'worker'" in shown.stderr
    assert "Traceback" not in shown.stderr
