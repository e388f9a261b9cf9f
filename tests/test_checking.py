"""`frugan check` finds what a user's file lacks, says what to do, and leaves the session as it was."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import frugan
from frugan import checking, cli
from frugan.checking._contract import Remark, Requirement, check_requirement
from frugan.checking._ground import Ground, open_ground
from frugan.registry import UserError

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "extending.md").read_text()
PROTOTYPES = ROOT / "tests" / "contracts" / "prototypes"
SECTIONS = {re.sub("^An? ", "", section.splitlines()[0]): section for section in PAGE.split("\n## ")[1:]}
FILES = {
    title: blocks[0] for title, section in SECTIONS.items()
    if (blocks := re.findall(r"```python\n(.*?)```", section, flags=re.DOTALL))
}
"""The files of the page on extending, by their section."""

Write = Callable[..., Path]


@pytest.fixture(scope="module")
def ground() -> Iterator[Ground]:
    with open_ground() as place:
        yield place


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """``write(section, (old, new), ...)``: the page's file of a section with text replaced."""

    def written(section: str, *changes: tuple[str, str]) -> Path:
        text = FILES[section]
        for old, new in changes:
            assert old in text, old
            text = text.replace(old, new)
        path = tmp_path / f"my_{section.replace(' ', '_')}.py"
        path.write_text(text)
        return path

    return written


# ------------------------------------------------------------------------------------------ what keeps it


def test_every_file_of_the_page_every_example_and_every_prototype_passes(tmp_path: Path) -> None:
    assert len(FILES) == 15
    files = sorted((ROOT / "examples" / "extending").glob("*.py")) + sorted(PROTOTYPES.glob("*.py"))
    assert len(files) == 9
    for title, text in FILES.items():
        files.append(tmp_path / f"my_{title.replace(' ', '_')}.py")
        files[-1].write_text(text)
    report = frugan.check(*files, say=lambda line: None)
    assert [f"{one.kind} {one.name}: {one.requirement}: {one.words}" for one in report.missing] == []
    # Prototypes say little of themselves, and networks that grow have layers that are not there yet.
    assert [one for one in report.findings if one.state == "note" and not one.name.startswith(("my_", "my-"))] == []
    kinds = {one.kind for one in report.findings}
    assert kinds == {contract.kind for contract in checking.contracts()}
    # Every requirement is looked at somewhere, and not only asked in vain.
    asked = {(one.kind, one.requirement) for one in report.findings if one.state == "ok"}
    optional = {
        ("architecture", "takes other sizes"), ("architecture", "has features"), ("architecture", "names its outputs"),
        ("architecture", "judges joined batches alike"), ("architecture", "grows level by level"),
        ("game", "previews purely"),
    }  # fmt: skip
    everything = {(one.kind, words) for one in checking.contracts() for words in (r.name for r in one.requirements)}
    assert everything - asked == optional
    assert {("game", "agrees in two processes"), ("penalty", "agrees in two processes")} <= asked


# ---------------------------------------------------------------------------------- what does not keep it

BROKEN: dict[str, tuple[str, list[tuple[str, str]], str, str]] = {
    # name: section of the page, what is changed of its file, the requirement that finds it, what is said
    "family, size": (
        "convolution family", [("*norms, build(inner, out_channels, kernel, bias=bias, **rest)",
                                "*norms, build(inner, out_channels, kernel, bias=bias, **rest), nn.AvgPool2d(2)")],
        "gives the standard shapes", "the standard layer makes",
    ),
    "family, tag": (
        "convolution family", [("Convolution(in_channels, inner, (1, 1), bias=seam_bias)",
                                "nn.Conv2d(in_channels, inner, 1, bias=seam_bias)")],
        "tags its convolutions", "use frugan.convs.Convolution",
    ),
    "family, bias": (
        "convolution family", [("bias=seam_bias", "bias=True")], "honours biases and norms", "bias=False) has a bias",
    ),
    "family, norm": (
        "convolution family", [("[] if inner_norm is None else [inner_norm(inner)]", "[]")],
        "honours biases and norms", "put inner_norm",
    ),
    "first weights, variance": (
        "rule for first weights", [("2 / standard.fans[0]", "1 / standard.fans[0]")], "says the variance that it draws",
        "return the variance of what `draw` makes",
    ),
    "first weights, unseeded": (
        "rule for first weights", [("        torch.nn.init.kaiming_normal_(part.weight)",
                                    "        torch.nn.init.kaiming_normal_(part.weight, generator=torch.Generator()"
                                    ".manual_seed(id(part)))")],
        "draws by torchs random numbers", "global random numbers",
    ),
    "network, range": (
        "network", [("    image_range = (-1.0, 1.0)\n\n", "")], "gives the ordered shapes", "image_range = (-1.0, 1.0)",
    ),
    "network, outputs": (
        "network", [("return {name: head(features) for name, head in self.heads.items()}",
                     "return self.heads['score'](features)")],
        "gives the ordered shapes", "give a dict, output -> tensor",
    ),
    "network, width": (
        "network", [("inner = classes, scaled(32, width)", "inner = classes, 32")], "is thinner by width",
        "multiply inner channel counts",
    ),
    "network, no width": (
        "network", [("classes=0, *, width=1.0):\n    return Decoder(image, latents, layers, classes, width)",
                     "classes=0):\n    return Decoder(image, latents, layers, classes, 1.0)")],
        "is thinner by width", "it has no option `width`",
    ),
    "network, classes": (
        "network", [("self.classes, inner =", "self.told, inner ="), ("self.classes))", "self.told))"),
                   ("labels, self.classes)", "labels, self.told)")],
        "is told labels", "Say self.classes = classes",
    ),
    "network, values": (
        "network", [("labels if labels.dim() == 2 else ", "")], "is told labels",
        "Take what has two dimensions as it is",
    ),
    "network, unseeded": (
        "network", [("nn.Linear(latents + classes,", "unseeded(latents + classes,"),
                    ("class Decoder(", "def unseeded(given, made):\n    import os\n    layer = nn.Linear(given, made)\n"
                     "    layer.weight.data *= 1 + os.urandom(1)[0]\n    return layer\n\n\nclass Decoder(")],
        "follows from the seed", "draw from torch's own random numbers",
    ),
    "network, drawn": (
        "network", [("return self.body(joined(latents", "return self.body(torch.randn_like(latents) + joined(latents")],
        "is its state", "use no randomness",
    ),
    "network, twice": (
        "network", [('layers.up("output"', 'layers.up("up.0"')], "is built by every family", "give each its own",
    ),
    "game, streams": (
        "game", [('    streams = ("train",)\n', "")], "names its streams", 'streams = ("train",)',
    ),
    "game, scalar": (
        "game", [('"generator.loss": tried[0]', '"generator.loss": tried[0].item()')], "plays a round",
        "never value.item()",
    ),
    "game, graph": (
        "game", [('"generator.loss": tried[0]', '"generator.loss": self.loss.generator(score(fakes("more")))')],
        "plays a round", "value.detach()",
    ),
    "game, idle": (
        "game", [("for number in range(self.tries):", "for number in range(0):"),
                 ('"generator.loss": tried[0]', '"generator.loss": step.values["loss"]')],
        "plays a round", "'generator' has a player, but a round does not change it",
    ),
    "game, unseeded": (
        "game", [("self.latents.draw(self.batch_size, progress.generator(name))",
                  "self.latents.draw(self.batch_size, progress.generator(name)) * (1 + os.urandom(1)[0])"),
                 ("from frugan import games\n", "import os\nfrom frugan import games\n")],
        "resumes bit for bit", "progress.generator(name)",
    ),
    "game, forgets": (
        "game", [("self.penalties = by_name", "self.rounds = 0\n        self.penalties = by_name"),
                 ("real = batches.take(", "self.rounds += 1\n        real = batches.take("),
                 ('progress.generator(name))', 'progress.generator(f"{name}.{self.rounds}"))')],
        "resumes bit for bit", "with state_dict()",
    ),
    "game, sample": (
        "game", [("self.latents.rows(0, like.count, seed)", "self.latents.draw(like.count, torch.default_generator)"),
                 ("from frugan import games\n", "import torch\nfrom frugan import games\n")],
        "samples purely", "draw from the seed",
    ),
    "game, labels": (
        "game", [("labels_for(discriminator, labels))", "labels_for(discriminator, swapped(labels)))"),
                 ("class Patient", "def swapped(labels):\n    return None if labels is None else labels.flip(0)\n\n\n"
                  "class Patient")],
        "judges fakes with their own labels", "give each image its own label",
    ),
    "game, role": (
        "game", [('{"generator": Shipped("generator")}', '{"painter": Shipped("generator")}')], "holds what it ordered",
        "'painter', but nothing can use that role",
    ),
    "game, settle": (
        "game", [("    def settle(self, network, seed):\n        settle(network, seed)\n\n", "")],
        "settles by its own method", "has no attribute 'settle'",
    ),
    "loss, sum": (
        "loss", [("fake.float() / temperature).mean()", "fake.float() / temperature).sum()")],
        "is a mean over elements", "never the sum",
    ),
    "loss, sign": (
        "loss", [("return softplus(-fake.float()", "return softplus(fake.float()")], "pulls the right way",
        "the sign is wrong",
    ),
    "loss, half": ("loss", [(".float()", "")], "computes in float32 at least", "begin with logits.float()"),
    "penalty, state": (
        "penalty", [("def state_dict(", "def kept("), ("def load_state_dict(", "def load(")],
        "remembers by its state", "give it state_dict()",
    ),
    "penalty, half a state": (
        "penalty", [('return {"level": self.level}', "return {}"), ('self.level = state["level"]', "pass")],
        "remembers by its state", "does not save all that it remembers",
    ),
    "penalty, shape": (
        "penalty", [("return self.weight * self.every * (mean - self.level).square()",
                     "return (judgement.real_scores - self.level).square()")],
        "is a number with a gradient", "give one finite number",
    ),
    "penalty, detached": (
        "penalty", [("mean = (judgement.real_scores.mean() +", "mean = (judgement.real_scores.detach().mean() +"),
                    ("judgement.fake_scores.mean()) / 2", "judgement.fake_scores.detach().mean()) / 2")],
        "is a number with a gradient", "get no gradient from it",
    ),
    "augmentation, unseeded": (
        "augmentation", [("torch.randn(images.shape, generator=random).to(images)", "torch.randn_like(images)")],
        "follows from the given random numbers", "draw from `random` alone",
    ),
    "augmentation, in place": (
        "augmentation", [("return images + deviation *", "return images.add_(deviation *"),
                         ("generator=random).to(images)", "generator=random).to(images))")],
        "keeps shape and precision", "make new ones",
    ),
    "augmentation, cut off": (
        "augmentation", [("return images + ", "return images.detach() + ")], "lets gradients through",
        "no gradient reaches the images",
    ),
    "optimiser, rate": (
        "optimiser", [('sub_(group["lr"] *', "sub_(0.001 *")], "goes by the rate of its groups", 'group["lr"]',
    ),
    "optimiser, memory": (
        "optimiser", [('self.state[weight].setdefault("mean"', 'vars(self).setdefault("kept", {}).setdefault(weight')],
        "is its state", "self.state[weight]",
    ),
    "schedule, end": (
        "schedule", [("(images + 1) / over", "(images + 1) / budget")], "says whether it follows the end",
        "follows_the_end=True",
    ),
    "schedule, below": (
        "schedule", [("min(1.0, (images + 1) / over)", "1.0 - images / over")], "is a factor", "a finite number from 0",
    ),
    "observer, writes": (
        "observer", [("images = moment.sample(self.like, seed=0)",
                      "next(iter(moment.networks.values())).body[0].weight.data.add_(1)\n        "
                      "images = moment.sample(self.like, seed=0)")],
        "leaves no trace", "observers only look",
    ),
    "observer, fails": (
        "observer", [("images = moment.sample(self.like, seed=0)", "images = moment.smaple(self.like, seed=0)")],
        "looks and goes on", "has no attribute 'smaple'",
    ),
    "metric, tensor": (
        "metric", [("abs(float(pixels.float().mean() - real_pixels.float().mean()))",
                    "(pixels.float().mean() - real_pixels.float().mean()).abs()")],
        "gives named numbers", "float(tensor)",
    ),
    "metric, way": (
        "metric", [('better="lower"', 'better="higher"')], "says which way is better", "is `better` wrong",
    ),
    "metric, needs": (
        "metric", [('("pixels", "real_pixels")', '("pixels",)')], "needs what it takes", "must be the same",
    ),
    "metric, writes": (
        "metric", [('    return {"brightness"', '    pixels.zero_()\n    return {"brightness"')], "is pure",
        "work on a copy",
    ),
    "view, version": ("view", [('f"edges-{side}"', '"edges"')], "tells its version", "put the option into `version`"),
    "view, width": (
        "view", [('side * side, (side, side)', "side, (side, side)")], "gives a row for each image",
        "since its `width` is",
    ),
    "reader, identity": (
        "data reader", [('{"stripes": 1, "size"', '{"stripes": np.random.rand(), "size"')],
        "finds splits without reading", "two identities",
    ),
    "reader, everything": (
        "data reader", [('accepts=lambda source: source == "stripes"', "accepts=lambda source: True")],
        "takes its own sources alone", "accept only your own sources",
    ),
    "reader, labels": (
        "data reader", [("np.arange(COUNTS[split]) % 2", "np.arange(COUNTS[split]) % 3")], "reads what it says",
        "there are 2 classes",
    ),
    "recipe, family": (
        "recipe", [('options={"initialise": "dcgan", "width": 0.5}', 'options={"initialise": "dcgan", "widht": 0.5}')],
        "builds", "Did you mean 'width'",
    ),
    "kernel, wrong": (
        "kernel", [("else total + bias", "else 1.01 * total + bias")],
        "agrees with the plain form", "compute the same",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_what_is_broken_is_found_and_answered(case: str, write: Write, ground: Ground) -> None:
    section, changes, requirement, words = BROKEN[case]
    told = []
    for contract, name in checking.added_by(write(section, *changes)):
        for look in contract.requirements:
            if look.name == requirement:
                parts = contract.parts(name)
                told += [check_requirement(contract.kind, look, contract.open(part, ground), part) for part in parts]
    assert any(one.state == "missing" and words in one.words for one in told), told


def test_processes_that_part_are_found(write: Write) -> None:
    """A game and a penalty that decide by their own share of the batch."""
    game = write(
        "game", ("fake = Batch(fakes", "with torch.no_grad():\n            next(generator.parameters()).add_("
                 "real.images.mean())\n        fake = Batch(fakes"),
        ("from frugan import games\n", "import torch\nfrom frugan import games\n"),
    )  # fmt: skip
    penalty = write("penalty", ("judgement.mean(mean)", "mean.detach()"))
    report = frugan.check(game, penalty, say=lambda line: None)
    found = {one.name: one.words for one in report.missing if one.requirement == "agrees in two processes"}
    assert found.keys() == {"patient", "steady"}
    assert "different values of 'network.generator" in found["patient"]
    assert "progress.mean(tensor)" in found["patient"]
    assert "different values of 'penalty.steady/level'" in found["steady"]


def test_what_cannot_be_believed_is_a_note(write: Write) -> None:
    outside = ("return self.body(joined(", "return self.body(0 * latents @ latents.T @ latents + joined(")
    report = frugan.check(write("network", outside), say=lambda line: None)
    notes = [one for one in report.findings if one.state == "note"]
    assert any(one.requirement == "costs what can be believed" and "macs(input_shape)" in one.words for one in notes)


@pytest.mark.parametrize("ignores", [(), ("inner_norm", "inner_bias")])
def test_a_family_of_one_piece_is_told_to_say_so(monkeypatch: pytest.MonkeyPatch, ignores: tuple[str, ...]) -> None:
    from frugan import convs
    from frugan.checking import families

    one = convs.find("standard")
    own = convs.ConvFamily("own", one.same, one.down, one.up, ignores=ignores)
    monkeypatch.setattr(families.convs, "find", lambda name, **options: own)
    found = check_requirement(
        "convolution family", Requirement(families.says_what_it_ignores, "frugan.convs"),
        SimpleNamespace(name="own", some=lambda kind, **given: getattr(own, kind)(16, 8, 5, **given)), "own",
    )  # fmt: skip
    assert ("ignores=('inner_norm', 'inner_bias')" in found.words) == (not ignores)


# ----------------------------------------------------------------------------------------------------- files and people


def test_a_file_that_adds_nothing_or_is_not_there_is_answered(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"frugan check my\.py"):
        frugan.check()
    with pytest.raises(UserError, match="there is no such file"):
        frugan.check(tmp_path / "none.py")
    (tmp_path / "empty.py").write_text("import math\n")
    with pytest.raises(UserError, match=r"adds no variant.*games\.add"):
        frugan.check(tmp_path / "empty.py")


def test_the_command_says_it_by_its_exit_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")
    Path("good.py").write_text(FILES["schedule"])
    Path("bad.py").write_text(FILES["loss"].replace(".mean()", ".sum()"))
    cli.main(["check", "good.py"])
    printed = capsys.readouterr().out
    assert "schedule warm_up" in printed
    assert "All 5 requirements are kept by 1 variant." in printed
    with pytest.raises(SystemExit) as ended:
        cli.main(["check", "good.py", "bad.py"])
    assert ended.value.code == 1
    printed = " ".join(capsys.readouterr().out.split())
    assert "take the mean over all elements, never the sum. See frugan.losses." in printed
    with pytest.raises(SystemExit) as ended:
        cli.main(["check", "bad.py", "--json"])
    assert ended.value.code == 1
    told = json.loads(capsys.readouterr().out)
    assert told["kept"] is False
    assert {"kind", "name", "requirement", "state", "words", "where"} == set(told["findings"][0])
    with pytest.raises(SystemExit) as ended:
        cli.main(["check", "none.py"])
    assert ended.value.code == 2
    assert "no such file" in capsys.readouterr().err


def test_whoever_waits_is_told_how_far_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my.py").write_text(FILES["schedule"])
    lines: list[str] = []
    frugan.check(tmp_path / "my.py", say=lines.append)
    assert lines == []
    monkeypatch.setattr(checking, "PATIENCE", 0.0)
    frugan.check(tmp_path / "my.py", say=lines.append)
    assert any("schedule 'warm_up', is a factor (variant 1 of 1)" in line for line in lines)


def test_an_error_of_the_users_names_its_line_and_what_waits_for_it_says_so(write: Write) -> None:
    path = write("game", ("real = batches.take(", "real = batches.grab("))
    report = frugan.check(path, say=lambda line: None)
    found = {one.requirement: one for one in report.findings}
    assert re.search(r"no attribute 'grab' \(my_game\.py, line \d+, in step\)", found["plays a round"].words)
    assert found["samples purely"].state == "not asked"
    assert found["samples purely"].words == "first mend: plays a round"


def test_nothing_of_a_check_is_left_in_the_session(write: Write) -> None:
    random, threads = torch.get_rng_state(), torch.get_num_threads()
    path = write("loss", ("def generator(fake", "torch.set_default_dtype(torch.float64)\n\n    def generator(fake"),
                 ("from torch.nn", "import torch\nfrom torch.nn"))  # fmt: skip
    report = frugan.check(path, say=lambda line: None)
    assert report.findings
    assert torch.get_default_dtype() is torch.float32
    assert torch.equal(random, torch.get_rng_state())
    assert torch.get_num_threads() == threads


def test_a_finding_of_each_kind_has_its_state() -> None:
    def fine(variant: Any) -> None: ...

    def known(variant: Any) -> None:
        raise Remark("a word")

    def exits(variant: Any) -> None:
        sys.exit(3)

    states = [
        check_requirement("loss", Requirement(look, "here"), None, "mine") for look in (fine, known, exits)
    ]
    assert [one.state for one in states] == ["ok", "note", "missing"]
    assert "SystemExit" in states[2].words
