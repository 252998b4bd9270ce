"""What a thousand pictures cost at a price for an hour of one GPU."""

from __future__ import annotations

import re
from dataclasses import dataclass

from comfysoak_analysis.text import bounded
from comfysoak_core.errors import UsageError

_PRICE = re.compile(r"([^\d\s.,/+-]{0,4})\s*(\d{1,9}(?:\.\d{1,6})?)\s*([^\d\s.,/+-]{0,4})\s*/\s*h(?:our)?")


@dataclass(frozen=True, slots=True)
class Price:
    """For one hour of one GPU; the currency stands before or behind the number, or nowhere."""

    an_hour: float
    before: str = ""
    behind: str = ""

    def show(self, amount: float) -> str:
        """An amount in its currency."""
        return f"{self.before}{amount:,.2f}" + (f" {self.behind}" if self.behind else "")

    def of_1000(self, gpus: int, pictures_per_s: float) -> float:
        """Of a thousand pictures made at this rate by so many GPUs, which are paid for whether they work or not."""
        return gpus * self.an_hour / 3600 / pictures_per_s * 1000


def read_price(text: str) -> Price:
    """`2.10/h`, `$2.10/h` or `2.10 EUR/h`; UsageError for anything else."""
    match = _PRICE.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"expected a price such as 2.10/h or $2.10/h, got {bounded(text, 60)!r}", "It is for one GPU.")
    return Price(float(match[2]), match[1], match[3])
