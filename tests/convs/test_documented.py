"""The table in docs/families.md is what the families cost."""

from __future__ import annotations

from pathlib import Path

import pytest

from frugan import convs
from frugan.costs import cost

PAGE = Path(__file__).parents[2] / "docs" / "families.md"
FORMS = {
    "small": {"form": "small"}, "both": {"form": "both"}, "pointwise_first": {"order": "pointwise_first"},
}
TABLE = PAGE.read_text().partition("| family | same | down | up |")[2].splitlines()[2:]
ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in TABLE if line.startswith("|")]


def test_every_family_has_its_rows() -> None:
    assert {row[0].split(",")[0] for row in ROWS} == set(convs.names())


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_the_documented_costs(row: list[str]) -> None:
    name, _, form = row[0].partition(", ")
    family = convs.find(name, **FORMS.get(form, {}))
    for kind, documented in zip(("same", "down", "up"), row[1:], strict=True):
        try:
            layer = getattr(family, kind)(128, 128, 5, bias=False, **family.options)
        except convs.Declined:
            assert documented == "declined"
            continue
        counted = cost(layer, (1, 128, 14, 14))
        assert documented == f"{counted.parameters:,} / {counted.macs / 1e6:.2f}"
        assert counted.macs == counted.macs_flop_counter
