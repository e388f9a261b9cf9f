"""Every registered recipe builds; every family crosses with every architecture, trains, and is shipped."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from frugan import build, convs, nets, recipes
from frugan.artefact import load
from frugan.convs import LayerChoice
from frugan.costs import Cost, cost
from frugan.engine import checkpoint
from frugan.engine.loop import play_round
from frugan.engine.processes import Processes
from frugan.recipe import Network, Recipe, Rule, from_dict, to_dict
from frugan.registry import UserError
from frugan.training import train

FAMILIES = convs.names()
NAMES = recipes.names()
# One recipe for each architecture and form of it: those that make images from latents, and those that translate.
FORMS = ["dcgan-medium", "vbn", "cgan", "dcgan-paper", "dcgan-64", "dcgan-32", "mnist", "cifar10-frog"]
TRANSLATING = ["stargan", "cyclegan-6"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("family", FAMILIES)
def test_every_recipe_takes_every_family_by_name(name, family):
    found = recipes.find(name)
    width = 0.05 if name.startswith("biggan") else 0.25  # whose orthogonal weights take a second each time
    thin = found.with_changes({f"{network}.width": width for network in found.networks})
    recipe = thin.with_family(family).with_family(family, "discriminator")
    build.check(recipe)
    assert from_dict(to_dict(recipe)) == recipe


def test_a_table_of_a_recipe_is_what_its_family_means_there():
    recipe = recipes.find("mnist-faithful")
    roles = [rule.pattern for rule in recipe.with_family("factorised").networks["generator"].families]
    assert roles == ["block.0", "up.0", "output"]
    assert [rule.pattern for rule in recipe.with_family("grouped").networks["generator"].families] == ["*"]


SPLIT_AS_PUBLISHED = {
    "factorised": ("mnist-faithful", "emnist-letters-faithful"),
    "depthwise": ("mnist-faithful", "emnist-letters-faithful", "cifar10-frog-faithful", "StarGAN", "DepthwiseGAN"),
}  # fmt: skip
"""Names of recipes, and systems whose recipes all share the published layers."""


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("family", ["factorised", "depthwise"])
def test_a_family_by_name_leaves_the_layer_that_makes_the_image_whole(name, family):
    """Split, an image passes through as few channels as it has: such generators lost quality, or their black."""
    recipe = recipes.find(name)
    if {name, recipe.system} & set(SPLIT_AS_PUBLISHED[family]):
        pytest.skip(f"its {family} form was published with a split output layer")
    for network in recipe.makers():
        blueprint = build.blueprints(recipe.with_family(family))[network]
        with torch.device("meta"):
            _, layers = blueprint.build()
        last = [one for one in layers.choices if one.out_channels == blueprint.image.channels][-1:]
        assert [one.family for one in last if one.kernel > 1] in ([], ["standard"]), (network, last)


@pytest.mark.parametrize("name", NAMES)
def test_a_judge_without_norms_has_biases(name):
    """Without both, a score would only grow with an image's contrast, and grey would be the safest image."""
    recipe = recipes.find(name)
    for network, blueprint in build.blueprints(recipe).items():
        spec = recipe.networks[network]
        if network in recipe.makers():
            continue
        if "normalisation" in nets.options(spec.architecture, blueprint.part):
            spec = replace(spec, options={**spec.options, "normalisation": "none"})
        try:
            with torch.device("meta"):
                module, _ = replace(blueprint, spec=spec).build()
        except UserError:
            continue  # this one always has norms
        if not any("Norm" in type(part).__name__ for part in module.modules()):
            assert any(key.endswith("bias") for key, _ in module.named_parameters()), network


# -------------------------------------------------------------------------------- what a family saves, by the formulas


def counted(recipe: Recipe, family: str) -> tuple[Cost, list[LayerChoice], dict[str, tuple[int, ...]], dict[str, int]]:
    """The network that makes images, with `family` everywhere: its cost, its choices, each role's output and MACs."""
    maker = recipe.makers()[0]
    spec: Network = replace(recipe.networks[maker], families=(Rule("*", family),))
    blueprint = replace(build.blueprints(recipe)[maker], spec=spec)
    module, layers = blueprint.build()
    found = cost(module.eval(), *blueprint.example())
    by_role: dict[str, int] = {}
    outputs: dict[str, tuple[int, ...]] = {}
    roles = {path: getattr(part, "role", None) for path, part in module.named_modules()}
    for layer in found.layers:
        path = layer.name
        while path and roles.get(path) is None:
            path = path.rpartition(".")[0]
        role = roles.get(path)
        if role is not None:
            by_role[role] = by_role.get(role, 0) + layer.macs
            outputs[role] = layer.output or ()
    return found, layers.choices, outputs, by_role


def predicted(choice: LayerChoice, output: tuple[int, ...], family: str) -> int:
    """Multiply-accumulates of one layer of the generator by the formulas of the plain form."""
    given, made, kernel, stride = choice.in_channels, choice.out_channels, choice.kernel, choice.stride
    pixels = output[-2] * output[-1]
    # A transposed layer is counted where it reads, another where it writes.
    here = pixels // stride**2 if choice.kind == "up" else pixels
    if kernel == 1 or family == "standard":
        return here * given * made * kernel**2
    if family == "factorised":  # M = out: K x 1 with stride (s, 1), then 1 x K with stride (1, s)
        tall, wide = (here * stride, here) if choice.kind == "down" else (here, here)
        return tall * given * made * kernel + (wide * stride if choice.kind == "up" else wide) * made * made * kernel
    assert family == "depthwise"
    return here * given * kernel**2 + pixels * given * made


@pytest.mark.parametrize("name", [*FORMS, *TRANSLATING, "biggan-cifar10"])
@pytest.mark.parametrize("family", ["factorised", "depthwise"])
def test_multiply_accumulates_fall_as_the_formula_says(name, family):
    recipe = recipes.find(name).with_changes({"architecture.width": 0.25})
    standard, choices, outputs, plain = counted(recipe, "standard")
    frugal, others, _, found = counted(recipe, family)
    assert [choice.role for choice in choices] == [choice.role for choice in others]
    for choice in choices:
        assert plain[choice.role] == predicted(choice, outputs[choice.role], "standard"), choice.role
        assert found[choice.role] == predicted(choice, outputs[choice.role], family), choice.role
    assert frugal.macs < standard.macs
    assert frugal.parameters < standard.parameters
    assert frugal.macs - sum(found.values()) == standard.macs - sum(plain.values())  # all other layers are as they were


@pytest.mark.parametrize("name", FORMS + TRANSLATING)
@pytest.mark.parametrize("family", [family for family in FAMILIES if family != "standard"])
def test_a_family_changes_at_least_one_layer_or_says_that_it_did_not(name, family):
    recipe = recipes.find(name).with_changes({"architecture.width": 0.25})
    standard, *_ = counted(recipe, "standard")
    frugal, choices, *_ = counted(recipe, family)
    changed = [choice for choice in choices if choice.family == family]
    assert all(choice.declined for choice in choices if choice.family != family)
    if changed:
        assert frugal.parameters < standard.parameters
    else:
        assert family == "bilinear_additive"
        assert all(choice.kind != "up" or choice.stride == 1 for choice in choices)
        assert (frugal.parameters, frugal.macs) == (standard.parameters, standard.macs)


# --------------------------------------------------------------------------------------------- trained, and shipped


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("family", FAMILIES)
def test_one_step_moves_every_parameter_and_the_artefact_gives_the_same_images(name, family, tiny, tmp_path):
    recipe = tiny(name).with_changes({"averages.generator.half_life": 20}).with_family(family)
    recipe = recipe.with_family("standard" if family == "bilinear_additive" else family, "discriminator")
    folder = train(recipe, images=8, out=tmp_path / "run", quiet=True)
    begun = {key: module.state_dict() for key, (module, _) in build.networks(resolved(folder.recipe)).items()}

    kept = checkpoint.newest(folder.checkpoints)
    assert kept is not None
    tensors, _ = checkpoint.read(kept)
    for network, (module, _) in build.networks(resolved(folder.recipe)).items():
        for key, _ in module.named_parameters():
            assert not torch.equal(begun[network][key], tensors[f"network.{network}/{key}"]), f"{network}.{key}"

    generator = load(folder.path)
    images = generator.sample(5, seed=3)
    assert images.shape == (5, recipe.data.size, recipe.data.size, recipe.data.channels)
    again = load(generator.save(tmp_path / "artefact"))
    assert np.array_equal(again.sample(5, seed=3), images)
    latents, labels = torch.randn(4, 8), torch.arange(4) if name == "cgan" else None
    made = generator(latents, labels)  # floats show what a hardly trained net's bytes may not
    assert torch.equal(made, again(latents, labels))
    assert not torch.equal(made[0], made[1])
    assert again.weights_hash == generator.weights_hash


@pytest.mark.parametrize("name", TRANSLATING)
@pytest.mark.parametrize("family", ["standard", "depthwise", "factorised"])
def test_one_round_moves_every_weight_of_translators_and_the_artefact_translates_alike(name, family, tiny, tmp_path):
    recipe = tiny(name).with_family(family).with_family(family, "discriminator")
    folder = train(recipe, images=2, out=tmp_path / "run", quiet=True)
    begun = {key: module.state_dict() for key, (module, _) in build.networks(resolved(folder.recipe)).items()}
    kept = checkpoint.newest(folder.checkpoints)
    assert kept is not None
    tensors, _ = checkpoint.read(kept)
    for network, state in begun.items():
        for key, value in state.items():
            assert not torch.equal(value, tensors[f"network.{network}/{key}"]), f"{network}.{key}"
    translator = load(folder.path)
    images = np.random.default_rng(0).integers(0, 255, (3, 24, 32, 3), dtype=np.uint8)
    target = translator.domains[0]
    again = load(translator.save(tmp_path / "artefact"))
    assert np.array_equal(again.translate(images, target), translator.translate(images, target))


def resolved(path: Path) -> Recipe:
    return from_dict(json.loads(path.read_text()))


# ---------------------------------------------------------------------------------------------------------------- rules


@pytest.mark.parametrize(("kernel", "form"), [(3, "pair"), (4, "pair"), (7, "both")])
def test_a_kernel_that_a_rule_replaces_keeps_the_size_where_an_architecture_pads_by_itself(kernel, form):
    """DCGAN's 5 x 5 layers crop (2, 1): right for 5, wrong for any other kernel."""
    recipe = recipes.find("dcgan-paper").with_changes({"generator.width": 0.05, "discriminator.width": 0.05})
    rules = {
        "generator": (Rule("up.*", "factorised", {"kernel": kernel, "form": form}),),
        "discriminator": (Rule("down.*", "factorised", {"kernel": kernel, "form": form}),),
    }
    networks = {name: replace(network, families=rules[name]) for name, network in recipe.networks.items()}
    built = build.networks(replace(recipe, networks=networks))
    images = built["generator"][0].eval()(torch.randn(2, 100))
    assert images.shape == (2, 3, 64, 64)
    assert built["discriminator"][0].eval()(images)["score"].shape == (2, 1)
    for name in rules:
        assert {choice.kernel for choice in built[name][1].choices} == {kernel, 5}


def test_a_rule_that_matches_no_layer_is_an_error_and_declines_are_told():
    recipe = recipes.find("mnist")
    generator = replace(recipe.networks["generator"], families=(Rule("pu.*", "factorised"),))
    with pytest.raises(UserError, match=r"'pu\.\*' -> factorised matches no layer.*block\.0, up\.0, output"):
        build.check(replace(recipe, networks={**recipe.networks, "generator": generator}))
    (told,) = build.check(recipe.with_family("grouped"))
    assert "generator: standard layers for output; the family 'grouped' declines" in told
    (told,) = build.check(recipes.find("vanilla").with_family("factorised"))
    assert "factorised changes nothing" in told


def test_weights_follow_from_seed_and_network_alone():
    """Twins that differ in the generator begin with the same discriminator."""
    recipe = recipes.find("mnist").with_changes({"generator.width": 0.1, "discriminator.width": 0.1})
    one, other = build.networks(recipe), build.networks(recipe.with_family("depthwise"))
    states = [built["discriminator"][0].state_dict() for built in (one, other)]
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    another = build.networks(replace(recipe, seed=1))["discriminator"][0].state_dict()
    assert any(not torch.equal(states[0][key], another[key]) for key in another)


@pytest.mark.parametrize(("changes", "told"), [
    ({"streams": {"unlabelled": {}}}, "has no stream 'unlabelled'"),
    ({"streams": {"train": {"sorce": "x"}}}, "Did you mean 'source'"),
])
def test_streams_are_checked(changes, told):
    with pytest.raises(UserError, match=told):
        build.check(replace(recipes.find("mnist"), **changes))


def test_players_and_networks_that_do_not_fit_are_named():
    recipe = recipes.find("mnist")
    players = {**recipe.players, "generator": replace(recipe.players["generator"], networks=("generatr",))}
    with pytest.raises(UserError, match="Did you mean 'generator'"):
        build.check(replace(recipe, players=players))
    networks = {"generator": recipe.networks["generator"]}
    with pytest.raises(UserError, match="needs a network 'discriminator'"):
        build.check(replace(recipe, networks=networks))
    more = {**recipe.networks, "critic": recipe.networks["discriminator"]}
    with pytest.raises(UserError, match="does not use a network 'critic'"):
        build.check(replace(recipe, networks=more))


def test_the_compatibility_table_is_asked():
    recipe = recipes.find("mnist")
    (told,) = build.check(recipe.with_changes({"penalties": "r1", "discriminator.normalisation": "batch_norm"}))
    assert "batch normalisation" in told
    assert build.check(recipe.with_changes({"penalties": "r1", "discriminator.normalisation": "none"})) == []
    hinge = recipe.with_changes({"loss": "hinge", "penalties": "none", "discriminator.normalisation": "none"})
    assert any("hinge" in line for line in build.check(hinge))
    assert build.check(hinge.with_changes({"discriminator.normalisation": "spectral"})) == []


@pytest.mark.parametrize("changes", [
    {"batch_size": 1}, {"game.batches": [[8, 1]]}, {"batch_size": 1, "discriminator.minibatch": "discrimination"},
], ids=str)  # fmt: skip
def test_losses_sheet_6_minibatch_layers_are_refused_on_batches_of_one_image(changes):
    recipe = recipes.find("pggan-portraits")
    with pytest.raises(UserError, match=r"only 1 image in each process\. Give each 2 or more \(batch_size, and game"):
        build.check(recipe.with_changes(changes))
    assert build.check(recipe.with_changes({**changes, "discriminator.minibatch": "none"})) == []
    assert build.check(recipe.with_changes({"batch_size": 2, "game.batches": [[8, 2]]})) == []


def test_losses_sheet_6_minibatch_layers_are_refused_where_each_process_has_one_image():
    recipe = recipes.find("pggan-portraits").with_changes({"batch_size": 16, "game.batches": [[32, 4]]})
    with pytest.raises(UserError, match="only 1 image in each process"):
        build.parts(build.assemble(recipe), {}, Processes(0, 4))
    build.parts(build.assemble(recipe), {}, Processes(0, 2))


SLOPES = [name for name in recipes.names() if "r1" in {penalty.name for penalty in recipes.find(name).penalties}]


@pytest.mark.parametrize("name", SLOPES)
def test_penalties_on_slopes_hold_in_half_precision_too(name, tiny):
    """On meta tensors, where the contract of devices plays every recipe in bf16, types are not compared."""
    assembly = build.assemble(tiny(name))
    parts = build.parts(assembly, build.datasets(assembly.recipe), precision="bf16")
    for network in parts.game.networks.values():
        network.train()
    assert all(torch.isfinite(value) for value in play_round(parts).values())
