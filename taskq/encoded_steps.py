"""The further steps of a long chain, as they came: bytes that are passed on.

A chain of a thousand steps travels with each of them. To decode and encode what is left at
every step would take longer than all the rest of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, overload

import msgspec

_LONG = 8192
"""Bytes of a body below which nothing is gained."""
_MANY = 8
"""Steps below which nothing is gained."""
_PLACE = b'"chain":['
_NONE, _AFTER = b'"chain":null,"chord":null}]', b'],"chord":null}]'


class _Embed(msgspec.Struct):
    """The third part of protocol 2's body, each of its parts as it came."""

    callbacks: msgspec.Raw = msgspec.Raw(b"null")
    errbacks: msgspec.Raw = msgspec.Raw(b"null")
    chain: list[msgspec.Raw] = []
    chord: msgspec.Raw = msgspec.Raw(b"null")


_decode = msgspec.json.Decoder(tuple[msgspec.Raw, msgspec.Raw, _Embed]).decode


class EncodedSteps(Sequence[Any]):
    """Steps of a chain, the last one first, each decoded when it is asked for.

    Args:
        steps: the steps in JSON.
        decode: decodes one.
    """

    def __init__(self, steps: list[msgspec.Raw], decode: Callable[[bytes], Any]) -> None:
        self._steps = steps
        self._decode = decode

    def split(self) -> tuple[EncodedSteps, Any]:
        """All but the next step, and the next step."""
        return EncodedSteps(self._steps[:-1], self._decode), self[-1]

    def into(self, body: bytes) -> bytes | None:
        """A body in JSON that was encoded without a chain, with these steps in it.

        Returns:
            None if the place for them is not found.
        """
        if not body.endswith(_NONE):
            return None
        return b"".join((body[: -len(_NONE)], _PLACE, b",".join(self._steps), _AFTER))

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> EncodedSteps: ...
    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return EncodedSteps(self._steps[index], self._decode)
        return self._decode(bytes(self._steps[index]))

    def __len__(self) -> int:
        return len(self._steps)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]  # as a list has none


def open_long(body: bytes, decode: Callable[[bytes], Any]) -> Any:
    """A decoded body whose long chain is left as it is; None if there is no such chain.

    Args:
        body: the body, in JSON.
        decode: decodes a part of it.
    """
    if len(body) < _LONG or _PLACE not in body:
        return None
    try:
        args, kwargs, embed = _decode(body)
    except (msgspec.MsgspecError, UnicodeError):
        return None  # the usual way allows it, or says what is wrong with it
    if len(embed.chain) < _MANY:
        return None
    parts = ("callbacks", "errbacks", "chord")
    opened = {name: decode(bytes(getattr(embed, name))) for name in parts}
    opened["chain"] = EncodedSteps(embed.chain, decode)
    return decode(bytes(args)), decode(bytes(kwargs)), opened
