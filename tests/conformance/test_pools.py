"""What every pool does: run jobs, and tell of each of them once."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import pytest

from taskq.events.event import events_channel, read_events
from taskq.message import pack
from taskq.worker.pool.base import Loss
from tests.conformance.pools import POOLS, Bench, PoolKind, run


@pytest.fixture(params=POOLS, ids=lambda kind: kind.name)
def kind(request: pytest.FixtureRequest) -> PoolKind:
    """The pool under test."""
    chosen: PoolKind = request.param
    return chosen


def test_it_runs_jobs_and_tells(kind: PoolKind) -> None:
    async def scenario(bench: Bench) -> None:
        assert bench.pool.size == kind.sizes[-1]
        jobs = [bench.job("add", n, 1) for n in range(50)]
        assert await bench.run(*jobs) == [n + 1 for n in range(50)]
        assert all(bench.reports[job.ticket].runtime > 0 for job in jobs)

    run(kind, scenario, size=kind.sizes[-1])


def test_a_pool_that_has_nothing_to_do(kind: PoolKind) -> None:
    async def scenario(bench: Bench) -> None:
        assert bench.pool.offer([]) == 0

    run(kind, scenario, size=kind.sizes[-1])


def test_jobs_run_in_the_order_of_offering(kind: PoolKind, tmp_path: Path) -> None:
    notes = tmp_path / "notes"

    async def scenario(bench: Bench) -> None:
        # Enough that their task becomes known to be short, and is handled as such.
        jobs = [bench.job("noted", str(notes), n) for n in range(400)]
        await bench.run(*jobs)
        assert bench.order == [job.ticket for job in jobs]

    run(kind, scenario)
    assert notes.read_text().split() == [str(n) for n in range(400)]


def test_it_takes_what_it_has_room_for(kind: PoolKind, tmp_path: Path) -> None:
    size = kind.sizes[-1]
    gate = tmp_path / "gate"
    started = [tmp_path / f"started-{n}" for n in range(20)]

    async def scenario(bench: Bench) -> None:
        jobs = [bench.job("gated", str(path), str(gate)) for path in started]
        bench.give(*jobs)
        await bench.until_exists(*started[:size])
        assert size <= bench.taken < 20
        assert bench.pool.offer(jobs[10:]) == 0
        room = bench.room
        gate.touch()
        await bench.ended(*jobs)
        assert bench.room > room
        assert [bench.result(job) for job in jobs] == [str(path) for path in started]

    run(kind, scenario, size=size)


def test_it_tells_what_runs(kind: PoolKind, tmp_path: Path) -> None:
    size = kind.sizes[-1]
    gate = tmp_path / "gate"
    started = [tmp_path / f"started-{n}" for n in range(20)]

    async def scenario(bench: Bench) -> None:
        assert bench.pool.running() == []
        began = time.monotonic()
        jobs = [bench.job("gated", str(path), str(gate)) for path in started]
        bench.give(*jobs)
        await bench.until_exists(*started[:size])
        await bench.becomes(lambda: len(bench.pool.running()) == size)
        running = bench.pool.running()
        assert {one.job.ticket for one in running} == {job.ticket for job in jobs[:size]}
        assert all(began <= one.since <= time.monotonic() for one in running)
        assert {one.pid for one in running} <= {os.getpid(), *bench.pool.pids()}
        gate.touch()
        await bench.ended(*jobs)
        assert bench.pool.running() == []

    run(kind, scenario, size=size)


def test_coroutines(kind: PoolKind) -> None:
    async def scenario(bench: Bench) -> None:
        jobs = [bench.job("coroutine", n) for n in range(20)]
        assert await bench.run(*jobs) == [n + 1 for n in range(20)]

    run(kind, scenario)


def test_failures_are_reports(kind: PoolKind) -> None:
    async def scenario(bench: Bench) -> None:
        job, other = bench.job("fail"), bench.job("add", 1, 2)
        bench.give(job, other)
        await bench.ended(job, other)
        report = bench.reports[job.ticket]
        assert (report.state, report.text) == ("FAILURE", "ValueError('no good')")
        assert bench.result(other) == 3

    run(kind, scenario)


def test_undecodable_jobs_are_reports(kind: PoolKind) -> None:
    async def scenario(bench: Bench) -> None:
        job = bench.job("add", 1, 2)
        job.delivery.message.body = b"{"
        job.delivery.packed = pack(job.delivery.message)
        bench.give(job, other := bench.job("add", 1, 2))
        await bench.ended(job, other)
        assert bench.reports[job.ticket].fate.name == "DEAD"
        assert bench.result(other) == 3

    run(kind, scenario)


@pytest.mark.parametrize("size", [63 * 1024, 65 * 1024, 1 << 20, 50 << 20])
def test_large_arguments_and_results(kind: PoolKind, size: int) -> None:
    async def scenario(bench: Bench) -> None:
        text = "x" * size
        await bench.all_started()  # so that everything is open from now on
        descriptors = len(os.listdir("/proc/self/fd"))
        assert await bench.run(bench.job("length", text), bench.job("produce", size)) == [
            size,
            text,
        ]
        assert len(os.listdir("/proc/self/fd")) == descriptors

    run(kind, scenario)


def test_many_large_ones_between_small_ones(kind: PoolKind) -> None:
    async def scenario(bench: Bench) -> None:
        jobs = [
            bench.job("produce", size) for _ in range(15) for size in (10, 300_000, 70_000, 1000)
        ]
        assert [len(text) for text in await bench.run(*jobs)] == [10, 300_000, 70_000, 1000] * 15

    run(kind, scenario, size=kind.sizes[-1])


def test_a_state_on_the_way(kind: PoolKind) -> None:
    async def scenario(bench: Bench) -> None:
        job = bench.job("tracked", 1, 2)
        assert await bench.run(job) == [3]
        await bench.until(lambda: bool(bench.states))
        ((ticket, outcome),) = bench.states
        assert (ticket, outcome.task_id, outcome.state) == (job.ticket, job.id, "STARTED")
        document = bench.app.result_codec.decode(outcome)
        assert document["result"]["hostname"] == "worker@host"

    run(kind, scenario)


def test_an_exit_is_a_crash(kind: PoolKind) -> None:
    async def scenario(bench: Bench) -> None:
        first, job, last = bench.job("add", 1, 2), bench.job("leave"), bench.job("add", 3, 4)
        bench.give(first, job, last)
        await bench.ended(first, job, last)
        assert bench.loss(job) is Loss.CRASHED
        assert "3" in bench.losses[job.ticket][1]
        assert [bench.result(first), bench.result(last)] == [3, 7]

    run(kind, scenario)


def test_tasks_send_tasks(kind: PoolKind) -> None:
    async def scenario(bench: Bench) -> None:
        sent = await bench.run(*(bench.job("passed_on", n) for n in range(5)))
        waiting = bench.app.broker.browse("elsewhere", 10)
        assert [message.id for message in waiting] == sent

    run(kind, scenario)


def test_tasks_tell_events(kind: PoolKind) -> None:
    async def scenario(bench: Bench) -> None:
        with bench.app.broker.subscribe(events_channel(bench.app.conf)) as subscription:
            assert await bench.run(bench.job("told", 7)) == [True]
            (notice,) = await asyncio.to_thread(subscription.receive, 10)
        (event,) = read_events(notice)
        assert (event["type"], event["percent"]) == ("task-progress", 7)

    run(kind, scenario)


def test_tasks_send_tasks_to_exchanges(kind: PoolKind) -> None:
    async def scenario(bench: Bench) -> None:
        bench.app.broker.declare(bench.app.queues())
        (sent,) = await bench.run(bench.job("broadcast", 1))
        assert [message.id for message in bench.app.broker.browse("listening", 10)] == [sent]

    run(kind, scenario)


def test_tasks_wait_for_results(kind: PoolKind) -> None:
    async def scenario(bench: Bench) -> None:
        job = bench.job("asked", "another")
        bench.give(job)
        encode = bench.app.result_codec.encode
        await asyncio.to_thread(bench.app.backend.store, [encode("another", "SUCCESS", "told")])
        await bench.ended(job)
        assert bench.result(job) == "told"

    run(kind, scenario)


def test_errors_of_the_broker_reach_the_task(kind: PoolKind) -> None:
    async def scenario(bench: Bench) -> None:
        job = bench.job("nowhere")
        bench.give(job)
        await bench.ended(job)
        assert "QueueNotFound" in bench.reports[job.ticket].text

    run(kind, scenario)


def test_abort_gives_everything_back(kind: PoolKind, tmp_path: Path) -> None:
    size = kind.sizes[-1]
    gate, started = tmp_path / "gate", tmp_path / "started"

    async def scenario(bench: Bench) -> None:
        await bench.all_started()
        bench.reports.clear()
        bench.give(*(bench.job("gated", str(started), str(gate)) for _ in range(10)))
        await bench.until_exists(started)
        taken = bench.taken
        bench.abort()
        assert len(bench.losses) == taken
        assert {loss for loss, _ in bench.losses.values()} == {Loss.UNSTARTED}
        assert all(detail for _, detail in bench.losses.values())
        assert not bench.reports
        if not kind.processes:
            gate.touch()  # what cannot be killed must at least be able to end

    bench = run(kind, scenario, size=size)
    assert not bench.reports
    if kind.processes:
        assert not gate.exists()


def test_nothing_is_taken_after_an_abort(kind: PoolKind) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.run(bench.job("add", 1, 2))
        bench.abort()
        assert bench.pool.offer([bench.job("add", 1, 2)]) == 0

    run(kind, scenario, size=kind.sizes[-1])
