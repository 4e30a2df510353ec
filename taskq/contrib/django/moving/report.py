"""What was moved, and what was not."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Report:
    """What became of the rows of one kind.

    Attributes:
        what: the kind, in the plural.
        moved: those that were moved, by name or id.
        skipped: those that need not be, with the reason.
        failed: those that cannot be, with the reason.
    """

    what: str
    moved: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    def summary(self, dry_run: bool) -> str:
        """One line."""
        verb = "would be moved" if dry_run else "moved"
        return (
            f"{self.what}: {len(self.moved)} {verb}, {len(self.skipped)} left out, "
            f"{len(self.failed)} cannot be moved"
        )
