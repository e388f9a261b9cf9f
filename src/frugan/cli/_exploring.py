"""The verbs under ``frugan explore``: latent experiments on a trained generator."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import Positional, arg

from frugan import terminal
from frugan.cli._arguments import (
    Code,
    File,
    Flag,
    Names,
    Number,
    Run,
    Text,
    Trust,
    Value,
    check_out,
    listed,
    whole_numbers,
)
from frugan.ranges import Amount, Count, Range, Times
from frugan.registry import UserError

if TYPE_CHECKING:
    from frugan.artefact import Generator
    from frugan.explore import Samples

Out = Annotated[Path, arg(metavar="FILE")]
Images = Positional[Annotated[tuple[str, ...], arg(metavar="IMAGES ...", help_behavior_hint="(required)")]]
Numbers = Annotated[str | None, arg(metavar="N,N,...", help_behavior_hint="")]

Steps = Annotated[int, Range(1, most=10_000)]

SHOWN = 64
TOLD = 2048
"""How many samples there are to choose from by number, and by label, if --count is left out."""


def grid(
    run: Run, *, out: Out, count: Count = SHOWN, seed: int = 0, labels: Names = None, truncation: Value = None,
    latents: File = None, corners: Numbers = None, side: Times = 8, code: Code = (), trust_code: Trust = False,
    overwrite: Flag = False,
) -> None:
    """A contact sheet of samples with their numbers, to choose from; or a grid between four of them.

    Args:
        run: A run folder or an artefact.
        out: FILE.png.
        count: How many samples.
        seed: Another seed gives other samples; the samples are those of frugan sample.
        labels: For generators with labels: one class number, or several with commas. If left out: every class in turn.
        truncation: Limit normal latents to this value.
        latents: Take the latents of this FILE.npz (frugan explore project writes one) instead of samples.
        corners: The numbers of four samples: show a grid between them instead.
        side: How many images such a grid has on a side.
        overwrite: Replace what is at OUT.
    """
    from frugan import explore
    from frugan.explore import sheets

    check_out(out, overwrite, (".png",))
    generator = _generator(run, code, trust_code)
    chosen = _samples(generator, count, seed, labels, truncation, latents)
    if corners is None:
        _save(sheets.numbered(chosen.images()), out)
        terminal.say(f"{len(chosen)} samples with their numbers: {out}")
        return
    four = chosen.take(whole_numbers("--corners", corners, "3,17,5,9"))
    path = explore.usual_path(generator.latents)
    between = explore.plane(four.latents, side, side, path=path)
    told = _held(four, len(between))
    _save(next(sheets.frames(explore.images_of(generator, between, told, truncation)[None], side)), out)
    terminal.say(f"{side} x {side} images between samples {corners}: {out}")



def walk(
    run: Run, *, out: Out, through: Numbers = None, points: Times = 4, walks: Times = 16, steps: Steps = 24,
    path: Text = None, open: Flag = False, seconds: float = 0.06, view: Text = None, data: Text = None,
    count: Count = SHOWN, seed: int = 0, labels: Names = None, truncation: Value = None, latents: File = None,
    code: Code = (), trust_code: Trust = False, overwrite: Flag = False,
) -> None:
    """A film of walks from sample to sample that plays endlessly, or a picture of them in rows.

    Through samples of your choice:   frugan explore walk RUN --through 3,17,5 --out walk.webp

    From one sample to another:       frugan explore walk RUN --through 3,17 --open --out between.png

    Args:
        run: A run folder or an artefact.
        out: FILE.webp, FILE.gif or FILE.mp4 (needs the extra video), or FILE.png for nine images of each leg in a row
            (ten with --open).
        through: The numbers of samples to walk through (frugan explore grid shows them). If left out: several walks
            side by side, each through its own.
        points: How many samples each of several walks goes through.
        walks: How many walks there are then.
        steps: Frames from one sample to the next.
        path: sphere or line. If left out: sphere for normal latents, line for uniform ones.
        open: End at the last sample; otherwise the walk returns to the first.
        seconds: How long each frame is shown.
        view: Tell how even the steps are by the features of this view, such as classifier. If left out: by pixels.
        data: Images like the run's, if the view learns from images. If left out: the run's own.
        count: How many samples there are to choose from.
        seed: Another seed gives other samples.
        labels: For generators with labels: the class of all images. If left out: that of the first sample of a walk.
        truncation: Limit normal latents to this value.
        latents: Take the latents of this FILE.npz (frugan explore project writes one) instead of samples.
        overwrite: Replace what is at OUT.
    """
    import torch

    from frugan import explore, pictures
    from frugan.explore import sheets

    still = out.suffix.lower() == ".png"
    _check_film(out, overwrite, ".png")
    if seconds <= 0:
        raise UserError(f"--seconds {seconds}: give a number above 0, e.g. 0.06.")
    generator = _generator(run, code, trust_code)
    way = explore.check_path(path or explore.usual_path(generator.latents), generator.latents)
    seen = None if view is None else explore.open_view(view, generator, run, data, announce=terminal.tell)
    if through is not None:
        numbers = whole_numbers("--through", through, "3,17,5")
        if len(numbers) < 2:
            raise UserError(f"--through {through}: a walk goes through 2 samples or more, such as 3,17,5.")
        chosen = [_samples(generator, count, seed, labels, truncation, latents).take(numbers)]
    else:
        if walks < 1 or points < 2:
            raise UserError(f"--walks {walks} --points {points}: give at least 1 walk through 2 points.")
        pool = _samples(generator, walks * points, seed, labels, truncation, latents)
        walks = min(walks, len(pool) // points)
        if walks < 1:
            raise UserError(f"{pool.where} are {len(pool)}, too few to walk through {points}. Give --points.")
        # Sample 0, 1, ... are the first points of the walks, so that a walk's class is that of its number.
        chosen = [pool.take(range(first, walks * points, walks)) for first in range(walks)]
    each = [explore.walk(one.latents, 9 if still else steps, path=way, closed=not open) for one in chosen]
    made = [
        explore.images_of(generator, latents, _held(of, len(latents)), truncation)
        for latents, of in zip(each, chosen, strict=True)
    ]
    if still:
        legs = len(chosen[0]) - open
        rows = [torch.from_numpy(one[9 * leg : 9 * leg + 9 + open]) for one in made for leg in range(legs)]
        _save(next(sheets.frames(torch.cat(rows).numpy()[None], 9 + open)), out)
    else:
        together = torch.stack([torch.from_numpy(one) for one in made], 1).numpy()
        pictures.save_film(sheets.frames(together), out, seconds=seconds)
    ratios = []
    for one in made:
        images = torch.from_numpy(one).permute(0, 3, 1, 2)
        sizes = explore.steps_between(images.float() if seen is None else seen.features(images), closed=not open)
        ratios.append(float(sizes.max() / sizes.mean().clamp_min(1e-12)))
    terminal.say(
        f"{len(made)} walk{'s' * (len(made) > 1)} of {len(made[0])} images along the {way}: {out}. The largest step "
        f"between two images is {max(ratios):.1f} times the mean one of its walk, in {view or 'pixels'}."
    )



def arithmetic(
    run: Run, expression: Positional[Annotated[str, arg(metavar='"A - B + C"')]], *, out: File = None,
    exemplars: Times = 30, noise: float = 0.25, trials: Amount = 0, data: Text = None, count: Number = None,
    seed: int = 0, labels: Names = None, truncation: Value = None, latents: File = None, device: Text = None,
    code: Code = (), trust_code: Trust = False, overwrite: Flag = False,
) -> None:
    """Add and subtract the means of exemplars, chosen by number or by label, and show what comes out.

    By number, from a contact sheet:   frugan explore arithmetic RUN "3,7,9 - 1,4,6 + 2,5,8" --out sum.png

    By label:                          frugan explore arithmetic RUN "glasses - not glasses + hat" --out sum.png

    How often that works:              frugan explore arithmetic RUN "glasses - not glasses + not glasses" --trials 200

    The picture has a row for each term, its exemplars and their mean, and then the result with variants around it.

    Args:
        run: A run folder or an artefact.
        expression: Terms with spaces around + and -. A term is numbers of samples, or labels that each exemplar must
            have, with commas (class:7 where a class is called by a number). Labels are told by a classifier that is
            trained on the run's data once.
        out: FILE.png.
        exemplars: How many samples with a label are taken, at random; all if there are fewer. The picture has eight.
        noise: The variants differ by uniform numbers up to this in every latent.
        trials: Repeat "A - B + C" so often with other exemplars, and count how often the result has what tells A from
            B, as another classifier judges it; beside it how often C alone has it.
        data: Labelled data like the run's, for the classifier. If left out: the run's own.
        count: How many samples to choose from. If left out: 64 for numbers, 2,048 for labels.
        seed: Another seed gives other samples and exemplars.
        labels: For generators with labels: the class of all samples. If left out: every class in turn.
        truncation: Limit normal latents to this value.
        latents: Take the latents of this FILE.npz (frugan explore project writes one) instead of samples.
        device: Where the classifier computes: cpu, cuda ... If left out: the best that this machine has.
        overwrite: Replace what is at OUT.
    """
    import numpy as np

    from frugan import explore
    from frugan.engine.precision import choose_device
    from frugan.explore import exemplars as arithmetics
    from frugan.explore import sheets

    if out is None and not trials:
        raise UserError("Give --out FILE.png for a picture, or --trials 200 to count how often it works.")
    check_out(out, overwrite, (".png",))
    if trials < 0:
        raise UserError(f"--trials {trials}: give a whole number above 0.")
    terms = explore.parse(expression)
    if trials:
        arithmetics.expected_of(terms)
    told = any(term.wanted for term in terms)
    generator = _generator(run, code, trust_code)
    chosen = _samples(generator, count or (TOLD if told else SHOWN), seed, labels, truncation, latents)
    place = str(choose_device(device))

    def judge(number: int) -> Any:
        wanted = [label for term in terms for label in term.wanted]
        return explore.open_judge(
            generator, run, data, seed=number, device=place, announce=terminal.tell, labels=wanted
        )

    first = judge(0) if told else None
    result = explore.combine(chosen, terms, first, exemplars=exemplars, noise=noise, seed=seed)
    if out is not None:
        rows = []
        for term, one, mean in zip(terms, result.terms, result.means, strict=True):
            middle = explore.images_of(generator, mean[None], _held(one, 1), truncation)
            title = f"{'+' if term.sign > 0 else '-'} {term.text} (the last one is their mean)"
            rows.append((title, np.concatenate([one.take(range(min(len(one), 8))).images(), middle])))
        made = explore.images_of(generator, result.latents, result.labels, truncation)
        rows.append((f"= {expression}, then with noise", made))
        _save(sheets.titled(rows), out)
        terminal.say(f"{expression}: {out}")
    if trials:
        assert first is not None  # expected_of wants labels
        found = explore.measure(chosen, terms, first, judge(1), trials=trials, exemplars=exemplars, seed=seed)
        terminal.say(
            f"{expression}: {', '.join(found.expected)} in {100 * found.rate:.1f} % of {found.trials} trials; "
            f"the mean of C alone: {100 * found.chance:.1f} %; exemplars of A: {100 * found.exemplar:.1f} %."
        )



def directions(
    run: Run, *, out: Out, by: Annotated[str, arg(metavar="layer|pca|latent:N,...|LABEL,...")] = "layer",
    how_many: Times = 6, reach: float = 3.0, of: int = 0, data: Text = None, count: Count = TOLD, seconds: float = 0.06,
    seed: int = 0, labels: Names = None, truncation: Value = None, latents: File = None, device: Text = None,
    code: Code = (), trust_code: Trust = False, overwrite: Flag = False,
) -> None:
    """Directions in the latents, and one sample moved along each: without labels, or fitted to labels.

    Args:
        run: A run folder or an artefact.
        out: FILE.png, a row for each direction; or FILE.webp, FILE.gif, FILE.mp4, which move there and back.
        by: layer (the closed form, from the first layer's weights), pca (main components of images), single latents
            by their numbers (latent:10,11), or labels of the data, with commas: glasses,smile.
        how_many: How many directions to find without labels.
        reach: How far to move both ways.
        of: The number of the sample that is moved.
        data: Labelled data like the run's, for the classifier that tells labels. If left out: the run's own.
        count: How many samples directions are found from.
        seconds: How long each frame of a film is shown.
        seed: Another seed gives other samples.
        labels: For generators with labels: the class of all samples. If left out: every class in turn.
        truncation: Limit normal latents to this value.
        latents: Take the latents of this FILE.npz (frugan explore project writes one) instead of samples.
        device: Where the classifier computes: cpu, cuda ... If left out: the best that this machine has.
        overwrite: Replace what is at OUT.
    """
    import torch

    from frugan import explore, pictures
    from frugan.engine.precision import choose_device
    from frugan.explore import directions as finding
    from frugan.explore import sheets

    still = out.suffix.lower() == ".png"
    _check_film(out, overwrite, ".png")
    if how_many < 1 or not reach > 0 or not seconds > 0:
        raise UserError(f"--how-many {how_many} --reach {reach} --seconds {seconds}: give numbers above 0.")
    generator = _generator(run, code, trust_code)
    pool = _samples(generator, count, seed, labels, truncation, latents)
    start = pool.take([of])
    if by == finding.LAYER:
        found = explore.by_first_layer(generator, how_many)
    elif by == finding.PCA:
        found = explore.by_pca(pool.take(range(min(len(pool), 1024))), how_many)
    elif by.startswith(finding.LATENT):
        numbers = whole_numbers("--by", by.removeprefix(finding.LATENT), "latent:10,11")
        found = explore.by_latents(generator, numbers)
    else:
        names = listed(by) or ()
        judge = explore.open_judge(
            generator, run, data, device=str(choose_device(device)), announce=terminal.tell, labels=names,
            others=(finding.LAYER, finding.PCA),
        )  # fmt: skip
        found = explore.by_labels(pool, judge, names)
    shares = torch.linspace(-1, 1, 9 if still else 24)
    moved = found.along(start.latents[0], reach * (shares if still else torch.cat([shares, shares.flip(0)])))
    told = None if start.labels is None else start.labels.expand(*moved.shape[:2], *start.labels.shape[1:])
    made = explore.images_of(generator, moved, told, truncation)
    if still:
        titles = [": ".join(filter(None, pair)) for pair in zip(found.names, found.fits, strict=True)]
        _save(sheets.titled(list(zip(titles, made, strict=True))), out)
    else:
        pictures.save_film(sheets.frames(made.swapaxes(0, 1)), out, seconds=seconds)
    for pair in zip(found.names, found.fits, strict=True):
        terminal.say(": ".join(filter(None, pair)))
    terminal.say(f"Sample {of} moved by up to {reach:g} along {len(found)} directions: {out}")



def truncation(
    run: Run, *, out: Out, values: Names = None, count: Count = 10, seed: int = 0, labels: Names = None,
    code: Code = (), trust_code: Trust = False, overwrite: Flag = False,
) -> None:
    """The same samples under ever narrower latents: less variety, more typical images. Normal latents only.

    Args:
        run: A run folder or an artefact.
        out: FILE.png, a row for each value.
        values: The limits, with commas. If left out: none, 2, 1, 0.5, 0.2.
        count: How many samples.
        seed: Another seed gives other samples.
        labels: For generators with labels: one class number, or several with commas. If left out: every class in turn.
        overwrite: Replace what is at OUT.
    """
    from frugan.explore import sheets

    check_out(out, overwrite, (".png",))
    try:
        limits = [None, 2.0, 1.0, 0.5, 0.2] if values is None else [float(one) for one in listed(values) or ()]
    except ValueError:
        raise UserError(f"--values {values}: give numbers above 0 with commas, e.g. 2,1,0.5.") from None
    generator = _generator(run, code, trust_code)
    rows = [
        ("not truncated" if limit is None else f"{limit:g}",
         _samples(generator, count, seed, labels, limit, None).images())
        for limit in limits
    ]  # fmt: skip
    _save(sheets.titled(rows), out)
    terminal.say(f"{len(rows)} rows of {count} samples: {out}")



def project(
    run: Run, images: Images, *, out: Out, by: Text = None, resize: Flag = False, count: Count = 16, steps: Steps = 200,
    split: Text = None, labels: Names = None, seed: int = 0, device: Text = None, code: Code = (),
    trust_code: Trust = False, overwrite: Flag = False,
) -> None:
    """Find the latents of given images, by the run's encoder or by search, and tell how near their images come.

    Args:
        run: A run folder or an artefact.
        images: Image files of the generator's size (of the encoder's, where that sees finer images), folders of them,
            or a source such as mnist.
        out: FILE.png with the given images above what was found; or FILE.npz with latents, which frugan explore walk
            --latents takes.
        by: encoder or search. If left out: the encoder where the run ships one that finds latents.
        resize: Take images of other sizes, and resize them as in training.
        count: At most so many images of a folder or source.
        steps: How many steps a search takes.
        split: train or test, of a source that has both. If left out: test.
        labels: For generators with labels: the class of the images. If left out: a search takes the nearest sample's.
        seed: Another seed begins a search at other samples.
        device: cpu, cuda ... If left out: the best that this machine has.
        overwrite: Replace what is at OUT.
    """
    import numpy as np

    from frugan import explore
    from frugan.engine.precision import choose_device
    from frugan.explore import given, sheets

    check_out(out, overwrite, (".png", ".npz"))
    if steps < 1 or count < 1:
        raise UserError(f"--steps {steps} --count {count}: give whole numbers above 0.")
    place = str(choose_device(device))
    generator = _generator(run, code, trust_code, place)
    encoder = given.open_encoder(run, generator, by, place)
    pixels = given.read(images, encoder or generator, count, split, resize=resize)
    classes = None if labels is None else whole_numbers("--labels", labels, "3, or 0,1,2")
    wanted = classes[0] if classes and len(classes) == 1 else classes
    found = explore.project(generator, pixels, encoder, labels=wanted, steps=steps, seed=seed, announce=terminal.tell)
    if out.suffix.lower() == ".npz":
        explore.write_samples(found.samples, out, given=found.given)
    else:
        rows, wide = [], 12
        for start in range(0, len(pixels), wide):
            rows += [found.given[start : start + wide], found.images[start : start + wide]]
        short = wide - len(rows[-1]) if len(pixels) > wide else 0
        white = np.full((short, *found.given.shape[1:]), 255, np.uint8)
        rows = [*rows[:-2], *(np.concatenate([row, white]) for row in rows[-2:])]
        _save(next(sheets.frames(np.concatenate(rows)[None], len(rows[0]))), out)
    compared = "" if len(pixels) < 2 else f", {found.ratio:.2f} of the distance to another's"
    count_of = "1 image" if len(pixels) == 1 else f"{len(pixels)} images"
    terminal.say(
        f"{count_of} projected by {found.by}: {out}. Mean distance of an image from its reconstruction (L2, pixels in "
        f"0 to 1): {float(found.errors.mean()):.2f}{compared}."
    )



def film(
    run: Run, *, out: Out, seconds: float = 0.25, hold: float = 2.0, overwrite: Flag = False
) -> None:
    """What training looked like: a film of a run's previews, which always show the same latents.

    Args:
        run: A run folder.
        out: FILE.webp, FILE.gif, or FILE.mp4 (needs the extra video).
        seconds: How long each preview is shown.
        hold: How long the last one stays.
        overwrite: Replace what is at OUT.
    """
    from frugan import pictures
    from frugan.explore import training_film

    _check_film(out, overwrite)
    if not seconds > 0 or hold < 0:
        raise UserError(f"--seconds {seconds} --hold {hold}: give a number above 0, and 0 or more.")
    shown = training_film.previews_of(run)
    pictures.save_film(training_film.frames_of(run), out, seconds=seconds, hold=hold)
    previews = "1 preview" if len(shown) == 1 else f"{len(shown)} previews"
    terminal.say(f"{previews}, from {shown[0][0]:,} to {shown[-1][0]:,} images: {out}")


def _generator(run: Path, code: Sequence[Path], trust_code: bool, device: str = "cpu") -> Generator:
    from frugan.artefact import load

    return load(run, role="generator", device=device, code=code, trust_code=trust_code)


def _samples(
    generator: Generator, count: int, seed: int, labels: str | None, truncation: float | None, latents: Path | None
) -> Samples:
    from frugan import explore

    if latents is not None:
        return explore.read_samples(generator, latents)
    wanted = None if labels is None else whole_numbers("--labels", labels, "3, or 0,1,2")
    return explore.samples(generator, count, seed, wanted[0] if wanted and len(wanted) == 1 else wanted, truncation)


def _held(of: Samples, count: int) -> Any:
    """The condition of the first sample, for `count` images."""
    return None if of.labels is None else of.labels[:1].expand(count, *of.labels.shape[1:])


def _check_film(out: Path, overwrite: bool, *others: str) -> None:
    """Refuse a film, or a file with one of the `others` as its ending, that cannot be written."""
    from frugan.pictures import FILMS, check_film

    check_out(out, overwrite, (*others, *FILMS))
    if out.suffix.lower() in FILMS:
        check_film(out)


def _save(picture: Any, out: Path) -> None:
    from frugan import files

    with files.whole(out) as beside:
        picture.save(beside)
