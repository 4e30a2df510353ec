"""Values of options: what is understood, and how the rest is refused."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone

import click
import pytest

from taskq.cli.nodename import expand, node_name
from taskq.cli.types import (
    concurrency,
    json_array,
    json_object,
    log_level,
    moment,
    moment_or_seconds,
    names,
    seconds,
)
from taskq.exceptions import ImproperlyConfigured


@pytest.mark.parametrize(
    ("convert", "text", "value"),
    [
        (names, "a, b,,c", ("a", "b", "c")),
        (log_level, "info", logging.INFO),
        (log_level, "Fatal", logging.CRITICAL),
        (log_level, "15", 15),
        (concurrency, "3", 3),
        (concurrency, "auto", os.cpu_count()),
        (seconds, "0.5", 0.5),
        (json_array, '[1, {"a": null}]', [1, {"a": None}]),
        (json_object, '{"x": [1]}', {"x": [1]}),
        (moment, "2030-01-31T12:00:00", datetime(2030, 1, 31, 12, tzinfo=UTC)),
        (
            moment,
            "2030-01-31T12:00:00+01:00",
            datetime(2030, 1, 31, 12, tzinfo=timezone(timedelta(hours=1))),
        ),
        (moment_or_seconds, "90", 90.0),
        (moment_or_seconds, "2030-01-31", datetime(2030, 1, 31, tzinfo=UTC)),
    ],
)
def test_understood(convert: Callable[[str], object], text: str, value: object) -> None:
    assert convert(text) == value


@pytest.mark.parametrize(
    ("convert", "text"),
    [
        (names, " , "),
        (log_level, "loud"),
        (concurrency, "0"),
        (concurrency, "many"),
        (concurrency, "-1"),
        (seconds, "0"),
        (seconds, "nan"),
        (seconds, "inf"),
        (seconds, "soon"),
        (json_array, "{}"),
        (json_array, "[1"),
        (json_object, "[]"),
        (moment, "tomorrow"),
        (moment_or_seconds, "tomorrow"),
    ],
)
def test_refused_with_the_value(convert: Callable[[str], object], text: str) -> None:
    with pytest.raises(click.BadParameter) as caught:
        convert(text)
    assert repr(text) in caught.value.message


@pytest.mark.parametrize(
    ("given", "name"),
    [
        (None, "taskq@box.example.org"),
        ("w1@%h", "w1@box.example.org"),
        ("w1@%n", "w1@box"),
        ("w1@%d", "w1@example.org"),
        ("100%%@x", "100%@x"),
        ("elsewhere", "taskq@elsewhere"),
    ],
)
def test_node_name(monkeypatch: pytest.MonkeyPatch, given: str | None, name: str) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "box.example.org")
    assert node_name(given) == name


def test_expanding_a_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "box")
    assert expand("/var/log/%n-%h%d.log", "w1") == "/var/log/w1-box.log"
    assert expand("/var/log/%n%I-%i.log", "w1") == "/var/log/w1-0.log"


@pytest.mark.parametrize("text", ["%x@h", "w1@%"])
def test_unknown_sign(text: str) -> None:
    with pytest.raises(ImproperlyConfigured, match="there are %h"):
        node_name(text)
