"""Tangents of an encoder, and the penalties along them: the sheet's facts (tangent_ssl.md, section 6)."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor, nn

from frugan import tangents
from frugan.batch import ImageShape
from frugan.convs import Layers, find
from frugan.nets import find as find_architecture
from frugan.registry import UserError

SHAPE = ImageShape(1, 12, 12)


def flat(matrix: list[list[float]]):
    """The linear function of images with this matrix."""
    return lambda images: images.flatten(1) @ torch.tensor(matrix, dtype=images.dtype).T


def encoder(latents: int, family: str = "standard", layout: torch.memory_format = torch.contiguous_format):
    """A small encoder in evaluation mode whose numbers matter unequally, as a trained one's do."""
    torch.manual_seed(0)
    layers = Layers([("*", find(family))])
    network = find_architecture("bigan_convolutional").part("encoder")(
        SHAPE, {"latents": latents}, layers, channels=8, bounded=[]
    )
    weight = network.heads["latents"].weight
    weight.data *= torch.logspace(0, -2, latents)[:, None]
    network.eval().requires_grad_(False).to(memory_format=layout)
    return lambda images: network(images)["latents"]


def by_svd(function, images: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Directions and singular values from the whole Jacobian, one image at a time."""
    rows = [torch.autograd.functional.jacobian(lambda one: function(one)[0], image[None]) for image in images]
    _, values, right = torch.linalg.svd(torch.stack(rows).flatten(2).double(), full_matrices=False)
    return right[:, :count].unflatten(2, SHAPE), values[:, :count]


def test_tangent_sheet_6_7_a_linear_encoder_and_a_linear_classifier():
    images = torch.randn(4, 1, 1, 5)
    for method in ("exact", "iterated"):
        function = flat([[3, 0, 0, 0, 0], [0, 2, 0, 0, 0], [0, 0, 1, 0, 0]])
        found = tangents.dominant(function, images, 3, method=method)
        torch.testing.assert_close(found.strengths, torch.tensor([3.0, 2.0, 1.0]).expand(4, 3))
        expected = torch.eye(5)[:3].view(3, 1, 1, 5).expand(4, 3, 1, 1, 5)
        torch.testing.assert_close(found.directions.abs(), expected, rtol=0, atol=1e-6)
    classifier = flat([[1, 2, 0, 0, 0], [0, 1, 1, 0, 0]])
    two = tangents.dominant(function, images, 2).directions
    each = tangents.changes(classifier, images, two).square().sum((0, 2)) / 4
    assert each.tolist() == pytest.approx([1, 5], abs=1e-5)
    assert tangents.along(classifier, images, two).item() == pytest.approx(6, abs=1e-5)
    assert tangents.along(classifier, images, torch.eye(5).view(1, 5, 1, 1, 5).expand(4, -1, -1, -1, -1)) == 7


def test_tangent_sheet_6_7_of_signs_alone_hutchinsons_estimate_of_it_has_the_exact_mean():
    """||C u||^2 over all 32 vectors of signs."""
    signs = torch.tensor(list(itertools.product((-1.0, 1.0), repeat=5))).view(1, 32, 1, 1, 5)
    squares = tangents.changes(flat([[1, 2, 0, 0, 0], [0, 1, 1, 0, 0]]), torch.zeros(1, 1, 1, 5), signs).square()
    assert squares.sum(2).mean().item() == pytest.approx(7)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(("method", "family"), [
    ("exact", "standard"), ("iterated", "standard"), ("auto", "factorised"), ("iterated", "depthwise"),
])  # fmt: skip
def test_tangent_sheet_6_8_tangents_are_those_of_the_whole_jacobian_and_orthonormal(method, family, layout):
    function, images = encoder(40, family, layout), torch.rand(3, *SHAPE).contiguous(memory_format=layout)
    found = tangents.dominant(function, images, 4, method=method)
    directions, values = by_svd(function, images, 4)
    torch.testing.assert_close(found.strengths.double(), values, rtol=1e-4, atol=0)
    assert tangents.angles(found.directions, directions).max() < 0.5
    alike = (found.directions * directions).flatten(2).sum(2).abs()  # each by itself, but for its sign
    assert alike.min() > 0.999
    rows = found.directions.flatten(2)
    assert (rows @ rows.mT - torch.eye(4)).abs().max() < 1e-5


@pytest.mark.parametrize("method", ["exact", "iterated"])
def test_where_an_encoder_answers_to_fewer_directions_the_others_are_orthonormal_and_have_no_strength(method):
    matrix = torch.zeros(6, 9)
    matrix[0, 2], matrix[1, 5] = 2.0, 1.0
    found = tangents.dominant(flat(matrix.tolist()), torch.randn(2, 1, 3, 3), 4, method=method)
    torch.testing.assert_close(found.strengths, torch.tensor([2.0, 1.0, 0.0, 0.0]).expand(2, 4), rtol=0, atol=1e-5)
    rows = found.directions.flatten(2)
    assert (rows @ rows.mT - torch.eye(4)).abs().max() < 1e-5


def test_each_image_has_tangents_of_its_own():
    function, images = encoder(10), torch.rand(3, *SHAPE)
    together = tangents.dominant(function, images, 2).strengths
    alone = torch.cat([tangents.dominant(function, image[None], 2).strengths for image in images])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-6)


def test_no_more_passes_are_made_than_the_sheet_predicts(monkeypatch):
    """Exact: m backward. Iterated: 2 (k + p) a round, half of them forward, each for the whole batch."""
    passes = {"pulled": 0, "pushed": 0}
    for name in passes:
        own = getattr(tangents, f"_{name}")

        def counted(first, second, third, name=name, own=own):
            moved = second if name == "pulled" else third
            passes[name] += len(moved)
            return own(first, second, third)

        monkeypatch.setattr(tangents, f"_{name}", counted)
    function, images = encoder(120), torch.rand(2, *SHAPE)
    tangents.dominant(function, images, 10)
    half = tangents.ROUNDS * (10 + tangents.OVERSAMPLING)
    assert passes == {"pulled": half, "pushed": half}
    assert 2 * half < 120
    passes |= dict.fromkeys(passes, 0)
    tangents.dominant(encoder(100), images, 10)
    assert passes == {"pulled": 100, "pushed": 0}


def classifier():
    torch.manual_seed(0)
    network = find_architecture("sgan").part("encoder")(SHAPE, {"classes": 3}, Layers(), width=0.25).eval()
    return network, lambda images: network(images)["classes"].softmax(1)


def test_tangent_sheet_6_9_the_penalty_is_that_of_the_whole_jacobian_and_so_is_its_gradient():
    (network, tell), images = classifier(), torch.rand(3, *SHAPE)
    for layer in network.modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            nn.init.normal_(layer.weight, std=0.3)
    directions = tangents.dominant(encoder(10), images, 4).directions
    price = tangents.along(tell, images, directions)
    price.backward()
    got = [weight.grad.clone() for weight in network.parameters() if weight.grad is not None]
    network.zero_grad()
    rows = [
        torch.autograd.functional.jacobian(lambda one: tell(one)[0], image[None], create_graph=True).flatten(1)
        for image in images
    ]
    plain = (torch.stack(rows) @ directions.flatten(2).mT).square().sum() / 3
    plain.backward()
    assert price.item() == pytest.approx(plain.item(), rel=1e-5, abs=1e-6)
    wanted = [weight.grad for weight in network.parameters() if weight.grad is not None]
    for mine, other in zip(got, wanted, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-3, atol=1e-6)
    flipped = tangents.along(tell, images, directions * torch.tensor([1.0, -1, 1, -1]).view(1, 4, 1, 1, 1))
    assert flipped.item() == pytest.approx(price.item(), rel=1e-6)
    assert tangents.along(tell, images, directions, step=1e-3).item() == pytest.approx(price.item(), rel=1e-2)


def test_tangent_sheet_6_10_hutchinsons_estimate():
    matrix = torch.randn(4, 20, generator=torch.Generator().manual_seed(1))
    images, random = torch.zeros(10_000, 1, 4, 5), torch.Generator().manual_seed(2)
    estimate = tangents.everywhere(flat(matrix.tolist()), images, random)
    assert estimate.item() == pytest.approx(matrix.square().sum().item(), rel=0.05)


def test_angles_are_those_between_spans():
    axes = torch.eye(4)[None]
    tilted = torch.stack([axes[0, 0] * 3, axes[0, 2] + axes[0, 1]])[None]
    assert tangents.angles(tilted, axes[:, :2]).tolist()[0] == pytest.approx([0, 45], abs=1e-3)


@pytest.mark.parametrize(("count", "method", "said"), [
    (7, "auto", "Ask for 1 to 6"), (0, "auto", "Ask for 1 to 6"), (2, "svd", "exact, iterated"),
])  # fmt: skip
def test_what_cannot_be_found_is_refused_in_words(count, method, said):
    with pytest.raises(UserError, match=said):
        tangents.dominant(flat(torch.ones(6, 9).tolist()), torch.zeros(1, 1, 3, 3), count, method=method)
