"""What comes out of a measure: figures, and how repeated ones are summed up."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """A number that a measure yields.

    Args:
        name: Key in a trial's values, unique among all measures.
        title: Heading of its column.
        unit: Unit shown with the title.
        more_is_better: Whether a larger value is the better one.
        headline: Whether it stands in the overview and the plot.
    """

    name: str
    title: str
    unit: str
    more_is_better: bool = False
    headline: bool = False


@dataclass(frozen=True, slots=True)
class Summary:
    """The median of some trials, and their extremes as the spread."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Summary:
        """Sums up at least one value."""
        return cls(statistics.median(values), min(values), max(values))


def percentile(values: Sequence[float], percent: int) -> float:
    """Returns the smallest value that at least `percent` % of `values` do not exceed."""
    ranked = sorted(values)
    rank = -(-len(ranked) * percent // 100)
    return ranked[max(rank, 1) - 1]


def show(value: float) -> str:
    """Formats a figure with three significant digits, and thousands apart."""
    if value == 0:
        return "0"
    if abs(value) >= 1000:
        digits = 10 ** max(len(str(int(abs(value)))) - 3, 0)
        return f"{round(value / digits) * digits:,}"
    return f"{value:.3g}"
