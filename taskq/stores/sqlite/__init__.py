"""One SQLite file, shared by many processes."""

from taskq.stores.sqlite.database import Database
from taskq.stores.sqlite.schema import DELAYED, LEASED, READY

__all__ = ["DELAYED", "LEASED", "READY", "Database"]
