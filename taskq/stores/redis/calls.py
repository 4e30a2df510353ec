"""What is said to Redis, apart from how it gets there.

Work that blocking code and code on an event loop do alike is written once, as a
generator: it yields lists of calls and is sent their replies.  `RedisStore.run` and
`LoopClient.run` carry them to the server and back.
"""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")

Word = bytes | str | int
"""An argument of a command."""


class Script:
    """A Lua script, called by its digest and sent whole when the server does not know it.

    Args:
        text: its source.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.digest = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()

    @classmethod
    def read(cls, folder: Path, *names: str) -> Script:
        """The script whose parts are these files, one after the other."""
        return cls("\n".join((folder / f"{name}.lua").read_text() for name in names))

    def call(self, keys: Sequence[str], *arguments: Word) -> Call:
        """A call of this script; on a cluster all keys must be of one slot."""
        return Call(keys[0], ("EVALSHA", self.digest, len(keys), *keys, *arguments), self)


class Call(msgspec.Struct, frozen=True, gc=False):
    """One command.

    Attributes:
        key: says which node of a cluster it is for; of no meaning elsewhere.
        words: the command and its arguments.
        script: the script that it calls, if it does.
    """

    key: str
    words: tuple[Word, ...]
    script: Script | None = None

    def whole(self) -> tuple[Word, ...]:
        """The same call with the script's text in place of its digest."""
        assert self.script is not None
        return ("EVAL", self.script.text, *self.words[2:])


def command(key: str, *words: Word) -> Call:
    """A command of one key; `words` are all of it, the key included."""
    return Call(key, words)


Steps = Generator[list[Call], list[Any], T]
"""Yields calls that go out together, is sent their replies, and returns a T."""
