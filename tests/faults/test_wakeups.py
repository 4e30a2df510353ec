"""Hints between processes, when there are more than a socket holds."""

from __future__ import annotations

from pathlib import Path

from taskq.stores.wakeups import WakeUps


def test_who_has_lost_hints_is_told_to_look(tmp_path: Path) -> None:
    wakeups = WakeUps(str(tmp_path / "file"))
    with wakeups.listener("results") as listener:
        wakeups.send("results", b"one")
        assert listener.drain() == [b"one"]
        for number in range(2000):  # more than any system queues for one socket
            wakeups.send("results", b"%d" % number)
        heard: list[bytes] = []
        while hints := listener.drain():
            heard += hints
        assert b"1999" not in heard
        assert b"" in heard
    wakeups.close()
