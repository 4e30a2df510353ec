"""Results in MongoDB, in Celery's collections: either side reads what the other has written."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import pymongo
from bson.binary import Binary
from pymongo import errors as mongo_errors

from taskq import states
from taskq.backends.base import ChordPart, ChordRecord, Outcome, supersedes
from taskq.backends.mongodb.documents import OWN_FIELD, Document, from_document, to_document
from taskq.backends.polling import PollingBackend
from taskq.exceptions import BackendError, ImproperlyConfigured, OperationalError
from taskq.stores.urls import hide_password

if TYPE_CHECKING:
    from taskq.settings import Settings

T = TypeVar("T")

_READY = sorted(states.READY_STATES)
_ASKED = 500
"""Ids in one question at most."""
_DUPLICATE = 11000
_RECORD = -1
"""The place of what follows a chord, among those of its members."""
_DATABASE = "celery"
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - MongoDB's dates have no time zone
_NAMES = {
    "taskmeta_collection": "celery_taskmeta",
    "chord_collection": "taskq_chord_parts",
}


class MongoBackend(PollingBackend):
    """The result store of ``mongodb://`` and ``mongodb+srv://``.

    Args:
        url: where it is, and in which database; Celery's ``celery`` if it names none.
        conf: the setting ``mongodb_backend_settings``, which wins over the URL.
        expires: seconds that an outcome is kept; 0 keeps it for ever.

    Raises:
        ImproperlyConfigured: the URL or an option is wrong.
    """

    polls = (0.02, 0.5)

    def __init__(self, url: str, conf: Settings, expires: float = 86400.0) -> None:
        super().__init__(expires)
        self.place = hide_password(url)
        self._url = url if url.partition("://")[2] else f"{url}localhost"
        options = dict(conf.mongodb_backend_settings or {})
        options.update(options.pop("options", None) or {})
        self._names = {key: options.pop(key, name) for key, name in _NAMES.items()}
        self._database = options.pop("database", None)
        options.pop("groupmeta_collection", None)
        self._options = {**_timeouts(conf), **_celerys_names(options)}
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._client = self._connect()
        self._prepared = False

    def _connect(self) -> Any:
        try:
            return pymongo.MongoClient(self._url, **self._options)
        except (
            mongo_errors.ConfigurationError,
            mongo_errors.InvalidURI,
            TypeError,
            ValueError,
        ) as exc:
            raise ImproperlyConfigured(f"result store {self.place}: {exc}") from exc

    def _collection(self, key: str) -> Any:
        if self._pid != os.getpid():
            with self._lock:
                if self._pid != os.getpid():
                    # A client does not survive a fork; the parent's own is left alone.
                    self._inherited, self._client = self._client, self._connect()
                    self._pid = os.getpid()
        database = (
            self._client[self._database]
            if self._database
            else self._client.get_default_database(_DATABASE)
        )
        return database[self._names[key]]

    def _run(self, work: Callable[[Any, Any], T]) -> T:
        """Do work with the collections of results and of members of chords.

        Raises:
            OperationalError: the server cannot be reached, or is changing its primary.
            BackendError: it refuses.
        """
        try:
            tasks = self._collection("taskmeta_collection")
            parts = self._collection("chord_collection")
            if not self._prepared:
                tasks.create_index("date_done")
                parts.create_index([("group", 1), ("place", 1)])
                self._prepared = True
            return work(tasks, parts)
        except (mongo_errors.ConnectionFailure, mongo_errors.ExecutionTimeout) as exc:
            raise OperationalError(f"MongoDB at {self.place}: {exc}") from exc
        except mongo_errors.PyMongoError as exc:
            raise BackendError(f"MongoDB at {self.place} refuses: {exc}") from exc

    def _now(self) -> datetime:
        """The time, rounded up to milliseconds as MongoDB keeps them."""
        now = datetime.now(UTC).replace(tzinfo=None)
        return now.replace(microsecond=now.microsecond // 1000 * 1000) + timedelta(milliseconds=1)

    def _end(self, expires: float | None = None) -> datetime:
        """What was stored before has expired.

        Args:
            expires: seconds that it is kept; those of results by default.
        """
        expires = self.expires if expires is None else expires
        if not expires:
            return _EPOCH
        try:
            return datetime.now(UTC).replace(tzinfo=None) - timedelta(seconds=expires)
        except OverflowError:
            return _EPOCH

    def store(self, outcomes: Sequence[Outcome]) -> None:
        if not outcomes:
            return
        latest: dict[str, Outcome] = {}
        for outcome in outcomes:
            known = latest.get(outcome.task_id)
            if known is None or supersedes(outcome.state, known.state):
                latest[outcome.task_id] = outcome
        now, end = self._now(), self._end()
        documents = [to_document(outcome, now) for outcome in latest.values()]
        # A second time for those that somebody else has inserted just before: what is there
        # either gives way now, or counts for more.
        left = self._run(lambda tasks, _: _replace(tasks, documents, end))
        if left:
            self._run(lambda tasks, _: _replace(tasks, left, end))
        self.bell.ring([o.task_id for o in outcomes if o.state in states.READY_STATES])

    def fetch(self, task_ids: Sequence[str]) -> dict[str, Outcome]:
        if not task_ids:
            return {}
        alive = {"$or": [{"date_done": None}, {"date_done": {"$gt": self._end()}}]}

        def work(tasks: Any, _: Any) -> list[Document]:
            found: list[Document] = []
            for start in range(0, len(task_ids), _ASKED):
                ids = list(task_ids[start : start + _ASKED])
                found += tasks.find({"_id": {"$in": ids}, **alive})
            return found

        return {document["_id"]: from_document(document) for document in self._run(work)}

    def forget(self, task_ids: Sequence[str]) -> None:
        if task_ids:
            self._run(lambda tasks, _: tasks.delete_many({"_id": {"$in": list(task_ids)}}))

    # Chords: places below zero are ours, one for what follows and one for each that has joined

    def _insert(self, rows: Sequence[tuple[str, int, bytes]]) -> None:
        """Write rows of group, place and payload; of two for one place the first stays."""
        now = self._now()
        writes = [
            pymongo.UpdateOne(
                {"_id": f"{group}:{place}"},
                {
                    "$setOnInsert": {
                        "group": group,
                        "place": place,
                        "payload": Binary(payload),
                        "stored": now,
                    }
                },
                upsert=True,
            )
            for group, place, payload in rows
        ]
        if writes:
            self._run(lambda _, members: _write(members, writes))

    def add_parts(self, parts: Sequence[ChordPart]) -> list[ChordPart]:
        self._insert([(part.group, part.index, part.payload) for part in parts])
        # Counted only now: of two members that are added at once the later one sees both.
        counts = self._counts({part.group for part in parts})
        return [part for part in parts if counts[part.group] >= part.size]

    def _counts(self, groups: Iterable[str]) -> dict[str, int]:
        """How many members have ended, less those that have joined."""

        def count(members: Any, group: str) -> int:
            ended = members.count_documents({"group": group, "place": {"$gte": 0}})
            return int(ended - members.count_documents({"group": group, "place": {"$lt": _RECORD}}))

        return self._run(lambda _, members: {group: count(members, group) for group in groups})

    def chord_parts(self, group: str) -> dict[int, bytes]:
        query = {"group": group, "place": {"$gte": 0}}
        found = self._run(lambda _, members: list(members.find(query)))
        return {document["place"]: bytes(document["payload"]) for document in found}

    def forget_parts(self, group: str) -> None:
        query = {"group": group, "place": {"$gte": 0}}
        self._run(lambda _, members: members.delete_many(query))

    def keep_chords(self, records: Sequence[ChordRecord]) -> None:
        self._insert([(record.group, _RECORD, record.payload) for record in records])

    def chord_record(self, group: str) -> bytes | None:
        query = {
            "_id": f"{group}:{_RECORD}",
            "stored": {"$gt": self._end(self.chord_expires)},
        }
        found = self._run(lambda _, members: members.find_one(query))
        return bytes(found["payload"]) if found else None

    def open_chords(self, after: str, limit: int) -> list[ChordRecord]:
        query = {
            "place": _RECORD,
            "group": {"$gt": after},
            "stored": {"$gt": self._end(self.chord_expires)},
        }
        found = self._run(
            lambda _, members: list(members.find(query).sort("group", 1).limit(limit))
        )
        counts = self._counts([document["group"] for document in found])
        return [
            ChordRecord(each["group"], bytes(each["payload"]), counts[each["group"]])
            for each in found
        ]

    def extend_chord(self, group: str, index: int) -> None:
        self._insert([(group, _RECORD - 1 - index, b"")])

    def forget_chord(self, group: str) -> None:
        self._run(lambda _, members: members.delete_many({"group": group}))

    def cleanup(self) -> int:
        if not self.expires:
            return 0
        end, chord_end = self._end(), self._end(self.chord_expires)

        def work(tasks: Any, members: Any) -> int:
            # A chord's members live as long as the newest of them.
            newest = members.aggregate(
                [
                    {
                        "$group": {
                            "_id": "$group",
                            "newest": {"$max": "$stored"},
                            "first": {"$min": "$place"},
                        }
                    },
                    {"$match": {"newest": {"$lte": end}}},
                ]
            )
            for chord in newest:
                if chord["first"] < 0 and chord["newest"] > chord_end:
                    continue
                members.delete_many({"group": chord["_id"], "stored": {"$lte": end}})
            return int(tasks.delete_many({"date_done": {"$lte": end}}).deleted_count)

        return self._run(work)

    def close(self) -> None:
        if self._pid == os.getpid():
            client, self._client = self._client, self._connect()
            client.close()


def _replace(tasks: Any, documents: Sequence[Document], end: datetime) -> list[Document]:
    """Write documents where none counts for more; those that met one."""
    writes = []
    for document in documents:
        if OWN_FIELD in document:
            document[OWN_FIELD] = Binary(document[OWN_FIELD])
        # `taskq.backends.base.supersedes`, as a filter.
        gives_way: list[Document] = [{"status": {"$nin": _READY}}, {"date_done": {"$lte": end}}]
        if document["status"] in states.READY_STATES:
            gives_way.append({"status": {"$ne": states.SUCCESS}})
        query = {"_id": document["_id"], "$or": gives_way}
        writes.append(pymongo.ReplaceOne(query, document, upsert=True))
    met = _write(tasks, writes)
    return [documents[index] for index in met]


def _write(collection: Any, writes: Sequence[Any]) -> list[int]:
    """Write all of these; the numbers of those whose document was there already."""
    try:
        collection.bulk_write(list(writes), ordered=False)
    except mongo_errors.BulkWriteError as exc:
        failed = exc.details["writeErrors"]
        if any(error["code"] != _DUPLICATE for error in failed):
            raise
        return [error["index"] for error in failed]
    return []


def _timeouts(conf: Settings) -> Document:
    milliseconds = int(conf.broker_connection_timeout * 1000)
    # Connected when it is first used: its threads would not survive the forking of a worker.
    return {
        "connect": False,
        "connectTimeoutMS": milliseconds,
        "serverSelectionTimeoutMS": milliseconds,
    }


def _celerys_names(options: Document) -> Document:
    """Options of ``mongodb_backend_settings`` by the names that pymongo gives them."""
    names = {"user": "username", "mongo_host": "host", "max_pool_size": "maxPoolSize"}
    renamed = {names.get(name, name): value for name, value in options.items()}
    return {name: value for name, value in renamed.items() if value is not None}
