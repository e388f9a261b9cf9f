"""Rounds, looks and samples on a device that nobody has: no tensor is elsewhere, and nobody waits within a round.

The device stands for a GPU. Its tensors are torch's `meta` tensors, which have shapes and no values, and which here
call themselves ``cuda:0``. So a CPU tells what would go wrong on a GPU or would slow it down: an operation on tensors
of both is refused, and so is everything that must wait until the device has come so far.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from frugan import arithmetic, build, owncode, recipes
from frugan.artefact import Generator, load
from frugan.batch import ImageShape
from frugan.data import Dataset
from frugan.data.batches import Batches
from frugan.engine import average, checkpoint, loop
from frugan.engine.clock import Progress
from frugan.engine.loop import Parts, play, play_round
from frugan.engine.run import RunFolder
from frugan.engine.update import Player, Update
from frugan.recipe import Recipe
from frugan.training import train
from frugan.training._observing import Looks, observers

aten = torch.ops.aten
CUDA, META = torch.device("cuda", 0), torch.device("meta")

# Autocast of "cuda" does nothing to meta tensors, so here is what of its lists is used (torch's page on automatic mixed
# precision): what it computes in the lower precision, and what in float32.
LOWER = {
    torch.conv2d, torch.conv_transpose2d, torch.nn.functional.linear, torch.matmul, torch.mm, torch.bmm,
    Tensor.matmul, Tensor.__matmul__, Tensor.mm,
}  # fmt: skip
WIDER = {
    torch.nn.functional.softplus, torch.nn.functional.cross_entropy, torch.nn.functional.layer_norm, torch.exp,
    torch.log, torch.pow, torch.sum, torch.norm, torch.cdist, torch.rsqrt, Tensor.exp, Tensor.log, Tensor.pow,
    Tensor.__pow__, Tensor.sum, Tensor.norm, Tensor.rsqrt,
}  # fmt: skip
DEVICE = Tensor.device.__get__  # type: ignore[attr-defined]


class Elsewhere(AssertionError):
    """An operation on a tensor of the device and one that is not there."""


class Waits(AssertionError):
    """An operation that waits until the device has computed everything that it was given before."""


class Judge(TorchDispatchMode):
    """Inside, what mixes the device with the CPU is refused, and what waits for the device unless it is `allowed`.

    What the program then reads of the device is 0.0, or the whole number 1. `waits` is what was waited for: a ``value``
    that the program looked at, a ``copy`` to the device without ``non_blocking=True``, a ``copy back``, an ``index`` on
    the CPU, ``all`` that it was given.
    """

    def __init__(self) -> None:
        super().__init__()
        self.allowed = False
        self.waits: list[str] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        tensors = list(_tensors((*args, *kwargs.values())))
        there = [tensor for tensor in tensors if tensor.is_meta]
        if func is aten._to_copy.default:
            return self._copy(func, args, kwargs, args[0].is_meta, kwargs.get("device", args[0].device) == META)
        if func is aten.copy_.default:
            return self._copy(func, args, kwargs, args[1].is_meta, args[0].is_meta)
        if not there:
            return func(*args, **kwargs)
        if func is aten._local_scalar_dense.default:
            self.wait("value")
            return 0.0 if args[0].is_floating_point() else 1
        if func in (aten.index.Tensor, aten.index_put_.default) and args[0].is_meta and len(there) < len(tensors):
            self.wait("index")  # which is on the CPU, and copied
            args, kwargs = _mapped(_there, args, kwargs)
        elif len(there) < len(tensors):
            told = [f"{list(one.shape)} on {'cuda' if one.is_meta else 'cpu'}" for one in tensors]
            raise Elsewhere(f"{func} of {', '.join(told)}")
        known = NotImplemented if func not in SHAPES else SHAPES[func](*args)
        return func(*args, **kwargs) if known is NotImplemented else known

    def _copy(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], begins: bool, ends: bool) -> Any:
        """A copy that `begins` on the device or does not, and `ends` there or does not."""
        if begins and not ends:
            self.wait("copy back")
            if func is aten.copy_.default:
                return args[0].zero_()
            return torch.zeros_like(args[0], device="cpu", dtype=kwargs.get("dtype"))
        if ends and not begins:
            if not (kwargs.get("non_blocking") or args[2:] == (True,)):
                self.wait("copy")
            args = tuple(one if one is args[0] and func is aten.copy_.default else _there(one) for one in args)
        return func(*args, **kwargs)

    def wait(self, what: str) -> None:
        if not self.allowed:
            raise Waits(f"a {what} waits until the device has come so far")
        self.waits.append(what)

    @contextlib.contextmanager
    def waiting(self) -> Iterator[list[str]]:
        """Inside, waiting is allowed; gives the list of what waited."""
        self.allowed, self.waits = True, []
        try:
            yield self.waits
        finally:
            self.allowed = False


class Named(TorchFunctionMode):
    """Inside, ``cuda`` is `meta` to torch, and meta tensors say that they are on ``cuda:0``."""

    def __init__(self, judge: Judge) -> None:
        super().__init__()
        self.judge = judge

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is torch.device:
            return func(*args, **kwargs)
        if func == DEVICE:
            return CUDA if args[0].is_meta else func(*args)
        if func is Tensor.pin_memory:
            return args[0]
        args, kwargs = _mapped(_meta_for_cuda, args, kwargs)
        # What is made of Python's numbers is made on the CPU first.
        if func in (torch.tensor, torch.as_tensor) and kwargs.get("device") == META:
            self.judge.wait("copy")
        if func in (Tensor.__getitem__, Tensor.__setitem__) and args[0].is_meta:
            indices = args[1] if isinstance(args[1], tuple) else (args[1],)
            if any(isinstance(index, list) for index in indices):
                self.judge.wait("index")
        if torch.is_autocast_enabled("cuda") and func in LOWER | WIDER:
            dtype = torch.get_autocast_dtype("cuda") if func in LOWER else torch.float32
            args, kwargs = _mapped(lambda value: _cast(value, dtype), args, kwargs)
        return func(*args, **kwargs)


def _mapped(
    change: Callable[[Any], Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    return tuple(change(value) for value in args), {name: change(value) for name, value in kwargs.items()}


def _meta_for_cuda(value: Any) -> Any:
    cuda = isinstance(value, (torch.device, str)) and str(value).startswith("cuda")
    return META if cuda else value


def _cast(value: Any, dtype: torch.dtype) -> Any:
    eligible = isinstance(value, Tensor) and value.is_meta and value.dtype in (torch.float32, torch.bfloat16)
    return value.to(dtype) if eligible else value


def _tensors(values: Iterable[Any]) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, (list, tuple)):
            yield from _tensors(value)


def _there(value: Any) -> Any:
    """A tensor, or an index, on the device."""
    if isinstance(value, (list, tuple)):
        return [_there(one) for one in value]
    return torch.empty_like(value, device=META) if isinstance(value, Tensor) else value


def _normed(images: Tensor, weight: Tensor | None, bias: Tensor | None, *rest: Any) -> tuple[Tensor, ...]:
    """What a batch norm makes, and the statistics that it keeps."""
    statistics = images.new_empty(images.shape[1], dtype=torch.float32)
    return torch.empty_like(images), statistics, torch.empty_like(statistics)


def _back_through_norm(grad: Tensor, images: Tensor, weight: Tensor | None, *rest: Any) -> tuple[Tensor | None, ...]:
    like = None if weight is None else torch.empty_like(weight)
    return torch.empty_like(images), like, like


def _sum(one: Tensor, other: Any) -> Any:
    alike = isinstance(other, Tensor) and (one.shape, one.dtype) == (other.shape, other.dtype)
    return torch.empty_like(one) if alike else NotImplemented


SHAPES: dict[Any, Callable[..., Any]] = {
    aten.native_batch_norm.default: _normed,
    aten.native_batch_norm_backward.default: _back_through_norm,
    aten.threshold_backward.default: lambda grad, images, *rest: torch.empty_like(images),
    aten.leaky_relu_backward.default: lambda grad, images, *rest: torch.empty_like(images),
    aten.leaky_relu.default: lambda images, *rest: torch.empty_like(images),
    aten.leaky_relu_.default: lambda images, *rest: images,
    aten.upsample_bicubic2d.default: lambda images, size, *rest: images.new_empty(*images.shape[:2], *size),
    aten.add.Tensor: _sum,
    aten.mul.Tensor: _sum,
}
"""What torch takes long to know the shapes of: more than half of all the time here."""


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Iterator[Judge]:
    """The device, called ``cuda``, whose autocast knows bf16."""
    monkeypatch.setattr(torch.cuda.amp.common, "amp_definitely_not_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *args, **kwargs: True)
    judge = Judge()
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device=None: judge.wait("all"))
    with judge, Named(judge):
        yield judge


# ----------------------------------------------------------------------------------------------------------- the device

WAITING: dict[str, Callable[[Tensor, Tensor], object]] = {
    "item": lambda here, there: there[0].item(),
    "bool": lambda here, there: bool(there[0]),
    "if": lambda here, there: 1 if there[0] > 0 else 0,
    "float": lambda here, there: float(there[0]),
    "int": lambda here, there: int(there[0]),
    "tolist": lambda here, there: there.tolist(),
    "numpy": lambda here, there: there.numpy(),
    "cpu": lambda here, there: there.cpu(),
    "to cpu": lambda here, there: there.to("cpu", non_blocking=True),
    "copied back": lambda here, there: here.copy_(there),
    "copied": lambda here, there: there.copy_(here),
    "to cuda": lambda here, there: here.to("cuda"),
    "to where another is": lambda here, there: here.to(there),
    "made of numbers": lambda here, there: torch.tensor([1.0], device="cuda"),
    "list as index": lambda here, there: there[[1, 0]],
    "mask as index": lambda here, there: there[there > 0],
    "nonzero": lambda here, there: there.nonzero(),
    "equal": lambda here, there: torch.equal(there, there),
    "wait": lambda here, there: arithmetic.wait(there.device),
}

# What torch itself refuses, since there are no values to look at.
TORCH_REFUSES: dict[str, tuple[type[Exception], str]] = {
    "numpy": (TypeError, "meta device"), "mask as index": (NotImplementedError, "register_meta"),
    "nonzero": (NotImplementedError, "register_meta"), "equal": (NotImplementedError, "Meta tensors"),
}


@pytest.mark.parametrize("what", WAITING)
def test_the_device_tells_what_waits_for_it(what, device):
    here, there = torch.ones(2), torch.ones(2, device="cuda")
    kind, words = TORCH_REFUSES.get(what, (Waits, "waits until the device"))
    with pytest.raises(kind, match=words):
        WAITING[what](here, there)


def test_the_device_tells_a_tensor_that_is_elsewhere(device):
    here, there = torch.ones(2), torch.ones(2, device="cuda")
    assert there.device == (there + 1).device == here.to("cuda", non_blocking=True).device == CUDA
    assert (here + 1).device.type == "cpu"
    for mixed in (lambda: here + there, lambda: torch.stack([there, here]), lambda: torch.where(here > 0, there, 0.0)):
        with pytest.raises(Elsewhere, match=r"\[2\] on cuda.*\[2\] on cpu|\[2\] on cpu.*\[2\] on cuda"):
            mixed()


def test_autocast_computes_there_as_on_a_gpu(device):
    images, weight = torch.ones(1, 1, 4, 4, device="cuda"), torch.ones(1, 1, 3, 3, device="cuda")
    with torch.autocast("cuda", dtype=torch.bfloat16):
        made = torch.nn.functional.conv2d(images, weight)
        assert made.dtype == torch.bfloat16
        assert torch.nn.functional.softplus(made).dtype == torch.float32
    assert torch.nn.functional.conv2d(images, weight).dtype == torch.float32


# -------------------------------------------------------------------------------------------------------- every recipe


DERIVING = {"tangent": {"game.along": 0.0, "game.step": 0.01}}
"""Games that map derivatives by torch.func, which does not go together with this device; and how to play without."""


def placed(recipe: Recipe, device: Judge) -> Parts:
    """The parts of a recipe on the device, as a run has them."""
    recipe = recipe.with_changes(DERIVING.get(recipe.game.name, {}))
    with device.waiting():
        parts = build.parts(build.assemble(recipe, torch.device("cuda")), build.datasets(recipe))
    for network in parts.game.networks.values():
        network.train()
    return parts


CHOOSING = {"evolutionary"}
"""Games that decide by values of the round: which children live, and which survive."""


@pytest.mark.parametrize("name", recipes.names())
def test_a_round_of_every_recipe_stays_on_the_device_and_nobody_waits(name, tiny, device):
    parts = placed(tiny(name).with_changes({"precision": "bf16"}), device)
    chooses = recipes.find(name).game.name in CHOOSING
    with device.waiting() if chooses else contextlib.nullcontext():
        scalars = play_round(parts)
    parts.means.add(scalars)
    assert parts.clock.images == parts.batches.taken > 0
    assert all(scalar.device == CUDA for scalar in scalars.values())
    # Whether all was finite is noted there, for the next log point.
    assert parts.update.broken is not None
    assert parts.update.broken.device == CUDA
    for part in parts.stateful().values():
        kept = part.state_dict()
        assert all(value.device == CUDA for value in kept.values() if isinstance(value, Tensor))


OF_GAME = {recipes.find(name).game.name: name for name in reversed(recipes.names())}
GAMES = {game: name for game, name in OF_GAME.items() if game not in DERIVING}
"""A recipe of each game whose pictures need no derivatives."""


@pytest.mark.parametrize("name", GAMES.values(), ids=GAMES)
def test_a_log_point_waits_and_finds_everything_on_the_device(name, tiny, device, tmp_path, monkeypatch):
    recipe = tiny(name)
    parts = placed(recipe, device)
    monkeypatch.setattr(loop, "LOG_ROUNDS", 1)
    monkeypatch.setattr(average, "STANDING_BATCHES", 1)
    with device.waiting() as waits:
        looks = Looks(None, None, ())
        watching = observers(recipe, RunFolder(tmp_path), parts, parts.batches.streams, looks, None, name)
        assert play(parts, rounds=1, folder=RunFolder(tmp_path), observers=watching)
        stateful = parts.stateful()
        checkpoint.restore(stateful, *checkpoint.capture(stateful))
        play_round(parts)
    assert "all" in waits  # which the clock counts
    assert "value" in waits
    assert "copy back" in waits
    assert list((tmp_path / "samples").iterdir())


@pytest.fixture(scope="module", params=["cgan", "stargan", "cyclegan-6"])
def run(request: Any, tiny: Callable[[str], Recipe], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one round, played on the CPU."""
    return train(tiny(request.param), images=1, out=tmp_path_factory.mktemp("run") / "run", quiet=True).path


def test_what_a_run_ships_makes_images_on_the_device_and_copies_each_chunk_back_once(run, device, monkeypatch):
    with device.waiting(), monkeypatch.context() as pretended:
        pretended.setattr(torch.cuda, "is_available", lambda: True)
        made = load(run, device="cuda")
    units: set[str] = set()
    made.module.register_forward_hook(lambda *_: units.add(torch.backends.cudnn.conv.fp32_precision))
    with device.waiting() as waits:
        if isinstance(made, Generator):
            images = made.sample(70, seed=1)
        else:
            given = np.zeros((70, 24, 24, 3), dtype=np.uint8)
            images = made.translate(given, made.domains[0])
    assert len(images) == 70
    assert units == {"ieee"}  # float32, and not TensorFloat32
    assert waits.count("copy back") == 3
    assert "value" not in waits


# Users' own files: frozen networks, a discriminator of latents, stages, and a population, whose survivors are chosen.
PROTOTYPES = {
    "my-bigan": "my_bigan.py", "my-bigan-told": "my_bigan.py", "my-pggan": "my_pggan.py",
    "my-distilling": "my_distilling.py", "my-egan": "my_egan.py",
}  # fmt: skip


@pytest.mark.parametrize("name", PROTOTYPES)
def test_a_round_of_every_prototype_stays_on_the_device(name, device, tmp_path):
    owncode.load(Path(__file__).with_name("prototypes") / PROTOTYPES[name])
    recipe = recipes.find(name)
    pictures = np.zeros((8, recipe.data.size, recipe.data.size), dtype=np.uint8)
    np.savez(tmp_path / "black.npz", images=pictures)
    frozen = {"teacher.init": "given"} if name == "my-distilling" else {}
    parts = placed(recipe.with_changes({"data.source": str(tmp_path / "black.npz"), **frozen}), device)
    chooses = device.waiting() if name == "my-egan" else contextlib.nullcontext()
    with chooses:
        play_round(parts)
    for part in parts.stateful().values():
        assert all(value.device == CUDA for value in part.state_dict().values() if isinstance(value, Tensor))


# ------------------------------------------------------------------------------- what goes wrong in a game of one's own


class Toy:
    """A game that draws its images near to the real ones, by a `distance` that somebody wrote."""

    streams = ("train",)

    def __init__(self, distance: Callable[[Tensor, Tensor], Tensor]) -> None:
        self.networks = {"generator": nn.Linear(3, 4)}
        self.distance = distance

    def step(self, batches: Batches, progress: Progress, update: Update) -> dict[str, Tensor]:
        real = batches.take("train", 4).images.flatten(1)
        latents = torch.randn(4, 3, generator=progress.generator("latents")).to(real.device, non_blocking=True)
        network = self.networks["generator"]
        return {"generator.loss": update("generator", lambda: self.distance(network(latents), real))[0]}


def play_toy(distance: Callable[[Tensor, Tensor], Tensor], judge: Judge) -> None:
    game: Any = Toy(distance)
    with judge.waiting():
        game.networks["generator"].to("cuda")
    player = Player("generator", game.networks, lambda parameters: torch.optim.Adam(parameters, fused=True))
    images = torch.zeros(8, 1, 2, 2, dtype=torch.uint8)
    data = Dataset("zeros", "train", ImageShape(1, 2, 2), images, None, (), "hash")
    batches = Batches({"train": data}, seed=0, device="cuda")
    play_round(Parts(game, batches, Update({"generator": player}), {}, seed=0, device=CUDA))


def square(made: Tensor, real: Tensor) -> Tensor:
    return (made - real).square().mean()


def test_a_misplaced_tensor_in_a_game_is_found(device):
    play_toy(square, device)
    with pytest.raises(Elsewhere, match=r"add.*\[4, 4\] on cuda, \[4\] on cpu"):
        play_toy(lambda made, real: square(made + torch.linspace(0, 1, 4), real), device)


def test_a_hidden_wait_in_a_game_is_found(device):
    with pytest.raises(Waits, match="value"):
        play_toy(lambda made, real: square(made, real) / max(square(made, real).item(), 1.0), device)
    with pytest.raises(Waits, match="copy waits"):
        play_toy(lambda made, real: square(made + torch.linspace(0, 1, 4).to(made), real), device)
