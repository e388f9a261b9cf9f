"""Costing: the sheets' counts through a recipe's name, and what each role became."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor, nn

from frugan import costs, recipes
from frugan.costing import NetworkCost, RecipeCost, cost_of
from frugan.registry import UserError


class Doubtful(nn.Linear):
    """Multiplies twice."""

    def __init__(self) -> None:
        super().__init__(2, 4)

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input) + input @ self.weight.t()


# Parameters, trainable, multiply-accumulates of the generator; parameters of the discriminator.
COUNTS = [
    ("mnist-faithful", "standard", 2_330_944, 2_305_472, 51_744_000, 212_865),
    ("mnist-faithful", "factorised", 1_588_805, 1_563_077, 17_164_112, 212_865),
    ("emnist-letters-faithful", "standard", 4_287_808, 4_262_336, 53_700_864, 212_865),
    ("emnist-letters-faithful", "factorised", 3_570_245, 3_544_517, 21_529_424, 212_865),
    ("cifar10-frog-faithful", "standard", 6_264_579, 6_264_579, 3_873_177_600, 790_913),
    ("cifar10-frog-faithful", "factorised", 3_971_587, 3_971_587, 1_776_025_600, 790_913),
]


@pytest.mark.parametrize(("recipe", "family", "parameters", "trainable", "macs", "discriminator"), COUNTS)
def test_factorised_sheet_7_counts_of_a_recipe(
    recipe: str, family: str, parameters: int, trainable: int, macs: int, discriminator: int
) -> None:
    networks = cost_of(recipe, family=family).as_dict()["networks"]
    generator = networks["generator"]
    assert (generator["parameters"], generator["trainable"], generator["macs"]) == (parameters, trainable, macs)
    assert generator["macs_flop_counter"] == macs
    assert networks["discriminator"]["parameters"] == discriminator


@pytest.mark.parametrize(
    ("recipe", "saved", "percent", "percent_trainable"),
    [
        ("mnist-faithful", 742_139, 31.84, 32.20),
        ("emnist-letters-faithful", 717_563, 16.73, 16.84),
        ("cifar10-frog-faithful", 2_292_992, 36.60, 36.60),
    ],
)
def test_factorised_sheet_9_1_what_each_pair_saves(
    recipe: str, saved: int, percent: float, percent_trainable: float
) -> None:
    """Differences of the ten counts, which the test above holds to the unit."""
    naive, factorised = (
        cost_of(recipe, family=family).networks["generator"].cost for family in ("standard", "factorised")
    )
    assert naive.parameters - factorised.parameters == saved
    assert round(100 * saved / naive.parameters, 2) == percent
    assert round(100 - 100 * factorised.trainable / naive.trainable, 2) == percent_trainable


def test_without_a_family_a_recipe_keeps_its_own() -> None:
    assert cost_of("mnist-faithful").as_dict()["networks"]["generator"]["parameters"] == 2_330_944


def test_each_role_says_what_it_became_and_why_a_family_declined() -> None:
    costed = cost_of("mnist", family="grouped")
    choices = {choice.role: choice for choice in costed.networks["generator"].choices}
    assert (choices["up.0"].family, choices["up.0"].declined) == ("grouped", None)
    assert (choices["output"].family, choices["output"].asked) == ("standard", "grouped")
    assert choices["output"].declined is not None
    assert "groups" in choices["output"].declined
    assert costed.as_dict()["families"]["generator"] == {"block.0": "grouped", "up.0": "grouped", "output": "standard"}


def test_the_dictionary_holds_layers_only_if_asked() -> None:
    costed = cost_of("mnist", changes={"architecture.width": 0.1})
    assert set(costed.as_dict()) == {"recipe", "families", "networks"}
    assert "layers" not in costed.as_dict()["networks"]["generator"]
    with_layers: dict[str, Any] = costed.as_dict(layers=True)["networks"]["generator"]
    assert sum(layer["macs"] for layer in with_layers["layers"]) == with_layers["macs"]
    assert [role["role"] for role in with_layers["roles"]] == ["block.0", "up.0", "output"]


def test_the_printed_tables_name_roles_families_and_totals(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "150")
    cost_of("mnist", family="grouped").show(layers=True)
    printed = capsys.readouterr().out
    for text in ("up.0", "standard, grouped declined", "64×14×14", "1,562,944", "14,112,000", "do not divide"):
        assert text in printed


def test_a_count_that_is_not_to_be_believed_is_marked_and_explained(capsys: pytest.CaptureFixture[str]) -> None:
    counted = costs.cost(Doubtful(), (1, 2))
    costed = RecipeCost(recipes.find("mnist"), {"generator": NetworkCost(counted, ())})
    costed.show(layers=True)
    printed = " ".join(capsys.readouterr().out.split())
    assert printed.count("8 ?") == 2
    assert "generator: its MACs may be wrong: torch's flop counter sees 16" in printed


def test_a_terminal_of_80_columns_breaks_no_number(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    cost_of("vbn").show(layers=True)
    printed = capsys.readouterr().out
    for text in ("standard", "256×14×14", "1,225,601", "290,544,128"):
        assert text in printed
    assert max(map(len, printed.splitlines())) <= 80


def test_changes_and_the_other_family_count() -> None:
    plain = cost_of("mnist")
    thin = cost_of("mnist", discriminator_family="depthwise", changes={"architecture.width": 0.5})
    for name in ("generator", "discriminator"):
        assert thin.networks[name].cost.macs < plain.networks[name].cost.macs


def test_a_conditional_recipe_counts_its_labels_columns() -> None:
    with_labels, without = (cost_of(name).networks["generator"].cost.parameters for name in ("cgan", "dcgan-medium"))
    assert with_labels == without + 10 * 128 * 7 * 7


def test_latency_measures_the_network_that_makes_images_at_both_batches() -> None:
    networks = cost_of("mnist", latency=True, changes={"architecture.width": 0.05}).as_dict()["networks"]
    assert [time["batch"] for time in networks["generator"]["latency"]] == [1, 64]
    assert all(time["median_ms"] > 0 and time["machine"] for time in networks["generator"]["latency"])
    assert "latency" not in networks["discriminator"]


@pytest.mark.parametrize(
    ("model", "changes", "message"),
    [
        ("mnsit", {}, "Did you mean 'mnist'"),
        ("mnist", {"architecture.widht": 1}, "Did you mean 'width'"),
        ("nowhere.json", {}, "no file"),
    ],
)
def test_a_mistake_is_one_line_with_what_to_type(model: str, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        cost_of(model, changes=changes)
    assert "\n" not in str(error.value)


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no recipe\.json"):
        cost_of(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserError, match="is an artefact"):
        cost_of(tmp_path)


def test_the_kernels_that_training_would_call_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    small = {"generator.width": 0.1, "discriminator.width": 0.1, "data.size": 32, "batch_size": 2}
    costed = cost_of("depthwise-g", changes={**small, "kernels": "plain"}, explain=True)
    assert costed.networks["generator"].kernels == ()
    costed = cost_of("depthwise-g", changes={**small, "kernels": "float32", "precision": "bf16"}, explain=True)
    told = [str(kernel) for kernel in costed.networks["generator"].kernels]
    depthwise = "grouped 2x8x32x32 weight 8x1x7x7 stride=(1,1)"
    assert any(line.startswith(depthwise) and line.endswith(": float32") for line in told)
    assert any(line.startswith("instance_norm 2x6x32x32") and line.endswith(": plain") for line in told)
    assert costed.networks["discriminator"].kernels == ()
    costed.show()
    assert "float32" in capsys.readouterr().out


def test_the_parts_of_a_network_are_told_apart_and_not_counted_twice(capsys: pytest.CaptureFixture[str]) -> None:
    costed = cost_of("bigbigan-mnist", changes={"discriminator.attention": 16})
    found = costed.as_dict()["networks"]
    assert list(found) == ["generator", "encoder", "discriminator"]
    judge = found["discriminator"]
    assert list(judge["parts"]) == ["F", "H", "J", "s_x", "s_z", "s_xz"]
    for count in ("parameters", "macs", "macs_attention"):
        assert sum(part[count] for part in judge["parts"].values()) == judge[count] > 0
    assert judge["parts"]["s_z"]["parameters"] == 64 + 1
    assert "parts" not in found["generator"]
    costed.show()
    assert re.search(r"  J +part of it +39,488 +38,912", capsys.readouterr().out)
