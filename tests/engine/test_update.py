"""How players are trained: `update(...)`, `together`, `gradients`, `fork`, `reset`, clipping, what is not finite."""

from __future__ import annotations

import copy
import functools

import pytest
import torch
from torch import Tensor, nn

from frugan.engine import checkpoint
from frugan.engine.processes import Processes
from frugan.engine.update import NonFinite, Player, Update
from frugan.registry import UserError


def adam(parameters):
    return torch.optim.Adam(parameters, lr=0.1)


def nets() -> dict[str, nn.Module]:
    torch.manual_seed(0)
    generator = nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5), nn.Linear(5, 2))
    return {"generator": generator, "discriminator": nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 1))}


def made(networks: dict[str, nn.Module], make=adam, **clip: float) -> Update:
    return Update({name: Player(name, {name: network}, make, **clip) for name, network in networks.items()})


def state(update: Update) -> dict[str, Tensor]:
    """Everything that a player owns: weights, buffers, optimiser state."""
    found = {}
    for name, player in update.players.items():
        for network in player.networks.values():
            found |= {f"{name}.{key}": value.clone() for key, value in network.state_dict().items()}
        for key, moments in player.optimiser.state_dict()["state"].items():
            found |= {f"{name}.optimiser.{key}.{kind}": torch.as_tensor(one).clone() for kind, one in moments.items()}
    return found


def same(one: dict[str, Tensor], other: dict[str, Tensor], prefix: str = "") -> bool:
    keys = {key for key in one.keys() | other.keys() if key.startswith(prefix)}
    assert keys or prefix
    return all(key in one and key in other and torch.equal(one[key], other[key]) for key in keys)


LATENTS = torch.randn(6, 3, generator=torch.Generator().manual_seed(1))
REAL = torch.randn(6, 2, generator=torch.Generator().manual_seed(2))


def test_a_step_moves_one_player_and_no_gradient_is_computed_for_the_other():
    networks = nets()
    update = made(networks)
    before = state(update)
    needed = []

    def loss():
        needed.append([p.requires_grad for p in networks["discriminator"].parameters()])
        assert all(p.requires_grad for p in networks["generator"].parameters())
        return networks["discriminator"](networks["generator"](LATENTS)).mean()

    (value,) = update("generator", loss)
    assert needed == [[False] * 4]
    assert not value.requires_grad
    after = state(update)
    assert same(before, after, "discriminator")
    moved = [key for key in before if key.startswith("generator.") and not torch.equal(before[key], after[key])]
    assert {"generator.0.weight", "generator.2.bias", "generator.1.running_mean"} <= set(moved)
    everyone = [p for network in networks.values() for p in network.parameters()]
    assert all(p.requires_grad and p.grad is None for p in everyone)


def test_several_losses_are_accumulated_to_one_step():
    two, one = made(nets(), lambda p: torch.optim.SGD(p, lr=0.1)), made(nets(), lambda p: torch.optim.SGD(p, lr=0.1))

    def parts(update: Update):
        network = update.players["discriminator"].networks["discriminator"]
        return lambda: network(REAL).square().mean(), lambda: network(REAL + 1).mean()

    values = two("discriminator", *parts(two))
    first, second = parts(one)
    (total,) = one("discriminator", lambda: first() + second())
    torch.testing.assert_close(values[0] + values[1], total)
    for mine, theirs in zip(state(two).values(), state(one).values(), strict=True):
        torch.testing.assert_close(mine, theirs)


def test_a_parameter_that_no_loss_reaches_stays_and_a_loss_without_it_is_no_error():
    networks = {"one": nn.Linear(2, 1), "idle": nn.Linear(2, 1)}
    update = Update({"both": Player("both", networks, lambda p: torch.optim.SGD(p, lr=0.1))})
    before = networks["idle"].weight.clone()
    update("both", lambda: networks["one"](REAL).mean())
    assert torch.equal(networks["idle"].weight, before)


def test_clipping_by_norm_and_by_value():
    weight = nn.Linear(2, 1, bias=False)
    start = weight.weight.detach().clone()

    def moved(**clip: float) -> Tensor:
        network = copy.deepcopy(weight)
        update = made({"one": network}, lambda p: torch.optim.SGD(p, lr=1.0), **clip)
        update("one", lambda: (network.weight * torch.tensor([[3.0, -4.0]])).sum())
        torch.testing.assert_close(update.norms["one"], torch.tensor(5.0))  # logged before it is clipped
        return start - network.weight.detach()

    torch.testing.assert_close(moved(), torch.tensor([[3.0, -4.0]]))
    torch.testing.assert_close(moved(clip_norm=1.0), torch.tensor([[0.6, -0.8]]))
    torch.testing.assert_close(moved(clip_norm=10.0), torch.tensor([[3.0, -4.0]]))
    torch.testing.assert_close(moved(clip_value=3.5), torch.tensor([[3.0, -3.5]]))


def test_together_steps_both_players_from_one_forward_as_by_hand():
    networks, calls = nets(), []
    update = made(networks)

    @functools.cache
    def scores() -> tuple[Tensor, Tensor]:
        calls.append(1)
        fake = networks["generator"](LATENTS)
        return networks["discriminator"](REAL), networks["discriminator"](fake)

    values = update.together({
        "discriminator": lambda: scores()[1].mean() - scores()[0].mean(), "generator": lambda: -scores()[1].mean(),
    })
    assert calls == [1]

    hand = nets()
    real, fake = hand["discriminator"](REAL), hand["discriminator"](hand["generator"](LATENTS))
    losses = {"discriminator": fake.mean() - real.mean(), "generator": -fake.mean()}
    gradients = {
        name: torch.autograd.grad(loss, list(hand[name].parameters()), retain_graph=True)
        for name, loss in losses.items()
    }
    for name, grads in gradients.items():
        optimiser = adam(hand[name].parameters())
        for parameter, grad in zip(hand[name].parameters(), grads, strict=True):
            parameter.grad = grad
        optimiser.step()
        torch.testing.assert_close(values[name], losses[name].detach())
        for mine, theirs in zip(networks[name].state_dict().values(), hand[name].state_dict().values(), strict=True):
            assert torch.equal(mine, theirs)


def test_together_steps_nobody_if_one_of_them_is_not_finite():
    update = made(nets())
    generator, discriminator = (update.players[name].networks[name] for name in ("generator", "discriminator"))
    before = {key: value.clone() for key, value in discriminator.state_dict().items()}
    with pytest.raises(NonFinite, match="generator"):
        update.together({
            "discriminator": lambda: discriminator(REAL).mean(),
            "generator": lambda: generator(LATENTS).mean() * float("nan"),
        })
    assert same(before, discriminator.state_dict())


def test_gradients_never_step_and_equal_autograd_by_hand():
    networks = nets()
    update = made(networks)
    discriminator = networks["discriminator"]
    before = state(update)

    def of_real():
        assert not any(p.requires_grad for p in networks["generator"].parameters())
        return nn.functional.softplus(-discriminator(REAL)).mean()

    def of_fake():
        return nn.functional.softplus(discriminator(REAL * 2 + 1)).mean()

    real, fake = update.gradients("discriminator", of_real), update.gradients("discriminator", of_fake)
    joint = update.gradients("discriminator", lambda: of_real() + of_fake())
    assert same(before, state(update))
    assert all(p.grad is None for p in discriminator.parameters())
    hand = torch.autograd.grad(of_real_by_hand(discriminator), list(discriminator.parameters()))
    assert list(real) == [f"discriminator.{name}" for name, _ in discriminator.named_parameters()]
    for mine, theirs in zip(real.values(), hand, strict=True):
        torch.testing.assert_close(mine, theirs)
    for name in joint:
        torch.testing.assert_close(real[name] + fake[name], joint[name])


def of_real_by_hand(discriminator: nn.Module) -> Tensor:
    return nn.functional.softplus(-discriminator(REAL)).mean()


def test_a_dropped_fork_changes_nothing_and_a_kept_one_moves_everything():
    networks = nets()
    update = made(networks)

    def step_of(generator: nn.Module):
        return lambda: networks["discriminator"](generator(LATENTS)).mean()

    update("generator", step_of(networks["generator"]))  # so that there are moments and running statistics to copy
    before = state(update)
    fork = update.fork("generator")
    fork.update(step_of(fork.networks["generator"]))
    assert same(before, state(update))

    # Stepped, the copy goes where the player itself would have gone.
    twin = update.fork("generator")
    twin.keep()
    assert same(before, state(update))
    update("generator", step_of(networks["generator"]))
    itself = state(update)
    fork.keep()
    assert same(itself, state(update))
    assert not same(before, state(update), "generator")
    # After it was kept, the copy and the player are apart again.
    fork.update(step_of(fork.networks["generator"]))
    assert same(itself, state(update))


def test_no_gradient_is_computed_for_a_fork_while_another_player_is_trained():
    networks = nets()
    update = made(networks)
    fork = update.fork("generator")
    needed = []

    def loss():
        needed.extend(p.requires_grad for p in fork.networks["generator"].parameters())
        return networks["discriminator"](fork.networks["generator"](LATENTS)).mean()

    update("discriminator", loss)
    assert needed
    assert not any(needed)
    needed.clear()
    fork.update(loss)
    assert all(needed)
    assert all(p.grad is None for p in fork.networks["generator"].parameters())


def test_a_fork_of_networks_that_share_a_module_shares_it_too():
    shared = nn.Linear(2, 2)
    player = Player("both", {"one": nn.Sequential(shared), "other": nn.Sequential(shared)}, adam)
    fork = Update({"both": player}).fork("both")
    assert fork.networks["one"][0] is fork.networks["other"][0]  # type: ignore[index]


def test_a_population_of_forks_and_keeping_one_into_another_player():
    """As an evolutionary game plays: every parent has children, the best of all are the next parents."""
    networks = nets()
    parents = {name: copy.deepcopy(networks["generator"]) for name in ("parent.0", "parent.1")}
    update = made({**parents, "discriminator": networks["discriminator"]})
    children = []
    for parent in parents:
        for sign in (1, -1):
            child = update.fork(parent)
            generator = child.networks[parent]
            child.update(lambda g=generator, s=sign: s * networks["discriminator"](g(LATENTS)).mean())
            with torch.no_grad():
                generator.eval()
                fitness = networks["discriminator"](generator(LATENTS)).mean().item()
                generator.train()
            children.append((fitness, parent, child))
    ranked = sorted(children, key=lambda one: one[0], reverse=True)
    for place, (_, _, child) in zip(parents, ranked, strict=False):
        child.keep(into=place)
    for place, (_, parent, child) in zip(parents, ranked, strict=False):
        kept, wanted = parents[place].state_dict(), child.networks[parent].state_dict()
        assert same(kept, wanted)
        moments = [update.players[place].optimiser.state_dict(), child.player.optimiser.state_dict()]
        assert same(*({f"{k}{n}": v for k, one in m["state"].items() for n, v in one.items()} for m in moments))
    first, second = ({id(p) for p in parent.parameters()} for parent in parents.values())
    assert not first & second


def test_reset_forgets_the_moments_and_keeps_weights_and_rates():
    networks = nets()
    update = made(networks)

    def loss():
        return networks["discriminator"](REAL).square().mean()

    update("discriminator", loss)
    weights = copy.deepcopy(networks["discriminator"].state_dict())
    update.players["discriminator"].optimiser.param_groups[0]["lr"] = 0.01
    update.reset("discriminator")
    assert not update.players["discriminator"].optimiser.state
    assert same(weights, networks["discriminator"].state_dict())
    fresh = copy.deepcopy(networks["discriminator"])
    optimiser = torch.optim.Adam(fresh.parameters(), lr=0.01)
    fresh(REAL).square().mean().backward()
    optimiser.step()
    update("discriminator", loss)
    assert same(fresh.state_dict(), networks["discriminator"].state_dict())


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_nothing_that_is_not_finite_is_ever_stepped(bad, where):
    networks = nets()
    update = made(networks, clip_norm=1.0, clip_value=1.0)
    update("discriminator", lambda: networks["discriminator"](REAL).mean())
    before = state(update)

    def loss():
        value = networks["discriminator"](REAL).mean()
        if where == "loss":
            return value + bad
        value.register_hook(lambda grad: grad * bad)
        return value

    with pytest.raises(NonFinite, match="discriminator"):
        update("discriminator", loss)
    assert same(before, state(update))
    update.naming = True
    with pytest.raises(NonFinite, match="loss 1" if where == "loss" else r"gradient of 'discriminator\.0\.weight'"):
        update("discriminator", loss)


class Other(Processes):
    """This process and another, whose gradients are the same and whose loss is not finite."""

    def __init__(self, gradients: int) -> None:
        super().__init__(rank=0, world=2)
        object.__setattr__(self, "gradients", gradients)

    def mean_(self, flat: Tensor) -> Tensor:
        flat[self.gradients :] += float("nan")  # type: ignore[attr-defined]
        return flat


def test_a_loss_that_is_not_finite_in_another_process_stops_this_one_too():
    networks = nets()
    players = {name: Player(name, {name: network}, adam) for name, network in networks.items()}
    update = Update(players, Other(sum(one.numel() for one in networks["discriminator"].parameters())))
    before = state(update)
    with pytest.raises(NonFinite, match="discriminator"):
        update("discriminator", lambda: networks["discriminator"](REAL).mean())
    assert same(before, state(update))


FUSED = functools.partial(torch.optim.Adam, lr=0.1, fused=True)


@pytest.mark.parametrize("make", [FUSED, adam, torch.optim.RMSprop, functools.partial(torch.optim.SGD, momentum=0.9)])
def test_where_nobody_may_wait_a_bad_step_is_noted_and_undone_and_so_is_what_follows(make, monkeypatch):
    monkeypatch.setattr("frugan.engine.update._may_wait", lambda tensor: False)
    networks = nets()
    update = made(networks, make, clip_norm=1.0)
    update("discriminator", lambda: networks["discriminator"](REAL).mean())
    assert update.broken is not None
    assert not update.broken
    before = state(update)
    weights = {f"generator.{name}": one for name, one in networks["generator"].named_parameters()}
    update("discriminator", lambda: networks["discriminator"](REAL).mean() * float("nan"))
    assert update.broken
    update("discriminator", lambda: networks["discriminator"](REAL).mean())
    update("generator", lambda: networks["generator"](LATENTS).mean())
    assert update.broken
    assert same(before, state(update), "discriminator")
    assert all(torch.equal(before[key], weight) for key, weight in weights.items())


def test_a_replay_steps_though_something_was_noted_before(monkeypatch):
    monkeypatch.setattr("frugan.engine.update._may_wait", lambda tensor: False)
    networks = nets()
    update = made(networks, FUSED)
    update("discriminator", lambda: networks["discriminator"](REAL).mean() * float("nan"))
    update.naming, update.broken = True, None
    before = state(update)
    update("discriminator", lambda: networks["discriminator"](REAL).mean())
    assert not same(before, state(update), "discriminator.0.weight")


def test_a_schedule_sets_the_rate_of_its_player_alone():
    networks = nets()
    update = made(networks)
    update.players["generator"].schedule = lambda images: 10.0 / (1 + images)
    update.set_rates(3)
    rates = {name: player.optimiser.param_groups[0]["lr"] for name, player in update.players.items()}
    assert rates == {"generator": 0.25, "discriminator": 0.1}


def test_an_unknown_player_is_answered_with_those_there_are():
    update = made(nets())
    with pytest.raises(UserError, match=r"player 'critic'.*discriminator, generator"):
        update("critic", lambda: torch.zeros(()))


def test_weights_that_are_frozen_from_the_start_stay_so():
    network = nn.Linear(2, 1)
    network.bias.requires_grad_(False)
    update = made({"one": network, "other": nn.Linear(2, 1)})
    before = network.bias.clone()
    update("one", lambda: network(REAL).mean())
    assert torch.equal(network.bias, before)
    assert not network.bias.requires_grad
    assert list(update.players["one"].named) == ["one.weight"]


def test_under_autocast_a_stepped_weight_is_seen_in_the_next_forward():
    """Autocast caches low-precision copies of weights until its block ends; a step must not leave them in use."""
    network = nn.Linear(2, 1, bias=False)
    update = made({"one": network}, lambda p: torch.optim.SGD(p, lr=1.0))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        before = network(REAL).float()
        update("one", lambda: network(REAL).mean())
        after = network(REAL).float()
    assert not torch.equal(before, after)
    assert network.weight.dtype == torch.float32


# ------------------------------------------------------------------------------------------------- dead trial copies


@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_a_trial_copy_that_is_not_finite_is_dead_and_everything_else_as_before(where):
    networks = nets()
    update = made(networks)
    update("generator", lambda: networks["discriminator"](networks["generator"](LATENTS)).mean())
    before = state(update)
    fork = update.fork("generator")
    child, own = fork.networks["generator"], copy.deepcopy(fork.networks["generator"].state_dict())
    assert fork.alive

    def loss():
        value = networks["discriminator"](child.eval()(LATENTS)).mean()
        if where == "loss":
            return value * float("inf")
        value.register_hook(lambda grad: grad * float("nan"))
        return value

    fork.update(loss)
    assert not fork.alive
    assert same(own, child.state_dict())
    assert all(parameter.grad is None for parameter in child.parameters())
    assert same(before, state(update))
    named = r"loss 1 \(-?inf\)" if where == "loss" else r"the gradient of 'generator\.0\.weight'"
    with pytest.raises(NonFinite, match=f"{named} of a trial copy of the player 'generator'"):
        fork.keep()
    with pytest.raises(NonFinite, match=named):
        fork.keep(into="generator")
    assert same(before, state(update))
    assert update.norms["generator"].isfinite()
    # Its player goes on, and so does another child.
    sister = update.fork("generator")
    sister.update(lambda: networks["discriminator"](sister.networks["generator"](LATENTS)).mean())
    assert sister.alive
    sister.keep()
    assert not same(before, state(update), "generator")


def test_a_dead_trial_copy_stays_dead_whatever_is_tried_afterwards():
    networks = nets()
    fork = made(networks).fork("generator")
    fork.update(lambda: networks["discriminator"](fork.networks["generator"](LATENTS)).mean() * float("nan"))
    fork.update(lambda: networks["discriminator"](fork.networks["generator"](LATENTS)).mean())
    assert not fork.alive
    with pytest.raises(NonFinite):
        fork.keep()


# ------------------------------------------------------------------------------------------------------ rates by stage


def rates(update: Update, player: str) -> list[float]:
    return [group["lr"] for group in update.players[player].optimiser.param_groups]


def test_a_scaled_rate_holds_for_its_player_until_the_next_round():
    networks = nets()
    update = made(networks)
    update.players["generator"].schedule = lambda images: 1.0 if images < 10 else 0.5
    update.set_rates(12)
    update.scale_rate("generator", 3.0)
    assert rates(update, "generator") == pytest.approx([0.15])
    assert rates(update, "discriminator") == [0.1]
    update.scale_rate("generator", 3.0)  # the same asked for twice is not asked for twice as much
    assert rates(update, "generator") == pytest.approx([0.15])
    fork = update.fork("generator")
    assert [group["lr"] for group in fork.player.optimiser.param_groups] == pytest.approx([0.15])
    fork.keep()
    update.set_rates(16)
    assert rates(update, "generator") == pytest.approx([0.05])
    with pytest.raises(UserError, match="player 'critic'"):
        update.scale_rate("critic", 2.0)


def test_a_scaled_rate_is_what_the_step_is_made_with():
    networks = nets()
    update = made(networks, lambda p: torch.optim.SGD(p, lr=0.1))
    twin = copy.deepcopy(networks["discriminator"])
    update.scale_rate("discriminator", 0.5)
    update("discriminator", lambda: networks["discriminator"](REAL).mean())
    twin(REAL).mean().backward()
    torch.optim.SGD(twin.parameters(), lr=0.05).step()
    assert same(twin.state_dict(), networks["discriminator"].state_dict())


def test_groups_of_parameters_keep_their_own_rates():
    networks = nets()

    def grouped(parameters):
        first, *rest = parameters
        return torch.optim.SGD([{"params": [first], "lr": 0.4}, {"params": rest}], lr=0.1)

    update = made(networks, grouped)
    update.players["discriminator"].schedule = lambda images: 0.5
    update.set_rates(0)
    assert rates(update, "discriminator") == pytest.approx([0.2, 0.05])
    update.scale_rate("discriminator", 10.0)
    assert rates(update, "discriminator") == pytest.approx([2.0, 0.5])
    fork = update.fork("discriminator")
    assert [group["lr"] for group in fork.player.optimiser.param_groups] == pytest.approx([2.0, 0.5])
    update.set_rates(100)
    assert rates(update, "discriminator") == pytest.approx([0.2, 0.05])
    assert rates(update, "generator") == pytest.approx([0.4, 0.1])


@pytest.mark.parametrize("optimiser", [
    functools.partial(torch.optim.Adam, lr=0.1, fused=True), functools.partial(torch.optim.RMSprop, lr=0.1),
])  # fmt: skip
def test_moments_come_back_in_the_layout_of_their_weights(tmp_path, optimiser):
    """A fused optimiser goes through weights and moments by address: another layout would mix up their elements."""
    default, last = torch.contiguous_format, torch.channels_last

    def stepped(saved: torch.memory_format | None) -> Tensor:
        """The weight after three steps; after the first, moments are saved and loaded into a player of this layout."""
        torch.manual_seed(0)
        gradients = torch.randn(3, 4, 3, 2, 2)
        layer = nn.Conv2d(3, 4, 2, bias=False).to(memory_format=saved or last)
        player = Player("p", {"layer": layer}, optimiser)
        for number, gradient in enumerate(gradients):
            layer.weight.grad = torch.empty_like(layer.weight).copy_(gradient)
            player.optimiser.step()
            if saved and number == 0:
                path = checkpoint.write(tmp_path, {"layer": layer, "moments": player.optimiser}, 1)
                layer = nn.Conv2d(3, 4, 2, bias=False).to(memory_format=last)
                player = Player("p", {"layer": layer}, optimiser)
                checkpoint.restore({"layer": layer, "moments": player.optimiser}, *checkpoint.read(path))
        return layer.weight.detach()

    assert torch.equal(stepped(None), stepped(last))
    assert torch.equal(stepped(None), stepped(default))
