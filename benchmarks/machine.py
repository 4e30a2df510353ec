"""Where a run was measured: figures without it cannot be compared."""

from __future__ import annotations

import os
import platform
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.servers import Servers


@dataclass(frozen=True, slots=True)
class Machine:
    """The machine, its software, and how busy it was when the run began.

    Args:
        cpu: Model name.
        cores: Cores this process may use.
        memory_gib: Installed memory.
        system: Kernel name and release.
        python: Version of the interpreter that runs the benchmark.
        servers: Versions by name.
        load: Load average of the last minute.
    """

    cpu: str
    cores: int
    memory_gib: int
    system: str
    python: str
    servers: dict[str, str]
    load: float

    @classmethod
    def here(cls, servers: Servers) -> Machine:
        """Describes this machine."""
        return cls(
            cpu=_cpu_model(),
            cores=len(os.sched_getaffinity(0)),
            memory_gib=round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
            system=f"{platform.system()} {platform.release()}",
            python=platform.python_version(),
            servers=servers.versions(),
            load=os.getloadavg()[0],
        )

    def line(self) -> str:
        """Returns the description in one line."""
        parts = [
            self.cpu,
            f"{self.cores} cores",
            f"{self.memory_gib} GiB",
            self.system,
            f"Python {self.python}",
            *(f"{name} {version}" for name, version in self.servers.items()),
            f"load {self.load:.2f} at the start",
        ]
        return ", ".join(parts)

    def record(self) -> dict[str, object]:
        """Returns the fields for the raw data."""
        return asdict(self)


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            return value.strip()
    return platform.machine()
