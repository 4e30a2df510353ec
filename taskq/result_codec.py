"""Between an outcome's bytes and the document in them; the document is Celery's."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from taskq import states
from taskq.backends.base import Outcome
from taskq.exceptions import DecodeError
from taskq.failure import describe
from taskq.serialization import compress_result, decompress_result
from taskq.serialization.plain import all_plain

if TYPE_CHECKING:
    from taskq.serialization import SerializerRegistry


class _Plain(msgspec.Struct, gc=False):
    """The usual document: a struct is encoded in a fraction of the time of a dict."""

    status: str
    result: Any
    traceback: None
    children: tuple[()]
    date_done: str
    task_id: str


class _Related(msgspec.Struct, gc=False):
    """The document of a task with a group or a parent; what is not set is left out."""

    status: str
    result: Any
    traceback: None
    children: Any
    date_done: str
    task_id: str
    group_id: str | msgspec.UnsetType
    parent_id: str | msgspec.UnsetType


_encode_plain = msgspec.json.Encoder().encode


class ResultCodec:
    """Encodes and decodes outcomes by the app's settings.

    Args:
        serializers: the app's serializers.
        serializer: the setting ``result_serializer``.
        accept: content types that results may have.
        extended: keep name, arguments, worker, retries and queue as well.
        compression: compress what is kept.
        tracebacks: errors carry the worker's traceback as a note.
        for_celery: Celery's clients read the results as well.
    """

    def __init__(
        self,
        serializers: SerializerRegistry,
        serializer: str,
        accept: frozenset[str],
        extended: bool = False,
        compression: str | None = None,
        tracebacks: bool = True,
        for_celery: bool = False,
    ) -> None:
        self._serializers = serializers
        self._serializer = serializer
        self._content_type = next(iter(serializers.content_types([serializer])))
        self._accept = accept
        self._compression = compression
        self._usual = serializer == "json" and not compression and serializers.is_built_in("json")
        self.extended = extended
        self.tracebacks = tracebacks
        self._for_celery = for_celery

    def encode(
        self,
        task_id: str,
        state: str,
        result: Any,
        traceback: str | None = None,
        headers: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> Outcome:
        """The outcome to keep of a task.

        Args:
            task_id: whose it is.
            state: its state.
            result: the value, the exception, or what a task said of its progress.
            traceback: of the exception, as text.
            headers: the message's, for parent and group.
            more: what an extended result keeps.

        Raises:
            EncodeError: the value cannot be encoded.
        """
        if state == states.SUCCESS and self._usual and _USUAL.issuperset(more):
            payload = self._encode_usual(task_id, state, result, headers, more.get("children", ()))
            if payload is not None:
                return Outcome(task_id, state, payload)
        if isinstance(result, BaseException):
            result = describe(result, self._encodable, self._for_celery)
        document = {
            "status": state,
            "result": result,
            "traceback": traceback,
            "children": (),
            "date_done": datetime.now(UTC).isoformat() if state in states.READY_STATES else None,
            "task_id": task_id,
            **more,
        }
        if headers is not None:
            if headers.get("group"):
                document["group_id"] = headers["group"]
            if headers.get("parent_id"):
                document["parent_id"] = headers["parent_id"]
        payload = self._serializers.encode(document, self._serializer).body
        # What is still going on is not: stores look for its state.
        if self._compression and state in states.READY_STATES:
            payload = compress_result(payload, self._compression)
        return Outcome(task_id, state, payload)

    def _encode_usual(
        self,
        task_id: str,
        state: str,
        result: Any,
        headers: Mapping[str, Any] | None,
        children: Any,
    ) -> bytes | None:
        """The document of a plain result; None if there is anything special about it."""
        if not all_plain((result,)):
            return None
        done = datetime.now(UTC).isoformat()
        try:
            if not children and _stands_alone(headers):
                return _encode_plain(_Plain(state, result, None, (), done, task_id))
            assert headers is not None
            group_id, parent_id = headers.get("group"), headers.get("parent_id")
            document = _Related(
                *(state, result, None, children, done, task_id),
                group_id or msgspec.UNSET,
                parent_id or msgspec.UNSET,
            )
            return _encode_plain(document)
        except (OverflowError, UnicodeError):
            return None  # huge numbers and lone surrogates, which the usual way knows about

    def encode_group(self, plain: Any) -> bytes:
        """The document of a group: its results as `AsyncResult.as_tuple` has them, as Celery's."""
        return self._serializers.encode({"result": plain}, self._serializer).body

    def decode_group(self, payload: bytes) -> Any:
        """The results in the document of a group.

        Raises:
            DecodeError: the bytes are no such document.
        """
        document = self._serializers.decode(payload, self._content_type, "utf-8", self._accept)
        try:
            return document["result"]
        except (KeyError, TypeError) as exc:
            raise DecodeError(f"the stored group has no results: {document!r}") from exc

    def _encodable(self, value: Any) -> bool:
        try:
            self._serializers.encode(value, self._serializer)
        except Exception:
            return False
        return True

    def encode_member(self, task_id: str, state: str, value: Any) -> bytes:
        """What Celery keeps of a member of a chord: ``[1, id, state, result]``.

        Raises:
            EncodeError: the value cannot be encoded.
        """
        if isinstance(value, BaseException):
            value = describe(value, self._encodable, self._for_celery)
        return self._serializers.encode((1, task_id, state, value), self._serializer).body

    def decode_member(self, payload: bytes) -> dict[str, Any]:
        """The document of a member of a chord, also in Celery's form.

        Raises:
            DecodeError: the bytes are none.
        """
        document = self._document(payload)
        if isinstance(document, list | tuple):
            try:
                _, task_id, status, result = document
            except ValueError as exc:
                raise DecodeError(f"a member of a chord is no {document!r}") from exc
            return {"task_id": task_id, "status": status, "result": result}
        return dict(document)

    def _document(self, payload: bytes) -> Any:
        payload = decompress_result(payload)
        return self._serializers.decode(payload, self._content_type, "utf-8", self._accept)

    def decode(self, outcome: Outcome) -> dict[str, Any]:
        """The document in an outcome.

        Raises:
            DecodeError: the bytes are no result document.
        """
        return dict(self._document(outcome.payload))


_USUAL = frozenset({"children"})


def _stands_alone(headers: Mapping[str, Any] | None) -> bool:
    """Has the task neither parent nor group?"""
    return headers is None or not (headers.get("parent_id") or headers.get("group"))
