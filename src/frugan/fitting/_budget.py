"""The budget: what the generator may cost."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from frugan.registry import UserError

MILLISECONDS = {"us": 1e-3, "ms": 1.0, "s": 1e3}
BYTES = {"b": 1, "kb": 1e3, "mb": 1e6, "gb": 1e9}


@dataclass(frozen=True)
class Budget:
    """The most milliseconds an image, and the most bytes, that the exported network may take; None for any."""

    milliseconds: float | None
    bytes: int | None

    @classmethod
    def of(cls, latency: str | float | None, size: str | float | None) -> Budget:
        """Read "5ms" and "2MB"; bare numbers are milliseconds and bytes. Raises UserError."""
        if latency is None and size is None:
            raise UserError("Say what the generator may cost: --max-latency 5ms, --max-bytes 2MB, or both.")
        read = None if size is None else _read("--max-bytes", size, BYTES, "b", "2MB, 500kB")
        return cls(
            None if latency is None else _read("--max-latency", latency, MILLISECONDS, "ms", "5ms, 0.2s"),
            None if read is None else int(read),
        )

    def misses(self, milliseconds: float, size: int) -> list[str]:
        """In what a network is over the budget, in words; empty if it fits."""
        over = []
        if self.milliseconds is not None and milliseconds > self.milliseconds:
            over.append(f"{milliseconds:.3g} ms")
        if self.bytes is not None and size > self.bytes:
            over.append(spelt(size))
        return over

    def excess(self, milliseconds: float, size: int) -> float:
        """By which factor a network is over the budget, 1 at most if it fits."""
        compared = ((milliseconds, self.milliseconds), (size, self.bytes))
        return max(0.0 if limit is None else took / limit for took, limit in compared)

    def __str__(self) -> str:
        parts = [] if self.milliseconds is None else [f"{self.milliseconds:g} ms"]
        return " and ".join([*parts, *([] if self.bytes is None else [spelt(self.bytes)])])


def spelt(size: float) -> str:
    """Bytes for people."""
    unit, factor = next((one for one in reversed(BYTES.items()) if size >= one[1]), ("b", 1))
    return f"{size / factor:.3g} {'bytes' if unit == 'b' else unit[0].replace('m', 'M').replace('g', 'G') + 'B'}"


def _read(option: str, given: str | float, units: dict[str, float], bare: str, such_as: str) -> float:
    matched = re.fullmatch(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*([a-z]*)\s*", str(given).lower())
    factor = units.get(matched[2] or bare) if matched else None
    number = float(matched[1]) * factor if matched and factor else 0.0
    if not number or not math.isfinite(number):
        raise UserError(f"{option} {given}: give a number above 0 with a unit ({', '.join(units)}), such as {such_as}.")
    return number
