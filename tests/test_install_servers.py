"""The installer of servers: it says what is missing, and starts no services."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests import install_servers
from tests.servers import MissingServerError


def not_found() -> str:
    raise MissingServerError("not on PATH")


def found() -> str:
    return "/usr/bin/some-server"


def test_says_what_to_install_when_it_may_not(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(install_servers, "SERVERS", {"one-server": not_found, "other": found})
    install_servers.main()
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("missing: one-server; install with 'sudo apt-get install one-server'")


def test_is_silent_when_all_is_there(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(install_servers, "SERVERS", {"one-server": found})
    install_servers.main()
    assert capsys.readouterr() == ("", "")


def test_services_are_refused_only_during_the_installation(tmp_path: Path) -> None:
    policy = tmp_path / "policy-rc.d"
    with install_servers.no_services(policy):
        assert os.access(policy, os.X_OK)
        assert "exit 101" in policy.read_text()
    assert not policy.exists()


def test_a_policy_of_the_machine_stays(tmp_path: Path) -> None:
    policy = tmp_path / "policy-rc.d"
    policy.write_text("#!/bin/sh\nexit 0\n")
    with install_servers.no_services(policy):
        pass
    assert policy.read_text() == "#!/bin/sh\nexit 0\n"
