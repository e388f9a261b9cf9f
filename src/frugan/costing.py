"""Costing: what a recipe's or a run's networks cost, and what each of their layers became.

No data are opened and nothing is trained. The networks are built with weights, since that is faster than loading what
torch needs to build them without.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from frugan import owncode, recipes, terminal, training
from frugan.arguments import Changes, File, Name, strict
from frugan.owncode import Code
from frugan.recipe import Recipe, from_run
from frugan.registry import UserError, unknown

if TYPE_CHECKING:
    from rich.table import Table
    from torch import nn

    from frugan.blueprint import Blueprint
    from frugan.convs import LayerChoice
    from frugan.costs import Cost, Latency, LayerCost
    from frugan.exporting import RuntimeCost

BATCHES = (1, 64)


@dataclass(frozen=True)
class KernelChoice:
    """A call of some layers, the kernel that a run chooses for it, and the milliseconds of each that was tried."""

    call: str
    chosen: str
    milliseconds: Mapping[str, float]

    def __str__(self) -> str:
        times = ", ".join(f"{name} {value:.3g} ms" for name, value in sorted(self.milliseconds.items()))
        return f"{self.call}: {self.chosen}{f' ({times})' if times else ''}"


@dataclass(frozen=True)
class NetworkCost:
    """One network of a recipe: its cost, what each role became, and what was measured of it (if it was asked for).

    `parts` are the counts of those parts that the network names (see `frugan.nets.Attributes`); `cost` holds them too.
    """

    cost: Cost
    choices: tuple[LayerChoice, ...]
    latency: tuple[Latency, ...] = ()
    fused: tuple[Latency, ...] = ()
    kernels: tuple[KernelChoice, ...] = ()
    parts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)


@dataclass(frozen=True)
class RecipeCost:
    """What every network of a recipe costs, by name."""

    recipe: Recipe
    networks: Mapping[str, NetworkCost]
    also: Mapping[str, str] = field(default_factory=dict)
    """Role in which a run ships a network that makes no images -> its name among `networks`, if that is another."""
    runtime: RuntimeCost | None = None
    """What the network that a run ships costs in the runtime that was asked for."""

    def as_dict(self, *, layers: bool = False) -> dict[str, Any]:
        """For JSON: ``{"recipe", "families": {network: {role: family}}, "networks": {network: {"macs", ...}}}``."""
        networks: dict[str, Any] = {}
        for name, network in self.networks.items():
            networks[name] = network.cost.as_dict(layers=layers)
            if network.parts:
                networks[name]["parts"] = {part: dict(counts) for part, counts in network.parts.items()}
            if layers:
                networks[name]["roles"] = [asdict(choice) for choice in network.choices]
            if network.latency:
                networks[name]["latency"] = [time.as_dict() for time in network.latency]
                networks[name]["latency_fused"] = [time.as_dict() for time in network.fused]
            if network.kernels:
                networks[name]["kernels"] = [asdict(kernel) for kernel in network.kernels]
        families = {
            name: {choice.role: choice.family for choice in network.choices} for name, network in self.networks.items()
        }
        for role, name in self.also.items():  # by its role too; whoever adds up leaves out what is the same network
            networks[role] = {**networks[name], "same_network_as": name}
        runtime = {} if self.runtime is None else {"runtime": self.runtime.as_dict()}
        return {"recipe": self.recipe.name, "families": families, "networks": networks, **runtime}

    def show(self, *, layers: bool = False) -> None:
        """Print a table of the networks; with `layers`, one of the layers of each before it."""

        console = terminal.console()
        if layers:
            for name, network in self.networks.items():
                console.print(_layer_table(name, network))
                console.print()
        console.print(_summary_table(self))
        for name, network in self.networks.items():
            for choice in network.choices:
                if choice.declined:
                    console.print(f"{name}, {choice.role}: {choice.asked} declined ({choice.declined}).")
            for note in network.cost.notes:
                doubted = "its MACs may be wrong: " if note in network.cost.doubts else ""
                console.print(f"{name}: {doubted}{note}")
            for time in network.latency:
                console.print(f"{name}, {time}")
            for time in network.fused:
                console.print(f"{name}, fused, {time}")
            for kernel in network.kernels:
                console.print(f"{name}, {kernel}", soft_wrap=True)
        if self.runtime is not None:
            console.print(str(self.runtime), soft_wrap=True)


@strict
def cost_of(
    model: File | Recipe,
    *,
    family: Name | None = None,
    discriminator_family: Name | None = None,
    changes: Changes | None = None,
    latency: bool = False,
    explain: bool = False,
    runtime: Name | None = None,
    threads: int | None = None,
    code: Code | None = None,
    trust_code: bool = False,
) -> RecipeCost:
    """Count what the networks of a recipe or run cost.

    Args:
        model: a recipe's name, a recipe.json, a run folder, or a `Recipe`.
        family, discriminator_family, changes: as for `frugan.train`.
        latency: also measure, on the CPU, the networks that make images, at batch 1 and 64, as they are and fused (see
            `frugan.fusing`).
        explain: also choose, on the CPU, a kernel for each call of grouped layers, instance norms and large weights
            that training makes, at the recipe's batch size, as a run does (see `frugan.kernels`): "measured" if the
            recipe says "auto". What was measured before is not measured again.
        runtime: also export the network that a run ships, and measure it in this runtime at batch 1 and 16:
            "onnxruntime". See `frugan.exporting.RuntimeCost`.
        threads: how many threads the runtime has. If left out: as many as torch.
        code: files of one's own that add variants; those of a run are known to it.
        trust_code: run the code that a run names even if you have not run it on this machine.

    Raises UserError if there is no such recipe or run, or for names, options and keys that do not exist.
    """
    from frugan import build, costs, games

    if threads is not None and runtime is None:
        raise UserError("--threads is for --runtime: give --runtime onnxruntime, or leave --threads out.")
    given = recipe_of(model, code, trust_code)
    recipe = training.resolve(given, family=family, discriminator_family=discriminator_family, changes=changes)
    values = build.values(recipe)  # a name that is wrong is told, though nothing here is counted of it
    network_costs, planned, makers = {}, build.blueprints(recipe), recipe.makers()
    built = build.networks(recipe)
    variant = games.find(recipe.game.name)
    game = variant.game(
        **{name: module for name, (module, _) in built.items()}, batch_size=recipe.batch_size, **values,
        **variant.check(recipe.game.name, recipe.game.options),
    )
    also = {
        role: item.network for role, item in game.shipped().items()
        if planned[item.network].part not in games.MAKERS and role not in built
    }
    for name, (module, layers) in built.items():
        blueprint = planned[name]
        times, fused = _latencies(blueprint, module) if latency and name in makers else ([], [])
        priced = costs.cost(module, *blueprint.inputs())
        kernels = _kernels(recipe, blueprint, module) if explain else ()
        parts = {part: priced.within(inside) for part, inside in getattr(module, "parts", {}).items()}
        network_costs[name] = NetworkCost(priced, tuple(layers.choices), tuple(times), tuple(fused), kernels, parts)
    shipped = None if runtime is None else _in_runtime(model, recipe, runtime, threads)
    return RecipeCost(recipe, network_costs, also, shipped)


def _in_runtime(model: File | Recipe, recipe: Recipe, runtime: str, threads: int | None) -> RuntimeCost:
    """What is shipped, measured in a runtime: the network of a trained run, else the recipe's with first weights."""
    from frugan import artefact, build, exporting
    from frugan.engine import checkpoint
    from frugan.engine.run import RunFolder

    run = None if isinstance(model, Recipe) else RunFolder(model)
    trained = run is not None and run.exists() and checkpoint.newest(run.checkpoints) is not None
    # A family or key that was typed makes another network than that of the run.
    if run is not None and trained and from_run(run) == recipe:
        network = artefact.open_shipped(run.path)
    else:
        network = artefact.untrained(build.assemble(recipe))
    return exporting.in_runtime({recipe.name: network}, runtime, threads=threads)[recipe.name]


def _latencies(blueprint: Blueprint, module: nn.Module) -> tuple[list[Latency], list[Latency]]:
    """The times of one network, as it is and fused for each batch, measured in turn."""
    from frugan import artefact, costs
    from frugan.fusing import fuse

    plain, fused = [], []
    module = artefact.set_memory_layout(costs.duplicate(module), blueprint.part)
    for batch in BATCHES:
        inputs = blueprint.inputs(batch)
        arms = {"plain": (module, *inputs), "fused": (fuse(module, *blueprint.example(batch)), *inputs)}
        latencies = costs.latencies(arms, batches=(batch,))
        plain += latencies["plain"]
        fused += latencies["fused"]
    return plain, fused


def _kernels(recipe: Recipe, blueprint: Blueprint, module: nn.Module) -> tuple[KernelChoice, ...]:
    """What is chosen for the calls of one network, which is run once."""
    import torch

    from frugan.engine import precision
    from frugan.kernels import Choices

    cpu, last = torch.device("cpu"), torch.channels_last
    choices = Choices("measured" if recipe.kernels == "auto" else recipe.kernels)
    given, *others = blueprint.example(recipe.batch_size)
    given = given.contiguous(memory_format=last) if given.dim() == 4 else given
    autocast = precision.autocast(precision.resolve(recipe.precision, cpu), cpu)
    with torch.no_grad(), autocast(), choices.active():
        module.to(memory_format=last)(given, *others)  # pyrefly: ignore
    return tuple(
        KernelChoice(call, chosen, choices.times.get(call, {})) for call, chosen in choices.chosen.items()
    )


def recipe_of(model: File | Recipe, code: Code | None = None, trust_code: bool = False) -> Recipe:
    """The recipe that is meant, and its code run; a folder is a run, anything else a name or file. Raises UserError."""
    from frugan.engine.run import RunFolder

    owncode.load(code)
    if isinstance(model, Recipe):
        return model
    if str(model).endswith(".json") or str(model) in recipes.names():
        return recipes.find(str(model))
    run = RunFolder(model)
    owncode.load_of(model, code, trust_code=trust_code)
    if run.exists():
        return from_run(run)
    if (run.path / "config.json").is_file():
        raise UserError(
            f"{model} is an artefact. frugan cost needs a recipe or a run. To count the artefact, type in Python: g = "
            f"frugan.load(\"{model}\"); frugan.cost(g.module, (1, g.latents.size))"
        )
    if run.path.is_dir():
        raise UserError(f"{model} is not a run folder: it has no recipe.json. Give a run folder, or a recipe's name.")
    raise unknown("recipe or run", str(model), recipes.names())


def _summary_table(costed: RecipeCost) -> Table:
    from rich.table import Table

    table = Table(title=costed.recipe.name, title_justify="left", box=None, pad_edge=False)
    table.add_column("network", no_wrap=True)
    table.add_column("built by", overflow="fold")
    for column in ("parameters", "trainable", "MACs", "memory"):
        table.add_column(column, justify="right", no_wrap=True)
    for name, network in costed.networks.items():
        built = [choice.family for choice in network.choices]
        families = ", ".join(f"{built.count(family)} {family}" for family in dict.fromkeys(built)) or "no role"
        cost = network.cost
        table.add_row(
            name, families, f"{cost.parameters:,}", f"{cost.trainable:,}",
            cost.shown_macs, f"{cost.activation_bytes / 1e6:.2f} MB",
        )
        for part, counts in network.parts.items():
            macs = counts["macs"] + counts["macs_attention"]
            table.add_row(f"  {part}", "part of it", f"{counts['parameters']:,}", "", f"{macs:,}", "", style="dim")
    for role, name in costed.also.items():
        table.add_row(role, f"is the {name}", "", "", "", "")
    return table


def _layer_table(name: str, network: NetworkCost) -> Table:
    from rich.table import Table

    # Written close, to fit a terminal of 80 columns; where that is too narrow still, names fold and numbers never.
    table = Table(title=name, title_justify="left", box=None, pad_edge=False, collapse_padding=True)
    for column in ("role", "built by", "layer", "kernel", "channels", "output", "parameters", "MACs"):
        table.add_column(
            column, justify="right" if column in ("parameters", "MACs") else "left", overflow="fold",
            no_wrap=column not in ("built by", "layer"), min_width=8 if column == "built by" else None,
        )
    choices = {choice.role: choice for choice in network.choices}
    before = None
    for layer in network.cost.layers:
        begins = layer.role is not None and layer.role != before
        before = layer.role
        table.add_row(
            layer.role if begins and layer.role else "", _built(choices.get(layer.role or "")) if begins else "",
            *_described(layer), f"{layer.parameters:,}", f"{layer.macs + layer.macs_attention:,}",
        )
    cost = network.cost
    table.add_row("total", "", "", "", "", "", f"{cost.parameters:,}", cost.shown_macs, style="bold")
    return table


def _built(choice: LayerChoice | None) -> str:
    if choice is None:
        return ""
    return choice.family if choice.declined is None else f"{choice.family}, {choice.asked} declined"


def _described(layer: LayerCost) -> tuple[str, str, str, str]:
    """Kind, kernel and stride, channels, output."""
    kernel = "" if layer.kernel is None else "×".join(map(str, layer.kernel))
    if layer.stride is not None and any(step != 1 for step in layer.stride):
        kernel += f"/{','.join(map(str, dict.fromkeys(layer.stride)))}"
    channels = "" if layer.in_channels is None else f"{layer.in_channels}→{layer.out_channels}"
    return layer.kind, kernel, channels, "" if layer.output is None else "×".join(map(str, layer.output))
