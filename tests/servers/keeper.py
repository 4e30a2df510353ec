"""The process that a shared server belongs to; see ``shared``.

    python -m tests.servers.keeper rabbitmq_server FOLDER

returns when the server runs, and leaves a keeper behind that ends with the last of its users.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pickle
import sys
from pathlib import Path

from tests import servers
from tests.servers.shared import Files, locked


def keep(files: Files) -> None:
    """Fork a keeper; return when its server runs.

    Raises:
        SystemExit: it ended before that.
    """
    reading, writing = os.pipe()
    if os.fork():
        os.close(writing)
        sys.exit(0 if os.read(reading, 1) else 1)
    os.close(reading)
    with contextlib.ExitStack() as end, contextlib.ExitStack() as life:
        life.enter_context(locked(files.keeper, fcntl.LOCK_EX))
        server = life.enter_context(getattr(servers, files.start)())
        files.address.write_bytes(pickle.dumps(server.address))
        os.write(writing, b"1")
        os.close(writing)
        # Waits for the last user, and goes last: who comes meanwhile waits, and finds no keeper.
        end.enter_context(locked(files.users, fcntl.LOCK_EX))


if __name__ == "__main__":
    keep(Files(Path(sys.argv[2]), sys.argv[1]))
