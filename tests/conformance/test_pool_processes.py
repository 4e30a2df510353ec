"""Pools that run jobs in processes: those die, are killed, and are replaced."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from taskq.exceptions import ImproperlyConfigured
from taskq.worker.pool.base import Loss
from taskq.worker.pool.processes import ProcessPool
from tests.conformance.pools import (
    PATIENCE,
    Bench,
    PoolKind,
    children_of,
    having,
    is_alive,
    run,
)
from tests.waiting import wait_until


@pytest.fixture
def kind(request: pytest.FixtureRequest) -> PoolKind:
    """The pool under test."""
    chosen: PoolKind = request.param
    return chosen


pytestmark = having("processes")


# Processes that die


def test_a_process_that_died_is_replaced(kind: PoolKind) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.all_started()
        (victim,) = bench.pool.pids()
        for _ in range(2):
            bench.give(job := bench.job("kill_itself"))
            await bench.ended(job)
            assert bench.loss(job) is Loss.CRASHED
            await bench.all_started()
            assert bench.pool.pids() != [victim]
            (victim,) = bench.pool.pids()

    run(kind, scenario)


def test_a_killed_idle_process_costs_nothing(kind: PoolKind) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.all_started()
        for pid in bench.pool.pids():
            os.kill(pid, signal.SIGKILL)
        jobs = [bench.job("add", n, 1) for n in range(30)]
        bench.give(*jobs)
        await bench.ended(*jobs)
        # None of them had run, so that whatever was lost on the way is not to blame.
        assert {loss for loss, _ in bench.losses.values()} <= {Loss.UNSTARTED}
        assert len(bench.reports) + len(bench.losses) == 31

    run(kind, scenario, size=2)


async def known_to_be_short(bench: Bench) -> None:
    """Run short tasks until the pool sends several in a packet: sooner when nobody disturbs."""
    assert isinstance(bench.pool, ProcessPool)
    pace = bench.pool._pace
    while not (pace.is_short("short") and pace.bundle("short") > 1):
        await bench.run(*(bench.job("short") for _ in range(300)))


def test_the_one_to_blame_among_short_ones(kind: PoolKind, tmp_path: Path) -> None:
    """Short tasks travel together: only the one that was running has crashed."""
    gate = tmp_path / "gate"

    async def scenario(bench: Bench) -> None:
        await known_to_be_short(bench)
        jobs = [bench.job("short") for _ in range(5)]
        jobs += [bench.job("short", str(gate)), *(bench.job("short") for _ in range(5))]
        bench.give(*jobs)
        await bench.ended(*jobs[:5])
        (pid,) = bench.pool.pids()
        os.kill(pid, signal.SIGKILL)
        await bench.ended(*jobs)
        assert all(job.ticket in bench.reports for job in jobs[:5])
        assert bench.loss(jobs[5]) is Loss.CRASHED
        assert all(
            bench.loss(job) is Loss.UNSTARTED for job in jobs[6:] if job.ticket in bench.losses
        )

    run(kind, scenario)


def test_short_tasks_do_not_wait_behind_one_that_is_not(kind: PoolKind, tmp_path: Path) -> None:
    gate = tmp_path / "gate"

    async def scenario(bench: Bench) -> None:
        await known_to_be_short(bench)
        before = [bench.job("short") for _ in range(8)]
        late = bench.job("short", str(gate))
        bench.give(*before, late)
        await bench.ended(*before)  # which the same process may have run, and reported
        assert not bench.is_over(late)
        gate.touch()
        await bench.ended(late)
        bench.result(late)

    run(kind, scenario)


def test_what_waits_behind_it_in_its_packet_goes_back(kind: PoolKind, tmp_path: Path) -> None:
    gate = tmp_path / "gate"

    async def scenario(bench: Bench) -> None:
        await known_to_be_short(bench)
        late = bench.job("short", str(gate))
        behind = [bench.job("short") for _ in range(8)]
        bench.give(late, *behind)
        await bench.ended(*behind)
        assert not bench.is_over(late)
        gone_back = [job for job in behind if job.ticket in bench.losses]
        assert gone_back  # at least one was in its packet
        assert all(bench.loss(job) is Loss.UNSTARTED for job in gone_back)
        gate.touch()
        await bench.ended(late)
        bench.result(late)
        # The process goes on, and has not begun what it was told to leave.
        again = [bench.job("add", n, 1) for n in range(20)]
        assert await bench.run(*again) == [n + 1 for n in range(20)]
        assert not [job for job in gone_back if job.ticket in bench.reports]

    run(kind, scenario, size=1)


def test_a_grandchild_that_holds_the_sockets(kind: PoolKind, tmp_path: Path) -> None:
    note = tmp_path / "pid"

    async def scenario(bench: Bench) -> None:
        bench.give(job := bench.job("fork_and_die", str(note)))
        await bench.ended(job)
        assert bench.loss(job) is Loss.CRASHED
        assert await bench.run(bench.job("add", 1, 2)) == [3]

    try:
        run(kind, scenario)
    finally:
        other = int(note.read_text())
        alive = is_alive(other)
        os.kill(other, signal.SIGKILL)
    assert alive  # otherwise this has shown nothing


def test_nothing_is_left_of_a_pool(kind: PoolKind) -> None:
    before = children_of(os.getpid())

    async def scenario(bench: Bench) -> None:
        await bench.all_started()
        assert len(children_of(os.getpid())) > len(before)

    run(kind, scenario, size=3)  # what is opened once and for all is open after this
    descriptors = _descriptors()
    run(kind, scenario, size=3)
    assert children_of(os.getpid()) == before
    # Fewer, if something that other tests have left is only closed by now.
    left = _descriptors() - descriptors
    assert not left


def _descriptors() -> set[str]:
    """What is open: kinds of files, and inodes of sockets and pipes."""
    found = set()
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # the one that lists them
            found.add(f"{fd} {os.readlink(f'/proc/self/fd/{fd}')}")
    return found


def test_an_abort_while_processes_start(kind: PoolKind, tmp_path: Path) -> None:
    gate, started = tmp_path / "gate", tmp_path / "started"

    async def scenario(bench: Bench) -> None:
        bench.give(bench.job("gated", str(started), str(gate)))
        # Without the loop: it runs before the pool has been told of its process.
        wait_until(started.exists, PATIENCE, "the task to start")
        bench.abort()

    run(kind, scenario)


@pytest.mark.parametrize("size", [1, 2])
def test_the_processes_have_lost_their_parent(kind: PoolKind, size: int, tmp_path: Path) -> None:
    """What starts the processes has died: all jobs go back, and the pool says so."""
    gate, started = tmp_path / "gate", tmp_path / "started"

    async def scenario(bench: Bench) -> None:
        await bench.all_started()
        bench.reports.clear()
        bench.give(*(bench.job("gated", str(started), str(gate)) for _ in range(5)))
        await bench.until_exists(started)
        pids, taken = bench.pool.pids(), bench.taken
        bench.stop_giving()
        # Not all of this process's children: the servers of other tests are among them.
        (nursery,) = (p for p in children_of(os.getpid()) if set(pids) & set(children_of(p)))
        os.kill(nursery, signal.SIGKILL)
        await bench.until(lambda: bool(bench.failure))
        assert len(bench.losses) == taken
        assert {loss for loss, _ in bench.losses.values()} == {Loss.UNSTARTED}
        wait_until(lambda: not any(map(is_alive, pids)), PATIENCE, "the processes to end")

    run(kind, scenario, size=size)


def test_what_tasks_cannot_do_by_way_of_their_parent(kind: PoolKind) -> None:
    async def scenario(bench: Bench) -> None:
        (said,) = await bench.run(bench.job("steers"))
        assert len(said) == 3
        assert all("memory broker" in text for text in said)

    run(kind, scenario)


# Growing, shrinking, restarting


def test_a_pool_that_can_grow_no_more(kind: PoolKind) -> None:
    async def scenario(bench: Bench) -> None:
        with pytest.raises(ImproperlyConfigured, match="1000 more"):
            bench.pool.grow(1000)
        assert bench.pool.size == 1
        assert await bench.run(bench.job("add", 1, 2)) == [3]

    run(kind, scenario)


def test_a_pool_that_can_shrink_no_more(kind: PoolKind) -> None:
    async def scenario(bench: Bench) -> None:
        with pytest.raises(ImproperlyConfigured, match="one must be left"):
            bench.pool.shrink(2)
        assert bench.pool.size == 2
        assert await bench.run(bench.job("add", 1, 2)) == [3]

    run(kind, scenario, size=2)


# Recycling


def test_a_process_makes_way_after_so_many_tasks(kind: PoolKind) -> None:
    async def scenario(bench: Bench) -> None:
        pids = await bench.run(*(bench.job("pid") for _ in range(12)))
        assert len(set(pids)) == 4
        assert max(pids.count(pid) for pid in pids) == 3

    run(kind, scenario, max_tasks=3)


def test_a_process_that_has_had_its_share_hands_back_the_rest(kind: PoolKind) -> None:
    async def scenario(bench: Bench) -> None:
        # A new program takes its time to start.
        jobs = [bench.job("pid") for _ in range(1000 if kind.forked else 40)]
        bench.give(*jobs)
        await bench.ended(*jobs)
        lost = [job for job in jobs if job.ticket in bench.losses]
        assert all(bench.loss(job) is Loss.UNSTARTED for job in lost)
        runs = Counter(bench.result(job) for job in jobs if job.ticket in bench.reports)
        assert max(runs.values()) <= 7
        assert runs.total() + len(lost) == len(jobs)

    run(kind, scenario, size=2, max_tasks=7)


def test_a_process_makes_way_when_it_is_too_large(kind: PoolKind) -> None:
    # Children begin with what this process has in memory.
    mine = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")

    async def scenario(bench: Bench) -> None:
        small = await bench.run(bench.job("pid"), bench.job("pid"))
        assert small[0] == small[1]
        size = mine + (400 << 20)  # some begin as programs of their own, with next to nothing
        assert await bench.run(bench.job("eat", size)) == [size]
        (after,) = await bench.run(bench.job("pid"))
        assert after != small[0]

    run(kind, scenario, max_memory=(mine >> 10) + (200 << 10))


# Time limits


def test_a_hard_limit_kills_and_replaces(kind: PoolKind, tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        endless = bench.job("nap", 600, hard_limit=0.2)
        others = [bench.job("pid") for _ in range(20)]
        start = time.monotonic()
        bench.give(endless, *others)
        await bench.ended(endless, *others)
        assert time.monotonic() - start >= 0.2
        assert bench.loss(endless) is Loss.TIMED_OUT
        assert all(bench.result(job) for job in others)
        await bench.all_started()

    run(kind, scenario, size=2)


def test_a_hard_limit_hits_one_alone(kind: PoolKind) -> None:
    async def scenario(bench: Bench) -> None:
        endless = [bench.job("nap", 600, hard_limit=0.1) for _ in range(3)]
        waiting = [bench.job("add", n, 1) for n in range(5)]
        bench.give(*endless, *waiting)
        await bench.ended(*endless, *waiting)
        assert [bench.loss(job) for job in endless] == [Loss.TIMED_OUT] * 3
        assert [bench.result(job) for job in waiting] == [1, 2, 3, 4, 5]

    run(kind, scenario)


def test_within_its_limits_a_task_notices_nothing(kind: PoolKind) -> None:
    async def scenario(bench: Bench) -> None:
        jobs = [bench.job("nap", 0.05, hard_limit=30, soft_limit=20) for _ in range(3)]
        assert await bench.run(*jobs) == ["rested"] * 3

    run(kind, scenario)


@pytest.mark.parametrize("task", ["caught", "async_nap"])
def test_a_soft_limit_is_raised_inside_a_wait(kind: PoolKind, task: str) -> None:
    async def scenario(bench: Bench) -> None:
        jobs = [bench.job(task, 600, kind.step, soft_limit=0.1), bench.job("add", 1, 2)]
        start = time.monotonic()
        assert await bench.run(*jobs) == ["caught", 3]
        assert time.monotonic() - start >= 0.1

    run(kind, scenario)


def test_a_soft_limit_that_is_not_caught_is_a_failure(kind: PoolKind) -> None:
    async def scenario(bench: Bench) -> None:
        bench.give(job := bench.job("nap", 600, kind.step, soft_limit=0.1))
        await bench.ended(job)
        assert bench.reports[job.ticket].state == "FAILURE"
        assert "SoftTimeLimitExceeded" in bench.reports[job.ticket].text

    run(kind, scenario)


def test_a_soft_limit_that_was_swallowed_comes_again(kind: PoolKind) -> None:
    async def scenario(bench: Bench) -> None:
        job = bench.job("swallowed", 2, kind.step, soft_limit=0.1)
        assert await bench.run(job) == [2]

    run(kind, scenario)


def test_a_hard_limit_ends_what_swallows_soft_ones(kind: PoolKind) -> None:
    async def scenario(bench: Bench) -> None:
        bench.give(job := bench.job("swallowed", 1000, kind.step, soft_limit=0.1, hard_limit=0.3))
        await bench.ended(job)
        assert bench.loss(job) is Loss.TIMED_OUT

    run(kind, scenario)


def test_a_limit_at_the_very_end_changes_one_task_at_most(kind: PoolKind) -> None:
    """The limit passes while tasks are returning: each of them ends, and so does the next."""

    async def scenario(bench: Bench) -> None:
        pairs = [
            (bench.job("nap", 0.02, soft_limit=0.02 + n / 10_000), bench.job("add", n, 1))
            for n in range(-15, 15)
        ]
        bench.give(*(job for pair in pairs for job in pair))
        await bench.ended(*(job for pair in pairs for job in pair))
        assert not bench.losses
        for n, (limited, unlimited) in zip(range(-15, 15), pairs, strict=True):
            report = bench.reports[limited.ticket]
            assert report.state == "SUCCESS" or "SoftTimeLimitExceeded" in report.text
            assert bench.result(unlimited) == n + 1

    run(kind, scenario)
