"""From the command line of ``taskq multi`` to the nodes that it means, each with its options."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import click

from taskq.cli.failure import Misuse
from taskq.cli.nodename import expand

PREFIX = "taskq"
"""What nodes are called of which only the number is given."""
DEFAULTS = {"--pidfile": "%n.pid", "--logfile": "%n.log"}

_OPTION = re.compile(r"(--?[A-Za-z][\w-]*)(?::([^=]+))?(?:=(.*))?", re.DOTALL)


@dataclass
class Node:
    """A worker.

    Attributes:
        name: such as ``w1@host``.
        options: those of its command line, in order: name, and value if it takes one.
    """

    name: str
    options: list[tuple[str, str | None]] = field(default_factory=list)

    def path(self, option: str) -> str:
        """The file that it is given by an option, with ``%n`` and its like replaced."""
        found = DEFAULTS[option]
        for name, value in self.options:
            if name in (option, _SHORT.get(option)) and value is not None:
                found = value
        return expand(found, self.name.partition("@")[0])

    def arguments(self) -> list[str]:
        """The arguments of ``taskq worker``."""
        given = {name for name, _ in self.options}
        arguments = ["-n", self.name, "-D"]
        for option, pattern in DEFAULTS.items():
            if not given & {option, _SHORT.get(option)}:
                arguments += [option, pattern]
        for name, value in self.options:
            arguments += [name] if value is None else [name, value]
        return arguments


_SHORT = {"--logfile": "-f"}


def read_nodes(arguments: Sequence[str], params: Sequence[click.Parameter]) -> list[Node]:
    """The nodes of a command line.

    Args:
        arguments: names of nodes, or how many there are; then options of ``taskq worker``, of
            which ``-c:1``, ``-c:2-4``, ``-c:w1,w3`` are for these nodes alone.
        params: the options that a worker takes.

    Raises:
        Misuse: there are no nodes, two have one name, or an option is unknown or lacks its value.
    """
    count = next((i for i, text in enumerate(arguments) if text.startswith("-")), len(arguments))
    names = _names(arguments[:count])
    host = socket.gethostname()
    nodes = [Node(expand(name if "@" in name else f"{name}@{host}", PREFIX)) for name in names]
    takes_value = {
        name: not (isinstance(param, click.Option) and param.is_flag)
        for param in params
        for name in [*param.opts, *param.secondary_opts]
    }
    chosen = [
        (_selected(selector, names) if selector else set(range(len(nodes))), name, value)
        for name, selector, value in _options(arguments[count:], takes_value)
    ]
    for index, node in enumerate(nodes):
        # What is meant for one node alone stands behind what is meant for all, and so counts.
        for wanted in (True, False):
            node.options += [
                (name, value)
                for selected, name, value in chosen
                if index in selected and (len(selected) == len(nodes)) is wanted
            ]
    return nodes


def _names(words: Sequence[str]) -> list[str]:
    if not words:
        raise Misuse("which nodes? Give names (w1 w2), or how many there are (3)")
    if len(words) == 1 and words[0].isdecimal():
        if int(words[0]) < 1:
            raise Misuse(f"{words[0]} nodes: at least 1 is needed")
        return [f"{PREFIX}{number}" for number in range(1, int(words[0]) + 1)]
    if twice := sorted({word for word in words if list(words).count(word) > 1}):
        raise Misuse(f"two nodes are called {twice[0]}: each needs a name of its own")
    return list(words)


def _options(
    arguments: Sequence[str], takes_value: Mapping[str, bool]
) -> Iterator[tuple[str, str, str | None]]:
    """Each option with its selector and value."""
    words = iter(arguments)
    for word in words:
        found = _OPTION.fullmatch(word)
        if found is None:
            raise Misuse(f"{word!r} is no option: names of nodes stand before the options")
        name, selector, value = found[1], found[2] or "", found[3]
        if name not in takes_value and not name.startswith("--") and name[:2] in takes_value:
            name, value = name[:2], name[2:]  # -c4
        if name in ("-n", "--hostname", "-D", "--detach"):
            raise Misuse(f"{name} is not for multi: it names the nodes, and runs them detached")
        if name not in takes_value:
            raise Misuse(f"a worker has no option {name}: see `taskq worker --help`")
        if takes_value[name] and value is None:
            value = next(words, None)
            if value is None:
                raise Misuse(f"{name} needs a value")
        yield name, selector, value


def _selected(selector: str, names: Sequence[str]) -> set[int]:
    """Which nodes ``1,3-5,w7`` means."""
    found: set[int] = set()
    for part in selector.split(","):
        first, _, last = part.partition("-")
        if part in names:
            found.add(names.index(part))
        elif first.isdecimal() and (not last or last.isdecimal()):
            numbers = range(int(first), int(last or first) + 1)
            if not numbers or numbers[0] < 1 or numbers[-1] > len(names):
                raise Misuse(f":{selector}: there are nodes 1 to {len(names)}")
            found.update(number - 1 for number in numbers)
        else:
            raise Misuse(f":{selector}: there is no node {part!r}, only {', '.join(names)}")
    return found
