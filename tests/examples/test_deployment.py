"""The deployment guide's units, manifests and image are what the programs that read them want."""

from __future__ import annotations

import configparser
import json
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from taskq.cli.main import cli
from taskq.settings import Settings
from tests.examples.test_documentation import blocks

PAGE = "docs/guide/deployment.md"
DOCUMENTS = [document for block in blocks(PAGE, "yaml") for document in yaml.safe_load_all(block)]
INI = blocks(PAGE, "ini")
UNITS = [block for block in INI if block.startswith("# /etc/systemd")]


def understood(command: list[str]) -> None:
    """A command line of taskq has commands and options that there are."""
    assert Path(command[0]).name == "taskq"
    done = CliRunner().invoke(cli, [*command[1:], "--help"])
    assert done.exit_code == 0, f"{command}\n{done.output}"


def known(environment: dict[str, str]) -> Settings:
    """The settings that variables set; each must be one."""
    conf = Settings()
    mine = {name: value for name, value in environment.items() if name.startswith("TASKQ_")}
    conf.load_environ(mine)
    for name in mine:
        assert conf.source(name.removeprefix("TASKQ_").lower()) != "default"
    return conf


def containers() -> list[dict[str, Any]]:
    return [
        container
        for document in DOCUMENTS
        if document.get("kind") == "Deployment"
        for container in document["spec"]["template"]["spec"]["containers"]
    ]


# systemd and supervisor


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_understands_the_units(tmp_path: Path) -> None:
    program = tmp_path / "taskq"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    names = []
    for unit in UNITS:
        found = re.match(r"# \S+/(\S+)\n", unit)
        assert found is not None
        text = unit.replace("/srv/proj/.venv/bin/taskq", str(program)).replace(
            "WorkingDirectory=/srv/proj", f"WorkingDirectory={tmp_path}"
        )
        (tmp_path / found[1]).write_text(text.replace("User=proj", "User=nobody"))
        names.append(str(tmp_path / found[1].replace("@.", "@1.")))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *names],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "SYSTEMD_LOG_LEVEL": "warning"},
    )
    about_ours = [line for line in done.stderr.splitlines() if "proj-" in line]
    assert about_ours == []


def test_commands_of_units_and_their_times() -> None:
    assert len(UNITS) == 2
    for unit in UNITS:
        lines = dict(line.split("=", 1) for line in unit.splitlines() if re.match(r"\w+=", line))
        understood(shlex.split(lines["ExecStart"].replace("%%", "%").replace("%i", "1")))
        if "Environment" in lines:
            conf = known(dict([lines["Environment"].split("=", 1)]))
            assert conf.worker_shutdown_timeout is not None
            assert conf.worker_shutdown_timeout < float(lines["TimeoutStopSec"])


def test_supervisor() -> None:
    (text,) = [block for block in INI if block.startswith("; /etc/supervisor")]
    found = configparser.ConfigParser(interpolation=None)
    found.read_string(text)
    program = found["program:proj-worker"]
    # supervisor expands with Python's own operator.
    command = program["command"] % {"process_num": 1}
    understood(shlex.split(command))
    assert "-n w1@%h" in command
    name, value = program["environment"].split("=", 1)
    assert known({name: shlex.split(value)[0]}).worker_shutdown_timeout == 50
    assert int(program["stopwaitsecs"]) > 50


# Containers


def test_the_image() -> None:
    (text,) = blocks(PAGE, "dockerfile")
    commands = re.findall(r"^(\w+) (?:.* CMD )?(\[.*\])$", text, re.MULTILINE)
    assert [kind for kind, _ in commands] == ["HEALTHCHECK", "CMD"]
    check, start = (json.loads(line) for _, line in commands)
    understood(start)
    compile(check[-1], "healthcheck", "exec")
    (line,) = re.findall(r"^ENV (.*)$", text, re.MULTILINE)
    conf = known(dict(pair.split("=", 1) for pair in shlex.split(line)))
    assert conf.worker_health == ":8080"
    assert "127.0.0.1:8080/live" in check[-1]


@pytest.mark.parametrize("container", containers(), ids=lambda one: str(one["name"]))
def test_containers(container: dict[str, Any]) -> None:
    arguments = container["args"]
    understood(arguments)
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    address = arguments[arguments.index("--health") + 1]
    probes = [container[name]["httpGet"] for name in container if name.endswith("Probe")]
    assert {probe["path"] for probe in probes} == {"/live", "/ready"}
    for probe in probes:
        assert address == f":{ports[probe['port']]}"
    known({entry["name"]: entry.get("value", "redis://h") for entry in container["env"]})


def test_deployments() -> None:
    deployments = [one for one in DOCUMENTS if one.get("kind") == "Deployment"]
    assert len(deployments) == 2
    for one in deployments:
        spec = one["spec"]
        assert spec["selector"]["matchLabels"] == spec["template"]["metadata"]["labels"]
    (worker,) = [one["spec"]["template"]["spec"] for one in deployments if "worker" in str(one)]
    (container,) = worker["containers"]
    variables = {entry["name"]: entry.get("value") for entry in container["env"]}
    timeout = float(variables["TASKQ_WORKER_SHUTDOWN_TIMEOUT"])
    assert timeout < worker["terminationGracePeriodSeconds"]


def test_scaling() -> None:
    (scaled,) = [one for one in DOCUMENTS if one.get("kind") == "ScaledObject"]
    names = {one["metadata"]["name"] for one in DOCUMENTS if one.get("kind") == "Deployment"}
    assert scaled["spec"]["scaleTargetRef"]["name"] in names
    (redis,) = [one for one in DOCUMENTS if "triggers" in one]
    stream = redis["triggers"][0]["metadata"]["stream"]
    reference = (Path(__file__).parents[2] / "docs/reference/redis-keys.md").read_text()
    assert f"| `{stream}` …" in reference
