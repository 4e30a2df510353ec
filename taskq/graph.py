"""Which task has led to which: a graph, as text for Graphviz or as a picture in SVG."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from typing import IO, Any

_WIDTH, _HEIGHT, _GAP, _MARGIN = 190, 46, 34, 16
_LETTERS = 26
"""How much of a name fits into a box."""


class CycleError(ValueError):
    """A graph that must have a beginning and an end goes round in a circle."""


class DependencyGraph:
    """Things, and the things that each of them has led to.

    Args:
        arcs: each thing with those that it has led to.
    """

    def __init__(self, arcs: Iterable[tuple[Any, Iterable[Any]]] = ()) -> None:
        self.adjacent: dict[Any, list[Any]] = {}
        for thing, others in arcs:
            self.add_arc(thing)
            for other in others:
                self.add_arc(other)
                self.add_edge(thing, other)

    def add_arc(self, thing: Hashable) -> None:
        """Add a thing, unless it is there."""
        self.adjacent.setdefault(thing, [])

    def add_edge(self, one: Hashable, other: Hashable) -> None:
        """Tell that `one`, which is in the graph, has led to `other`."""
        self.adjacent[one].append(other)

    def edges(self) -> list[Any]:
        """Those that have led to something."""
        return [thing for thing, others in self.adjacent.items() if others]

    def topsort(self) -> list[Any]:
        """All things, each before those that it has led to.

        Raises:
            CycleError: two of them have led to each other.
        """
        waiting = dict.fromkeys(self.adjacent, 0)
        for others in self.adjacent.values():
            for other in others:
                waiting[other] += 1
        ready = [thing for thing, count in waiting.items() if not count]
        for thing in ready:  # grows while it is walked
            for other in self.adjacent[thing]:
                waiting[other] -= 1
                if not waiting[other]:
                    ready.append(other)
        if len(ready) < len(self.adjacent):
            raise CycleError(f"{len(self.adjacent) - len(ready)} of these lead to each other")
        return ready

    def to_dot(self, fh: IO[str] | None = None) -> str:
        """The graph in the language of Graphviz.

        Args:
            fh: a file to write it to, as well.
        """
        lines = ["digraph tasks {", "  node [shape=box, style=rounded];"]
        names = {thing: f'"{_quoted(str(thing))}"' for thing in self.adjacent}
        lines += [f'  {names[t]} [label="{_quoted(_label(t))}"];' for t in self.adjacent]
        for thing, others in self.adjacent.items():
            lines += [f"  {names[thing]} -> {names[other]};" for other in others]
        text = "\n".join([*lines, "}", ""])
        if fh is not None:
            fh.write(text)
        return text

    def to_svg(self) -> str:
        """The graph as a picture: a box for each thing, below what has led to it.

        Raises:
            CycleError: two of them have led to each other.
        """
        places = self._places()
        across = max((x for x, _ in places.values()), default=0) + 1
        down = max((y for _, y in places.values()), default=0) + 1
        width = 2 * _MARGIN + across * (_WIDTH + _GAP) - _GAP
        height = 2 * _MARGIN + down * (_HEIGHT + _GAP) - _GAP
        size = f'width="{width}" height="{height}" font-family="sans-serif" font-size="12"'
        lines = [
            f'<svg xmlns="http://www.w3.org/2000/svg" {size}>',
            '<g fill="none" stroke="#888">',
        ]
        for thing, others in self.adjacent.items():
            x1, y1 = _corner(places[thing])
            for other in others:
                x2, y2 = _corner(places[other])
                start, end = (x1 + _WIDTH // 2, y1 + _HEIGHT), (x2 + _WIDTH // 2, y2)
                middle = (start[1] + end[1]) // 2
                lines.append(
                    f'<path d="M{start[0]} {start[1]} C{start[0]} {middle} {end[0]} {middle} '
                    f'{end[0]} {end[1]}"/>'
                )
        lines.append("</g>")
        for thing, place in places.items():
            lines.append(_box(thing, *_corner(place)))
        return "\n".join([*lines, "</svg>", ""])

    def _places(self) -> dict[Any, tuple[int, int]]:
        """Column and row of each: below all that have led to it."""
        rows = dict.fromkeys(self.adjacent, 0)
        for thing in self.topsort():
            for other in self.adjacent[thing]:
                rows[other] = max(rows[other], rows[thing] + 1)
        used: dict[int, int] = {}
        places = {}
        for thing, row in rows.items():
            places[thing] = (used.get(row, 0), row)
            used[row] = used.get(row, 0) + 1
        return places

    def __len__(self) -> int:
        return len(self.adjacent)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.adjacent)

    def __contains__(self, thing: object) -> bool:
        return thing in self.adjacent

    def __getitem__(self, thing: Any) -> list[Any]:
        return self.adjacent[thing]

    def items(self) -> Iterable[tuple[Any, list[Any]]]:
        """Each thing with those that it has led to."""
        return self.adjacent.items()

    def __repr__(self) -> str:
        return "\n".join(f"{thing} -> {', '.join(map(str, to))}" for thing, to in self.items())


def _label(thing: Any) -> str:
    name = getattr(thing, "task_name", None)
    return f"{name} {thing}" if name else str(thing)


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def _corner(place: tuple[int, int]) -> tuple[int, int]:
    x, y = place
    return _MARGIN + x * (_WIDTH + _GAP), _MARGIN + y * (_HEIGHT + _GAP)


def _escaped(text: str) -> str:
    # xml.sax.saxutils has a function for it, and imports urllib.request with it.
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _box(thing: Any, x: int, y: int) -> str:
    name = str(getattr(thing, "task_name", None) or "")
    rows = [name, str(thing)] if name else [str(thing)]
    texts = []
    for number, row in enumerate(rows):
        short = row if len(row) <= _LETTERS else row[: _LETTERS - 1] + "…"
        height = y + _HEIGHT // 2 + 4 + (number * 2 - len(rows) + 1) * 8
        texts.append(
            f'<text x="{x + _WIDTH // 2}" y="{height}" text-anchor="middle">'
            f"{_escaped(short)}</text>"
        )
    return (
        f'<g><title>{_escaped(_label(thing))}</title><rect x="{x}" y="{y}" width="{_WIDTH}" '
        f'height="{_HEIGHT}" rx="8" fill="#f4f6f8" stroke="#567"/>{"".join(texts)}</g>'
    )
