"""Requirements that every run must meet, whatever kind of variant the user has added.

A variant checked here has a `recipe`, which is small and uses the variant, and a `ground`.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from frugan import artefact
from frugan.batch import Batch
from frugan.checking._contract import NotAsked, NotKept, find_difference
from frugan.checking._ground import BATCH, Ground
from frugan.engine import checkpoint
from frugan.engine.loop import Parts, play, play_round
from frugan.engine.observers import Moment
from frugan.recipe import Recipe


class Runs(Protocol):
    """A variant that is checked by a run that uses it."""

    @property
    def name(self) -> str: ...

    @property
    def ground(self) -> Ground: ...

    @property
    def recipe(self) -> Recipe: ...


def copy_state(parts: Parts) -> dict[str, Tensor]:
    """Copies of all tensors of a run, by name."""
    return checkpoint.capture(parts.stateful())[0]


def plays_a_round(variant: Runs) -> None:
    """Every network that a player trains changes. Scalars are tensors, so a GPU is not waited for."""
    parts = variant.ground.parts(variant.recipe)
    before = copy_state(parts)
    scalars = play_round(parts)
    if not parts.batches.taken:
        raise NotKept("a round takes no real images: take them by batches.take(stream, count), which counts them.")
    odd = next((name for name, value in scalars.items() if not isinstance(value, Tensor)), None)
    if odd is not None:
        raise NotKept(
            f"step() gives '{odd}' as a {type(scalars[odd]).__name__}: return scalars as tensors, so that nobody waits "
            "for the device (value.detach(), never value.item())."
        )
    for name, value in scalars.items():
        if value.dim() != 0:
            raise NotKept(f"step() gives '{name}' of shape {list(value.shape)}: give one number (value.mean()).")
        if value.requires_grad:
            raise NotKept(f"step() gives '{name}' with its graph, which would stay in memory: return value.detach().")
        if not torch.isfinite(value):
            raise NotKept(f"step() gives '{name}' = {float(value)} in the first round: every scalar must be finite.")
    after = copy_state(parts)
    changed = [key for key in before if not torch.equal(before[key], after[key])]
    for name, network in parts.trained().items():
        weights = {f"network.{name}/{key}" for key, _ in network.named_parameters()}
        if not weights & set(changed):
            raise NotKept(
                f"the network '{name}' has a player, but a round does not change it: call update(player, loss) with a "
                "loss that depends on it. To keep its weights as they are, name it in no player."
            )
    for name in sorted(set(parts.game.networks) - set(parts.trained())):
        moved = [key for key in changed if key.startswith(f"network.{name}/")]
        if moved:
            raise NotKept(f"the network '{name}' has no player, but a round changed its '{moved[0]}'.")


def resumes_bit_for_bit(variant: Runs) -> None:
    """A run of two rounds that is saved and continued for two more equals a run of four rounds, bit for bit."""
    recipe, ground = variant.recipe, variant.ground
    whole = copy_state(ground.play(recipe, 4))
    first, second = ground.play(recipe, 2), ground.parts(recipe)
    path = checkpoint.write(ground.new_folder("checkpoints"), first.stateful(), first.clock.images)
    checkpoint.restore(second.stateful(), *checkpoint.read(path))
    play(second, rounds=4)
    apart = find_difference(whole, copy_state(second))
    if apart is None:
        return
    again = find_difference(whole, copy_state(ground.play(recipe, 4)))
    if again is not None:
        raise NotKept(
            f"the same run played twice differs in '{again}': draw random numbers from progress.generator(name) (in a "
            "penalty or augmentation from the generator that it gets), and use no other randomness."
        )
    raise NotKept(
        f"a run that was interrupted and continued differs in '{apart}' from one that was not. Save what must be "
        "remembered with state_dict() and load_state_dict(state), in a network with buffers."
    )


def ships_what_was_trained(variant: Runs) -> None:
    """After a continued run, every role can be loaded and saved, and the saved artefact loads as the same network."""
    ground = variant.ground
    run = ground.run(variant.recipe, 2, out=ground.run(variant.recipe, 1).path)
    shipped = run.read_json(run.facts)["shipped"]
    if not shipped:
        raise NotAsked("the game ships nothing.")
    for role in shipped:
        made = artefact.load(run.path, role=role)
        again = artefact.load(made.save(ground.new_folder("artefact")))
        for one, other in zip(_used(made), _used(again), strict=True):
            if not np.array_equal(one, other):
                raise NotKept(
                    f"what is shipped as '{role}' gives other numbers when it is loaded from its artefact: everything "
                    "that it computes with must be in its parameters and buffers, or follow from its options."
                )
        if type(again) is not type(made):
            raise NotKept(f"what is shipped as '{role}' loads from its artefact as a {type(again).__name__}.")


def _used(made: Any) -> list[np.ndarray[Any, Any]]:
    """What a shipped network gives for a few inputs."""
    random, given = torch.Generator().manual_seed(0), []
    for shape in made.inputs(3):
        given.append(torch.randn(shape, generator=random) if isinstance(shape, tuple) else shape)
    with torch.no_grad():
        output = made.module(*given)
    numbers = [one.float().numpy() for one in (output.values() if isinstance(output, dict) else [output])]
    if isinstance(made, artefact.Generator):
        images = made.sample(5, seed=3)
        if not np.array_equal(images[:2], made.sample(2, seed=3)):
            raise NotKept(
                "the generator makes other images when it is asked for fewer: in evaluation mode image i must depend "
                "on latent i only, without randomness."
            )
        return [*numbers, images]
    channels, height, width = made.config["image"]
    images = np.random.default_rng(0).integers(0, 256, (3, height, width, channels), dtype=np.uint8)
    if isinstance(made, artefact.Translator):
        alone = made.config["domains"]["kind"] in ("direction", "classes")  # bits want all of an image's labels
        return [*numbers, *(made.translate(images, target) for target in made.domains[:1] if alone)]
    return [*numbers, *(made.encode(images, output) for output in made.outputs)]


def is_looked_at_without_a_trace(variant: Runs) -> None:
    """Observers can look at averaged and settled networks, and the run goes on exactly as without observers."""
    ground, recipe = variant.ground, variant.recipe
    watched, alone = ground.play(recipe, 2), ground.play(recipe, 2)
    clock = watched.clock
    moment = Moment(clock.images, clock.rounds, 0.0, 1, {}, watched.game, watched.game.networks, watched.averaged())
    first = {stream: watched.batches.first(stream, 5) for stream in watched.game.streams}
    like = first[watched.game.streams[0]]
    random = torch.get_rng_state()
    images = moment.sample(like, 0)
    if not torch.equal(images, moment.sample(like, 0)):
        raise NotKept("the same averaged networks show other images the second time: sample() must be pure.")
    _settles_once_for_all(moment)
    moment.preview(first, 0)
    if not torch.equal(random, torch.get_rng_state()):
        raise NotKept("sample() or preview() draws from torch's global random numbers: use the given seed instead.")
    for parts in (watched, alone):
        play_round(parts)
    apart = find_difference(copy_state(watched), copy_state(alone))
    if apart is not None:
        raise NotKept(
            f"sample() or preview() changes the run: a round later '{apart}' differs from that of a run without these "
            "calls."
        )


def _settles_once_for_all(moment: Moment) -> None:
    for name, network in moment.averaged.items():
        moment.game.settle(network, 0)
        settled = {key: tensor.clone() for key, tensor in network.state_dict().items()}
        moment.game.settle(network, 0)
        apart = find_difference(settled, network.state_dict())
        if apart is not None:
            raise NotKept(
                f"settle() gives '{apart}' of '{name}' another value each time: it must depend on the weights only."
            )


def take_few(parts: Parts, count: int = BATCH) -> Batch:
    """The first images of the first stream, with their labels."""
    return parts.batches.first(parts.game.streams[0], count)
