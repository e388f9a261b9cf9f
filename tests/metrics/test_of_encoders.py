"""Metrics of generators with an encoder: reconstruction_ratio, latent_ratio, nearest_neighbour, linear_probe."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from frugan import seeds
from frugan.metrics import (
    Need,
    find,
    latent_ratio,
    linear_probe,
    nearest_neighbour,
    of_encoders,
    parse_need,
    reconstruction_ratio,
)
from frugan.registry import UserError


def pixels(count: int = 400, seed: int = 0) -> Tensor:
    return torch.randint(0, 256, (count, 1, 5, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def test_bigan_sheet_5_fact_8_the_ratio_is_0_of_the_identity_and_1_of_a_constant():
    real = pixels()
    same = reconstruction_ratio.compute(real_pixels=real, reconstructed_pixels=real)
    assert same["ratio"] == same["distance"] == 0
    constant = reconstruction_ratio.compute(real_pixels=real, reconstructed_pixels=real[:1].expand_as(real))
    assert constant["ratio"] == pytest.approx(1, abs=1e-12)
    other = reconstruction_ratio.compute(real_pixels=real, reconstructed_pixels=pixels(seed=1))
    assert abs(other["ratio"] - 1) < 3 * other["standard_error"] < 0.05


def test_the_ratio_by_hand_and_its_error_is_the_spread_of_the_ratios_of_many_draws():
    real, made = pixels(4), pixels(4, seed=1)
    x, y = real.double() / 255, made.double() / 255
    own = [float((x[i] - y[i]).square().sum().sqrt()) for i in range(4)]
    foreign = [float((x[i] - y[j]).square().sum().sqrt()) for i, j in enumerate((1, 3, 0, 2))]  # as they are drawn
    values = reconstruction_ratio.compute(real_pixels=real, reconstructed_pixels=made)
    assert values["distance"] == pytest.approx(sum(own) / 4, abs=1e-6)
    assert values["distance_of_others"] == pytest.approx(sum(foreign) / 4, abs=1e-6)
    assert values["ratio"] == pytest.approx(sum(own) / sum(foreign), abs=1e-6)
    random = torch.Generator().manual_seed(0)
    draws = []
    for _ in range(200):
        latents, noise = (torch.randn(100, 8, generator=random) for _ in range(2))
        draws.append(latent_ratio.compute(latents=latents, encoded=0.5 * latents + noise))
    ratios = torch.tensor([draw["ratio"] for draw in draws])
    told = sum(draw["standard_error"] for draw in draws) / len(draws)
    assert told == pytest.approx(float(ratios.std()), rel=0.2)


def test_an_encoder_that_keeps_the_class_keeps_much_also_of_rows_in_the_order_of_their_classes():
    means, spread = torch.eye(4).repeat_interleave(25, 0) * 4, 0.1 * torch.randn(100, 4)
    kept = latent_ratio.compute(latents=means + spread, encoded=means)
    assert kept["ratio"] < 0.1
    order = torch.randperm(100)
    shuffled = latent_ratio.compute(latents=(means + spread)[order], encoded=means[order])
    assert shuffled["ratio"] == pytest.approx(kept["ratio"], rel=0.3)
    assert find("latent_ratio").version == find("reconstruction_ratio").version == 2


@pytest.mark.parametrize("count", [2, 3, 10, 1000])
def test_each_row_is_compared_with_another_one_always_the_same(count):
    found = seeds.others(count)
    assert not found.eq(torch.arange(count)).any()
    assert found.sort().values.equal(torch.arange(count))
    torch.manual_seed(count)
    assert found.equal(seeds.others(count))


def test_nearest_neighbours_by_hand_and_against_the_pixels():
    real = {"real_encoded": torch.tensor([[0.0], [1.0], [5.0]]), "real_labels": torch.tensor([0, 1, 2])}
    held_out = {"held_out_encoded": torch.tensor([[0.4], [0.6], [9.0], [-3.0]]),
                "held_out_labels": torch.tensor([0, 1, 1, 0])}  # fmt: skip
    bytes_ = {"real_pixels": torch.tensor([0, 10, 20], dtype=torch.uint8).view(3, 1, 1, 1),
              "held_out_pixels": torch.tensor([1, 2, 9, 30], dtype=torch.uint8).view(4, 1, 1, 1)}  # fmt: skip
    hidden = {"real_hidden": real["real_encoded"] * -1, "held_out_hidden": torch.zeros(4, 1)}
    values = nearest_neighbour.compute(**real, **held_out, **bytes_, **hidden)
    assert values == {
        "accuracy": 0.75, "standard_error": pytest.approx((0.75 * 0.25 / 4) ** 0.5), "accuracy_hidden": 0.5,
        "accuracy_pixels": 0.5,
    }  # fmt: skip
    with pytest.raises(UserError, match=r"'held_out_labels' are missing. It needs one class for each of 4 images"):
        nearest_neighbour.compute(**real, **{**held_out, "held_out_labels": None}, **bytes_, **hidden)


def test_what_has_no_ratio_is_refused_in_words():
    latents = torch.randn(4, 3)
    with pytest.raises(UserError, match=r"'latents' is \[4, 3\] and 'encoded' \[4, 2\]. Each row"):
        latent_ratio.compute(latents=latents, encoded=latents[:, :2])
    with pytest.raises(UserError, match=r"not finite.*may have diverged"):
        latent_ratio.compute(latents=latents, encoded=latents / 0)
    with pytest.raises(UserError, match="all rows of 'real_pixels' are alike"):
        reconstruction_ratio.compute(real_pixels=pixels(1).expand(3, -1, -1, -1),
                                     reconstructed_pixels=pixels(1).expand(3, -1, -1, -1))  # fmt: skip


def test_a_metric_says_that_it_needs_an_encoder():
    assert parse_need("held_out_hidden") == Need("held_out", "hidden")
    assert parse_need("reconstructed_pixels") == Need("reconstructed", "pixels")
    assert all(of_encoders(find(name)) for name in ("reconstruction_ratio", "latent_ratio", "nearest_neighbour"))
    assert not of_encoders(find("fid"))


def probed(width: int = 6, count: int = 300, classes: int = 3) -> dict[str, Tensor]:
    """Features of classes that overlap, of unequal scales, one of them constant; for `linear_probe`."""
    random = torch.Generator().manual_seed(0)
    scales = torch.tensor([1.0, 10, 0.1, 3, 1, 0])[:width]
    middles = torch.randn(classes, width, generator=random)

    def draw(of: int) -> tuple[Tensor, Tensor]:
        labels = torch.arange(of) % classes
        return (middles[labels] + torch.randn(of, width, generator=random)) * scales + 5, labels

    (real, labels), (held_out, asked) = draw(count), draw(200)
    return {"real_hidden": real, "real_encoded": real[:, :2], "real_labels": labels, "held_out_hidden": held_out,
            "held_out_encoded": held_out[:, :2], "held_out_labels": asked}  # fmt: skip


def test_a_linear_probe_is_the_logistic_regression_of_scikit_learn():
    linear_model = pytest.importorskip("sklearn.linear_model")
    given = probed()
    values = linear_probe.compute(**given)
    for kind, name in (("hidden", "accuracy"), ("encoded", "accuracy_latents")):
        real, held_out = given[f"real_{kind}"].double(), given[f"held_out_{kind}"].double()
        kept = real.std(0) > 0
        mean, spread = real.mean(0)[kept], real.std(0, correction=0)[kept]
        order = torch.randperm(300, generator=torch.Generator().manual_seed(0))
        fitted, chosen = order[:240], order[240:]
        rows, asked = (real[:, kept] - mean) / spread, (held_out[:, kept] - mean) / spread
        scores = {}
        for c in linear_probe.STRENGTHS:
            model = linear_model.LogisticRegression(C=c, tol=1e-10, max_iter=10_000)
            model.fit(rows[fitted], given["real_labels"][fitted])
            scores[c] = model.score(rows[chosen], given["real_labels"][chosen])
        best = max(scores, key=lambda c: scores[c])
        model = linear_model.LogisticRegression(C=best, tol=1e-10, max_iter=10_000).fit(rows, given["real_labels"])
        assert values[name] == pytest.approx(model.score(asked, given["held_out_labels"]), abs=1e-9)
        if kind == "hidden":
            assert values["c"] == best
    assert values["accuracy"] > values["accuracy_latents"] > 0.4
    share = values["accuracy"]
    assert values["standard_error"] == pytest.approx((share * (1 - share) / 200) ** 0.5)


def test_a_linear_probe_of_noise_is_at_chance_and_its_faults_are_told():
    given = probed()
    noise = {name: torch.randn_like(rows) for name, rows in given.items() if rows.is_floating_point()}
    assert abs(linear_probe.compute(**{**given, **noise})["accuracy"] - 1 / 3) < 0.12
    with pytest.raises(UserError, match=r"linear_probe: 'held_out_labels' are missing\. It needs one class for"):
        linear_probe.compute(**{**given, "held_out_labels": None})
    with pytest.raises(UserError, match="linear_probe: some features are not finite"):
        linear_probe.compute(**{**given, "real_hidden": given["real_hidden"] / 0})
