"""A child that is a program of its own, because its executor had to change Python first."""

from __future__ import annotations

import msgspec

from taskq.log import name_process
from taskq.worker.pool.child import Child
from taskq.worker.pool.executors.registry import find_executor
from taskq.worker.pool.program import Launch, die_with
from taskq.worker.pool.slots import SlotTable


def main(text: str) -> None:
    """Live as that child."""
    launch = msgspec.json.decode(text, type=Launch)
    die_with(launch.parent)
    executor, lanes = find_executor(launch.options.pool), launch.options.lanes
    slots = SlotTable(launch.count, launch.size, launch.slots).slots(launch.index, lanes)
    work, answers = executor.open_socket(launch.work), executor.open_socket(launch.answers)
    app = launch.source.load()
    name_process(f"{launch.options.pool}-{launch.index + 1}")
    Child(app, launch.options, slots, work, answers).run(executor)
