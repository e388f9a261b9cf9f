from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import nn
from torch.nn.functional import batch_norm

from frugan.nets._norms import Referenced, VirtualBatchNorm
from frugan.registry import UserError


def plain(features, count, eps=1e-5):
    """A virtual batch norm whose scale is exactly 1."""
    norm = VirtualBatchNorm(features, count, eps)
    nn.init.ones_(norm.weight)
    return norm


@pytest.mark.parametrize(("eps", "expected"), [(0.0, 1.297771), (1e-5, 1.297770)])
def test_coursework_sheet_6_2_virtual_batch_norm_values(eps, expected):
    norm = plain(1, 2, eps).double()
    reference = torch.tensor([[1.0], [3.0]], dtype=torch.float64)
    live = torch.tensor([[6.0]], dtype=torch.float64)
    output = norm(torch.cat([reference, live]))
    if eps == 0:
        assert output[:2].flatten().tolist() == pytest.approx([-1, 1], abs=1e-6)
    assert output[2].item() == pytest.approx(expected, abs=6e-7)
    mean = (6 + 2 * 2) / 3
    square = (36 + 2 * 5) / 3
    assert (mean, square, square - mean**2) == pytest.approx((3.333333, 15.333333, 4.222222), abs=1e-6)
    norm.eval()
    assert norm(live).item() == pytest.approx(expected, abs=6e-7)


def test_coursework_sheet_6_3_live_examples_do_not_see_each_other():
    norm, ordinary = VirtualBatchNorm(3, 8), nn.BatchNorm2d(3)
    reference, live = torch.randn(8, 3, 4, 4), torch.randn(5, 3, 4, 4)
    changed = torch.cat([live[:1], 9 * torch.randn(4, 3, 4, 4)])
    torch.testing.assert_close(norm(torch.cat([reference, live]))[8], norm(torch.cat([reference, changed]))[8])
    assert not torch.allclose(ordinary(live)[0], ordinary(changed)[0])


def test_coursework_sheet_6_4_statistics_equal_to_the_reference_give_batch_norm():
    norm = plain(3, 4)
    reference, live = torch.randn(4, 3, 5, 5), torch.randn(1, 3, 5, 5)
    variance, mean = torch.var_mean(reference, (0, 2, 3), correction=0)
    own_variance, own_mean = torch.var_mean(live, (0, 2, 3), keepdim=True, correction=0)
    live = (live - own_mean) * (variance[:, None, None] / own_variance).sqrt() + mean[:, None, None]
    expected = batch_norm(live, mean, variance)
    torch.testing.assert_close(norm(torch.cat([reference, live]))[4:], expected)


def test_coursework_sheet_2_4_initial_scale_and_gradient_through_the_reference():
    torch.manual_seed(0)
    norm = VirtualBatchNorm(20_000, 2)
    assert norm.weight.mean().item() == pytest.approx(1, abs=1e-3)
    assert norm.weight.std().item() == pytest.approx(0.02, rel=0.05)
    norm = plain(2, 4)
    reference = torch.randn(4, 2, 3, 3, requires_grad=True)
    norm(torch.cat([reference, torch.randn(2, 2, 3, 3)]))[4:].square().sum().backward()
    assert reference.grad.abs().min() > 0


@pytest.fixture(params=["nearest", "transposed"])
def build(request, make):
    return partial(
        make, "upsampling", "decoder", (1, 28, 28), 16, classes=4, width=0.125, upsampling=request.param,
        normalisation="virtual_batch_norm", reference=8,
    )


@pytest.fixture
def network(build):
    return build()


def test_a_network_owns_its_reference(network):
    assert isinstance(network, Referenced)
    assert network.reference.shape == (8, 16)
    assert network.reference_labels.shape == (8,)
    assert (network.latents, network.classes, network.image_range) == (16, 4, (-1, 1))
    latents, labels = torch.randn(5, 16), torch.tensor([0, 1, 2, 3, 0])
    assert network(latents, labels).shape == (5, 1, 28, 28)
    bits = nn.functional.one_hot(labels, 4)
    torch.testing.assert_close(network(latents, bits), network(latents, labels))
    with pytest.raises(UserError, match="needs labels"):
        network(latents)


def test_training_and_eval_agree_once_settled(network):
    """Also at once after construction, and after the weights have moved; without `settle` they would not."""
    latents, labels = torch.randn(5, 16), torch.tensor([0, 1, 2, 3, 0])
    trained = network(latents, labels)
    torch.testing.assert_close(network.eval()(latents, labels), trained, rtol=0, atol=1e-5)
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    stale = network(latents, labels)
    network.settle()
    assert not network.training
    settled = network(latents, labels)
    torch.testing.assert_close(network.train()(latents, labels), settled, rtol=0, atol=1e-5)
    assert not torch.allclose(stale, settled, atol=1e-4)


def test_one_image_depends_on_no_other_in_training(network):
    latents, labels = torch.randn(5, 16), torch.zeros(5, dtype=torch.int64)
    torch.testing.assert_close(network(latents, labels)[2:3], network(latents[2:3], labels[2:3]), rtol=0, atol=1e-5)


def test_coursework_sheet_7_5_the_state_dict_is_complete(build):
    """Reference and statistics travel: another network with that state makes the same images, trained or shipped."""
    network = build()
    state = network.state_dict()
    assert {"reference", "reference_labels"} < set(state)
    assert sum(name.endswith(("reference_mean", "reference_square")) for name in state) >= 4
    other = build()
    assert not torch.equal(other.reference, network.reference)
    other.load_state_dict(state)
    latents, labels = torch.randn(3, 16), torch.tensor([0, 1, 2])
    assert torch.equal(network.eval()(latents, labels), other.eval()(latents, labels))
    assert torch.equal(network.train()(latents, labels), other.train()(latents, labels))


def test_medium_has_as_many_trainable_parameters_with_either_norm(make_meta, count):
    virtual = make_meta("upsampling", "decoder", (1, 28, 28), 100, normalisation="virtual_batch_norm")
    assert count(virtual) == (1_225_601, 1_225_601)


def test_averaging_is_declared_for_every_buffer(network):
    modules = [module for module in network.modules() if isinstance(module, (VirtualBatchNorm, Referenced))]
    assert {type(module) for module in modules} == {VirtualBatchNorm, Referenced}
    for module in modules:
        assert set(module.averaging) == {name for name, _ in module.named_buffers(recurse=False)}


def test_half_precision_keeps_the_statistics_in_float32():
    norm = plain(2, 16)
    x = (100 + torch.randn(20, 2, 8, 8)).bfloat16()
    expected = norm(x.float())
    assert (norm(x).float() - expected).abs().mean() < 0.3
    assert norm.reference_square.dtype == torch.float32


def test_a_reference_of_one_is_refused(make):
    with pytest.raises(UserError, match="2 images or more"):
        make("upsampling", "decoder", (1, 28, 28), 16, normalisation="virtual_batch_norm", reference=1, width=0.125)
