"""The command line: one thin function per verb. Nothing here imports torch before a verb needs it."""

from __future__ import annotations

import inspect
import json
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro
from tyro.conf import DisallowNone, FlagCreatePairsOff, Positional, arg

from frugan.registry import UserError

if TYPE_CHECKING:
    from frugan.recipe import Recipe

_EXAMPLES = """

A first run, without any download:   frugan demo
The same by hand:                    frugan train mnist --data glyphs --images 60k --out runs/first
Twins, side by side:                 frugan compare mnist --families standard,factorised --data glyphs --out runs/twins
"""

# What is left out has no default to be shown; the help says what happens then.
Text = Annotated[str | None, arg(metavar="NAME", help_behavior_hint="")]
Reals = Annotated[str | None, arg(metavar="SOURCE", help_behavior_hint="")]
Names = Annotated[str | None, arg(metavar="A,B,...", help_behavior_hint="")]
Count = Annotated[str | None, arg(metavar="N", help_behavior_hint="")]
Number = Annotated[int | None, arg(metavar="N", help_behavior_hint="")]
Value = Annotated[float | None, arg(metavar="X", help_behavior_hint="")]
File = Annotated[Path | None, arg(metavar="PATH", help_behavior_hint="")]
Flag = Annotated[bool, arg(help_behavior_hint="")]
Many = Annotated[str, arg(metavar="N")]
Keys = Positional[Annotated[tuple[str, ...], arg(metavar="[KEY=VALUE ...]", help_behavior_hint="")]]
Run = Positional[Annotated[Path, arg(metavar="RUN")]]
Source = Positional[Annotated[str, arg(metavar="SOURCE")]]
Json = Annotated[bool, arg(help="Print JSON instead of a table.", help_behavior_hint="")]
Code = Annotated[
    Path | None,
    arg(
        metavar="FILE", help_behavior_hint="",
        help="A Python file of your own that adds families, networks, games, metrics or recipes (docs/extending.md).",
    ),
]


def recipes(
    recipe: Positional[Annotated[str | None, arg(metavar="[RECIPE]", help_behavior_hint="")]] = None, *,
    json: Json = False, code: Code = None,
) -> None:
    """List every recipe: its system, architecture, game, families, data and source; or one with all that can be set.

    Args:
        recipe: Show this one, with every key, every option and the names that may be chosen.
    """
    from frugan import convs
    from frugan import recipes as known

    _read_code(code)
    rows: list[dict[str, Any]] = []
    for name in known.names() if recipe is None else [recipe]:
        found = known.find(name)
        rows.append(
            {
                "name": name, "system": found.system, "game": found.game.name, "data": found.data.source,
                "architecture": {network: spec.architecture for network, spec in found.networks.items()},
                "families": convs.names(), "images": found.images, "source": found.source, "expects": found.expects,
                "explanation": known.explanation(name),
            }
        )
    if recipe is not None:
        found = known.find(recipe)
        rows[0] |= {"keys": found.keys(), "options": _default_options(found)}
    if json:
        _print_json(rows if recipe is None else rows[0])
        return
    if recipe is not None:
        _print_recipe(rows[0])
        return
    for row in rows:
        architectures = ", ".join(sorted(set(row["architecture"].values())))
        print(f"{row['name']:24}{row['system']:17}{architectures:11} {row['game']:13} {row['data']}")
        print(f"    {row['explanation'].partition(chr(10))[0]}")
    print(f"\nEach takes --family {'|'.join(convs.names())}. One in detail: frugan recipes RECIPE")


def train(
    recipe: Positional[Annotated[str, arg(metavar="RECIPE")]],
    keys: Keys = (),
    *,
    data: Text = None,
    family: Text = None,
    images: Count = None,
    seed: Number = None,
    out: File = None,
    discriminator_family: Text = None,
    rounds: Number = None,
    batch_size: Number = None,
    device: Text = None,
    precision: Text = None,
    init: File = None,
    code: Code = None,
    allow_unusable: Flag = False,
    evaluate_every: Count = None,
    keep_best: Text = None,
) -> None:
    """Train a recipe; the same command on an unfinished run continues it.

    Args:
        recipe: A recipe's name (frugan recipes), or the recipe.json of another run.
        keys: key=value: any value of the recipe; "frugan train RECIPE --help" lists them.
        data: Where images come from: glyphs, a folder, a .parquet, a .npz, hub:owner/name ... (frugan data list).
        family: Convolution family of the network that makes images, e.g. factorised, depthwise.
        images: Real images to show in all: 60000, 60k, 2M. A larger number trains a finished run further.
        seed: Decides initial weights, order of images and latents.
        out: The run folder; runs/RECIPE-DATA-FAMILY-seed-SEED if left out.
        discriminator_family: Convolution family of the discriminator.
        rounds: Rounds instead of images, where equal updates are wanted.
        batch_size: Real images in each step of the discriminator.
        device: cpu, cuda, cuda:1 ...; the best there is if left out.
        precision: auto, float32 or bf16.
        init: An artefact or run whose weights the generator begins with.
        allow_unusable: Train even if more than 5 % of the images cannot be used.
        evaluate_every: Measure every N images (20k), small and fast: fid_2k is of 2,000 images and no final FID.
        keep_best: fid or class_coverage: keep the best checkpoint by it in OUT/best, and evaluate that one anew.
    """
    from frugan.training import train as run

    run(
        recipe, data=data, family=family, images=images, seed=seed, out=out, changes=_changes(keys), rounds=rounds,
        discriminator_family=discriminator_family, batch_size=batch_size, device=device, precision=precision,
        init=init, code=code, allow_unusable=allow_unusable, evaluate_every=evaluate_every, keep_best=keep_best,
    )


def sample(
    run: Run, *, out: Path, count: int = 64, seed: int = 0, labels: Names = None, truncation: Value = None,
    code: Code = None, overwrite: Flag = False,
) -> None:
    """Make images with a trained generator: a PNG grid (FILE.png), an array (FILE.npz), or a folder of PNGs.

    Args:
        run: A run folder or an artefact.
        out: FILE.png, FILE.npz, or a folder.
        count: How many images.
        seed: Image i depends on (seed, i) alone.
        labels: For conditional generators: one class number, or several with commas; every class in turn if left out.
        truncation: Cut normal latents off at this value: less variety, more typical images.
        overwrite: Replace what is at OUT.
    """
    from frugan.artefact import load

    if out.exists() and not overwrite and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} exists; give another --out, or --overwrite.")
    if out.suffix not in ("", ".png", ".npz"):
        raise UserError(f"--out {out}: accepted are FILE.png, FILE.npz, or the name of a folder.")
    if count < 1:
        raise UserError(f"--count {count}: give a whole number above 0.")
    wanted = None if labels is None else _whole_numbers("--labels", labels, "3, or 0,1,2")
    generator = load(run, role="generator", code=code)
    made = generator.sample(count, seed, wanted[0] if wanted and len(wanted) == 1 else wanted, truncation)
    _write_images(made, out)
    print(f"{count} images of {generator.config['recipe']} on {generator.config['data']['title']}: {out}")


def translate(
    run: Run, images: Positional[Annotated[tuple[Path, ...], arg(metavar="IMAGES ...")]], *, out: Path,
    to: Names = None, labels: Names = None, size: Number = None, device: Text = None, code: Code = None,
    overwrite: Flag = False,
) -> None:
    """Translate image files with a trained translator; several targets also into one sheet.

    Args:
        run: A run folder or an artefact.
        images: Files, and folders of them. Each is resized to the size of the training by its shorter side.
        out: The folder for IMAGE-TARGET.png.
        to: Targets by name, with commas: blond_hair,"not glasses"; every one that is known if left out.
        labels: The attributes that all images have, with commas; seen by the run's discriminator if left out.
        size: The shorter side, instead of that of the training.
        device: cpu, cuda ...; the best there is if left out.
        overwrite: Write into a folder that holds something.
    """
    from frugan.translating import translate as run_on

    written = run_on(
        run, images, out=out, to=_names(to) or (), labels=_names(labels), size=size, device=device, code=code,
        overwrite=overwrite,
    )
    print(f"{len(written)} files in {out}")


def evaluate(
    fakes: Positional[Annotated[Path, arg(metavar="FAKES")]], *, real: Reals = None, metrics: Names = None,
    view: Text = None, count: Count = None, reference: Text = None, allow_few: Names = None, seed: int = 0,
    size: Number = None, channels: Number = None, allow_unusable: Flag = False, device: Text = None, json: Json = False,
    code: Code = None,
) -> None:
    """Measure fakes against real images, beside what real images themselves reach; every value carries its protocol.

    A run of your own:            frugan evaluate runs/thin

    An artefact, other images:    frugan evaluate thin.frugan --real mnist --metrics fid,kid,precision_recall

    Images of any program:        frugan evaluate samples/ --real photos/ --view inception

    Against known statistics:     frugan evaluate samples.npz --real fid_stats.npz --metrics fid

    The column "floor" is the same metric of real images against real images: no generator is seen to be better. Values
    compare only if their protocols are equal; the view (which network looks) and the counts change them most. Where
    fewer than 20,000 training images are the reference, copies of them score well, and memorisation is measured too.

    Args:
        fakes: A run, an artefact, or images: a folder (PNG, not JPEG), an .npz of uint8, a .parquet.
        real: A folder, .parquet, .npz, a name (frugan data list), or an .npz of mu and sigma. A run knows its own.
        metrics: Names, with commas; if left out fid,kid, and class_coverage where the data has classes.
        view: Images to features. Chosen by the data if left out.
        count: How many fakes, and real images at most; if left out all given ones; of a generator 10,000 at most.
        reference: test or train: the real images to compare with; the held-out ones if left out and there are enough.
        allow_few: Metrics to compute even of too few images, with commas. Such a value shares no table with others.
        seed: Of the latents.
        size: Bring the images of --real to this side first, as training would.
        channels: Bring the images of --real to 1 (grey) or 3 (colour) channels first.
        allow_unusable: Go on even if more than 5 % of the given images cannot be used.
        device: cpu, cuda ...; the best there is if left out.
    """
    from frugan.evaluation import evaluate as measure
    from frugan.recipe import parse_count

    values = measure(
        fakes, real=real, metrics=_names(metrics), view=view, count=None if count is None else parse_count(count),
        seed=seed, reference=reference, allow_few=_names(allow_few) or (), size=size, channels=channels,
        allow_unusable=allow_unusable, device=device, code=code, progress=_tell,
    )
    if json:
        _print_json(values)
    else:
        _print_values(values)


def cost(
    model: Positional[Annotated[str, arg(metavar="RECIPE|RUN")]], keys: Keys = (), *, family: Text = None,
    discriminator_family: Text = None, layers: Flag = False, latency: Flag = False, json: Json = False,
    code: Code = None,
) -> None:
    """Count parameters and multiply-accumulates of a recipe or run; measure its latency only if asked.

    Args:
        model: A recipe's name, a recipe.json, or a run folder.
        keys: key=value, as for train.
        family: Convolution family of the network that makes images.
        discriminator_family: Convolution family of the discriminator.
        layers: Also print every layer: what its role became, and what it costs.
        latency: Also measure milliseconds per image at batch 1 and 64 on this machine.
    """
    from frugan.costing import cost_of

    _read_code(code)
    found = cost_of(
        model, family=family, discriminator_family=discriminator_family, changes=_changes(keys), latency=latency
    )
    if json:
        _print_json(found.as_dict(layers=layers))
    else:
        found.show(layers=layers)


def report(folder: Positional[Annotated[Path, arg(metavar="FOLDER")]], *, code: Code = None) -> None:
    """Write one self-contained HTML page about a run or a comparison.

    Args:
        folder: What train or compare wrote.
    """
    from frugan.reporting import report as write

    print(f"Report: {write(folder, code=code)}")


def compare(
    arms: Positional[Annotated[tuple[str, ...], arg(metavar="ARM [ARM ...] [KEY=VALUE ...]", help_behavior_hint="")]],
    *, out: File = None, families: Names = None, seeds: str = "0-4", images: Count = None, data: Text = None,
    jobs: int = 1, metrics: Names = None, view: Text = None, count: Count = None, reference: Text = None,
    baseline: Text = None, margin: Value = None, pilot_seeds: Names = None, match: Text = None,
    equal: str = "images", no_damaged: Flag = False, rounds: Number = None, batch_size: Number = None,
    device: Text = None, precision: Text = None, retry_failed: Flag = False, code: Code = None,
) -> None:
    """Train arms beside each other on the same data and seeds, and say what was saved and what was lost.

    Args:
        arms: Each "[name:] RECIPE [--family F] [key=value ...]" in quotes, e.g. "thin: mnist architecture.width=0.7".
            The first is the baseline. key=value outside of quotes is meant for all arms.
        out: The comparison's folder, in which what is there is continued; runs/compare-ARM-ARM if left out.
        families: With a single recipe: one arm for each family, e.g. standard,factorised,depthwise.
        seeds: e.g. 0-4 or 0,1,5. Fewer than five give a direction, not a verdict.
        images: Real images each run is shown: 60k, 2M; the recipes' own if left out.
        data: Where images come from, for all arms.
        jobs: Runs at a time; the cores are shared out among them.
        metrics: Names, with commas; the first decides. fid,kid if left out, and class_coverage where data has classes.
        view: Images to features; chosen by the data if left out.
        count: Images made for each evaluation; as for evaluate if left out.
        reference: test or train: the real images to compare with.
        baseline: The name of the arm that the others are compared with.
        margin: How much worse in the first metric still counts as not worse. Left out, pilot runs of the baseline say
            before the test what a tenth less training costs.
        pilot_seeds: Seeds of the pilots, outside the test; 1000-1002 if left out, "none" for no pilots.
        match: parameters, macs or latency: each frugal arm also brings its control, the baseline made thinner until it
            has the same; an arm that does not beat it has saved nothing.
        equal: What arms have the same of: images; seconds, those that the baseline takes; or e.g. 600s.
        no_damaged: Add no arm damaged on purpose; then no arm can be called not worse.
        rounds: Rounds instead of images, where equal updates are wanted.
        batch_size: Real images in each step of the discriminator, for all arms.
        device: cpu, cuda ...; the best there is if left out.
        precision: auto, float32 or bf16.
        retry_failed: Train failed runs once more, after the cause has been mended.
    """
    from frugan.comparison import compare as run

    shared = [arm for arm in arms if _is_key(arm)]
    run(
        [arm for arm in arms if not _is_key(arm)], changes=_changes(shared), families=_names(families) or (),
        seeds=_seeds(seeds), images=images, data=data, out=out, jobs=jobs, metrics=_names(metrics), view=view,
        count=count, reference=reference, baseline=baseline, margin=margin, pilot_seeds=_pilot_seeds(pilot_seeds),
        match=match, equal=equal, no_damaged=no_damaged, rounds=rounds, batch_size=batch_size,
        device=device, precision=precision, retry_failed=retry_failed, code=code,
    )


def plan(
    comparison: Positional[Annotated[Path | None, arg(metavar="[COMPARISON]", help_behavior_hint="")]] = None, *,
    margin: Value = None, sd: Value = None, power: float = 0.8, jobs: Number = None,
) -> None:
    """Say how many seeds a margin needs, from the noise seen so far, and how long they take here.

    Args:
        comparison: A finished comparison, whose noise, times and margin count.
        margin: How much worse still counts as not worse; the comparison's own if left out.
        sd: Standard deviation of paired differences, in place of a comparison's.
        power: In which share of comparisons the verdict is to come out.
        jobs: Runs at a time; as in the comparison if left out.
    """
    from frugan.comparison import plan as needed

    for line in needed(comparison, margin=margin, sd=sd, power=power, jobs=jobs).words():
        print(line)


def demo(*, out: Path = Path("runs/demo"), images: Many = "25k") -> None:
    """Train a standard and a factorised generator on built-in glyphs for a few minutes, and compare them.

    Args:
        out: Where the runs and the report go.
        images: Real images that each run is shown.
    """
    from frugan.comparison import compare as run

    print(
        "Two twins, one seed, a small budget: what a comparison looks like, not yet a result. "
        f"Pictures appear in {out}/runs/*/seed-0/samples/ while they train."
    )
    run(
        ["mnist"], families=("standard", "factorised"), seeds=(0,), images=images, data="glyphs", out=out, jobs=2,
        count=5000,
    )


def data_list() -> None:
    """List the sources that are known by name, and whether they are found on this machine."""
    from rich.console import Console
    from rich.table import Table

    from frugan import data

    table = Table("source", "what", "classes", "here", box=None, pad_edge=False)
    for source in data.sources():
        table.add_row(source.name, source.what, str(source.classes or ""), str(source.found or source.get))
    Console().print(table)
    print("\ndocs/data.md says more about each.")


def data_show(
    source: Source, *, out: Path = Path("contact-sheet.png"), split: str = "train", size: Number = None,
    channels: Number = None, only: Names = None, attributes: Names = None, seed: int = 0, overwrite: Flag = False,
) -> None:
    """Draw a contact sheet of a source and print what is in it: how many of each class, or with each attribute.

    Args:
        source: As for train --data.
        out: The PNG to write.
        split: train or test.
        size: Bring all images to this size; needed where theirs differ.
        channels: 1 grey, 3 colour.
        only: Classes, or what all images shall have, e.g. "glasses,not hat".
        attributes: Which attributes, in which order; all if left out.
        seed: Which images are shown.
        overwrite: Replace what is at OUT.
    """
    from frugan import data

    if out.exists() and not overwrite:
        raise UserError(f"{out} exists; give another --out, or --overwrite.")
    opened = data.open_dataset(
        source, split=split, size=size, channels=channels, only=_names(only) or (), attributes=_names(attributes) or (),
        allow_unusable=True,
    )
    data.contact_sheet(opened, seed=seed).save(out)
    print(f"{opened.title}: {opened.shape.height} x {opened.shape.width}, {opened.shape.channels} channels")
    for note in opened.notes:
        print(f"note: {note}")
    if opened.labels is not None and opened.attributes:
        shares = zip(opened.attributes, opened.labels.sum(0).tolist(), strict=True)
        print("attributes: " + ", ".join(f"{name} {count:,} ({count / len(opened):.1%})" for name, count in shares))
    elif opened.labels is not None:
        counts = opened.labels.bincount(minlength=len(opened.classes)).tolist()
        print("classes: " + ", ".join(f"{name} {count:,}" for name, count in zip(opened.classes, counts, strict=True)))
    if opened.skipped:
        print(f"{len(opened.skipped)} images cannot be used; see: frugan data check {source}")
    print(f"Contact sheet: {out}")


def data_check(
    source: Source, *, split: str = "train", size: Number = None, channels: Number = None
) -> None:
    """List every image of a source that cannot be used, with its reason; nothing is packed.

    Args:
        source: As for train --data.
        split: train or test.
        size: Check as if all were brought to this size.
        channels: 1 grey, 3 colour.
    """
    from frugan import data

    found = data.check(source, split=split, size=size, channels=channels)
    for skipped in found.skipped:
        print(f"{skipped.path}: {skipped.reason}")
    print(f"{found.usable:,} usable, {len(found.skipped):,} not.")


def data_pack(
    source: Source, *, split: str = "train", size: Number = None, channels: Number = None,
    allow_unusable: Flag = False,
) -> None:
    """Pack a source into bytes now, so that later runs open it at once.

    Args:
        source: As for train --data.
        split: train or test.
        size: Bring all images to this size.
        channels: 1 grey, 3 colour.
        allow_unusable: Pack even if more than 5 % of the images cannot be used.
    """
    from frugan import data, training

    opened = data.open_dataset(
        source, split=split, size=size, channels=channels, allow_unusable=allow_unusable,
        progress=training.tell_packing(source),
    )
    print(f"Packed: {opened.title}, {len(opened.skipped)} images set aside.")


def data_convert_weights(file: Positional[Annotated[Path, arg(metavar="FILE")]]) -> None:
    """Turn the published FID weights into a file that is safe to load; needed once for --view inception.

    Args:
        file: pt_inception-2015-12-05-6726825d.pth or weights-inception-2015-12-05-6726825d.pth.
    """
    from frugan.views import convert_weights

    print(f"Converted: {convert_weights(file)}")


VERBS: dict[str, Callable[..., None]] = {
    "demo": demo, "recipes": recipes, "train": train, "sample": sample, "translate": translate,
    "evaluate": evaluate, "compare": compare,
    "plan": plan, "report": report, "cost": cost,
}
DATA_VERBS: dict[str, Callable[..., None]] = {
    "list": data_list, "show": data_show, "check": data_check, "pack": data_pack,
    "convert-weights": data_convert_weights,
}


def main(arguments: Sequence[str] | None = None) -> None:
    """What ``frugan`` runs: the verb, or its help; mistakes of the user's end in one line and exit code 2."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        _dispatch(given)
    except UserError as error:
        print(f"frugan: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("frugan: interrupted.", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(0)


def _dispatch(given: list[str]) -> None:
    verbs, prog = VERBS, "frugan"
    if given[:1] == ["data"]:
        verbs, prog, given = DATA_VERBS, "frugan data", given[1:]
    if not given or given[0] in ("-h", "--help"):
        _print_verbs(verbs, prog)
        return
    if given[0] == "--version":
        from frugan import __version__

        print(__version__)
        return
    verb, rest = given[0], given[1:]
    if verb not in verbs:
        from frugan.registry import suggest

        raise UserError(f"There is no verb '{verb}'. {suggest(verb, [*verbs, *(['data'] if verbs is VERBS else [])])}")
    try:
        tyro.cli(
            verbs[verb], args=_options_last(rest, verbs[verb]), prog=f"{prog} {verb}", use_underscores=False,
            config=(FlagCreatePairsOff, DisallowNone),
        )
    except SystemExit as stop:
        if verb == "train" and stop.code in (0, None) and {"-h", "--help"} & set(rest) and not rest[0].startswith("-"):
            _print_keys(rest)
        if verb == "evaluate" and stop.code in (0, None) and {"-h", "--help"} & set(rest):
            _print_first_lines()
        raise


def _print_verbs(verbs: dict[str, Callable[..., None]], prog: str) -> None:
    print(f"usage: {prog} VERB ...\n")
    if verbs is VERBS:
        print("Small, fast, honestly compared GAN image generators.\n")
    listed = {verb: (function.__doc__ or "").strip().splitlines()[0] for verb, function in verbs.items()}
    if verbs is VERBS:
        listed["data"] = "Sources of images: list, show, check, pack."
    for verb, line in listed.items():
        print(f"  {verb:16} {line}")
    print(f"\n{prog} VERB --help tells more." + (_EXAMPLES if verbs is VERBS else ""))


def _print_keys(rest: list[str]) -> None:
    """What can be set as key=value, with the values of the recipe named first on the command line."""
    from frugan.training import resolve

    given = {name: rest[rest.index(name) + 1] for name in ("--family", "--data", "--code") if name in rest[:-1]}
    _read_code(Path(given["--code"]) if "--code" in given else None)
    recipe = resolve(rest[0], family=given.get("--family"), data=given.get("--data"))
    print(f"\nKeys of the recipe '{recipe.name}', as key=value:")
    for key, value in recipe.keys().items():
        print(f"  {key}={json.dumps(value)}")
    print(f"\nOptions that are not listed have their defaults: frugan recipes {rest[0]}")


def _print_first_lines() -> None:
    """What each metric and view says that it is, read from its file: importing it would import torch."""
    import ast
    import importlib.util

    from frugan import metrics, views

    for title, axis in (("--metrics", metrics), ("--view", views)):
        print(f"\nNames for {title}:")
        for name in axis.names():
            spec = importlib.util.find_spec(f"{axis.__name__}.{name}")
            said = ast.get_docstring(ast.parse(Path(spec.origin).read_text())) if spec and spec.origin else None
            print(f"  {name:24} {(said or 'your own').splitlines()[0]}")


def _default_options(recipe: Recipe) -> dict[str, Any]:
    """The options of a recipe's game, loss and architectures that it leaves at their defaults, by dotted key."""
    from frugan import build, games, losses, nets

    found = {f"game.{key}": value for key, value in games.find(recipe.game.name).options().items()}
    found |= {f"loss.{key}": value for key, value in losses.options(recipe.loss.name).items()}
    for name, order in build.orders(recipe).items():
        options = nets.options(recipe.networks[name].architecture, order.part)
        found |= {f"{name}.{key}": value for key, value in options.items()}
    given = recipe.keys()
    return {key: value for key, value in found.items() if key not in given}


def _print_recipe(row: dict[str, Any]) -> None:
    """One recipe with everything that can be set, by the names and values that there are."""
    from frugan import augment, convs, games, losses, nets, penalties

    print(inspect.cleandoc(row["explanation"]))
    print(f"\nsystem: {row['system']}\nsource: {row['source']}\nexpects: {row['expects']}")
    print("\nWhat can be set, as key=value:")
    for key, value in row["keys"].items():
        print(f"  {key}={json.dumps(value)}")
    print("\nOptions that have their defaults:")
    for key, value in row["options"].items():
        print(f"  {key}={json.dumps(value)}")
    print("\nNames that may be chosen:")
    for key, axis in (
        ("--family", convs), ("architecture", nets), ("game", games), ("loss", losses), ("penalties", penalties),
        ("augment", augment),
    ):  # fmt: skip
        print(f"  {key}: {', '.join(axis.names())}")


def _changes(keys: Sequence[str]) -> dict[str, Any]:
    from frugan.recipe import parse_value

    changes = {}
    for key in keys:
        name, equals, value = key.partition("=")
        if not equals or not name:
            raise UserError(f"'{key}' is not of the form key=value, e.g. batch_size=64.")
        changes[name] = parse_value(value)
    return changes


def _is_key(token: str) -> bool:
    """Whether a word is key=value, and not an arm ("mnist batch_size=32", "thin: mnist") or a file."""
    return re.match(r"[A-Za-z_][\w.]*=", token) is not None


def _options_last(given: list[str], verb: Callable[..., None]) -> list[str]:
    """What was typed, sorted: names, then keys, then options, since tyro wants all that is no option in one piece."""
    parameters = inspect.signature(verb).parameters.values()
    flags = {"--" + parameter.name.replace("_", "-") for parameter in parameters if parameter.default is False}
    others: list[str] = []
    options: list[str] = []
    waiting = list(given)
    while waiting:
        word = waiting.pop(0)
        if not word.startswith("-"):
            others.append(word)
            continue
        options.append(word)
        if waiting and "=" not in word and word not in {*flags, "-h", "--help"}:
            options.append(waiting.pop(0))
    return [*sorted(others, key=_is_key), *options]


def _names(text: str | None) -> tuple[str, ...] | None:
    return None if text is None else tuple(name.strip() for name in text.split(",") if name.strip())


def _whole_numbers(option: str, text: str, such_as: str) -> tuple[int, ...]:
    """ "0-4" or "0,1,5" as numbers. Raises UserError."""
    found: list[int] = []
    try:
        for part in _names(text) or ():
            first, dash, last = part.partition("-")
            found += range(int(first), int(last) + 1) if dash else [int(first)]
    except ValueError:
        found = []
    if not found:
        raise UserError(f"{option} {text}: give whole numbers such as {such_as}.")
    return tuple(found)


def _seeds(text: str) -> tuple[int, ...]:
    return _whole_numbers("--seeds", text, "0-4, or 0,1,5")


def _pilot_seeds(text: str | None) -> tuple[int, ...] | None:
    if text == "none":
        return ()
    return None if text is None else _whole_numbers("--pilot-seeds", text, "1000-1002, or none")


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _read_code(code: Path | None) -> None:
    if code is not None:
        from frugan.registry import load_code

        load_code(code)


def _write_images(made: Any, out: Path) -> None:
    import numpy as np
    import torch
    from PIL import Image

    from frugan.pictures import save_grid

    out.parent.mkdir(parents=True, exist_ok=True)
    if out.suffix == ".npz":
        np.savez_compressed(out, images=made)
    elif out.suffix == ".png":
        save_grid(torch.from_numpy(made).permute(0, 3, 1, 2), out)
    else:
        out.mkdir(exist_ok=True)
        for number, image in enumerate(made):
            Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image).save(out / f"{number:06d}.png")


def _print_values(values: Sequence[dict[str, Any]]) -> None:
    """Each metric's headline, its floor and what else it told; then what all protocols say, and where one differs."""
    print(f"{'metric':20} {'value':>10} {'floor':>10}  better")
    for value in values:
        floor = value.get("floor")
        numbers = [value["values"][value["headline"]], *([] if floor is None else [floor["value"]])]
        shown = [f"{number:.4g}" for number in numbers] + ["-"] * (2 - len(numbers))
        others = [f"{key} {number:.4g}" for key, number in value["values"].items() if key != value["headline"]]
        print(f"{value['metric']:20} {shown[0]:>10} {shown[1]:>10}  {value['better']:8}{'  '.join(others)}".rstrip())
    protocols = [value["protocol"] for value in values]
    for of in dict.fromkeys(value["floor"]["protocol"]["of"] for value in values if value.get("floor")):
        names = [v["metric"] for v in values if v.get("floor") and v["floor"]["protocol"]["of"] == of]
        print(f"floor of {', '.join(names)}: {of}")
    same = {key: item for key, item in protocols[0].items() if all(key in p and p[key] == item for p in protocols)}
    print("protocol: " + ", ".join(f"{key} {item}" for key, item in same.items() if item not in (None, {})))
    for value in values:
        own = [f"{key} {item}" for key, item in value["protocol"].items() if key not in same and item not in (None, {})]
        if own:
            print(f"protocol of {value['metric']}: {', '.join(own)}")


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=2))
