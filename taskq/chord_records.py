"""What is kept of a chord until its members have ended: the message that sends its body."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from taskq.backends.base import ChordRecord
from taskq.canvas.chord import CHORD_TASK
from taskq.message import pack, step_id

if TYPE_CHECKING:
    from taskq.app import TaskQ
    from taskq.app.sending import Sender
    from taskq.canvas.plan import PlannedChord


def keep_chords(app: TaskQ, chords: Iterable[PlannedChord], root_id: str | None) -> None:
    """Keep what follows these chords, before their members are sent.

    Args:
        app: whose result store.
        chords: the chords.
        root_id: the first task of the workflow.

    Raises:
        ImproperlyConfigured: the store cannot count members.
        OperationalError: the store cannot be reached.
    """
    records = [record_of(app, chord, root_id) for chord in chords]
    if records:
        app.backend.keep_chords(records)


def record_of(app: Sender, chord: PlannedChord, root_id: str | None) -> ChordRecord:
    """What is kept of one chord."""
    message = app.producer.build(
        CHORD_TASK,
        (chord.group_id, chord.size),
        {},
        {
            "task_id": step_id(chord.group_id, "chord"),
            # In reverse, as everywhere in messages: each step takes the last.
            "chain": chord.steps[::-1],
            "root_id": chord.root_id or root_id,
            "ignore_result": True,
        },
        app.tasks[CHORD_TASK],
    )
    # What a worker looks at that must not decode bodies.
    message.headers["chord_size"] = chord.size
    message.headers["opened"] = time.time()
    return ChordRecord(chord.group_id, pack(message), size=chord.size)
