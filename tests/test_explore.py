"""Latent experiments: paths, arithmetic, directions and projections do what their formulas say, on every generator."""

from __future__ import annotations

import io
import re
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import frugan
from frugan import explore, nets
from frugan.artefact import Encoder, Generator, load
from frugan.batch import ImageShape
from frugan.blueprint import Blueprint
from frugan.cli import _exploring
from frugan.explore import exemplars, given, projecting, training_film
from frugan.explore.judges import Judge
from frugan.explore.projecting import accept
from frugan.latents import Latents
from frugan.recipe import Network
from frugan.registry import UserError
from frugan.views import Seen, View

SIZE = 6


def generator_of(
    architecture: str, side: int = 8, *, classes: int = 0, latents: Latents | None = None, options: Any = None,
    module: nn.Module | None = None,
) -> Generator:
    """An untrained generator, or a module of the test's own dressed as one."""
    latents = latents or Latents(SIZE)
    spec = Network(architecture, options or {}, labels=classes > 0)
    image = ImageShape(1, side, side)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        built = module or Blueprint("decoder", spec, image, latents.size, None, classes, classes > 0).build()[0]
    config = {
        "part": "decoder", "outputs": None, "vector": 0, "condition": classes, "class_numbers": classes > 0,
        "network": {"architecture": architecture, "options": options or {}, "labels": classes > 0, "families": []},
        "image": list(image), "latents": asdict(latents), "classes": [str(one) for one in range(classes)], "seed": 0,
        "data": {"title": "drawn"},
    }
    return Generator(built, config)


class Linear(nn.Module):
    """Images [n, 1, 4, 4] that are a product of the latents."""

    image_range = (-1.0, 1.0)

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.layer = nn.Linear(weight.shape[1], weight.shape[0])
        with torch.no_grad():
            self.layer.weight.copy_(weight)
            self.layer.bias.fill_(0.05)

    def forward(self, latents: Tensor) -> Tensor:
        return self.layer(latents).view(-1, 1, 4, 4)


def linear(distribution: str = "normal") -> Generator:
    """Latent 0 changes the upper half most, latent 1 the lower half; the others hardly anything."""
    weight = torch.zeros(16, SIZE)
    weight[:8, 0], weight[8:, 1] = 0.25, 0.15
    weight[:, 2:] = 0.01 * torch.randn(16, SIZE - 2, generator=torch.Generator().manual_seed(0))
    return generator_of("mlp", 4, latents=Latents(SIZE, distribution), module=Linear(weight))


def judge(threshold: float = 127.0) -> Judge:
    """Two attributes: whether the upper and the lower half are bright."""

    def look(images: Tensor) -> Seen:
        halves = images.float().mean(1).unflatten(1, (2, -1)).mean((2, 3))
        return Seen(halves, nn.functional.logsigmoid(halves - threshold))

    view = View("halves", "halves", 2, (4, 4), look, 0, {}, attributes=2)
    return Judge(view, ("sky", "sea"))


# --------------------------------------------------------------------------------------------------------------- paths


def test_dcgan_sheet_7_5_lines_and_arcs_have_the_sheets_points() -> None:
    one, other = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    shares = torch.tensor([0.0, 0.25, 0.5, 1.0])
    for path in explore.PATHS:
        ends = explore.between(one, other, shares, path)
        assert torch.equal(ends[0], one)
        assert torch.equal(ends[-1], other)
    arc = explore.between(one, other, shares, "sphere")
    torch.testing.assert_close(arc[2], torch.tensor([0.707107, 0.707107]), atol=1e-6, rtol=0)
    torch.testing.assert_close(arc[1], torch.tensor([0.923880, 0.382683]), atol=1e-6, rtol=0)
    longer = explore.between(torch.tensor([2.0, 0.0]), other, shares, "sphere")
    torch.testing.assert_close(longer[2], torch.tensor([1.414214, 0.707107]), atol=1e-6, rtol=0)
    torch.testing.assert_close(explore.between(one, one, shares, "sphere"), one.expand(4, 2))
    torch.testing.assert_close(explore.between(one, -one, shares, "sphere")[2], torch.zeros(2))  # no arc: the line


@pytest.mark.parametrize("path", explore.PATHS)
def test_a_closed_walk_has_no_seam_and_an_open_one_ends_with_its_last_point(path: str) -> None:
    points = Latents(20).rows(0, 3, 0)
    loop = explore.walk(points, 10, path=path)
    assert loop.shape == (30, 20)
    assert torch.equal(loop[[0, 10, 20]], points)
    steps = explore.steps_between(loop, closed=True)
    assert len(steps) == 30
    assert steps[-1] < 1.3 * steps.mean()  # from the last frame to the first
    torch.testing.assert_close(steps[:10].sum(), steps[:10].max() * 10, rtol=0.15, atol=0)
    way = explore.walk(points, 10, path=path, closed=False)
    assert torch.equal(way[-1], points[-1])
    assert len(way) == 21
    with pytest.raises(UserError, match="through 1 points: give at least 1 step and 2 points"):
        explore.walk(points[:1], 10)


def test_uniform_latents_stay_in_their_cube_and_have_no_sphere() -> None:
    uniform = Latents(5, "uniform")
    assert (explore.usual_path(Latents(5)), explore.usual_path(uniform)) == ("sphere", "line")
    with pytest.raises(UserError, match=r"Only normal latents lie near a sphere; these are uniform\. Use --path line"):
        explore.check_path("sphere", uniform)
    with pytest.raises(UserError, match="There is no path 'sphre'"):
        explore.check_path("sphre", Latents(5))


def test_a_plane_has_its_corners_where_they_belong() -> None:
    corners = torch.tensor([[0.0, 0.0], [0.0, 6.0], [4.0, 0.0], [4.0, 6.0]])
    plane = explore.plane(corners, 3, 4).view(3, 4, 2)
    assert torch.equal(plane[0, 0], corners[0])
    assert torch.equal(plane[0, -1], corners[1])
    assert torch.equal(plane[-1, 0], corners[2])
    torch.testing.assert_close(plane[1, 2], torch.tensor([2.0, 4.0]))
    with pytest.raises(UserError, match="between 3 corners: give 4 corners"):
        explore.plane(corners[:3], 3, 4)


# ---------------------------------------------------------------------------------------------------------- arithmetic


def test_expressions_are_read_as_typed() -> None:
    assert explore.parse("3,7,9 - 1,4 + 2") == (
        explore.Term(1, numbers=(3, 7, 9)), explore.Term(-1, numbers=(1, 4)), explore.Term(1, numbers=(2,)),
    )
    assert explore.parse("glasses,hat - not glasses") == (
        explore.Term(1, wanted=("glasses", "hat")), explore.Term(-1, wanted=("not glasses",)),
    )
    assert explore.parse("class:7 - not class:7") == (
        explore.Term(1, wanted=("7",)), explore.Term(-1, wanted=("not 7",)),
    )
    assert explore.parse("- 5 + 6") == (explore.Term(-1, numbers=(5,)), explore.Term(1, numbers=(6,)))
    for wrong in ("", "3 -", "3 + + 4", "not"):
        with pytest.raises(UserError, match=r"is no term\. Type numbers of samples or labels"):
            explore.parse(wrong)


def test_dcgan_sheet_7_6_a_minus_a_plus_c_is_c_and_variants_stand_near_it() -> None:
    chosen = explore.samples(linear(), 20)
    result = explore.combine(chosen, explore.parse("1,2,3 - 1,2,3 + 4,5,6"), noise=0.25, variants=8)
    torch.testing.assert_close(result.latents[0], chosen.latents[4:7].mean(0), atol=1e-6, rtol=0)
    apart = (result.latents[1:] - result.latents[0]).abs()
    assert result.latents.shape == (9, SIZE)
    assert 0.15 < apart.max() <= 0.25


def test_exemplars_have_the_labels_that_were_asked_for() -> None:
    chosen = explore.samples(linear(), 200)
    result = explore.combine(chosen, explore.parse("sky,not sea - not sky + sea"), judge(), exemplars=4)
    skies, seas = (judge().bits(one).T for one in result.terms[:1]), judge().bits(result.terms[2])
    sky, sea = next(skies)
    assert len(result.terms[0]) == 4
    assert sky.all()
    assert not sea.any()
    assert seas[:, 1].all()
    with pytest.raises(UserError, match=r"There is no label 'ski' in these data\. Did you mean 'sky'"):
        explore.combine(chosen, explore.parse("ski - sea"), judge())
    with pytest.raises(UserError, match=r"Only \d+ of 3 samples are judged to be 'sky', and 3 are needed"):
        explore.combine(explore.samples(linear(), 3), explore.parse("sky - sea"), judge(), exemplars=7)
    few = explore.combine(explore.samples(linear(), 40), explore.parse("sky - sea"), judge())
    assert 3 <= len(few.terms[0]) < 30


def test_of_exemplars_chosen_by_label_means_and_results_have_the_norm_of_samples() -> None:
    for distribution, brought in (("normal", True), ("uniform", False)):
        chosen = explore.samples(linear(distribution), 200)
        result = explore.combine(chosen, explore.parse("sky - not sky + not sky"), judge(), exemplars=20)
        norms, usual = torch.cat([result.means, result.latents[:1]]).norm(dim=1), chosen.latents.norm(dim=1).mean()
        assert torch.allclose(norms, usual.expand(4), rtol=1e-4) is brought


def test_trials_count_what_the_result_has_beside_what_c_has_alone() -> None:
    chosen = explore.samples(linear(), 400)
    terms = explore.parse("sky - not sky + not sky")
    found = explore.measure(chosen, terms, judge(), judge(), trials=40)
    assert found.expected == ("sky",)
    assert found.exemplar == 1
    assert found.rate > 0.7  # the generator is linear
    assert found.chance == 0  # the mean of what is dark is dark
    strict = explore.measure(chosen, terms, judge(), judge(threshold=1000.0), trials=40)
    assert (strict.rate, strict.exemplar) == (0, 0)
    for wrong, why in (
        ("sky - sea + sea,sky", "Nothing tells 'sky' from 'sea'"), ("sky - not sky", 'in the form "A - B'),
        ("1 - 2 + 3", 'in the form "A - B'),
    ):
        with pytest.raises(UserError, match=why):
            exemplars.expected_of(explore.parse(wrong))
    assert exemplars.expected_of(explore.parse("seven - one + one")) == ("seven",)


# ---------------------------------------------------------------------------------------------------------- directions


def test_the_closed_form_finds_the_singular_vectors_of_the_first_layer() -> None:
    generator = linear()
    found = explore.by_first_layer(generator, 3)
    _, values, vectors = torch.linalg.svd(generator.module.layer.weight, full_matrices=False)
    torch.testing.assert_close((found.vectors @ vectors.T).abs()[:, :3], torch.eye(3), atol=1e-4, rtol=0)
    share = float(values[0] ** 2 / values.square().sum())
    assert found.fits[0] == f"{100 * share:.1f} % of the layer's change"
    assert (found.vectors.abs().amax(1) == found.vectors.amax(1)).all()  # signs are fixed


def test_pca_finds_what_changes_the_images_most() -> None:
    found = explore.by_pca(explore.samples(linear(), 300), 2)
    assert found.vectors[0, 0] > 0.97
    assert found.vectors[1, 1] > 0.97


def test_labels_give_a_direction_and_how_well_it_fits() -> None:
    chosen = explore.samples(linear(), 600)
    found = explore.by_labels(chosen, judge(), ["sky", "not sea"])
    assert found.vectors[0, 0] > 0.95
    assert found.vectors[1, 1] < -0.95
    torch.testing.assert_close(found.vectors.norm(dim=1), torch.ones(2))
    places, bits = chosen.latents[:120] @ found.vectors[0], judge().bits(chosen)[:120, 0]
    share = np.mean([float(one > other) for one in places[bits] for other in places[~bits]])
    assert found.fits[0] == f"in order in {100 * share:.1f} % of held-back pairs"
    assert share > 0.9
    moved = found.along(torch.zeros(SIZE), torch.tensor([-2.0, 2.0]))
    torch.testing.assert_close(moved[0, 1], 2 * found.vectors[0])
    with pytest.raises(UserError, match=r"^0 of 20 samples are judged to be 'sky'; at least 10 with it"):
        explore.by_labels(explore.samples(linear(), 20), judge(threshold=1000), ["sky"])


# ---------------------------------------------------------------------------------------------------------- projection


@pytest.mark.parametrize("distribution", ["normal", "uniform"])
def test_a_search_finds_the_latents_of_its_own_images(distribution: str) -> None:
    generator = linear(distribution)
    images = generator.sample(3, seed=9)
    found = explore.project(generator, images, steps=150)
    assert found.by == "search"
    assert found.errors.max() < 0.05
    assert found.ratio < 0.05
    if distribution == "uniform":
        assert found.samples.latents.abs().max() <= 1
    own = torch.from_numpy(images.astype(np.float32) - found.images).div(255).flatten(1).norm(dim=1)
    torch.testing.assert_close(found.errors, own)


def encoder_of(generator: Generator, side: int, outputs: dict[str, int]) -> Encoder:
    """An untrained encoder of images of this size."""
    image = ImageShape(1, side, side)
    with torch.random.fork_rng():
        module, _ = Blueprint("encoder", Network("mlp"), image, 0, outputs).build()
    config = {**generator.config, "part": "encoder", "outputs": outputs, "image_range": [-1, 1], "image": list(image)}
    return Encoder(module, {**config, "role": "encoder", "network": {**config["network"], "architecture": "mlp"}})


def test_an_encoder_of_finer_images_sees_them_and_its_images_are_compared_in_the_generators_size() -> None:
    generator = linear()
    encoder = encoder_of(generator, 8, {"latents": SIZE})
    images = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 1), dtype=np.uint8)
    found = explore.project(generator, images, encoder)
    assert torch.equal(found.samples.latents, torch.from_numpy(encoder.encode(images)))
    means = images.reshape(4, 4, 2, 4, 2, 1).mean((2, 4))
    assert np.abs(found.given - means).max() <= 0.5
    for measured, order in ((found.errors, [0, 1, 2, 3]), (found.others, [1, 3, 0, 2])):  # others as they are drawn
        apart = np.linalg.norm((found.given - found.images[order].astype(float)).reshape(4, -1) / 255, axis=1)
        assert measured.numpy() == pytest.approx(apart, rel=1e-5)


def test_latents_cannot_be_searched_with_an_exported_file() -> None:
    generator: Any = SimpleNamespace(config={"exported": {"opset": 18}})
    with pytest.raises(UserError, match=r"no gradients.* Name the run or the artefact"):
        projecting._by_search(generator, torch.zeros(1, 1, 8, 8), None, 1, 1, 0, None)


def test_latents_are_searched_where_a_run_ships_an_encoder_of_something_else(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """InfoGAN's finds codes."""
    generator = linear()
    codes = encoder_of(generator, 4, {"continuous": 2, "score": 1})
    monkeypatch.setattr(given, "open_shipped", lambda *_, **__: codes)
    assert given.open_encoder(run, generator, None) is None
    with pytest.raises(UserError, match=r"No output of the encoder holds 6 latents; it has: continuous \(2\), score"):
        given.open_encoder(run, generator, "encoder")


def test_an_encoder_gives_its_latents_and_images_of_another_size_are_refused() -> None:
    generator = linear()
    encoder = encoder_of(generator, 4, {"latents": SIZE})
    images = generator.sample(2)
    found = explore.project(generator, images, encoder)
    assert found.by == "encoder"
    assert torch.equal(found.samples.latents, torch.from_numpy(encoder.encode(images)))
    with pytest.raises(UserError, match=r"shape \[2, 4, 3, 1\] were given; this generator's are bytes \[count, 4, 4"):
        accept(images[:, :, :3], generator)


# ------------------------------------------------------------------------------------------------------ all generators


def built(architecture: str, classes: int) -> Generator | None:
    """A small untrained generator; None if the architecture makes no images of these sizes, or takes no labels."""
    options = {"width": 0.1} if "width" in nets.options(architecture, "decoder") else {}
    for side in (8, 16, 28, 32):
        for size in (SIZE, 8, 64):
            try:
                return generator_of(architecture, side, classes=classes, latents=Latents(size), options=options)
            except Exception:
                continue
    return None


@pytest.mark.parametrize("architecture", [name for name in nets.names() if nets.find(name).decoder])
@pytest.mark.parametrize("classes", [0, 3])
def test_every_generator_can_be_explored(architecture: str, classes: int) -> None:
    generator = built(architecture, classes)
    if generator is None:
        assert classes, f"{architecture} makes no images of up to 32 pixels"
        return
    chosen = explore.samples(generator, 4, seed=1)
    shape = (generator.config["image"][1], generator.config["image"][2], generator.config["image"][0])
    assert np.array_equal(chosen.images(), generator.sample(4, seed=1))
    loop = explore.walk(chosen.latents, 2, path="sphere")
    told = None if chosen.labels is None else chosen.labels[:1].expand(8)
    assert explore.images_of(generator, loop.view(4, 2, -1), None if told is None else told.view(4, 2)).shape == (
        4, 2, *shape,
    )  # fmt: skip
    result = explore.combine(chosen, explore.parse("0 - 1 + 2"), variants=1)
    assert explore.images_of(generator, result.latents, result.labels).shape == (2, *shape)
    found = explore.by_first_layer(generator, 2)
    assert found.vectors.shape == (2, generator.latents.size)
    torch.testing.assert_close(found.vectors @ found.vectors.T, torch.eye(2), atol=1e-4, rtol=0)
    projected = explore.project(generator, chosen.images()[:1], steps=1, starts=1)
    assert projected.images.shape == (1, *shape)
    nearest = explore.samples(generator, 512).images().astype(np.float32) - chosen.images()[:1]
    assert projected.errors[0] <= np.linalg.norm(nearest.reshape(512, -1) / 255, axis=1).min() + 1e-3


# ----------------------------------------------------------------------------------------------------------- the verbs


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with an encoder, on images without labels."""
    folder = tmp_path_factory.mktemp("explored")
    images = np.random.default_rng(0).integers(0, 255, (40, 8, 8), dtype=np.uint8)
    np.savez(folder / "noise.npz", images=images)
    small = {
        "data.size": 8, "batch_size": 8, "latents.size": 5, "precision": "float32", "generator.hidden": [8, 8],
        "encoder.hidden": [8, 8], "discriminator.hidden": [8, 8],
    }
    out = folder / "run"
    frugan.train("bigan-mnist", data=str(folder / "noise.npz"), rounds=3, changes=small, out=out, quiet=True)
    return out


def picture(path: Path) -> tuple[int, tuple[int, int]]:
    """How many milliseconds a film lasts (equal frames may have become one), and the size of the picture."""
    lasts = 0
    with Image.open(path) as file:
        for number in range(getattr(file, "n_frames", 1)):
            file.seek(number)
            file.load()
            lasts += file.info.get("duration", 0)
        return round(lasts), file.size


def test_every_verb_writes_its_picture_or_film(
    typed: Callable[[str], int], run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def made(line: str, name: str, said: str) -> tuple[int, tuple[int, int]]:
        verb, _, rest = line.partition(" ")
        assert typed(f"explore {verb} {run} {rest} --out {tmp_path / name}") == 0
        assert said in capsys.readouterr().out
        return picture(tmp_path / name)

    one, gap = 7 * 8, 2
    made("grid --count 6", "grid.png", "6 samples with their numbers")
    made("grid --corners 0,1,2,3 --side 3", "plane.png", "3 x 3 images between samples 0,1,2,3")
    assert made("walk --through 0,3,2 --steps 4", "walk.webp", "1 walk of 12 images along the line")[0] == 12 * 60
    assert made("walk --walks 2 --points 3 --steps 2", "walks.gif", "2 walks of 6 images")[0] == 6 * 60
    made("walk --walks 1 --steps 1 --view pixels", "pixels.webp", "times the mean one of its walk, in pixels.")
    wide = made("walk --through 0,3 --open", "open.png", "The largest step between two images is")[1][0]
    assert wide == 10 * (one + 7 * gap) + 7 * gap
    made('arithmetic "0,1,2 - 3,4,5 + 6,7,8"', "sum.png", "0,1,2 - 3,4,5 + 6,7,8")
    made("directions --how-many 2", "layer.png", "layer 1:")
    assert made("directions --by pca --count 20 --how-many 2", "pca.gif", "pca 1:")[0] == 48 * 60
    made(f"project {run.parent / 'noise.npz'} --count 13", "projected.png", "13 images projected by encoder")
    ((_, preview),) = training_film.previews_of(run)
    shutil.copy(preview, preview.with_name("images-000000000048.png"))
    assert made("film", "film.webp", "2 previews, from 24 to 48 images")[0] == 2 * 250 + 2000


def test_verbs_that_ask_for_labels_or_normal_latents_say_what_came_out(
    typed: Callable[[str], int], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, ...]] = []

    def open_judge(*_: Any, labels: Any, **__: Any) -> Judge:
        asked.append(tuple(labels))
        return judge()

    monkeypatch.setattr(_exploring, "_generator", lambda *_: linear())
    monkeypatch.setattr(explore, "open_judge", open_judge)
    monkeypatch.setattr(explore, "open_view", lambda *_, **__: judge().view)

    def said(line: str, name: str) -> str:
        verb, _, rest = line.partition(" ")
        assert typed(f"explore {verb} run {rest} --out {tmp_path / name}") == 0
        assert (tmp_path / name).is_file()
        return capsys.readouterr().out

    line = said('arithmetic "sky - not sky + not sky" --trials 20', "sum.png")
    assert asked == [("sky", "not sky", "not sky")] * 2  # one judge chooses, another one counts
    found = re.search(r"sky in ([\d.]+) % of (\d+) trials; the mean of C alone: ([\d.]+) %", line)
    assert found is not None, line
    rate, trials, chance = found.groups()
    assert float(rate) >= 90 > 10 >= float(chance)
    assert trials == "20"
    line = said("directions --by sky,sea --count 200", "labels.png")
    assert re.search(r"sky: in order in (9\d|100)\.\d %", line)
    assert "moved by up to 3 along 2 directions" in line
    assert "latent 1\nSample 0 moved" in said("directions --by latent:1", "latent.png")
    assert typed(f"explore directions run --by latent:6 --out {tmp_path / 'x.png'}") == 2
    assert "There is no latent 6; this generator's are 0 to 5." in capsys.readouterr().err
    assert "5 rows of 10 samples" in said("truncation", "truncation.png")
    line = said("walk --walks 1 --view classifier --steps 2", "walk.webp")
    assert "times the mean one of its walk, in classifier" in line


def test_found_latents_are_walked_through(typed: Callable[[str], int], run: Path, tmp_path: Path) -> None:
    saved = tmp_path / "found.NPZ"
    assert typed(f"explore project {run} {run.parent / 'noise.npz'} --count 3 --by search --steps 2 --out {saved}") == 0
    generator = load(run, role="generator")
    chosen = explore.read_samples(generator, saved)
    with np.load(saved) as file:
        assert np.array_equal(file["images"], chosen.images())
        assert file["given"].shape == (3, 8, 8, 1)
    assert typed(f"explore walk {run} --latents {saved} --through 0,2 --out {tmp_path / 'way.webp'} --steps 2") == 0
    whole = saved.read_bytes()
    stream = io.BytesIO()
    np.save(stream, np.zeros((2, 2)))
    for damaged in (whole[:50], b"", whole[:60] + b"?" + whole[61:], stream.getvalue()):
        saved.write_bytes(damaged)
        with pytest.raises(UserError, match=r"it cannot be read as FILE\.npz"):
            explore.read_samples(generator, saved)


def test_mistakes_are_answered_in_one_line(
    typed: Callable[[str], int], run: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(line: str, *parts: str) -> None:
        verb, _, rest = line.partition(" ")
        assert typed(f"explore {verb} {run} {rest}") == 2
        said = capsys.readouterr().err.splitlines()
        assert len(said) == 1, said
        for part in parts:
            assert part in said[0]

    out = f"--out {tmp_path / 'x.png'}"
    refused(f"walk --through 3,64 {out}", "There is no sample 64", "have the numbers 0 to 63", "--count N makes more")
    refused(f"arithmetic '1 - 99 + 2' {out}", "There is no sample 99")
    refused(f"arithmetic 'glasses - hat' {out}", "has no labels", "numbers of frugan explore grid", "--data SOURCE")
    refused(f"directions --by glasses {out}", "has no labels")
    refused("arithmetic '1 - 2'", "Give --out FILE.png for a picture, or --trials")
    refused(f"truncation {out}", "only normal latents can be truncated")
    refused(f"walk --path sphere {out}", "Only normal latents lie near a sphere")
    refused(f"walk --view classifier {out}", "The view 'classifier' does not suit npz noise", "pixels")
    refused(f"grid --out {tmp_path / 'x.gif'}", "this writes FILE.png")
    refused(f"film --out {tmp_path / 'x.avi'}", "this writes FILE.webp or FILE.gif or FILE.mp4")
    refused(f"grid --labels 3 {out}", "trained without labels")
    small = tmp_path / "small.png"
    Image.new("L", (9, 8)).save(small)
    refused(f"project {small} {out}", "has 9 x 8 pixels, but this encoder sees 8 x 8", "or --resize")
    np.savez(tmp_path / "arrays.npz", images=np.zeros((2, 6, 8, 1), np.uint8))
    refused(f"project {tmp_path / 'arrays.npz'} {out}", "has 8 x 6 pixels, but this encoder sees 8 x 8")
    assert typed(f"explore project {run} {small} --resize {out}") == 0
    capsys.readouterr()
    refused(f"project {small} --resize {out}", "exists; give another --out, or --overwrite")
    refused(f"project {small} --by encodr --overwrite {out}", "--by encodr: Did you mean 'encoder'")
    other = tmp_path / "other.npz"
    np.savez(other, latents=np.zeros((3, 7), np.float32))
    refused(f"grid --latents {other} --overwrite {out}", "floats [count, 5] for this generator, but it has [3, 7]")
    assert typed("explore wlk runs/x") == 2
    assert "There is no verb 'wlk'. Did you mean 'walk'" in capsys.readouterr().err
    for preview in (run / "samples").glob("*.png"):
        preview.unlink()
    refused(f"film --out {tmp_path / 'x.webp'}", "has no previews")
