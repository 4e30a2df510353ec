"""The fields of a crontab: from ``mon-fri`` or ``*/15`` to numbers."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from functools import lru_cache
from numbers import Integral
from typing import NamedTuple

_DAYS = ("sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday")
_MONTHS = (
    *("january", "february", "march", "april", "may", "june"),
    *("july", "august", "september", "october", "november", "december"),
)

Spec = int | str | Iterable[int]
"""A field as users write it: a number, a text, or numbers."""


class Field(NamedTuple):
    """One field.

    Attributes:
        name: of the argument.
        least: its lowest number.
        most: its highest number.
        names: words that stand for numbers.
    """

    name: str
    least: int
    most: int
    names: Mapping[str, int]

    def __hash__(self) -> int:
        return hash(self.name)

    def numbers(self, spec: Spec) -> tuple[int, ...]:
        """The numbers that a field names, in order.

        Raises:
            ValueError: it names none, or some that the field does not have.
            TypeError: it is neither a number, nor text, nor numbers.
        """
        if isinstance(spec, str):
            return _numbers(self, spec)
        if isinstance(spec, Integral):
            found = {self._checked(int(spec), spec)}
        elif isinstance(spec, Iterable):
            found = {self._checked(number, spec) for number in spec}
        else:
            raise TypeError(f"{self.name}={spec!r} must be a number, text, or a list of numbers")
        if not found:
            raise ValueError(f"{self.name}={spec!r} names no moment at all")
        return tuple(sorted(found))

    def parse(self, spec: str) -> tuple[int, ...]:
        """The numbers that a text names, in order; for `numbers`."""
        parts = (part.strip() for part in spec.lower().split(","))
        return tuple(sorted({number for part in parts for number in self._part(part, spec)}))

    def text(self, spec: Spec) -> str:
        """A field as a crontab has it."""
        if isinstance(spec, str):
            return sys.intern("".join(spec.lower().split()))
        return ",".join(map(str, self.numbers(spec)))

    def _part(self, part: str, spec: str) -> Iterable[int]:
        """The numbers of one part of a list: ``*``, ``5``, ``1-5``, each with a step or not."""
        span, slash, step = part.partition("/")
        low, dash, high = span.partition("-")
        if span == "*":
            numbers = list(range(self.least, self.most + 1))
        elif dash:
            numbers = self._range(self._number(low, spec), self._number(high, spec))
        elif slash:
            raise ValueError(
                f"{self.name}={spec!r}: a step needs a range, such as {low}-{self.most}/{step}"
            )
        else:
            numbers = [self._number(span, spec)]
        if slash:
            if not step.isdecimal() or not int(step):
                raise ValueError(f"{self.name}={spec!r}: the step {step!r} is no number above 0")
            numbers = numbers[:: int(step)]
        return (self._wrapped(number) for number in numbers)

    def _range(self, low: int, high: int) -> list[int]:
        """From one number to another, past the end if the second is the lower one."""
        if low <= high:
            return list(range(low, high + 1))
        return [*range(low, self.most + 1), *range(self.least, high + 1)]

    def _number(self, word: str, spec: str) -> int:
        if word in self.names:
            return self.names[word]
        if not word.isdecimal():
            known = f", or names such as {next(iter(self.names))}" if self.names else ""
            raise ValueError(
                f"{self.name}={spec!r}: {word!r} is not understood; there are *, numbers from "
                f"{self.least} to {self.most}, ranges a-b, steps */n and lists a,b{known}"
            )
        return self._in_range(int(word), spec)

    def _checked(self, number: object, spec: object) -> int:
        if isinstance(number, bool) or not isinstance(number, Integral):
            raise TypeError(f"{self.name}={spec!r} must hold whole numbers, not {number!r}")
        return self._wrapped(self._in_range(int(number), spec))

    def _in_range(self, number: int, spec: object) -> int:
        # Cron has two Sundays, 0 and 7.
        most = 7 if self is WEEKDAY else self.most
        if not self.least <= number <= most:
            raise ValueError(
                f"{self.name}={spec!r}: {number} is not from {self.least} to {self.most}"
            )
        return number

    def _wrapped(self, number: int) -> int:
        return 0 if self is WEEKDAY and number == 7 else number


@lru_cache(maxsize=1024)
def _numbers(field: Field, spec: str) -> tuple[int, ...]:
    # Many rules have the same fields: each is read once, and kept once.
    return field.parse(spec)


def _names(words: Iterable[str], start: int) -> Mapping[str, int]:
    numbered = list(enumerate(words, start))
    return {
        **{word[:3]: number for number, word in numbered},
        **{word: number for number, word in numbered},
    }


MINUTE = Field("minute", 0, 59, {})
HOUR = Field("hour", 0, 23, {})
WEEKDAY = Field("day_of_week", 0, 6, _names(_DAYS, 0))
DAY = Field("day_of_month", 1, 31, {})
MONTH = Field("month_of_year", 1, 12, _names(_MONTHS, 1))
