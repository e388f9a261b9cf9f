"""Verbs that judge what was made: ``evaluate``, ``probe``, ``cost``, ``bench``, ``report``."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional, arg

from frugan import terminal
from frugan.cli._arguments import (
    Code,
    File,
    Flag,
    Json,
    Keys,
    Names,
    Number,
    Run,
    Text,
    Trust,
    check_out,
    key_values,
    listed,
    print_json,
)
from frugan.cli._reading import reads
from frugan.ranges import Times


@reads("frugan.evaluation.evaluate", without=("batch_size", "progress"))
def evaluate(*, json: Json = False, **given: Any) -> None:
    """Compare fakes with real images by metrics. Every value is printed with how it was measured (its protocol).

    A run of your own:            frugan evaluate runs/thin

    An artefact, with metrics:    frugan evaluate thin-digits --real mnist --metrics fid,kid,precision_recall

    Images of any program:        frugan evaluate samples/ --real photos/ --view inception

    Against known statistics:     frugan evaluate samples.npz --real fid_stats.npz --metrics fid

    What a translator makes:      frugan evaluate runs/faces --metrics fid,target_accuracy

    The column "floor" is the value that real images get in place of fakes: a generator can hardly do better. Compare
    two values only if their protocols are equal. The view (the network that makes the features) and the number of
    images change values most. A generator that copies its training images gets good values, so with fewer than 20,000
    of them memorisation is measured too.
    """
    from frugan.evaluation import evaluate as measure

    values = measure(**given, progress=terminal.tell)
    if json:
        print_json(values)
    else:
        _print_values(values)
        if (Path(given["fakes"]) / "run.json").is_file():
            terminal.say(f"Next: frugan report {shlex.quote(str(given['fakes']))}")



def probe(
    run: Run, *, data: Text = None, only: Names = None, attribute: Text = None, network: Text = None,
    features: Names = None, classifier: Annotated[str, arg(metavar="NAME")] = "svm",
    per_class: Names = None, draws: Times = 5, seed: int = 0,
    out: File = None, device: Text = None, json: Json = False, code: Code = (), trust_code: Trust = False,
    overwrite: Flag = False,
) -> None:
    """Tell how well classes can be told by what a run's discriminator or encoder sees, from few labels and from many.

    Beside it stand an untrained network of the same shape, and the pixels themselves.

    Args:
        run: A run folder.
        data: Labelled images, as for train. If left out: the run's own data. Others show what carries over.
        only: Classes to probe with, with commas. If left out: all.
        attribute: For data with attributes: the one to tell.
        network: Which network of the run. If left out: its discriminator, or its encoder if that needs latents too.
        features: layers (all of them, pooled to 4 x 4), hidden (the last one) or an output's name, with commas. If left
            out: a discriminator's layers, or an encoder's first output and last layer.
        classifier: svm, logistic, or nearest (the class of the nearest image).
        per_class: How many labelled images of each class, with commas; all for all of them. If left out: 10,100,1000,
            as far as there are so many, or all.
        draws: How many random choices of these images to average.
        seed: Decides the choices.
        out: Also write everything to this FILE.json.
        device: cpu, cuda ... If left out: the best that this machine has.
        overwrite: Replace what is at OUT.
    """
    from frugan.probing import probe as measure

    check_out(out, overwrite, (".json",))
    found = measure(
        run, data=data, only=listed(only) or (), attribute=attribute, network=network, features=listed(features) or (),
        classifier=classifier, per_class=listed(per_class), draws=draws, seed=seed, device=device, code=code,
        trust_code=trust_code, announce=terminal.tell,
    )
    # Printed first, so that nothing that was measured is lost where it cannot be saved.
    if json:
        print_json(found.as_dict())
    else:
        found.show()
    if out is not None:
        found.save(out)



def cost(
    model: Positional[Annotated[str, arg(metavar="RECIPE|RUN")]], keys: Keys = (), *, family: Text = None,
    discriminator_family: Text = None, layers: Flag = False, latency: Flag = False, explain: Flag = False,
    runtime: Text = None, threads: Number = None, json: Json = False, code: Code = (), trust_code: Trust = False,
) -> None:
    """Count the parameters and multiply-accumulates of a recipe or run; with --latency also measure its time.

    Args:
        model: A recipe's name, a recipe.json, or a run folder.
        keys: key=value, as for train.
        family: Convolution family of the network that makes images.
        discriminator_family: Convolution family of the discriminator.
        layers: Also print every layer: which family it got, and what it costs.
        latency: Also measure milliseconds per image at batch 1 and 64 on this machine.
        explain: Also say which kernel (implementation) training uses for grouped layers, norms and large weights, and
            how long it takes.
        runtime: Also export what a run ships, and measure it where it will run, at batch 1 and 16: onnxruntime. Prints
            time, peak memory and the size of the file.
        threads: How many threads that runtime has. If left out: as many as there are cores.
    """
    from frugan.costing import cost_of

    costs = cost_of(
        model, family=family, discriminator_family=discriminator_family, changes=key_values(keys), latency=latency,
        explain=explain, runtime=runtime, threads=threads, code=code, trust_code=trust_code,
    )
    if json:
        print_json(costs.as_dict(layers=layers))
    else:
        costs.show(layers=layers)



def bench(
    recipe: Positional[Annotated[str, arg(metavar="RECIPE|RUN")]], keys: Keys = (), *, families: Names = None,
    precisions: Names = None, batch_size: Number = None, repeats: Times = 5, layers: Flag = False, out: File = None,
    device: Text = None, json: Json = False, code: Code = (), trust_code: Trust = False,
) -> None:
    """Measure how fast a recipe trains and samples on this machine, in every family and precision.

    Prints a table of milliseconds and images per second, and what share of this machine's limit (roofline) each
    reaches. The limit is measured with a matrix product and a memory copy. A plot and all numbers go to a folder.

    Args:
        recipe: A recipe's name, a recipe.json, or a run folder.
        keys: key=value, as for train.
        families: Convolution families of the network that makes images. If left out: all.
        precisions: float32, bf16 or float32,bf16. If left out: float32, and bf16 if this machine computes it fast.
            Sampling is always in float32.
        batch_size: How many real images each step of the discriminator sees.
        repeats: How often to measure each family and precision, alternately.
        layers: Also print which operations of a round take longest, and their share of the limit.
        out: The folder for bench.json and bench.png. If left out: runs/bench-RECIPE.
        device: cpu, cuda ... If left out: the best that this machine has.
    """
    from frugan.benching import bench as measure
    from frugan.benching import check_place

    if out is not None:
        check_place(out)
    result = measure(
        recipe, families=listed(families) or (), precisions=listed(precisions) or (), batch_size=batch_size,
        changes=key_values(keys), repeats=repeats, device=device, code=code, trust_code=trust_code,
        announce=terminal.tell,
    )
    # Printed first, so that nothing that was measured is lost where it cannot be saved.
    if json:
        print_json(result.as_dict())
    else:
        result.show(layers=layers)
    plot = result.save(Path("runs") / f"bench-{result.recipe}" if out is None else out)
    if not json:
        terminal.say(f"Plot: {plot}")



def report(
    folder: Positional[Annotated[Path, arg(metavar="FOLDER")]], *, out: File = None, code: Code = (),
    trust_code: Trust = False, overwrite: Flag = False,
) -> None:
    """Write one self-contained HTML page about a run or a comparison.

    Args:
        folder: A folder that frugan train or frugan compare has written.
        out: FILE.html. If left out: report.html in that folder.
        overwrite: Replace what is at OUT.
    """
    from frugan.reporting import report as write

    check_out(out, overwrite, (".html",))
    terminal.say(f"Report: {write(folder, out=out, code=code, trust_code=trust_code, overwrite=overwrite)}")



def _print_values(values: Sequence[dict[str, Any]]) -> None:
    """Print each metric's headline, floor and other numbers; then what the protocols share, and how each differs."""
    from frugan.evaluation import of_all
    from frugan.metrics import floor_is_of

    terminal.say(f"{'metric':20} {'value':>10} {'floor':>10}  better")
    for value in values:
        floor = value.get("floor")
        numbers = [value["values"][value["headline"]], *([] if floor is None else [floor["value"]])]
        shown = [f"{number:.4g}" for number in numbers] + ["-"] * (2 - len(numbers))
        others = [f"{key} {number:.4g}" for key, number in of_all(value).items() if key != value["headline"]]
        row = f"{value['metric']:20} {shown[0]:>10} {shown[1]:>10}  {value['better']:8}{'  '.join(others)}"
        terminal.say(row.rstrip())
    _print_targets(values)
    protocols = [value["protocol"] for value in values]
    floors: dict[str, list[str]] = {}
    for value in values:
        if value.get("floor"):
            fewer = f" (only {floor_is_of(value):,} images)" if floor_is_of(value) else ""
            floors.setdefault(value["floor"]["protocol"]["of"] + fewer, []).append(value["metric"])
    for of, names in floors.items():
        terminal.say(f"floor of {', '.join(names)}: {of}")
    same = {key: item for key, item in protocols[0].items() if all(key in p and p[key] == item for p in protocols)}
    terminal.say(f"protocol: {_listed(same)}")
    for value in values:
        own = _listed({key: item for key, item in value["protocol"].items() if key not in same})
        if own:
            terminal.say(f"protocol of {value['metric']}: {own}")


def _listed(protocol: Mapping[str, Any]) -> str:
    """What a protocol states, in one line."""
    shown = {key: f"{item:.4g}" if isinstance(item, float) else item for key, item in protocol.items()}
    return ", ".join(f"{key} {item}" for key, item in shown.items() if item not in (None, {}))


def _print_targets(values: Sequence[dict[str, Any]]) -> None:
    """Print a row for each target of a translator: every metric's headline, and its value before if there is one."""
    from frugan.evaluation import by_target

    tables = {value["metric"]: by_target(value) for value in values}
    columns = [
        (f"{value['metric']}{', before' if key == 'before' else ''}", value["metric"], key)
        for value in values for key in (value["headline"], "before") if key in tables[value["metric"]]
    ]  # fmt: skip
    if not columns:
        return
    names = list(dict.fromkeys(name for *_, metric, key in columns for name in tables[metric][key]))
    wide = max(map(len, [*names, "target"])) + 2
    print()
    terminal.say("target".ljust(wide) + "".join(f"  {title}" for title, *_ in columns))
    for name in names:
        cells = [(title, tables[metric][key].get(name)) for title, metric, key in columns]
        shown = [("-" if number is None else f"{number:.4g}").rjust(len(title)) for title, number in cells]
        terminal.say(name.ljust(wide) + "".join(f"  {one}" for one in shown))
    print()



def print_first_lines() -> None:
    """Print the first line of each metric's and view's docstring, read from its file: an import would import torch."""
    import ast
    import importlib.util

    from frugan import metrics, views

    for title, axis in (("--metrics", metrics), ("--view", views)):
        print()
        terminal.say(f"Names for {title}:")
        for name in axis.names():
            spec = importlib.util.find_spec(f"{axis.__name__}.{name}")
            said = ast.get_docstring(ast.parse(Path(spec.origin).read_text())) if spec and spec.origin else None
            terminal.say(f"  {name:24} {(said or 'your own').splitlines()[0]}")
