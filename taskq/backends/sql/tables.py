"""The tables: two of Celery's (as of 5.7), and one in which the members of chords are counted."""

from __future__ import annotations

from collections.abc import Mapping

import sqlalchemy as sa
from sqlalchemy.dialects import mysql

from taskq.exceptions import ImproperlyConfigured

OWN_COLUMN = "taskq"
"""The column of Celery's table that Celery does not know: what has no column there."""
ID_SIZE = 155
"""Characters that an id, or a name, may have in Celery's tables."""

_NAMES = {"task": "celery_taskmeta", "group": "celery_tasksetmeta", "chord": "taskq_chord_parts"}
# Celery's ids end at 2**31 where it makes the tables; SQLite counts rows in INTEGER alone.
_Number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
# MySQL's plain BLOB ends at 64 KiB, and its plain DATETIME at the second.
_Bytes = sa.LargeBinary().with_variant(mysql.LONGBLOB(), "mysql", "mariadb")
_Text = sa.Text().with_variant(mysql.LONGTEXT(), "mysql", "mariadb")
_Time = sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")


class Tables:
    """The tables under the names and in the schemas that the settings give them.

    Args:
        names: names by what is kept: ``task``, ``group``, ``chord``.
        schemas: likewise.

    Raises:
        ImproperlyConfigured: another key is named.
    """

    def __init__(self, names: Mapping[str, str], schemas: Mapping[str, str]) -> None:
        for setting, given in (("names", names), ("schemas", schemas)):
            if unknown := given.keys() - _NAMES.keys():
                raise ImproperlyConfigured(
                    f"database_table_{setting} names {sorted(unknown)}: there are the tables "
                    f"{', '.join(_NAMES)}"
                )
        self.metadata = sa.MetaData()
        named = {key: names.get(key) or name for key, name in _NAMES.items()}
        self.tasks = sa.Table(
            named["task"],
            self.metadata,
            self._key("task_id_sequence", schemas.get("task")),
            sa.Column("task_id", sa.String(ID_SIZE), unique=True),
            sa.Column("status", sa.String(50)),
            sa.Column("result", _Bytes),
            sa.Column("date_done", _Time, index=True),
            sa.Column("traceback", _Text),
            sa.Column("children", _Bytes),
            sa.Column("name", sa.String(ID_SIZE)),
            sa.Column("args", _Bytes),
            sa.Column("kwargs", _Bytes),
            sa.Column("worker", sa.String(ID_SIZE)),
            sa.Column("retries", sa.Integer),
            sa.Column("queue", sa.String(ID_SIZE)),
            sa.Column("stamps", _Bytes),
            sa.Column(OWN_COLUMN, _Bytes),
            schema=schemas.get("task"),
            sqlite_autoincrement=True,
        )
        self.groups = sa.Table(
            named["group"],
            self.metadata,
            self._key("taskset_id_sequence", schemas.get("group")),
            sa.Column("taskset_id", sa.String(ID_SIZE), unique=True),
            sa.Column("result", _Bytes),
            sa.Column("date_done", _Time, index=True),
            schema=schemas.get("group"),
            sqlite_autoincrement=True,
        )
        self.parts = sa.Table(
            named["chord"],
            self.metadata,
            sa.Column("group_id", sa.String(ID_SIZE), primary_key=True),
            sa.Column("place", sa.BigInteger, primary_key=True, autoincrement=False),
            sa.Column("stored", _Time, nullable=False, index=True),
            sa.Column("payload", _Bytes, nullable=False),
            schema=schemas.get("chord", schemas.get("task")),
        )

    def _key(self, sequence: str, schema: str | None) -> sa.Column[int]:
        """Celery's own numbering, which asks a sequence where the database has them."""
        numbers = sa.Sequence(sequence, schema=schema, metadata=self.metadata)
        return sa.Column("id", _Number, numbers, primary_key=True, autoincrement=True)
