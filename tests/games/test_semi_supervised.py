"""The semi-supervised game: the sheet's numbers (sgan.md, section 6), what labels may teach, and what it refuses."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from frugan import build, games, losses, recipes, seeds
from frugan.batch import ImageShape
from frugan.data import Dataset
from frugan.engine import checkpoint
from frugan.engine.loop import Parts, play, play_round
from frugan.games.semi_supervised import FORMS, class_logits, classification, matched, score, statistics_kept
from frugan.latents import Latents
from frugan.recipe import Recipe
from frugan.registry import UserError
from frugan.training import train

COUNT, CLASSES, SIDE = 60, 3, 8
RANDOM = torch.Generator().manual_seed(3)
IMAGES = torch.randint(0, 256, (COUNT, 1, SIDE, SIDE), dtype=torch.uint8, generator=RANDOM)
LABELS = torch.arange(COUNT) % CLASSES


def dataset(labels: Tensor | None = LABELS, classes: tuple[str, ...] = ("a", "b", "c")) -> Dataset:
    return Dataset("noise", "train", ImageShape(1, SIDE, SIDE), IMAGES, labels, classes, "hash")


def recipe(**changes: Any) -> Recipe:
    keys = {
        "generator.width": 0.1, "discriminator.width": 0.1, "latents.size": 4, "data.size": SIDE,
        "data.classes": CLASSES,
        "batch_size": 4, "precision": "float32", "kernels": "plain", "streams.labelled.even_limit": 6,
    }
    return recipes.find("sgan").with_changes({**keys, **{key.replace("__", "."): v for key, v in changes.items()}})


def parts(**changes: Any) -> Parts:
    """A run as `build.datasets` would open it, without a file."""
    sets = {"train": dataset().masked(), "labelled": dataset().evenly(6)}
    return build.parts(build.assemble(recipe(**changes)), sets)


def states(of: Parts) -> dict[str, Tensor]:
    return checkpoint.capture(of.stateful())[0]


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


# ---------------------------------------------------------------------------------------------- the sheet's numbers


HALVED = losses.find("non_saturating", halved=True)


def parted(scores: Tensor) -> tuple[float, float]:
    """-log D and -log(1 - D)."""
    return functional.softplus(-scores).mean().item(), functional.softplus(scores).mean().item()


def test_sgan_sheet_6_1_three_logits():
    outputs = {"classes": torch.tensor([[1.0, 2.0, 3.0]], dtype=torch.float64)}
    q = score(outputs, "stacked")
    assert q.item() == pytest.approx(3.407606, abs=1e-6)
    assert q.exp().item() == pytest.approx(30.192875, abs=1e-5)
    assert q.sigmoid().item() == pytest.approx(0.967941, abs=1e-6)
    assert parted(q) == pytest.approx((0.032584, 3.440190), abs=1e-6)
    for place, expected in ((2, 0.407606), (0, 2.407606)):
        found = classification(outputs, torch.tensor([place]), "stacked").item()
        assert found == pytest.approx(expected, abs=1e-6)
    extended = {"classes": torch.tensor([[1.0, 2.0, 3.0, 0.0]], dtype=torch.float64)}
    shares = extended["classes"].softmax(1)[0].tolist()
    assert shares == pytest.approx([0.087144, 0.236883, 0.643914, 0.032059], abs=1e-6)
    assert score(extended, "softmax").item() == pytest.approx(q.item(), abs=1e-12)
    assert (1 - score(extended, "softmax").sigmoid()).item() == pytest.approx(shares[3], abs=1e-9)
    found = classification(extended, torch.tensor([2]), "softmax").item()
    assert found == pytest.approx(0.440190, abs=1e-6)
    assert found == pytest.approx(0.407606 + 0.032584, abs=1e-6)


def test_sgan_sheet_6_2_zero_logits():
    outputs = {"classes": torch.zeros(5, 10, dtype=torch.float64)}
    q = score(outputs, "stacked")
    assert q.sigmoid() == pytest.approx(10 / 11)
    assert parted(q) == pytest.approx((0.095310, 2.397895), abs=1e-6)
    assert classification(outputs, torch.arange(5), "stacked").item() == pytest.approx(2.302585, abs=1e-6)
    assert HALVED.discriminator(q, q).item() == pytest.approx(1.246603, abs=1e-6)


def test_sgan_sheet_6_3_a_neutral_start_subtracts_ln_k():
    outputs = {"classes": torch.zeros(2, 10)}
    assert score(outputs, "stacked", neutral=True).abs().max() < 1e-6
    with pytest.raises(UserError, match="head of its own"):
        parts(game__form="heads", game__neutral=True)


def test_sgan_sheet_6_4_a_fake_logit_of_0_equals_the_log_sum_exp():
    """Labelled as n + 1 classes, unlabelled and fake: the losses and their gradients on the K logits."""
    labels = torch.arange(6) % CLASSES
    found = {}
    for form in ("stacked", "softmax"):
        logits = torch.randn(6, CLASSES, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        logits.requires_grad_()
        last = torch.zeros(6, 1 if form == "softmax" else 0, dtype=torch.float64)
        outputs = {"classes": torch.cat([logits, last], 1)}
        q = score(outputs, form)
        labelled = classification(outputs, labels, form)
        if form == "stacked":
            labelled = labelled + functional.softplus(-q).mean()
        total = [labelled, functional.softplus(-q).mean(), functional.softplus(q).mean()]
        grads = [torch.autograd.grad(one, logits, retain_graph=True)[0] for one in total]
        found[form] = (total, grads)
    for one, other in zip(*found.values(), strict=True):
        for mine, theirs in zip(one, other, strict=True):
            torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-12)


@pytest.mark.parametrize("form", ["stacked", "softmax"])
def test_sgan_sheet_6_5_scores_of_huge_logits_are_finite(form):
    logits = torch.tensor([[1000.0, -1000.0, 0.0, 1000.0], [-1000.0] * 4], requires_grad=True)
    scores = score({"classes": logits}, form)
    scores.sum().backward()
    assert torch.isfinite(scores).all()
    assert torch.isfinite(logits.grad).all()  # type: ignore[arg-type]


def test_sgan_sheet_6_6_without_labelled_images_nothing_is_lost():
    logits = torch.randn(0, 4, requires_grad=True)
    found = classification({"classes": logits}, torch.zeros(0, dtype=torch.int64), "stacked")
    assert found.item() == 0
    found.backward()


def test_sgan_sheet_6_7_a_constant_moves_the_score_and_no_class():
    logits = torch.randn(6, 4, generator=torch.Generator().manual_seed(1))
    one, other = {"classes": logits}, {"classes": logits + 2.5}
    torch.testing.assert_close(score(other, "stacked"), score(one, "stacked") + 2.5)
    assert torch.equal(class_logits(one, "stacked").argmax(1), class_logits(other, "stacked").argmax(1))


def test_sgan_sheet_6_9_feature_matching():
    real, fake = torch.tensor([[1.0, 2.0], [3.0, 6.0]]), torch.tensor([[0.0, 0.0], [2.0, 4.0]])
    apart = real.mean(0) - fake.mean(0)
    found = {kind: matched(apart, kind).item() for kind in ("sum_squares", "mean_squares", "mean_absolute")}
    assert found == {"sum_squares": 5.0, "mean_squares": 2.5, "mean_absolute": 1.5}


def test_of_k_and_one_logits_only_the_classes_of_the_data_are_told():
    outputs = {"classes": torch.tensor([[0.0, 1.0, 9.0]])}
    assert class_logits(outputs, "softmax").tolist() == [[0.0, 1.0]]


# --------------------------------------------------------------------------------------------- whose labels are seen


def test_masked_labels_cannot_influence_training(tmp_path):
    """Pitfall 2: with the labels of the unlabelled images permuted in their file, a run has identical weights."""
    order = torch.randperm(COUNT, generator=torch.Generator().manual_seed(5))
    assert not torch.equal(LABELS[order], LABELS)
    played = []
    for name, labels in (("true", LABELS), ("permuted", LABELS[order])):
        path = tmp_path / f"{name}.npz"
        np.savez(path, images=IMAGES[:, 0].numpy(), labels=labels.numpy())
        small = recipe(data__source=str(path)).with_changes({"streams.labelled.source": str(tmp_path / "true.npz")})
        played.append(build.parts(build.assemble(small), build.datasets(small)))
        play(played[-1], rounds=3)
    assert same(*map(states, played))


def test_the_labels_of_the_unlabelled_stream_are_gone_before_the_run_begins(tmp_path):
    path = tmp_path / "noise.npz"
    np.savez(path, images=IMAGES[:, 0].numpy(), labels=LABELS.numpy())
    small = recipe(data__source=str(path))
    sets = build.datasets(small)
    assert sets["train"].labels is None
    assert sets["train"].classes == sets["labelled"].classes  # what classes there are is known all the same
    assert sets["labelled"].labels is not None
    assert sets["labelled"].labels.bincount().tolist() == [2, 2, 2]
    # Labelled images are among the unlabelled ones (pitfall 4).
    everyone = {image.numpy().tobytes() for image in sets["train"].images}
    assert {image.numpy().tobytes() for image in sets["labelled"].images} <= everyone
    with pytest.raises(UserError, match="needs labels, but npz noise"):  # nor can they weigh the stream
        build.parts(build.assemble(small.with_changes({"data.balance": "even"})), sets)


def test_labels_of_labelled_images_do_influence_training():
    turned = [parts(), parts()]
    labelled = turned[1].batches.streams["labelled"]
    turned[1].batches.streams["labelled"] = dataset((LABELS + 1) % CLASSES).evenly(6)
    assert labelled.labels is not None
    for one in turned:
        play(one, rounds=1)
    assert not same(*map(states, turned))


# ------------------------------------------------------------------------------------------------------------ a round


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("matching", ["none", "mean_squares"])
def test_a_round_of_every_form(form, matching):
    played = parts(game__form=form, game__matching=matching, loss="non_saturating,halved=true")
    before = states(played)
    told = {name: float(value) for name, value in play_round(played).items()}
    assert all(map(math.isfinite, told.values()))
    assert {"discriminator.classification", "discriminator.loss", "generator.loss"} <= told.keys()
    after = states(played)
    for name, tensor in after.items():
        if name.startswith("network.") and "tracked" not in name:
            assert not torch.equal(tensor, before[name]), name
    assert played.batches.taken == (12 if matching != "none" else 8)
    outputs = {"classes": CLASSES + (form == "softmax"), **({"score": 1} if form == "heads" else {})}
    assert played.game.networks["discriminator"].outputs == outputs


def test_one_round_equals_one_written_out():
    """Stacked, with feature matching on fresh images; without norms, so that it can be written in few lines."""
    given = {"discriminator__normalisation": "none", "loss": "non_saturating,halved=true"}
    played, hand = parts(**given), parts(**given)
    play(played, rounds=1)
    generator, judge = (hand.game.networks[name].train() for name in ("generator", "discriminator"))
    steps = {name: torch.optim.Adam(hand.game.networks[name].parameters(), 1e-3, (0.5, 0.999)) for name in
             ("generator", "discriminator")}
    labelled, real, fresh = (hand.batches.take(stream, 4) for stream in ("labelled", "train", "train"))
    fake = generator(Latents(4).draw(4, seeds.generator(0, "latents", 0)))
    logits = judge(labelled.images)["classes"]
    taught = functional.cross_entropy(logits, labelled.labels)
    real_q, fake_q = (judge(images)["classes"].logsumexp(1) for images in (real.images, fake.detach()))
    (taught + 0.5 * functional.softplus(-real_q).mean() + 0.5 * functional.softplus(fake_q).mean()).backward()
    steps["discriminator"].step()
    steps["generator"].zero_grad()
    apart = judge.features(fresh.images)[-1].flatten(1).mean(0) - judge.features(fake)[-1].flatten(1).mean(0)
    apart.square().mean().backward()
    steps["generator"].step()
    for name, network in hand.game.networks.items():
        for key, tensor in network.state_dict().items():
            theirs = played.game.networks[name].state_dict()[key]
            torch.testing.assert_close(tensor, theirs, rtol=0, atol=1e-5, msg=f"{name}.{key}")


@pytest.mark.parametrize("loss", ["minimax", "relativistic", "hinge"])
def test_the_generator_takes_any_loss_of_the_score_and_penalties_and_augmentations_apply(loss):
    played = parts(loss=loss, penalties="r1", augment="diff_augment", game__matching="none")
    told = play_round(played)
    assert float(told["discriminator.r1"]) >= 0
    if loss == "minimax":
        assert float(told["generator.loss"]) < 0


def test_the_supervised_twin_learns_from_labelled_images_alone():
    twin = parts(game__unsupervised=0)
    before = copy.deepcopy(states(twin))
    told = play_round(twin)
    assert not [name for name in told if "generator" in name or name.endswith((".loss", "_fake", "_real"))]
    assert twin.batches.state_dict() == {"train": 0, "labelled": 4}
    assert twin.game.shipped().keys() == {"classifier"}
    after = states(twin)
    assert all(torch.equal(after[key], before[key]) for key in after if key.startswith("network.generator"))
    judge, hand = twin.game.networks["discriminator"], parts(game__unsupervised=0)
    other = hand.game.networks["discriminator"].train()
    step = torch.optim.Adam(other.parameters(), 1e-3, (0.5, 0.999))
    labelled = hand.batches.take("labelled", 4)
    functional.cross_entropy(other(labelled.images)["classes"], labelled.labels).backward()
    step.step()
    for mine, theirs in zip(judge.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-6)


def test_fakes_do_not_move_the_statistics_that_the_classifier_uses():
    norm = nn.BatchNorm2d(2)
    images = torch.randn(4, 2, 3, 3)
    with statistics_kept(norm):
        kept = norm(images)
    assert norm.running_mean.abs().max() == 0  # type: ignore[union-attr]
    assert torch.equal(norm(images), kept)
    assert norm.running_mean.abs().max() > 0  # type: ignore[union-attr]
    # In a round they are those of the labelled and the unlabelled images, each by momentum 0.1.
    played = parts(game__matching="none")
    seen: list[Tensor] = []
    first = next(one for one in played.game.networks["discriminator"].modules() if isinstance(one, nn.BatchNorm2d))
    first.register_forward_hook(lambda module, given, out: seen.append(given[0].detach()))
    play_round(played)
    labelled, fake, real = (one.mean((0, 2, 3)) for one in seen[:3])
    torch.testing.assert_close(first.running_mean, 0.9 * 0.1 * labelled + 0.1 * real)
    assert len(seen) == 4
    assert not torch.equal(fake, real)


# ---------------------------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(("changes", "told"), [
    ({"game__form": "stackd"}, "Did you mean 'stacked'"),
    ({"game__matching": "means"}, "game.matching=means"),
    ({"game__unsupervised": -1.0}, "0 or more"),
    ({"generator__labels": True}, r"Set generator\.labels=false"),
])
def test_what_cannot_be_is_refused(changes, told):
    with pytest.raises(UserError, match=told):
        build.assemble(recipe(**changes))


def test_matching_needs_features():
    class Bare(nn.Module):
        pass

    given = {"batch_size": 4, "latents": None, "loss": HALVED, "matching": "mean_squares"}
    with pytest.raises(UserError, match="no method `features`"):
        games.find("semi_supervised").game(Bare(), Bare(), **given)


def test_labels_that_are_missing_or_attributes_are_refused():
    for labels, told in ((None, "no labels"), (torch.zeros(COUNT, 2, dtype=torch.int64), "attributes")):
        played = build.parts(build.assemble(recipe()), {"train": dataset().masked(), "labelled": dataset(labels)})
        with pytest.raises(UserError, match=f"one class for each image.*{told}"):
            play_round(played)


@pytest.mark.parametrize(("keys", "told"), [
    ({"streams.labelled.even_limit": None, "streams.labelled.limit": 3},
     r"has no image of '0', .*streams\.labelled\.limit=null streams\.labelled\.even_limit=100"),
    ({"streams.labelled.even_limit": 5}, r"even_limit=5: .* has 10 classes, so give 10 images or more"),
])  # fmt: skip
def test_classes_without_a_labelled_image_are_refused_before_training(tmp_path, keys, told):
    small = {"generator.width": 0.1, "discriminator.width": 0.1, "batch_size": 4}
    with pytest.raises(UserError, match=told):
        train("sgan", data="glyphs", rounds=1, changes={**small, **keys}, out=tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists() or not list((tmp_path / "run").glob("*.json"))
