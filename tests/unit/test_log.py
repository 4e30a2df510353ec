"""Log records, how they are written, and what is printed."""

from __future__ import annotations

import io
import json
import logging
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from taskq import TaskQ, signals
from taskq.context import running
from taskq.exceptions import ImproperlyConfigured
from taskq.log import (
    JsonFormatter,
    TaskFormatter,
    get_logger,
    get_task_logger,
    name_process,
    redirected_stdouts,
    setup_logging,
)
from taskq.log.streams import LogStream
from taskq.message import TaskMessage
from taskq.request import Request
from taskq.settings import Settings

FORMATS = {
    "worker_log_format": "worker %(levelname)s %(message)s",
    "worker_task_log_format": "%(task_name)s[%(task_id)s#%(task_attempt)s] %(message)s",
}


@pytest.fixture
def root(monkeypatch: pytest.MonkeyPatch) -> Iterator[logging.Logger]:
    """The root logger, and all else of logging, as it was before."""
    root, tasks = logging.getLogger(), logging.getLogger("taskq.task")
    make = logging.getLogRecordFactory()
    for logger in (root, tasks):
        monkeypatch.setattr(logger, "handlers", list(logger.handlers))
        monkeypatch.setattr(logger, "propagate", logger.propagate)
    level = root.level
    yield root
    root.setLevel(level)
    logging.setLogRecordFactory(make)


Written = Callable[[], str]


@pytest.fixture
def written(root: logging.Logger, capsys: pytest.CaptureFixture[str]) -> Written:
    """Gives what has gone to standard error since it was last asked."""
    return lambda: capsys.readouterr().err


@pytest.fixture
def task() -> Iterator[None]:
    """Inside of the third run of a task."""
    token = running.set(Request(TaskMessage({"id": "abc", "task": "t.add", "retries": 2}, b"")))
    yield
    running.reset(token)


def set_up(**settings: Any) -> None:
    setup_logging(Settings({**FORMATS, **settings}), logging.INFO)


def test_lines_outside_of_tasks(written: Written) -> None:
    set_up()
    get_logger("lib").info("one")
    get_task_logger("proj").warning("two")
    assert written() == "worker INFO one\n???[???#0] two\n"


def test_lines_inside_of_tasks_whatever_the_logger(written: Written, task: None) -> None:
    set_up()
    get_logger("lib.part").info("one")
    get_task_logger("proj").info("two")
    assert written() == "t.add[abc#3] one\nt.add[abc#3] two\n"


def test_a_record_keeps_its_task_when_it_is_written_elsewhere(root: logging.Logger) -> None:
    set_up()
    token = running.set(Request(TaskMessage({"id": "abc", "task": "t.add"}, b"")))
    record = root.makeRecord("lib", logging.INFO, "f", 1, "text", (), None)
    running.reset(token)
    assert TaskFormatter("%(task_id)s %(task_attempt)s").format(record) == "abc 1"


def test_dates(written: Written, task: None) -> None:
    set_up(
        worker_log_format="%(asctime)s|",
        worker_log_datefmt="a",
        worker_task_log_format="%(asctime)s|",
        worker_task_log_datefmt="b",
    )
    get_logger("lib").info("")
    token = running.set(None)
    get_logger("lib").info("")
    running.reset(token)
    assert written() == "b|\na|\n"


def test_the_name_of_a_process(written: Written) -> None:
    set_up(worker_log_format="%(processName)s")
    name_process("prefork-7")
    get_logger("lib").info("")
    assert written() == "prefork-7\n"


def test_color(written: Written, monkeypatch: pytest.MonkeyPatch) -> None:
    set_up(worker_log_color=True)
    get_logger("lib").info("one")
    get_logger("lib").error("two")
    assert written() == "worker INFO one\n\033[31mworker ERROR two\033[0m\n"
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    set_up()
    get_logger("lib").warning("on a terminal")
    assert "\033[33mworker WARNING on a terminal" in written()
    set_up(worker_log_color=False)
    get_logger("lib").warning("plain")
    assert written() == "worker WARNING plain\n"


def test_json(written: Written, task: None) -> None:
    set_up(worker_log_json=True, worker_log_color=True)
    get_logger("lib").info("%d\nlines", 2, extra={"order": 17, "who": {1, 2}.__class__})
    try:
        raise ValueError("no luck")
    except ValueError:
        get_task_logger("proj").exception("failed")
    first, second = map(json.loads, written().splitlines())
    assert first["message"] == "2\nlines"
    assert (first["level"], first["logger"]) == ("INFO", "lib")
    assert (first["task_id"], first["task_name"], first["task_attempt"]) == ("abc", "t.add", 3)
    assert (first["order"], first["who"]) == (17, "<class 'set'>")
    assert first["time"].endswith("Z")
    assert second["exception"].endswith("ValueError: no luck")


def test_json_of_what_json_cannot_write(root: logging.Logger) -> None:
    record = logging.makeLogRecord({"msg": "lone \ud800", "odd": {(1, 2): 3}})
    found = json.loads(JsonFormatter().format(record))
    assert found["message"] == "lone \\ud800"
    assert found["odd"] == "{(1, 2): 3}"
    assert "task_id" not in found


def test_handlers_of_the_root_logger(written: Written, root: logging.Logger) -> None:
    mine = logging.NullHandler()
    root.handlers[:] = [mine]
    set_up(worker_hijack_root_logger=False)
    assert root.handlers == [mine]
    get_task_logger("proj").info("tasks have a handler of their own")
    assert "tasks have" in written()
    set_up()
    assert mine not in root.handlers


def test_signals(root: logging.Logger) -> None:
    told = []

    def note(signal: signals.Signal, **arguments: Any) -> None:
        told.append((signal.name, arguments["logger"].name, arguments["format"]))

    for signal in (signals.after_setup_logger, signals.after_setup_task_logger):
        signal.connect(note)
    set_up()
    assert told == [
        ("after_setup_logger", "root", FORMATS["worker_log_format"]),
        ("after_setup_task_logger", "taskq.task", FORMATS["worker_task_log_format"]),
    ]


def test_a_set_up_of_ones_own(root: logging.Logger, task: None) -> None:
    told: dict[str, Any] = {}
    before = list(root.handlers)

    def mine(**arguments: Any) -> None:
        told.update(arguments)

    signals.setup_logging.connect(mine)
    setup_logging(Settings(FORMATS), logging.ERROR, "x.log")
    signals.setup_logging.disconnect(mine)
    assert (told["loglevel"], told["logfile"]) == (logging.ERROR, "x.log")
    assert told["format"] == FORMATS["worker_log_format"]
    assert root.handlers == before
    # Records know their task all the same.
    record = root.makeRecord("lib", logging.INFO, "f", 1, "text", (), None)
    assert vars(record)["task_id"] == "abc"


# What is printed


def test_prints_are_logged_line_by_line(caplog: pytest.LogCaptureFixture) -> None:
    before = sys.stdout, sys.stderr
    with redirected_stdouts(Settings({"worker_redirect_stdouts_level": "info"})):
        caplog.set_level(logging.INFO)
        print("a", 1, end="")
        print(" b\n\nc")
        print("to stderr", file=sys.stderr)
        print("no end yet", end="")
        sys.stdout.flush()
        assert sys.stdout.writable()
        assert not sys.stdout.isatty()
    assert (sys.stdout, sys.stderr) == before
    found = [(r.levelname, r.name, r.getMessage()) for r in caplog.records]
    texts = ["a 1 b", "c", "to stderr", "no end yet"]
    assert found == [("INFO", "taskq.redirected", text) for text in texts]


def test_prints_are_left_alone_where_settings_say_so() -> None:
    before = sys.stdout
    with redirected_stdouts(Settings({"worker_redirect_stdouts": False})):
        assert sys.stdout is before


def test_a_level_that_does_not_exist() -> None:
    with (
        pytest.raises(ImproperlyConfigured, match="worker_redirect_stdouts_level='loud': choose"),
        redirected_stdouts(Settings({"worker_redirect_stdouts_level": "loud"})),
    ):
        pass


def test_a_handler_that_fails_does_not_log_that_to_itself() -> None:
    behind = io.StringIO()
    logger = logging.getLogger("taskq.test.alone")
    logger.propagate = False
    stream = LogStream(logger, logging.WARNING, behind)  # type: ignore[arg-type]

    class Broken(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            stream.write("cannot write\n")

    logger.addHandler(Broken())
    stream.write("text\n")
    logger.handlers.clear()
    assert behind.getvalue() == "cannot write\n"


def test_an_app_sees_its_settings(root: logging.Logger) -> None:
    app = TaskQ("x", worker_log_json=True, set_as_current=False)
    setup_logging(app.conf)
    assert isinstance(logging.getLogger("taskq.task").handlers[0].formatter, JsonFormatter)
