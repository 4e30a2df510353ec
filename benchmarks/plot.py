"""The headline figures as an SVG: one panel a figure, one bar a subject.

Drawn by hand, so that a report needs no plotting library. Scales are linear and begin at zero;
the thin line on a bar is the spread over the rounds.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from html import escape

from benchmarks.figures import Figure, Summary, show
from benchmarks.runner import Run

_COLUMNS = 2
_PANEL_WIDTH = 470
_NAME_WIDTH = 130
_VALUE_WIDTH = 70
_BAR_WIDTH = _PANEL_WIDTH - _NAME_WIDTH - _VALUE_WIDTH
_ROW_HEIGHT = 20
_TITLE_HEIGHT = 34
_MARGIN = 16
_HEADER_CHARACTERS = 120
_OURS = "#1f6f8b"
_PEERS = "#b9c2c9"
_STYLE = "text{font:12px sans-serif;fill:#222}.t{font-weight:bold}.n{text-anchor:end}"


def draw(run: Run) -> str:
    """Returns the plot of a run; panels without any value are left out."""
    panels = []
    for figure in run.figures:
        bars = [(name, run.summary(name, figure)) for name in run.subjects]
        found = [(name, summary) for name, summary in bars if summary is not None]
        if figure.headline and found:
            panels.append((figure, found))
    height = _TITLE_HEIGHT + _ROW_HEIGHT * len(run.subjects) + _MARGIN
    lines = -(-len(panels) // _COLUMNS)
    machine = textwrap.wrap(run.machine.line(), _HEADER_CHARACTERS)
    top = (len(machine) + 1) * _MARGIN
    size = (_COLUMNS * _PANEL_WIDTH + 2 * _MARGIN, top + lines * height + _MARGIN)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{size[0]}" height="{size[1]}">',
        f"<style>{_STYLE}</style>",
        '<rect width="100%" height="100%" fill="white"/>',
    ]
    for index, line in enumerate(machine):
        parts.append(f'<text x="{_MARGIN}" y="{(index + 1) * _MARGIN + 4}">{escape(line)}</text>')
    for index, (figure, found) in enumerate(panels):
        x = _MARGIN + index % _COLUMNS * _PANEL_WIDTH
        y = top + index // _COLUMNS * height
        parts.append(f'<g transform="translate({x} {y})">')
        parts.extend(_panel(figure, found))
        parts.append("</g>")
    return "\n".join([*parts, "</svg>"]) + "\n"


def _panel(figure: Figure, bars: list[tuple[str, Summary]]) -> Iterator[str]:
    better = "more is better" if figure.more_is_better else "less is better"
    title = escape(f"{figure.title}, {figure.unit} ({better})")
    yield f'<text class="t" x="0" y="22">{title}</text>'
    # A figure may be zero for all (idle processor time): any scale will do then.
    scale = _BAR_WIDTH / (max(summary.high for _, summary in bars) or 1)
    for row, (name, summary) in enumerate(bars):
        y = _TITLE_HEIGHT + row * _ROW_HEIGHT
        low, length, high = (value * scale for value in (summary.low, summary.median, summary.high))
        color = _OURS if name.startswith("taskq-") else _PEERS
        middle = y + 7
        yield f'<text class="n" x="{_NAME_WIDTH - 8}" y="{y + 11}">{escape(name)}</text>'
        yield (f'<rect x="{_NAME_WIDTH}" y="{y}" width="{length:.1f}" height="14" fill="{color}"/>')
        yield (
            f'<path d="M{_NAME_WIDTH + low:.1f} {middle}H{_NAME_WIDTH + high:.1f}" stroke="#222"/>'
        )
        yield (f'<text x="{_NAME_WIDTH + high + 6:.1f}" y="{y + 11}">{show(summary.median)}</text>')
