"""A pool is offered jobs in another order than they came in: the urgent ones first.

What died with a process is told by the order of sending, not by the numbers of the jobs.
"""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from taskq.worker.pool.base import Loss
from tests.conformance.pools import POOLS, Bench, run

(PREFORK,) = (kind for kind in POOLS if kind.name == "prefork")


def test_the_one_to_blame_is_found_in_any_order(tmp_path: Path) -> None:
    gate = tmp_path / "gate"

    async def scenario(bench: Bench) -> None:
        await bench.run(*(bench.job("short") for _ in range(300)))
        jobs = [bench.job("short") for _ in range(5)]
        jobs += [bench.job("short", str(gate)), *(bench.job("short") for _ in range(5))]
        jobs.reverse()
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

    run(PREFORK, scenario)


def test_what_waits_in_the_socket_is_not_lost(tmp_path: Path) -> None:
    """It came in before what others run, and was sent after it."""
    gates = [tmp_path / name for name in ("one", "two", "three")]

    async def scenario(bench: Bench) -> None:
        await bench.run(*(bench.job("short") for _ in range(300)))
        late, waiting = bench.job("short", str(gates[2])), bench.job("short")
        first, second = (bench.job("gated", f"{gate}-on", str(gate)) for gate in gates[:2])
        bench.give(first, second)
        await bench.until_exists(*(Path(f"{gate}-on") for gate in gates[:2]))
        # Both processes are busy: these two wait in the socket, each in a packet of its own.
        bench.give(late)
        bench.give(waiting)
        os.kill(bench.pool.pids()[0], signal.SIGKILL)
        await bench.until(lambda: bench.is_over(first) or bench.is_over(second))
        survivor = second if bench.is_over(first) else first
        # A new process takes the first packet, and stays in it for longer than anything is
        # looked for; the second packet waits on.
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(bench.ended(waiting), 1.0)
        for gate in gates:
            gate.touch()
        await bench.ended(survivor, late, waiting)
        for job in (survivor, late, waiting):
            bench.result(job)

    run(PREFORK, scenario, size=2)
