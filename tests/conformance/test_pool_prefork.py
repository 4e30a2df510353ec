"""The pool of one task in a process: others go on, whatever happens to one."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from taskq.worker.pool.base import Loss
from tests.conformance.pools import Bench, PoolKind, having, run


@pytest.fixture
def kind(request: pytest.FixtureRequest) -> PoolKind:
    """The pool under test."""
    chosen: PoolKind = request.param
    return chosen


pytestmark = having("processes", "single")


def test_a_crash_harms_nobody_else(kind: PoolKind, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    started = [tmp_path / "one", tmp_path / "two"]

    async def scenario(bench: Bench) -> None:
        others = [bench.job("gated", str(path), str(gate)) for path in started]
        bench.give(*others)
        await bench.until_exists(*started)
        victim = bench.job("kill_itself")
        after = [bench.job("add", n, 1) for n in range(10)]
        bench.give(victim, *after)
        await bench.ended(victim)
        assert bench.loss(victim) is Loss.CRASHED
        assert "SIGKILL" in bench.losses[victim.ticket][1]
        gate.touch()
        await bench.ended(*others, *after)
        assert [bench.result(job) for job in others] == [str(path) for path in started]
        assert [bench.result(job) for job in after] == [n + 1 for n in range(10)]

    run(kind, scenario, size=3)


def test_a_pool_grows(kind: PoolKind, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    started = [tmp_path / f"started-{n}" for n in range(3)]

    async def scenario(bench: Bench) -> None:
        jobs = [bench.job("gated", str(path), str(gate)) for path in started]
        bench.give(*jobs)
        await bench.until_exists(started[0])
        bench.pool.grow(2)
        assert bench.sizes == [3]
        await bench.until_exists(*started)
        gate.touch()
        await bench.ended(*jobs)
        await bench.all_started()
        assert len(bench.pool.pids()) == 3

    run(kind, scenario)


def test_a_pool_shrinks_when_its_processes_are_free(kind: PoolKind, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    started = [tmp_path / f"started-{n}" for n in range(3)]

    async def scenario(bench: Bench) -> None:
        await bench.all_started()
        jobs = [bench.job("gated", str(path), str(gate)) for path in started]
        bench.give(*jobs)
        await bench.until_exists(*started)
        bench.pool.shrink(2)
        assert bench.sizes == [1]
        gate.touch()
        await bench.ended(*jobs)
        assert [bench.result(job) for job in jobs] == [str(path) for path in started]
        await bench.has_processes(1)
        # What is left does all that comes.
        assert len(set(await bench.run(*(bench.job("pid") for _ in range(10))))) == 1

    run(kind, scenario, size=3)


def test_what_is_idle_leaves_first(kind: PoolKind, tmp_path: Path) -> None:
    gate, started = tmp_path / "gate", tmp_path / "started"

    async def scenario(bench: Bench) -> None:
        await bench.all_started()
        bench.give(job := bench.job("gated", str(started), str(gate)))
        await bench.until_exists(started)
        bench.pool.shrink(2)
        await bench.has_processes(1)
        assert not bench.is_over(job)
        gate.touch()
        await bench.ended(job)
        bench.result(job)

    run(kind, scenario, size=3)


def test_it_shrinks_and_grows_at_once(kind: PoolKind) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.all_started()
        jobs = [bench.job("add", n, 1) for n in range(300)]
        bench.give(*jobs)
        for _ in range(10):
            bench.pool.shrink(2)
            bench.pool.grow(2)
            await asyncio.sleep(0)
        await bench.ended(*jobs)
        assert [bench.result(job) for job in jobs] == [n + 1 for n in range(300)]
        await bench.has_processes(3)

    run(kind, scenario, size=3)


def test_a_restart_replaces_every_process(kind: PoolKind, tmp_path: Path) -> None:
    gate, started = tmp_path / "gate", tmp_path / "started"

    async def scenario(bench: Bench) -> None:
        await bench.all_started()
        before = set(bench.pool.pids())
        bench.give(job := bench.job("gated", str(started), str(gate)))
        await bench.until_exists(started)
        bench.pool.restart()
        # The idle ones go at once, the other when it has done its work.
        await bench.becomes(lambda: len(before & set(bench.pool.pids())) == 1)
        gate.touch()
        await bench.ended(job)
        bench.result(job)
        await bench.becomes(lambda: not before & set(bench.pool.pids()))
        await bench.has_processes(3)

    run(kind, scenario, size=3)
