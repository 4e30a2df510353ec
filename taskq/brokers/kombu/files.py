"""Writing into the folder of kombu's transport ``filesystem``.

kombu makes a message's file and then writes into it, so that whoever reads meanwhile takes half
a message out of the folder, and it is lost.  Its names tell the order to the millisecond.
"""

from __future__ import annotations

import os
import threading
import time
import uuid
from pathlib import Path
from typing import Any


class FileWriter:
    """Writes messages, each of which is there as a whole or not at all, in order."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = 0

    def put(self, channel: Any, queue: str, payload: Any, **kwargs: Any) -> None:
        """In place of the transport's own ``_put``."""
        # kombu's serializer, by which it reads.
        from kombu.utils.json import dumps

        folder = Path(channel.data_folder_out)
        name = f"{self._moment():020}_{uuid.uuid4()}.{queue}.msg"
        hidden = folder / f".{name}"  # nobody looks for that
        hidden.write_bytes(dumps(payload).encode())
        os.replace(hidden, folder / name)

    def _moment(self) -> int:
        """The time in nanoseconds, and later than ever before in this process."""
        with self._lock:
            self._last = max(time.time_ns(), self._last + 1)
            return self._last
