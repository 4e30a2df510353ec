"""Pools of many tasks in one process: each for itself, until the process ends for one of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from taskq.worker.pool.base import Loss
from tests.conformance.pool_tasks import touch
from tests.conformance.pools import Bench, PoolKind, having, is_alive, run


@pytest.fixture
def kind(request: pytest.FixtureRequest) -> PoolKind:
    """The pool under test."""
    chosen: PoolKind = request.param
    return chosen


pytestmark = having("many")

SIZE = 3


@pytest.mark.parametrize("task", ["itself", "async_itself"])
def test_each_knows_itself(kind: PoolKind, task: str, tmp_path: Path) -> None:
    gate = tmp_path / "gate"

    async def scenario(bench: Bench) -> None:
        for attempt in range(2):  # the second time in lanes that were used before
            path = f"{gate}-{attempt}"
            jobs = [bench.job(task, path) for _ in range(SIZE)]
            bench.give(*jobs)
            await bench.until_exists(*(Path(f"{path}-{job.id}") for job in jobs))
            touch(path)
            await bench.ended(*jobs)
            for job in jobs:
                told = bench.result(job)
                assert told[:2] == [job.id, task]
                assert told[3:] == [job.id, task, job.id]
                if task == "async_itself":  # coroutines leave nothing behind
                    assert told[2] is None

    run(kind, scenario, size=SIZE)


def test_all_run_at_the_same_time_in_one_process(kind: PoolKind, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    started = [tmp_path / f"started-{n}" for n in range(8)]

    async def scenario(bench: Bench) -> None:
        jobs = [bench.job("gated", str(path), str(gate)) for path in started]
        bench.give(*jobs)
        await bench.until_exists(*started)
        assert len(bench.pool.pids()) == 1
        assert len(bench.pool.running()) == 8
        gate.touch()
        await bench.ended(*jobs)

    run(kind, scenario, size=8)


def test_it_grows_and_shrinks(kind: PoolKind, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    started = [tmp_path / f"started-{n}" for n in range(8)]

    async def scenario(bench: Bench) -> None:
        jobs = [bench.job("gated", str(path), str(gate)) for path in started]
        bench.give(*jobs)
        await bench.until_exists(started[0])
        bench.pool.grow(7)
        await bench.until_exists(*started)
        assert bench.pool.size == 8
        bench.pool.shrink(6)
        gate.touch()
        await bench.ended(*jobs)
        assert bench.sizes == [8, 2]
        bench.give(*(bench.job("gated", str(tmp_path / f"more-{n}"), str(tmp_path / "later"))
                     for n in range(4)))  # fmt: skip
        await bench.until_exists(tmp_path / "more-0", tmp_path / "more-1")
        assert bench.taken == 2
        (tmp_path / "later").touch()
        await bench.until(lambda: not bench.taken)

    run(kind, scenario)


# What ends a process


def test_at_a_hard_limit_the_others_go_back(kind: PoolKind, tmp_path: Path) -> None:
    gate, started = tmp_path / "gate", tmp_path / "started"

    async def scenario(bench: Bench) -> None:
        others = [bench.job("gated", f"{started}-{n}", str(gate)) for n in range(2)]
        bench.give(*others)
        await bench.until_exists(Path(f"{started}-0"), Path(f"{started}-1"))
        (pid,) = bench.pool.pids()
        bench.give(endless := bench.job("nap", 600, kind.step, hard_limit=0.2))
        await bench.ended(endless, *others)
        assert bench.loss(endless) is Loss.TIMED_OUT
        assert [bench.loss(job) for job in others] == [Loss.UNSTARTED] * 2
        await bench.all_started()
        assert bench.pool.pids() != [pid]

    run(kind, scenario, size=SIZE)


def test_at_a_soft_limit_the_others_notice_nothing(kind: PoolKind, tmp_path: Path) -> None:
    gate, started = tmp_path / "gate", tmp_path / "started"

    async def scenario(bench: Bench) -> None:
        others = [bench.job("gated", f"{started}-{n}", str(gate)) for n in range(2)]
        bench.give(*others, *(bench.job("caught", 600, kind.step, soft_limit=0.1) for _ in "ab"))
        await bench.until(lambda: len(bench.reports) == 2)
        gate.touch()
        await bench.ended(*others)
        assert [bench.result(job) for job in others] == [f"{started}-{n}" for n in range(2)]

    run(kind, scenario, size=4)


def test_not_even_c_code_escapes_its_hard_limit(kind: PoolKind, tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        bench.give(job := bench.job("seize", str(tmp_path / "begun"), 60, hard_limit=0.2))
        await bench.ended(job)
        assert bench.loss(job) is Loss.TIMED_OUT
        assert await bench.run(bench.job("add", 1, 2)) == [3]

    run(kind, scenario, size=SIZE)


def test_who_dies_with_others_may_be_to_blame(kind: PoolKind, tmp_path: Path) -> None:
    gate, started = tmp_path / "gate", tmp_path / "started"

    async def scenario(bench: Bench) -> None:
        other = bench.job("gated", str(started), str(gate))
        bench.give(other)
        await bench.until_exists(started)
        bench.give(victim := bench.job("kill_itself"))
        await bench.ended(victim, other)
        assert bench.loss(victim) is bench.loss(other) is Loss.CRASHED
        assert await bench.run(bench.job("add", 1, 2)) == [3]

    run(kind, scenario, size=SIZE)


def test_a_suspect_runs_alone_at_last(kind: PoolKind, tmp_path: Path) -> None:
    gate, started = tmp_path / "gate", tmp_path / "started"

    async def scenario(bench: Bench) -> None:
        others = [bench.job("gated", f"{started}-{n}", str(gate)) for n in range(2)]
        bench.give(*others)
        await bench.until_exists(Path(f"{started}-0"), Path(f"{started}-1"))
        suspect, after = bench.job("kill_itself"), bench.job("add", 1, 2)
        suspect.delivery.crashes = 2
        bench.give(suspect, after)
        await bench.becomes(lambda: bench.taken == 3)
        gate.touch()
        await bench.ended(suspect, after, *others)
        assert [bench.result(job) for job in others] == [f"{started}-{n}" for n in range(2)]
        assert bench.loss(suspect) is Loss.CRASHED
        assert after.ticket in bench.reports or bench.loss(after) is Loss.UNSTARTED
        innocent = bench.job("add", 1, 2)
        innocent.delivery.crashes = 2
        assert await bench.run(innocent, bench.job("add", 3, 4)) == [3, 7]

    run(kind, scenario, size=SIZE)


def test_who_leaves_is_to_blame_alone(kind: PoolKind, tmp_path: Path) -> None:
    gate, started = tmp_path / "gate", tmp_path / "started"

    async def scenario(bench: Bench) -> None:
        other = bench.job("gated", str(started), str(gate))
        bench.give(other)
        await bench.until_exists(started)
        bench.give(leaver := bench.job("leave"))
        await bench.ended(leaver, other)
        assert bench.loss(leaver) is Loss.CRASHED
        assert bench.loss(other) is Loss.UNSTARTED

    run(kind, scenario, size=SIZE)


# Terminating


@pytest.mark.parametrize("task", ["tidy", "async_tidy"])
def test_what_is_terminated_may_clean_up(kind: PoolKind, task: str, tmp_path: Path) -> None:
    gate, started, tidied = tmp_path / "gate", tmp_path / "started", tmp_path / "tidied"

    async def scenario(bench: Bench) -> None:
        other = bench.job("gated", str(started), str(gate))
        victim = bench.job(task, str(tidied), 600, kind.step)
        bench.give(other, victim)
        await bench.until_exists(started, Path(f"{tidied}-begun"))
        assert bench.pool.terminate(victim)
        await bench.ended(victim)
        assert victim.terminated
        assert bench.loss(victim) is Loss.CRASHED
        assert tidied.exists()
        gate.touch()
        await bench.ended(other)
        assert bench.result(other) == str(started)

    run(kind, scenario, size=SIZE)


def test_what_does_not_end_is_killed(kind: PoolKind, tmp_path: Path) -> None:
    gate, started, begun = tmp_path / "gate", tmp_path / "started", tmp_path / "begun"

    async def scenario(bench: Bench) -> None:
        other, victim = (
            bench.job("gated", str(started), str(gate)),
            bench.job("stubborn", str(begun)),
        )
        bench.give(other, victim)
        await bench.until_exists(started, begun)
        (pid,) = bench.pool.pids()
        assert bench.pool.terminate(victim)
        await bench.ended(victim, other)
        assert bench.loss(victim) is Loss.CRASHED
        assert bench.loss(other) is Loss.UNSTARTED
        assert not is_alive(pid)

    run(kind, scenario, size=SIZE)


def test_what_does_not_run_is_not_terminated(kind: PoolKind) -> None:
    async def scenario(bench: Bench) -> None:
        job = bench.job("add", 1, 2)
        assert not bench.pool.terminate(job)
        assert await bench.run(job) == [3]

    run(kind, scenario)


# Making way


def test_a_restart_does_not_wait_for_what_runs(kind: PoolKind, tmp_path: Path) -> None:
    gate, started = tmp_path / "gate", tmp_path / "started"

    async def scenario(bench: Bench) -> None:
        await bench.all_started()
        (before,) = bench.pool.pids()
        bench.give(job := bench.job("gated", str(started), str(gate)))
        await bench.until_exists(started)
        bench.pool.restart()
        await bench.has_processes(2)
        (after,) = await bench.run(bench.job("pid"))
        assert after != before
        assert not bench.is_over(job)
        gate.touch()
        await bench.ended(job)
        bench.result(job)
        await bench.becomes(lambda: bench.pool.pids() == [after])

    run(kind, scenario, size=SIZE)


def test_a_successor_works_while_the_last_tasks_end(kind: PoolKind, tmp_path: Path) -> None:
    gate, started = tmp_path / "gate", tmp_path / "started"

    async def scenario(bench: Bench) -> None:
        bench.give(job := bench.job("gated", str(started), str(gate)))
        await bench.until_exists(started)
        pids = await bench.run(*(bench.job("pid") for _ in range(8)))
        assert max(pids.count(pid) for pid in pids) <= 4
        assert not bench.is_over(job)
        gate.touch()
        await bench.ended(job)
        assert bench.result(job) == str(started)

    run(kind, scenario, size=2, max_tasks=4)
