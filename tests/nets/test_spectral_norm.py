from __future__ import annotations

import pytest
import torch
from torch import nn

from frugan.nets._spectral import spectral


def largest(weight, axis=0):
    """The largest singular value of a weight, its outputs on `axis`."""
    return torch.linalg.matrix_norm(weight.movedim(axis, 0).flatten(1), 2).item()


@pytest.mark.parametrize(("rows", "sigma"), [([[3, 0], [4, 0]], 5), ([[1, 2], [3, 4]], 5.464986)])
def test_losses_sheet_5_spectral_weights_are_divided_by_the_largest_singular_value(rows, sigma):
    layer = nn.Linear(2, 2)
    weight = torch.tensor(rows, dtype=torch.float32)
    with torch.no_grad():
        layer.weight.copy_(weight)
    spectral(layer)
    torch.testing.assert_close(layer.eval().weight, weight / sigma, rtol=1e-5, atol=1e-5)


def test_losses_sheet_5_spectral_vectors_are_buffers_that_only_training_moves():
    layer = nn.Conv2d(4, 6, 3)
    spectral(layer)
    before = {name: buffer.clone() for name, buffer in layer.named_buffers()}
    assert sorted(buffer.numel() for buffer in before.values()) == [6, 4 * 3 * 3]
    assert set(before) <= set(layer.state_dict())
    layer.eval()(torch.randn(1, 4, 5, 5))
    assert all(torch.equal(buffer, before[name]) for name, buffer in layer.named_buffers())
    layer.train()(torch.randn(1, 4, 5, 5))
    assert not any(torch.equal(buffer, before[name]) for name, buffer in layer.named_buffers())


@pytest.mark.parametrize(
    ("layer", "axis"),
    [
        (nn.Linear(7, 5), 0),
        (nn.Conv2d(4, 6, 3), 0),
        (nn.ConvTranspose2d(4, 6, 3), 1),  # its outputs lie on axis 1
        (nn.Conv2d(4, 4, (3, 1)), 0),
    ],
)
def test_losses_sheet_7_spectral_norm_is_1_after_50_iterations(layer, axis):
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        layer.weight.normal_(generator=generator)
    spectral(layer)
    for _ in range(50):
        _ = layer.weight  # each reading while training is one power iteration, as a forward pass does once
    assert largest(layer.eval().weight.detach(), axis) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("layer", [nn.Linear(20, 12), nn.Conv2d(8, 8, 3, groups=2), nn.ConvTranspose2d(4, 6, 3)])
def test_biggan_sheet_5_4_spectral_norm_is_as_exact_under_autocast(layer):
    spectral(layer)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        for _ in range(400):
            _ = layer.weight
        weight = layer.weight.detach()
        layer.eval()
        assert torch.equal(layer.weight, layer.weight)
    assert weight.dtype == torch.float32
    groups = weight.view(getattr(layer, "groups", 1), -1, *weight.shape[1:])
    for group in groups:
        assert largest(group, int(isinstance(layer, nn.ConvTranspose2d))) == pytest.approx(1, abs=1e-5)
