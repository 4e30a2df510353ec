"""Beats in processes of their own, to be ill-treated; and what they have sent."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any

from taskq.beat.stores import Record, open_store
from taskq.message import TaskMessage
from tests.faults import processes
from tests.faults.beat_app import make_app
from tests.waiting import wait_until

CHECKOUT = Path(__file__).resolve().parents[2]
PATIENCE = 30.0


class BeatProcess:
    """One beat, started as users start it.

    Args:
        log: the file that it writes to.
        settings: of its app.
        skew: seconds by which its clock is ahead.
        options: more options of the command.
    """

    def __init__(
        self, log: Path, settings: dict[str, Any], skew: float = 0.0, options: tuple[str, ...] = ()
    ) -> None:
        self.log = log
        command = [sys.executable, "-m", "taskq", "-A", "tests.faults.beat_app", "-q", "beat"]
        with log.open("ab") as output:
            self._popen = subprocess.Popen(
                [*command, "-l", "INFO", *options],
                cwd=CHECKOUT,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={
                    **os.environ,
                    "BEAT_SETTINGS": json.dumps(settings),
                    "BEAT_SKEW": str(skew),
                },
            )
        self.stopped = False

    def wait_ready(self) -> BeatProcess:
        """Wait until it sends."""
        self.wait_log("beat: Starting")
        return self

    def wait_log(self, text: str) -> None:
        """Wait until this is in its log."""
        wait_until(lambda: text in self.log.read_text(), PATIENCE, f"{text!r} in {self.log}")

    def freeze(self) -> None:
        """SIGSTOP it, and see that it stands."""
        self._popen.send_signal(signal.SIGSTOP)
        self.stopped = True
        wait_until(lambda: processes.process(self._popen.pid).stopped, PATIENCE, "it to stand")

    def thaw(self) -> None:
        """Let it go on."""
        self._popen.send_signal(signal.SIGCONT)
        self.stopped = False

    def kill(self) -> None:
        """SIGKILL it."""
        self._popen.kill()
        self._popen.wait()

    def terminate(self) -> int:
        """SIGTERM; the exit status."""
        self._popen.terminate()
        return self.end()

    def end(self) -> int:
        """Wait until it has ended; the exit status."""
        return self._popen.wait(PATIENCE)


class Beats:
    """The beats of one test, and the broker that they send to.

    Args:
        folder: an empty folder.
        settings: of the app; its ``beat_schedule`` may hold what JSON can.
        store: the schedule store, as ``-S`` names it; by default the broker.
    """

    def __init__(self, folder: Path, store: str | None = None, **settings: Any) -> None:
        self._folder = folder
        self._settings = settings
        self._options = ("-S", store) if store else ()
        self.app = make_app(settings)
        self.store = open_store(self.app, store)
        self._started: list[BeatProcess] = []

    def start(self, skew: float = 0.0) -> BeatProcess:
        """Start one."""
        log = self._folder / f"beat{len(self._started) + 1}.log"
        self._started.append(BeatProcess(log, self._settings, skew, self._options))
        return self._started[-1]

    def sent(self) -> list[TaskMessage]:
        """What lies in the queue."""
        return self.app.broker.browse("default", 1_000_000)

    def due_times(self) -> dict[str, list[float]]:
        """The due times of all that was sent, by entry, in order."""
        found: dict[str, list[float]] = {}
        for message in self.sent():
            due = datetime.fromisoformat(message.headers["periodic_task_due"]).timestamp()
            found.setdefault(message.headers["periodic_task_name"], []).append(due)
        return {name: sorted(times) for name, times in found.items()}

    def record(self, name: str) -> Record:
        """What the store says of an entry."""
        (record,) = self.store.read([name])
        return record

    def ill_treat(self, seconds: float, skews: tuple[float, ...], seed: int) -> None:
        """Keep three beats that are killed, stopped and started anew at random."""
        rng = random.Random(seed)
        done: Counter[str] = Counter()
        beats = [self.start(skew) for skew in skews]
        beats[0].wait_ready()
        end = time.monotonic() + seconds
        kinds = ("kill", "freeze", "terminate")
        while time.monotonic() < end or not all(done[kind] for kind in kinds):
            # The pauses are part of what is done to them: nothing is waited for.
            time.sleep(rng.uniform(0.05, 0.6))
            at = rng.randrange(len(beats))
            what = "thaw" if beats[at].stopped else rng.choice(kinds)
            done[what] += 1
            if what == "thaw":
                beats[at].thaw()
            elif what == "freeze":
                beats[at].freeze()
            else:
                beats[at].kill() if what == "kill" else beats[at].terminate()
                beats[at] = self.start(skews[at])
        for beat in beats:
            beat.kill()

    def close(self) -> None:
        """End all of them."""
        for beat in self._started:
            beat.kill()
        for beat in self._started:
            sys.stdout.write(f"--- {beat.log.name}\n{beat.log.read_text(errors='replace')[-3000:]}")
        self.store.close()
        self.app.close()
