"""``python -m taskq`` is the command ``taskq``."""

from taskq.cli.main import main

main()
