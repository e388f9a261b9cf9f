"""Averaged weights: the numbers of the losses sheet, and what happens to buffers."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from frugan.engine.average import STANDING_BATCHES, Average, measure_standing


def network(value: float) -> nn.Linear:
    layer = nn.Linear(1, 1)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.fill_(value)
    return layer


def test_losses_sheet_5_average_from_0_towards_1_with_beta_0_9():
    source = network(0.0)
    average = Average(source, half_life=batch_for(0.9))
    with torch.no_grad():
        source.weight.fill_(1.0)
    for round_, wanted in enumerate((0.1, 0.19, 0.271), start=1):
        average.update(images=round_, batch=1)
        assert average.network.weight.item() == pytest.approx(wanted, abs=1e-6)
        assert source.weight.item() == 1.0


def batch_for(beta: float) -> float:
    """The half-life, for a batch of 1, at which the average keeps `beta` of itself."""
    return torch.log(torch.tensor(0.5, dtype=torch.double)).div(torch.log(torch.tensor(beta).double())).item()


def test_losses_sheet_5_average_half_life_of_10000_images_at_batch_64():
    source = network(1.0)
    average = Average(source, half_life=10_000)
    with torch.no_grad():
        source.weight.fill_(0.0)
    average.update(images=64, batch=64)
    assert average.network.weight.item() == pytest.approx(0.995574, abs=1e-6)


def test_biggan_sheet_5_8_average_of_three_updates_and_before_it_begins():
    source = network(1.0)
    average = Average(source, half_life=200 * 6931.1, start=400)
    with torch.no_grad():
        source.weight.fill_(0.3)
    for images in (200, 400):  # rounds that are no later than its start
        average.update(images, batch=200)
        assert torch.equal(average.network.weight, source.weight)
    with torch.no_grad():
        average.network.weight.fill_(0.0)
        source.weight.fill_(1.0)
    for images in (600, 800, 1000):
        average.update(images, batch=200)
    assert 1 - average.network.weight.item() == pytest.approx(0.99970003, abs=1e-7)


@pytest.mark.parametrize("batch", [50, 100])
def test_losses_sheet_5_average_after_one_half_life_the_old_weight_counts_half(batch):
    source = network(1.0)
    average = Average(source, half_life=1000)
    with torch.no_grad():
        source.weight.fill_(0.0)
    for shown in range(batch, 1001, batch):
        average.update(images=shown, batch=batch)
    assert average.network.weight.item() == pytest.approx(0.5, abs=1e-5)


def test_with_a_ramp_the_half_life_is_at_most_a_share_of_the_images_seen():
    for images, half_life in ((100, 10), (100_000, 1000)):
        source = network(1.0)
        average = Average(source, half_life=1000, ramp=0.1)
        with torch.no_grad():
            source.weight.fill_(0.0)
        average.update(images=images, batch=5)
        assert average.network.weight.item() == pytest.approx(0.5 ** (5 / half_life), abs=1e-6)


def test_before_its_start_and_with_no_half_life_the_copy_equals_the_network():
    source = network(1.0)
    for average in (Average(source, half_life=0), Average(source, half_life=100, start=64)):
        with torch.no_grad():
            source.weight.add_(0.3)
        average.update(images=64, batch=64)
        assert torch.equal(average.network.weight, source.weight)
    average.update(images=128, batch=64)
    with torch.no_grad():
        source.weight.add_(1.0)
    average.update(images=192, batch=64)
    assert not torch.equal(average.network.weight, source.weight)


class Declaring(nn.Module):
    """A module with a buffer of each fate."""

    averaging = {"followed": "average"}  # noqa: RUF012

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.register_buffer("followed", torch.zeros(1))
        self.register_buffer("taken", torch.zeros(1))
        self.register_buffer("count", torch.zeros(1, dtype=torch.long))


def test_losses_sheet_5_average_of_buffers_is_as_they_declare():
    source = nn.Sequential(Declaring(), nn.BatchNorm1d(1))
    average = Average(source, half_life=batch_for(0.9))
    with torch.no_grad():
        for tensor in source.state_dict().values():
            tensor.fill_(1)
    average.update(images=1, batch=1)
    found = {name: round(tensor.item(), 6) for name, tensor in average.state_dict().items()}
    # Running statistics are averaged with the weights, the integer counter never; the norm's weight was 1 already.
    assert found == {
        "0.weight": 0.1, "0.followed": 0.1, "0.taken": 1, "0.count": 1, "1.weight": 1, "1.bias": 0.1,
        "1.running_mean": 0.1, "1.running_var": 1, "1.num_batches_tracked": 1,
    }


def test_the_copy_is_in_evaluation_mode_needs_no_gradient_and_round_trips():
    source = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    average = Average(source, half_life=10)
    assert not average.network.training
    assert not any(parameter.requires_grad for parameter in average.network.parameters())
    assert source.training
    other = Average(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)), half_life=10)
    other.load_state_dict(average.state_dict())
    mine, theirs = other.state_dict(), source.state_dict()
    assert all(torch.equal(mine[name], theirs[name]) for name in mine.keys() | theirs.keys())


# -------------------------------------------------------------------------------------------------- standing statistics


def test_biggan_sheet_5_12_standing_statistics_of_equal_batches_are_those_of_one():
    norm, batch = nn.BatchNorm2d(3).eval(), torch.randn(8, 3, 4, 4)
    measure_standing([norm], lambda number: norm(batch))
    torch.testing.assert_close(norm.running_mean, batch.mean((0, 2, 3)))
    torch.testing.assert_close(norm.running_var, batch.var((0, 2, 3)))


def test_standing_statistics_are_means_over_batches_and_can_be_taken_back():
    reached, apart = nn.BatchNorm1d(2).eval(), nn.BatchNorm1d(2, momentum=None).eval()
    for norm in (reached, apart):
        norm.running_mean.fill_(7)
    network = nn.ModuleList([nn.Dropout(), reached, apart]).eval()
    batches = torch.randn(STANDING_BATCHES, 64, 2, generator=torch.Generator().manual_seed(0)) + 3

    def show(number: int) -> torch.Tensor:
        assert not network[0].training
        return reached(batches[number])

    undo = measure_standing([network], show)
    assert torch.allclose(reached.running_mean, batches.mean((0, 1)), atol=1e-5)
    assert torch.allclose(reached.running_var, batches.var(1).mean(0), atol=1e-5)
    assert torch.equal(apart.running_mean, torch.full((2,), 7.0)), "what no image passes through keeps what it stores"
    assert (reached.momentum, apart.momentum, reached.training) == (0.1, None, False)
    undo()
    assert torch.equal(reached.running_mean, torch.full((2,), 7.0))
    assert not reached.num_batches_tracked


def test_without_batch_norm_no_image_is_made():
    def show(number: int) -> None:
        raise AssertionError

    measure_standing([nn.Linear(2, 2), nn.InstanceNorm2d(2)], show)()
