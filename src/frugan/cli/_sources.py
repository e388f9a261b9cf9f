"""The verbs of ``frugan data``: ``list``, ``show``, ``check``, ``pack``, ``convert-weights``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from frugan import terminal
from frugan.cli._arguments import Code, Flag, Keys, Names, Number, Source, check_out, key_values, listed
from frugan.registry import UserError


def data_list(*, code: Code = ()) -> None:
    """List the sources that have a name, and whether each was found on this machine."""
    from rich.table import Table

    from frugan import data, owncode

    owncode.load(code)
    table = Table("source", "what", "classes", "here", box=None, pad_edge=False)
    for source in data.sources():
        table.add_row(source.name, source.what, str(source.classes or ""), str(source.found or source.get))
    terminal.console().print(table)
    print("\ndocs/data.md says more about each.")



def data_show(
    source: Source, *, out: Path = Path("contact-sheet.png"), split: str = "train", size: Number = None,
    channels: Number = None, only: Names = None, attributes: Names = None, seed: int = 0, overwrite: Flag = False,
    code: Code = (),
) -> None:
    """Draw a contact sheet of a source, and print how many images each class or attribute has.

    Args:
        source: As for train --data.
        out: FILE.png.
        split: train or test.
        size: Resize all images to this; needed if their sizes differ.
        channels: 1 grey, 3 colour.
        only: Use only images of these classes, or with these attributes, e.g. "glasses,not hat".
        attributes: Which attributes to use, in this order. If left out: all.
        seed: Decides which images are shown.
        overwrite: Replace what is at OUT.
    """
    from frugan import data, files, owncode

    owncode.load(code)
    check_out(out, overwrite, (".png",))
    opened = data.open_dataset(
        source, split=split, size=size, channels=channels, only=listed(only) or (), attributes=listed(attributes) or (),
        allow_unusable=True, progress=data.tell_packing(source),
    )
    with files.whole(out) as beside:
        data.contact_sheet(opened, seed=seed).save(beside)
    terminal.say(f"{opened.title}: {opened.shape.height} x {opened.shape.width}, {opened.shape.channels} channels")
    for note in opened.notes:
        terminal.say(f"note: {note}")
    if opened.labels is not None and opened.attributes:
        shares = zip(opened.attributes, opened.labels.sum(0).tolist(), strict=True)
        shown = (f"{name} {count:,} ({count / len(opened):.1%})" for name, count in shares)
        terminal.say(f"attributes: {', '.join(shown)}")
    elif opened.labels is not None:
        counts = opened.labels.bincount(minlength=len(opened.classes)).tolist()
        shown = (f"{name} {count:,}" for name, count in zip(opened.classes, counts, strict=True))
        terminal.say(f"classes: {', '.join(shown)}")
    if opened.skipped:
        terminal.say(f"{len(opened.skipped)} images cannot be used; see: frugan data check {source}")
    terminal.say(f"Contact sheet: {out}")



def data_check(
    source: Source, *, split: str = "train", size: Number = None, channels: Number = None, code: Code = ()
) -> None:
    """List every image of a source that cannot be used, with its reason, without packing anything.

    Args:
        source: As for train --data.
        split: train or test.
        size: Check as if all were resized to this.
        channels: 1 grey, 3 colour.
    """
    from frugan import data, owncode
    from frugan.countdown import counter

    owncode.load(code)
    progress = counter(terminal.tell, f"Reading {source}")
    report = data.check(source, split=split, size=size, channels=channels, progress=progress)
    for skipped in report.skipped:
        terminal.say(f"{skipped.path}: {skipped.reason}")
    for note in report.notes:
        terminal.say(f"note: {note}")
    terminal.say(f"{report.usable:,} usable, {len(report.skipped):,} not.")



def data_pack(
    source: Source, keys: Keys = (), *,
    recipe: Annotated[str | None, arg(name="for", metavar="RECIPE", help_behavior_hint="")] = None,
    split: str = "train", size: Number = None, channels: Number = None, allow_unusable: Flag = False, code: Code = (),
) -> None:
    """Pack a source into bytes now, as a recipe will ask for it, so that its training opens it at once.

    For training on a folder of photos:   frugan data pack photos/ --for dcgan-64

    A pack holds images of one size, so name the recipe, and every key=value about its data that you will train with.
    The images that training holds out for evaluation are packed too. Without --for, the source is packed as it is.

    Args:
        source: As for train --data.
        keys: Settings of the recipe as for train, e.g. data.size=32 data.holdout=500. (A comparison holds no images
            out: data.holdout=0.)
        recipe: The recipe that will be trained, by name or as a file.
        split: train or test. With --for the recipe says it; also size and channels.
        size: Resize all images to this.
        channels: 1 grey, 3 colour.
        allow_unusable: Pack even if more than 5 % of the images cannot be used.
    """
    from frugan import data, owncode, training

    owncode.load(code)
    if recipe is not None:
        _check_left_out(split, size, channels)
        wanted = training.resolve(recipe, data=source, changes=key_values(keys))
        opened = training.pack(wanted, lambda line: terminal.tell(f"frugan: {line}"), allow_unusable=allow_unusable)
    elif keys:
        raise UserError(f"{keys[0]} is a setting of a recipe. Say which one will be trained: --for RECIPE.")
    else:
        opened = [data.open_dataset(
            source, split=split, size=size, channels=channels, allow_unusable=allow_unusable,
            progress=data.tell_packing(source),
        )]  # fmt: skip
    for one in opened:
        for note in one.notes:
            terminal.say(f"note: {note}")
        terminal.say(f"Packed: {one.title}, {len(one.skipped)} images set aside.")


def _check_left_out(split: str, size: int | None, channels: int | None) -> None:
    """Raise UserError for an option that a recipe says too."""
    for option, value in {"size": size, "channels": channels, "split": None if split == "train" else split}.items():
        if value is not None:
            raise UserError(
                f"--{option} {value}: with --for the recipe says how images are packed. Give data.{option}={value}."
            )



def data_convert_weights(file: Positional[Annotated[Path, arg(metavar="FILE")]], *, code: Code = ()) -> None:
    """Turn the published FID weights into a file that is safe to load; needed once for --view inception.

    Args:
        file: pt_inception-2015-12-05-6726825d.pth or weights-inception-2015-12-05-6726825d.pth.
    """
    from frugan import owncode
    from frugan.views import convert_weights

    owncode.load(code)
    terminal.say(f"Converted: {convert_weights(file)}")
