"""Stamps: headers of one's own on all messages of a workflow, put there by a visitor."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from taskq.canvas.signature import Signature

_NAMES = "stamped_headers"


class StampingVisitor(ABC):
    """Says with which headers the parts of a workflow are stamped.

    Each method is given the part and the stamps that it has from what it belongs to, and
    returns further ones, which hold for all that belongs to the part.  If the answer has
    the key ``stamped_headers``, only those that it names are stamps, and the rest are
    options of the call.
    """

    @abstractmethod
    def on_signature(self, sig: Any, **headers: Any) -> dict[str, Any] | None:
        """Stamps of one call."""

    def on_group_start(self, group: Any, **headers: Any) -> dict[str, Any] | None:
        """Stamps of a group, before its members are visited."""

    def on_group_end(self, group: Any, **headers: Any) -> None:
        """Called when the members of a group have been visited."""

    def on_chain_start(self, chain: Any, **headers: Any) -> dict[str, Any] | None:
        """Stamps of a chain, before its steps are visited."""

    def on_chain_end(self, chain: Any, **headers: Any) -> None:
        """Called when the steps of a chain have been visited."""

    def on_chord_header_start(self, sig: Any, **header: Any) -> dict[str, Any] | None:
        """Stamps of a chord, before its members are visited; those of its group by default."""
        return self.on_group_start(sig.header, **header)

    def on_chord_header_end(self, sig: Any, **header: Any) -> None:
        """Called when the members of a chord have been visited."""
        self.on_group_end(sig.header, **header)

    def on_chord_body(self, sig: Any, **header: Any) -> dict[str, Any] | None:
        """Stamps of a chord's body."""

    def on_callback(self, callback: Any, **header: Any) -> dict[str, Any] | None:
        """Stamps of a callback."""

    def on_errback(self, errback: Any, **header: Any) -> dict[str, Any] | None:
        """Stamps of an errback."""


Visitor = StampingVisitor | None


def stamp(signature: Signature, visitor: Visitor, append: bool, headers: Mapping[str, Any]) -> None:
    """Stamp a signature and all that belongs to it, in place; see `Signature.stamp`."""
    kind = signature.subtask_type
    if kind in ("chain", "group"):
        _stamp_parts(signature, kind, visitor, append, headers)
    elif kind == "chord":
        _stamp_chord(signature, visitor, append, headers)
    else:
        stamp_links(signature, visitor, append, headers)
        found = visitor.on_signature(signature, **headers) if visitor is not None else None
        stamps = _joined(_joined(headers, found, append), _own(signature), append)
        signature.set(**stamps)


def stamp_links(
    signature: Signature, visitor: Visitor, append: bool, headers: Mapping[str, Any]
) -> None:
    """Stamp the callbacks and errbacks of a signature."""
    for option, name in (("link", "on_callback"), ("link_error", "on_errback")):
        signatures = signature.linked(option)
        if not signatures:
            continue
        for each in signatures:
            found = getattr(visitor, name)(each, **headers) if visitor is not None else None
            stamp(each, visitor, append, _joined(headers, found, append))
        signature["options"] = {**signature["options"], option: signatures}


def _stamp_parts(
    signature: Any, what: str, visitor: Visitor, append: bool, headers: Mapping[str, Any]
) -> None:
    """Stamp the members of a group, or the steps of a chain."""
    found = None
    if visitor is not None:
        found = getattr(visitor, f"on_{what}_start")(signature, **headers)
    headers = _joined(headers, found, append)
    stamp_links(signature, visitor, append, headers)
    parts = signature["kwargs"]["tasks"] = signature.tasks
    for part in parts:
        stamp(part, visitor, append, headers)
    if visitor is not None:
        getattr(visitor, f"on_{what}_end")(signature, **headers)


def _stamp_chord(
    signature: Any, visitor: Visitor, append: bool, headers: Mapping[str, Any]
) -> None:
    header = signature["kwargs"]["header"] = signature.header
    found = visitor.on_chord_header_start(signature, **headers) if visitor is not None else None
    headers = _joined(headers, found, append)
    stamp_links(signature, visitor, append, headers)
    members = header["kwargs"]["tasks"] = header.tasks
    for member in members:
        stamp(member, visitor, append, headers)
    if visitor is not None:
        visitor.on_chord_header_end(signature, **headers)
    body = signature["kwargs"]["body"] = signature.body
    if body is not None:
        found = visitor.on_chord_body(signature, **headers) if visitor is not None else None
        stamp(body, visitor, append, _joined(headers, found, append))


def _own(signature: Signature) -> dict[str, Any]:
    """The stamps that a signature has already."""
    options = signature["options"]
    names = options.get(_NAMES) or ()
    return {_NAMES: list(names), **{key: options[key] for key in names if key in options}}


def _joined(
    headers: Mapping[str, Any], more: Mapping[str, Any] | None, append: bool
) -> dict[str, Any]:
    """Stamps with further ones; of two values of one name the first counts, or both are kept."""
    joined = dict(headers)
    names = dict.fromkeys(joined.get(_NAMES, joined))
    names.pop(_NAMES, None)
    more = more or {}
    for key, value in more.items():
        if key == _NAMES:
            continue
        if key not in joined:
            joined[key] = value
        elif append:
            joined[key] = [*_listed(joined[key]), *_listed(value)]
    names.update(dict.fromkeys(more.get(_NAMES, more)))
    names.pop(_NAMES, None)
    return {**joined, _NAMES: list(names)}


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple | set | frozenset) else [value]


def gathered(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options of a call with its stamps in one place, as a message has them.

    In a signature each stamp is an option of its own, as in Celery.
    """
    if _NAMES not in options:
        return dict(options)
    names = options[_NAMES] or ()
    stamps = {**(options.get("stamps") or {})}
    stamps.update((key, options[key]) for key in names if key in options)
    rest = {key: value for key, value in options.items() if key not in names}
    return {**rest, _NAMES: list(names), "stamps": stamps}
