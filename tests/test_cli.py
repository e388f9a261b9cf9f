"""The command line as a newcomer meets it: help, mistakes, exit codes, and what is typed between options."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable
from pathlib import Path
from pkgutil import resolve_name

import numpy as np
import pytest
from PIL import Image

from frugan import cli
from frugan.arguments import explanations
from frugan.cli._arguments import at_home, init_of, options_last
from frugan.cli._reading import KINDS, with_arguments
from frugan.registry import UserError

VERBS = [*cli.VERBS, *(f"data {verb}" for verb in cli.DATA_VERBS)]
SMALL = "data.limit=200 architecture.width=0.05 discriminator.width=0.1"


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")


@pytest.fixture(scope="module")
def run(typed: Callable[[str], int], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of two rounds, typed with keys before, between and behind the options."""
    out = tmp_path_factory.mktemp("cli") / "run"
    assert typed(f"train {SMALL} mnist --data glyphs batch_size=16 --out {out} generator.slope=0.2 --images 32") == 0
    return out


@pytest.mark.parametrize(("word", "home"), [
    ("~/runs", "HOME/runs"), ("~", "HOME"), ("--out=~/runs", "--out=HOME/runs"), ("--out", "--out"), ("a~/b", "a~/b"),
    ("data.source=~/photos", "data.source=HOME/photos"), ("~other/runs", "~other/runs"),
])  # fmt: skip
def test_a_home_folder_that_the_shell_left_is_found(word, home):
    assert at_home(word) == home.replace("HOME", str(Path.home()))


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(typed: Callable[[str], int], verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert typed(f"{verb} --help") == 0
    printed = capsys.readouterr().out
    function = {**cli.VERBS, **{f"data {name}": of for name, of in cli.DATA_VERBS.items()}}[verb]
    assert function.__doc__
    assert function.__doc__.strip().splitlines()[0] in " ".join(printed.split())
    assert "None" not in printed  # no default is shown where there is none


RECORDS = {verb: with_arguments(of) for verb, of in cli.VERBS.items() if hasattr(of, "reads")}


@pytest.mark.parametrize("verb", RECORDS)
def test_the_arguments_of_a_record_are_explained_and_typed_by_their_kind(verb: str) -> None:
    home, without = cli.VERBS[verb].reads  # type: ignore[attr-defined]
    record = resolve_name(":".join(home.rsplit(".", 1))).record
    fields = {name: of for name, of in inspect.signature(record).parameters.items() if name not in without}
    assert set(fields) <= set(explanations(record))
    assert set(fields) <= set(inspect.signature(RECORDS[verb]).parameters)
    first_words = {name: str(of.annotation).partition(" | ")[0] for name, of in fields.items()}
    assert {name: word for name, word in first_words.items() if word not in KINDS} == {}


def test_the_front_page_names_every_verb(typed: Callable[[str], int], capsys: pytest.CaptureFixture[str]) -> None:
    assert typed("--help") == 0
    printed = capsys.readouterr().out
    assert all(f"\n  {verb} " in printed for verb in [*cli.VERBS, "data"])


def test_help_of_a_recipe_lists_its_keys_with_their_values(
    typed: Callable[[str], int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert typed("train mnist-faithful --family factorised --help") == 0
    printed = capsys.readouterr().out
    assert re.search(r"\n  batch_size=\d+\n", printed)
    assert '"family": "factorised"' in printed


def test_help_of_evaluate_says_what_each_metric_and_view_is(
    typed: Callable[[str], int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert typed("evaluate --help") == 0
    printed = capsys.readouterr().out
    assert re.search(r"\n  fid +Fréchet distance ", printed)
    assert re.search(r"\n  pixels +\w", printed)
    assert typed("train mnist --help") == 0
    assert "Names for --metrics" not in capsys.readouterr().out


def test_help_of_train_lists_the_options_of_what_is_named_in_a_key(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["train", "mnist", "game=adversarial,discriminator_steps=2", "loss=hinge", "--help"])
    lines = capsys.readouterr().out.splitlines()
    assert "  game.discriminator_steps=2" in lines
    assert "  game.fresh_latents=false" in lines
    assert not any("loss.smoothing" in line for line in lines)  # an option of another loss


@pytest.mark.parametrize(("typed", "meant"), [
    (None, None), ("runs/a", "runs/a"), ("teacher=runs/a", {"teacher": "runs/a"}),
    ("teacher=runs/a,generator=b", {"teacher": "runs/a", "generator": "b"}),
])
def test_weights_to_begin_with_are_a_path_or_one_for_each_network(typed, meant):
    assert init_of(typed) == meant


def test_a_path_among_named_ones_belongs_to_no_network():
    with pytest.raises(UserError, match="NETWORK=PATH for each"):
        init_of("teacher=runs/a,runs/b")


def test_one_recipe_in_detail_lists_options_at_their_defaults_and_names(
    typed: Callable[[str], int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert typed("recipes mnist") == 0
    printed = capsys.readouterr().out
    assert "\n  generator.width=1.0\n" in printed
    assert "\n  --family: bilinear_additive, depthwise, factorised, grouped, inception, standard\n" in printed
    assert typed("recipes mnist --json") == 0
    assert json.loads(capsys.readouterr().out)["options"]["discriminator.slope"] == 0.3


def test_recipes_as_json_hold_what_the_list_shows(
    typed: Callable[[str], int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert typed("recipes --json") == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    row = rows["mnist-faithful"]
    assert (row["game"], row["data"], row["architecture"]["generator"]) == ("simultaneous", "mnist", "tutorial")
    assert all(row[key] for row in rows.values() for key in ("system", "source", "families", "explanation"))
    assert typed("recipes") == 0
    printed = capsys.readouterr().out
    assert all(f"{name} " in printed for name in rows)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("trian mnist", "Did you mean 'train'?"),
        ("data lsit", "Did you mean 'list'?"),
        ("train mnsit", "Did you mean 'mnist'?"),
        ("train nowhere.json", "no file 'nowhere.json'"),
        ("train mnist --data nowhere", "frugan: nowhere: there is no file, folder or named source"),
        ("train mnist --data glyphs --family factorized", "Did you mean 'factorised'?"),
        ("train mnist --data glyphs --family depthwise,ordre=pointwise_first", "Did you mean 'order'?"),
        ("train mnist --data glyphs bathc_size=3", "Did you mean 'batch_size'?"),
        ("train mnist --data glyphs generator.widht=1", "Did you mean 'width'?"),
        ("train mnist --data glyphs --images many", "'many' is not a number of images"),
        ("train mnist --data glyphs --device gpu", "There is no device 'gpu'"),
        ("train mnist --code nowhere.py", "there is no such file"),
        ("train mnist --data ''", "--data: nothing was given. (Is a shell variable empty?)"),
        ("explore grid runs/x --out=", "--out: nothing was given."),
        ("evaluate ''", "An empty word was given."),
        ("train mnist word", "'word' is not of the form key=value"),
        ("train egan --data glyphs game.gamma=nan", "gamma=nan: give a finite number."),
        ("train pggan-portraits game.batches=[8,2]", "Give a list of lists, e.g. [[32, 64]]"),
        ("train mnist --rounds 2 --rounds 3", "--rounds is given twice, as 2 and as 3. Give it once."),
        ("train mnist --data glyphs --data=mnist", "--data is given twice"),
        ("train mnist --batch_size 4 --batch-size 8", "--batch-size is given twice"),
        ("train mnist batch_size=4 --data glyphs batch_size=8", "batch_size is given twice"),
        ("train batch_size=4 --data glyphs batch_size=8", "batch_size is given twice"),
        ("fit --data glyphs --max-latency 5ms batch_size=4 batch_size=8", "batch_size is given twice"),
        ("fit --data glyphs --max-latency 5ms --to web single_file=true", "has no key 'single_file'"),
        ("train mnist --family depthwise,multiplier=2,multiplier=3", "multiplier is given twice"),
        ("train mnist --init teacher=a,teacher=b", "teacher is given twice"),
        ("train mnist --images 400 rounds=2", "--images 400 and rounds=2: each says how long to train"),
        ("export nowhere --out x bytes=true bytes=false", "bytes is given twice"),
        ("export nowhere --out x truncation=0.5", "no option of the target onnx. Give --truncation"),
        ("compare mnist --families standard,depthwise --images 400 --rounds 2", "each says how long to train"),
        ("compare 'a: mnist batch_size=4 batch_size=8' mnist", "batch_size is given twice"),
        ("compare 'a: mnist --family standard --family depthwise' mnist", "family is given twice"),
        ("compare 'a: mnist seed=3' 'c: mnist' --seeds 0", "seed=3: every arm is trained with each of --seeds."),
        ("compare mnist --families standard,depthwise seed=5", "seed=5: every arm is trained with each of --seeds."),
        ("compare \"a: mnist 'x\" mnist", "has a quote that does not end"),
        ("train 'mn\nist'", "recipe called 'mn\\nist'"),
        ("report nowhere --out a.txt", "--out a.txt: this writes FILE.html."),
        ("bench vanilla --out /dev/null", "--out /dev/null: this writes a folder"),
        ("train vanilla --data glyphs --out 'o\n3'", "has a line break"),
        ("sample nowhere --out x.png", "neither an artefact"),
        ("sample nowhere --out x.jpg", "--out x.jpg: this writes FILE.png or FILE.npz or a folder."),
        ("probe nowhere --out x.txt", "--out x.txt: this writes FILE.json."),
        ("classify nowhere images --out table", "--out table: this writes FILE.csv."),
        ("data show glyphs --out x.jpg", "--out x.jpg: this writes FILE.png."),
        ("sample nowhere --out x.png --labels a", "--labels a: give whole numbers"),
        ("sample nowhere --out x.png --count 0", "--count 0"),
        ("compare mnist --families standard,grouped --seeds 0-1000000000 --out c", "give at most 10,000 whole numbers"),
        ("compare mnist --families standard,grouped --seeds 0-9,20-1000000000 --out c", "at most 10,000 whole numbers"),
        ("compare mnist --families standard,grouped --jobs 1000000 --out c", "1 or more and at most 1,000"),
        ("fit mnist --data photos --jobs 1000000 --out c", "--jobs 1000000: give a whole number, 1 or more and"),
        ("explore walk nowhere --steps 1000000000 --out x.webp", "1 or more and at most 10,000"),
        ("explore grid nowhere --count 1000000000 --out x.png", "1 or more and at most 1,000,000"),
        ("probe nowhere --draws 1000000000", "--draws 1000000000: give a whole number, 1 or more and at most 1,000"),
        ("bench mnist --repeats 1000000000", "1 or more and at most 1,000"),
        ("cost mnist generator.width=1e9", "There is too little memory: 5,017,600.0 GB more could not be had."),
        ("cost mnist generator.width=1e12", "There is too little memory: "),
        ("train mnist --data glyphs generator.width=1e9", "(e.g. generator.width=0.5)"),
        ("evaluate nowhere", "nowhere"),
        ("report nowhere", "neither a run"),
        ("cost nowhere", "no recipe or run called 'nowhere'"),
        ("cost mnist --family depthwize", "Did you mean 'depthwise'?"),
        ("compare mnist --out c", "two arms or more"),
        ("compare mnist --families standard,depthwise --seeds abc --out c", "--seeds abc: give whole numbers"),
        ("compare mnist --families standard,depthwize --out c", "Did you mean 'depthwise'?"),
        ("compare mnist --families standard,depthwise --pilot-seeds x --out c", "--pilot-seeds x: give whole numbers"),
        ("plan nowhere --margin 1", "nowhere has no finished comparison"),
        ("plan --margin 1", "--sd 0.8 --margin 0.5"),
        ("data show nowhere", "there is no file, folder or named source"),
        ("data convert-weights nowhere.pth", "nowhere.pth"),
    ],
)
def test_a_mistake_ends_in_one_line_that_helps_and_code_2(
    typed: Callable[[str], int], line: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert typed(line) == 2
    printed = capsys.readouterr().err
    assert printed.startswith("frugan: ")
    assert printed.count("\n") == 1
    assert message in printed


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("train", "--data FOLDER"),
        ("train mnist --dat glyphs", "--data"),
        ("train mnist --seed x", "--seed"),
        ("sample run", "--out"),
        ("recipes --jsno", "--jsno"),
    ],
)
def test_a_mistyped_option_is_explained_with_code_2(
    typed: Callable[[str], int], line: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert typed(line) == 2
    assert message in capsys.readouterr().err


def test_a_name_with_a_line_break_writes_no_line_of_its_own(
    typed: Callable[[str], int], capsys: pytest.CaptureFixture[str]
) -> None:
    """Of the folder, of a class, of an image and of what is written: no verb lets one begin a line."""
    whole = "'photos\nfrugan: a'"
    for folder in ("photos\nfrugan: a/a\nfrugan: b", "photos\nfrugan: a/c"):
        Path(folder).mkdir(parents=True)
        for number in range(20):
            Image.effect_noise((16, 16), 50 + number).save(f"{folder}/{number}.png")
    Path("photos\nfrugan: a/c/x\nforged.png").write_text("no image")
    said = []
    for line in (
        f"data check {whole}", f"data show {whole} --out 'sheet\nforged.png'", f"data pack {whole}",
        f"train vanilla --data {whole} data.size=16 --images 16 batch_size=8 generator.hidden=[8] "
        "discriminator.hidden=[8] --out run",
        "sample run --out 'images\nforged.png' --count 4", "explore grid run --out 'grid\nforged.png'",
        f"evaluate run --metrics fid --count 10 --allow-few fid --view pixels --real {whole}",
    ):  # fmt: skip
        assert typed(line) == 0, line
        printed = capsys.readouterr()
        said.append(printed.out + printed.err)
    assert r"a\nfrugan: b" in said[0] and r"x\nforged.png" in said[0]  # noqa: PT018
    assert not [line for line in "".join(said).splitlines() if line.startswith(("frugan: a", "frugan: b", "forged"))]


def test_a_current_folder_that_was_deleted_is_said(
    typed: Callable[[str], int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert typed("cost mnist") == 2
    assert capsys.readouterr().err == "frugan: The current folder was deleted. Change to one that is there: cd ~\n"
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(("verb", "line"), [
    ("benching.bench", "bench mnist"), ("probing.probe", "probe run --out here.json"),
    ("labelling.classify", "classify run images --out here.csv"),
])
def test_what_was_measured_is_printed_even_if_it_cannot_be_saved(
    typed: Callable[[str], int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], verb: str,
    line: str,
) -> None:
    class Measured:
        recipe = "mnist"

        def as_dict(self) -> dict[str, int]:
            return {"milliseconds": 5}

        def save(self, folder: Path) -> None:
            raise UserError("it is full")

    monkeypatch.setattr(f"frugan.{verb}", lambda *given, **named: Measured())
    assert typed(f"{line} --json") == 2
    assert json.loads(capsys.readouterr().out) == {"milliseconds": 5}


def test_keys_may_stand_anywhere_between_options(run: Path) -> None:
    recipe = json.loads((run / "recipe.json").read_text())
    assert recipe["batch_size"] == 16
    assert recipe["images"] == 32
    assert recipe["data"]["limit"] == 200
    assert recipe["networks"]["generator"]["options"]["slope"] == 0.2
    assert recipe["networks"]["generator"]["options"]["width"] == 0.05


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("mnist --data g a=1 --seed 3 b=2", "mnist a=1 b=2 --data g --seed 3"),
        ("a=1 --data g mnist", "mnist a=1 --data g"),
        ("--json mnist a=1", "mnist a=1 --json"),
        ("mnist --json --layers a=1 --family=f", "mnist a=1 --json --layers --family=f"),
        ("mnist --out odd=name a=1", "mnist a=1 --out odd=name"),
        ("mnist --dat glyphs", "mnist --dat glyphs"),
        ("mnist a=1 --help", "mnist a=1 --help"),
        ("mnist --code a.py --code b.py", "mnist --code a.py --code b.py"),
        ("mnist --json --json --family f --family=f", "mnist --json --json --family f --family=f"),
    ],
)
def test_options_are_moved_behind_the_rest_with_their_values(given: str, expected: str) -> None:
    assert options_last(given.split(), cli.cost) == expected.split()


def test_a_run_is_sampled_costed_and_told_finished(
    typed: Callable[[str], int], run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("folder").mkdir()  # an empty one is free
    for out in ("grid.png", "many.npz", "folder", "GRID.PNG", "MANY.NPZ"):
        assert typed(f"sample {run} --count 3 --out {out}") == 0
    for out in ("many.npz", "MANY.NPZ"):
        assert np.load(out)["images"].shape == (3, 28, 28, 1)
    assert Path("GRID.PNG").read_bytes() == Path("grid.png").read_bytes()
    assert len(list(Path("folder").iterdir())) == 3
    for out in ("grid.png", "folder"):
        assert typed(f"sample {run} --out {out}") == 2
        assert f"{out} exists; give another --out, or --overwrite." in capsys.readouterr().err
    assert typed(f"sample {run} --out grid.png --overwrite") == 0
    assert typed(f"sample {run} --out x.png --labels 1") == 2
    assert "trained without labels" in capsys.readouterr().err

    assert typed(f"cost {run} --json") == 0
    assert json.loads(capsys.readouterr().out)["recipe"] == "mnist"
    again = f"train mnist {SMALL} --data glyphs batch_size=16 generator.slope=0.2 --images 32 --out {run}"
    assert typed(again) == 0
    assert "is finished" in capsys.readouterr().out
    assert typed(f"{again} --seed 1") == 2
    assert "seed: 0 -> 1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("recipe", "generator", "macs", "discriminator"),
    [
        ("mnist-faithful", 2_330_944, 51_744_000, 212_865),
        ("mnist-faithful --family factorised", 1_588_805, 17_164_112, 212_865),
        ("emnist-letters-faithful", 4_287_808, 53_700_864, 212_865),
        ("emnist-letters-faithful --family factorised", 3_570_245, 21_529_424, 212_865),
        ("cifar10-frog-faithful", 6_264_579, 3_873_177_600, 790_913),
        ("cifar10-frog-faithful --family factorised", 3_971_587, 1_776_025_600, 790_913),
    ],
)
def test_factorised_sheet_7_counts_as_frugan_cost_prints_them(
    typed: Callable[[str], int], recipe: str, generator: int, macs: int, discriminator: int,
    capsys: pytest.CaptureFixture[str]
) -> None:
    assert typed(f"cost {recipe} --json") == 0
    networks = json.loads(capsys.readouterr().out)["networks"]
    assert networks["generator"]["parameters"] == generator
    assert networks["generator"]["macs"] == macs
    assert networks["discriminator"]["parameters"] == discriminator


def test_plan_says_how_many_seeds_a_margin_needs(
    typed: Callable[[str], int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert typed("plan --sd 1 --margin 0.5") == 0
    printed = capsys.readouterr().out
    assert "34 seeds: a difference as large as the margin is seen in 80 % of comparisons." in printed


def test_verbs_that_take_long_tell_how_long(
    typed: Callable[[str], int], run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("frugan.countdown.EVERY", 0.0)
    np.savez("many.npz", images=np.random.default_rng(0).integers(0, 255, (130, 8, 8), dtype=np.uint8))
    for line, told in {
        "data check many.npz": "Reading many.npz: 64 of 130 images, ",
        "data show many.npz --out sheet.png": "Packing many.npz (once): 64 of 130 images, ",
        f"sample {run} --count 70 --out some.npz": "Making images: 64 of 70 images, ",
    }.items():
        assert typed(line) == 0
        assert told in capsys.readouterr().err


def test_data_verbs_list_what_cannot_be_used_and_show_the_rest(
    typed: Callable[[str], int], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path("pictures")
    folder.mkdir()
    random = np.random.default_rng(0)
    for number in range(30):
        Image.fromarray(random.integers(0, 255, (16, 16, 3), dtype=np.uint8)).save(folder / f"{number:02}.png")
    whole = (folder / "00.png").read_bytes()
    (folder / "broken.png").write_bytes(whole[: len(whole) // 2])
    (folder / "notes.txt").write_text("no image")

    assert typed("data check pictures") == 0
    printed = capsys.readouterr().out
    assert "broken.png: truncated" in printed
    assert "notes.txt: not an image" in printed
    assert "30 usable, 2 not." in printed

    assert typed("data show pictures --out sheet.png") == 0
    assert "2 images cannot be used" in capsys.readouterr().out
    with Image.open("sheet.png") as sheet:
        assert sheet.width > 16
    assert typed("data show pictures --out sheet.png") == 2
    assert "--overwrite" in capsys.readouterr().err

    assert typed("data pack pictures") == 2
    assert "2 of 32 images cannot be used" in capsys.readouterr().err
    assert typed("data pack pictures --allow-unusable") == 0
    assert "2 images set aside" in capsys.readouterr().out
    assert typed("data list") == 0
    assert "glyphs" in capsys.readouterr().out
