"""How many processors there are, as control groups say it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from taskq.worker.processors import processors


@pytest.fixture(autouse=True)
def sixteen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(16)))


def write(root: Path, **files: str) -> Path:
    for name, text in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_without_limits_all_of_them_count(tmp_path: Path) -> None:
    assert processors(tmp_path) == 16
    group = {"proc__self__cgroup": "0::/\n"}
    (tmp_path / "sys/fs/cgroup").mkdir(parents=True)
    (tmp_path / "sys/fs/cgroup/cpu.max").write_text("max 100000\n")
    assert processors(write(tmp_path, **group)) == 16


@pytest.mark.parametrize(("quota", "count"), [("200000", 2), ("150000", 2), ("10000", 1)])
def test_the_quota_of_a_container(tmp_path: Path, quota: str, count: int) -> None:
    write(tmp_path, proc__self__cgroup="0::/\n")
    (tmp_path / "sys/fs/cgroup").mkdir(parents=True)
    (tmp_path / "sys/fs/cgroup/cpu.max").write_text(f"{quota} 100000\n")
    assert processors(tmp_path) == count


def test_of_nested_groups_the_tightest_counts(tmp_path: Path) -> None:
    write(tmp_path, proc__self__cgroup="0::/outer/inner\n")
    inner = tmp_path / "sys/fs/cgroup/outer/inner"
    inner.mkdir(parents=True)
    (inner / "cpu.max").write_text("800000 100000\n")
    (inner.parent / "cpu.max").write_text("300000 100000\n")
    assert processors(tmp_path) == 3


def test_the_first_version_of_control_groups(tmp_path: Path) -> None:
    write(tmp_path, proc__self__cgroup="4:cpu,cpuacct:/box\n1:name=systemd:/box\n")
    box = tmp_path / "sys/fs/cgroup/cpu,cpuacct/box"
    box.mkdir(parents=True)
    (box / "cpu.cfs_quota_us").write_text("400000\n")
    (box / "cpu.cfs_period_us").write_text("100000\n")
    assert processors(tmp_path) == 4
    (box / "cpu.cfs_quota_us").write_text("-1\n")
    assert processors(tmp_path) == 16
