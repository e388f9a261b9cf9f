"""The FID network with weights made on the spot: its layout, its arithmetic, the way published weights come in."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional

import frugan.views
from frugan.registry import UserError
from frugan.views import View
from frugan.views._resize import clean_bicubic
from frugan.views.inception import CLASSES, Inception, convert_weights, prepare


def made() -> dict[str, Tensor]:
    """Random weights of the published layout, scaled so that activations neither vanish nor explode."""
    numbers = torch.Generator().manual_seed(0)
    with torch.device("meta"):
        layout = Inception().state_dict()
    tensors = {}
    for name, empty in layout.items():
        if name.endswith("num_batches_tracked"):
            continue
        noise = torch.randn(empty.shape, generator=numbers)
        if name.endswith("conv.weight"):
            tensors[name] = noise * (2 / empty[0].numel()) ** 0.5
        elif name.endswith(("bn.weight", "running_var")):
            tensors[name] = 1 + 0.1 * noise.abs()
        else:
            tensors[name] = 0.02 * noise
    return tensors


def stored(folder: Path, tensors: object) -> Path:
    """Saved as torch does it, under a name that tells the start of the file's hash."""
    path = folder / "made.pth"
    torch.save(tensors, path)
    return path.rename(folder / f"made-{digest(path)}.pth")


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:8]


@pytest.fixture(scope="module")
def weights() -> dict[str, Tensor]:
    return made()


@pytest.fixture(scope="module")
def view(converted: Path) -> View:
    return frugan.views.build("inception", weights=str(converted))


@pytest.fixture(scope="module")
def published(weights: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file as publishers have it."""
    return stored(tmp_path_factory.mktemp("weights"), weights)


@pytest.fixture(scope="module")
def converted(published: Path) -> Path:
    return convert_weights(published, published.parent / "cache", known=digest(published))


def images(channels: int = 3, count: int = 2) -> Tensor:
    numbers = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (count, channels, 32, 32), dtype=torch.uint8, generator=numbers)


def test_metrics_sheet_3_parameters_per_module() -> None:
    with torch.device("meta"):
        net = Inception()
    counts = {name: sum(tensor.numel() for tensor in module.parameters()) for name, module in net.named_children()}
    assert counts == {
        "Conv2d_1a_3x3": 928,
        "Conv2d_2a_3x3": 9_280,
        "Conv2d_2b_3x3": 18_560,
        "Conv2d_3b_1x1": 5_280,
        "Conv2d_4a_3x3": 138_624,
        "Mixed_5b": 255_904,
        "Mixed_5c": 277_472,
        "Mixed_5d": 285_152,
        "Mixed_6a": 1_153_280,
        "Mixed_6b": 1_297_408,
        "Mixed_6c": 1_691_008,
        "Mixed_6d": 1_691_008,
        "Mixed_6e": 2_141_952,
        "Mixed_7a": 1_698_304,
        "Mixed_7b": 5_044_608,
        "Mixed_7c": 6_076_800,
        "fc": 2_065_392,
    }
    assert sum(counts.values()) == 23_850_960
    assert sum(counts.values()) - counts["fc"] == 21_785_568


def test_metrics_sheet_3_tensors_and_bytes(weights: dict[str, Tensor]) -> None:
    units = [name.removesuffix(".conv.weight") for name in weights if name.endswith(".conv.weight")]
    assert len(units) == 94
    assert len(weights) == 472
    assert all(f"{unit}.bn.{part}" in weights for unit in units for part in ("weight", "bias", "running_mean"))
    assert sum(tensor.numel() for name, tensor in weights.items() if "running" in name) == 34_432
    assert sum(tensor.numel() * 4 for tensor in weights.values()) == 95_541_568
    assert weights["fc.weight"].shape == (1008, 2048)


def test_metrics_sheet_5_23_two_small_images(view: View, weights: dict[str, Tensor]) -> None:
    seen = frugan.views.extract(view, images())
    assert seen.features.shape == (2, 2048)
    assert seen.log_probabilities is not None
    assert seen.log_probabilities.shape == (2, CLASSES) == (2, 1008)
    assert torch.isfinite(seen.features).all()
    assert seen.features.std() > 0.01
    unbiased = (seen.features @ weights["fc.weight"].T).log_softmax(1)
    assert torch.allclose(seen.log_probabilities, unbiased, atol=1e-5)
    assert view.description["resizing"] == "TensorFlow 1 bilinear to 299x299"


def test_values_do_not_depend_on_the_batch(view: View) -> None:
    many = images(count=8)  # one by one, 7 and a last batch of 1, one batch that is not full
    one, some, all_at_once = (frugan.views.extract(view, many, batch_size).features for batch_size in (1, 7, 64))
    for other in (one, some):
        assert (other - all_at_once).abs().max() <= 1e-5 * all_at_once.abs().max()


def test_a_callers_precision_moves_nothing(view: View) -> None:
    before = view.features(images())
    matmul: Any = torch.backends.mkldnn.matmul  # type: ignore[attr-defined]
    try:
        matmul.fp32_precision = "bf16"
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(view.features(images()), before)
        assert matmul.fp32_precision == "bf16"  # and the caller has it as before
    finally:
        matmul.fp32_precision = "none"
    assert not view.features(images()).requires_grad


def test_metrics_sheet_3_input_range_and_grey() -> None:
    ends = torch.tensor([0, 128, 255], dtype=torch.uint8).view(3, 1, 1, 1).expand(3, 1, 8, 8)
    ready = prepare(ends)
    assert ready.shape == (3, 3, 299, 299)
    assert ready[:, :, 0, 0].tolist() == [[-1.0] * 3, [0.0] * 3, [0.9921875] * 3]
    grey = images(1)
    assert torch.equal(prepare(grey), prepare(grey.expand(-1, 3, -1, -1)))
    with pytest.raises(UserError, match="1 or 3 channels, but these images have 4"):
        prepare(images(4))


def plainly(weights: dict[str, Tensor], x: Tensor) -> Tensor:
    """The network written out line by line in float64, from the published names alone."""

    def unit(x: Tensor, name: str, stride: int = 1, padding: int | tuple[int, int] = 0) -> Tensor:
        x = functional.conv2d(x, weights[f"{name}.conv.weight"].double(), None, stride, padding)
        mean, variance, gain, shift = (
            weights[f"{name}.bn.{part}"].double()[:, None, None]
            for part in ("running_mean", "running_var", "weight", "bias")
        )
        return ((x - mean) / (variance + 0.001).sqrt() * gain + shift).clamp_min(0)

    def average(x: Tensor) -> Tensor:
        count = functional.conv2d(torch.ones_like(x[:1, :1]), torch.ones(1, 1, 3, 3).double(), padding=1)
        kernel = torch.ones(x.shape[1], 1, 3, 3).double()
        return functional.conv2d(x, kernel, padding=1, groups=x.shape[1]) / count

    def largest(x: Tensor) -> Tensor:
        return functional.max_pool2d(functional.pad(x, (1, 1, 1, 1), value=-torch.inf), 3, 1)

    def halve(x: Tensor) -> Tensor:
        return functional.max_pool2d(x, 3, 2)

    def five(x: Tensor, m: str) -> Tensor:
        one = unit(x, f"{m}.branch1x1")
        wide = unit(unit(x, f"{m}.branch5x5_1"), f"{m}.branch5x5_2", padding=2)
        double = unit(unit(x, f"{m}.branch3x3dbl_1"), f"{m}.branch3x3dbl_2", padding=1)
        double = unit(double, f"{m}.branch3x3dbl_3", padding=1)
        return torch.cat([one, wide, double, unit(average(x), f"{m}.branch_pool")], 1)

    def six(x: Tensor, m: str) -> Tensor:
        one = unit(x, f"{m}.branch1x1")
        seven = unit(unit(x, f"{m}.branch7x7_1"), f"{m}.branch7x7_2", padding=(0, 3))
        seven = unit(seven, f"{m}.branch7x7_3", padding=(3, 0))
        double = unit(x, f"{m}.branch7x7dbl_1")
        for number, padding in ((2, (3, 0)), (3, (0, 3)), (4, (3, 0)), (5, (0, 3))):
            double = unit(double, f"{m}.branch7x7dbl_{number}", padding=padding)
        return torch.cat([one, seven, double, unit(average(x), f"{m}.branch_pool")], 1)

    def seven(x: Tensor, m: str, pool: Callable[[Tensor], Tensor]) -> Tensor:
        one = unit(x, f"{m}.branch1x1")
        three = unit(x, f"{m}.branch3x3_1")
        double = unit(unit(x, f"{m}.branch3x3dbl_1"), f"{m}.branch3x3dbl_2", padding=1)
        split = [
            unit(y, f"{m}.{name}{side}", padding=padding)
            for y, name in ((three, "branch3x3_2"), (double, "branch3x3dbl_3"))
            for side, padding in (("a", (0, 1)), ("b", (1, 0)))
        ]
        return torch.cat([one, *split, unit(pool(x), f"{m}.branch_pool")], 1)

    x = unit(unit(x, "Conv2d_1a_3x3", 2), "Conv2d_2a_3x3")
    x = halve(unit(x, "Conv2d_2b_3x3", padding=1))
    x = halve(unit(unit(x, "Conv2d_3b_1x1"), "Conv2d_4a_3x3"))
    for name in ("Mixed_5b", "Mixed_5c", "Mixed_5d"):
        x = five(x, name)
    double = unit(unit(x, "Mixed_6a.branch3x3dbl_1"), "Mixed_6a.branch3x3dbl_2", padding=1)
    x = torch.cat([unit(x, "Mixed_6a.branch3x3", 2), unit(double, "Mixed_6a.branch3x3dbl_3", 2), halve(x)], 1)
    for name in ("Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e"):
        x = six(x, name)
    three = unit(unit(x, "Mixed_7a.branch3x3_1"), "Mixed_7a.branch3x3_2", 2)
    longer = unit(unit(x, "Mixed_7a.branch7x7x3_1"), "Mixed_7a.branch7x7x3_2", padding=(0, 3))
    longer = unit(unit(longer, "Mixed_7a.branch7x7x3_3", padding=(3, 0)), "Mixed_7a.branch7x7x3_4", 2)
    x = torch.cat([three, longer, halve(x)], 1)
    return seven(seven(x, "Mixed_7b", average), "Mixed_7c", largest).mean((2, 3))


def test_metrics_sheet_3_layout_written_out_plainly(weights: dict[str, Tensor]) -> None:
    net = Inception()
    net.load_state_dict(weights, strict=False)
    x = torch.rand(2, 3, 107, 107, generator=torch.Generator().manual_seed(2)) * 2 - 1
    with torch.no_grad():
        features = net.eval()(x)
        expected = plainly(weights, x.double())
    assert (features.double() - expected).abs().max() <= 1e-5 * expected.abs().max()


def tensorflow1(image: np.ndarray, side: int) -> np.ndarray:
    """TensorFlow 1's bilinear rule for ``[channels, height, width]`` in float64, written out from its definition."""
    for axis in (1, 2):
        old = image.shape[axis]
        places = np.arange(side) * old / side
        low = places.astype(int)
        part = (places - low).reshape((1, -1, 1) if axis == 1 else (1, 1, -1))
        upper = image.take(np.minimum(low + 1, old - 1), axis)
        image = image.take(low, axis) * (1 - part) + upper * part
    return image


@pytest.mark.parametrize("channels", [1, 3])
def test_bytes_to_features_written_out_plainly(view: View, weights: dict[str, Tensor], channels: int) -> None:
    resized = np.stack([tensorflow1(image.astype(np.float64), 299) for image in images(channels).numpy()])
    with torch.no_grad():
        expected = plainly(weights, torch.from_numpy((resized - 128) / 128).expand(-1, 3, -1, -1))
    assert (view.features(images(channels)).double() - expected).abs().max() <= 1e-5 * expected.abs().max()


def torch_fidelity() -> ModuleType:
    """Its Inception network alone: the package's front page asks for torchvision, which is not installed here."""
    spec = importlib.util.find_spec("torch_fidelity")
    if spec is None:
        pytest.skip("needs torch-fidelity: pip install --no-deps --target FOLDER torch-fidelity; PYTHONPATH=FOLDER")
    package = ModuleType("torch_fidelity")
    package.__path__ = list(spec.submodule_search_locations or [])
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "torch_fidelity", package)
        return importlib.import_module("torch_fidelity.feature_extractor_inceptionv3")


def test_agrees_with_torch_fidelity_resizing_included(view: View, published: Path) -> None:
    taps = ["2048", "logits_unbiased"]
    theirs = torch_fidelity().FeatureExtractorInceptionV3("ours", taps, feature_extractor_weights_path=str(published))
    for channels in (1, 3):
        features, logits = theirs(images(channels).expand(-1, 3, -1, -1))
        seen = view.look(images(channels))
        assert (seen.features - features).abs().max() <= 1e-5 * features.abs().max()
        assert seen.log_probabilities is not None
        expected = logits.log_softmax(1)
        assert (seen.log_probabilities - expected).abs().max() <= 1e-5 * expected.abs().max()


def test_clean_resizing_is_a_view_of_its_own(view: View, converted: Path, weights: dict[str, Tensor]) -> None:
    clean = frugan.views.build("inception_clean", weights=str(converted))
    assert clean.name == "inception_clean"
    assert clean.version == view.version.replace("tf1bilinear", "cleanbicubic") != view.version
    assert clean.description["weights"] == view.description["weights"]
    assert clean.description["resizing"] == "Pillow bicubic (clean-FID) to 299x299"
    resized = [
        [Image.fromarray(channel.astype(np.float32)).resize((299, 299), Image.Resampling.BICUBIC) for channel in image]
        for image in images().numpy()
    ]
    pixels = torch.from_numpy(np.clip(np.array([[np.asarray(c) for c in i] for i in resized], np.float64), 0, 255))
    with torch.no_grad():
        expected = plainly(weights, (pixels - 128) / 128)
    seen = clean.features(images())
    assert (seen.double() - expected).abs().max() <= 1e-5 * expected.abs().max()
    assert (seen - view.features(images())).abs().max() > 1e-3 * seen.abs().max()
    with pytest.raises(UserError, match=r"no resizing 'cleen'. Did you mean 'clean'"):
        frugan.views.build("inception", weights=str(converted), resizing="cleen")
    with pytest.raises(UserError, match=r"view 'inception_clean' needs the published weights"):
        frugan.views.build("inception_clean", cache=converted / "nowhere")


def cubic(x: np.ndarray) -> np.ndarray:
    """Keys' kernel (1981) with a = -1/2."""
    x = np.abs(x)
    near, far = 1.5 * x**3 - 2.5 * x**2 + 1, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return np.where(x < 1, near, np.where(x < 2, far, 0))


@pytest.mark.parametrize(("old", "new"), [((32, 32), (299, 299)), ((40, 24), (9, 17))])
def test_clean_resizing_is_cubic_in_float_and_clipped(old: tuple[int, int], new: tuple[int, int]) -> None:
    pixels = torch.randint(0, 2, (2, 3, *old), generator=torch.Generator().manual_seed(3)).float() * 255
    expected = pixels.double().numpy()
    for axis in (2, 3):
        count, size = expected.shape[axis], new[axis - 2]
        step = count / size
        spread = max(step, 1.0)
        centres = (np.arange(size) + 0.5) * step - 0.5
        shares = cubic((np.arange(count) - centres[:, None]) / spread)
        shares /= shares.sum(1, keepdims=True)
        expected = np.moveaxis(np.moveaxis(expected, axis, -1) @ shares.T, -1, axis)
    made = clean_bicubic(pixels, *new)
    assert made.min() == 0
    assert np.abs(made.numpy() - expected.clip(0, 255)).max() < 1e-3
    assert not torch.equal(made, made.round())
    if new[0] > old[0]:
        assert expected.min() < -10  # what clipping is for


def test_batch_counters_may_be_there_or_not(weights: dict[str, Tensor], tmp_path: Path) -> None:
    with torch.device("meta"):
        names = [name for name in Inception().state_dict() if name.endswith("num_batches_tracked")]
    assert len(names) == 94
    path = stored(tmp_path, {**weights, **{name: torch.tensor(7) for name in names}})
    assert convert_weights(path, tmp_path / "cache", known=digest(path)).exists()


def test_each_mistake_with_the_weights_is_said(weights: dict[str, Tensor], tmp_path: Path) -> None:
    def convert(tensors: object) -> None:
        path = stored(tmp_path, tensors)
        convert_weights(path, tmp_path / "cache", known=digest(path))

    with pytest.raises(UserError, match="no such file"):
        convert_weights(tmp_path / "none-6726825d.pth", tmp_path)
    path = stored(tmp_path, {"fc.bias": weights["fc.bias"]})
    with pytest.raises(UserError, match="published weights ends in -6726825d, the start of their SHA-256"):
        convert_weights(path, tmp_path)
    renamed = path.rename(tmp_path / "pt_inception-2015-12-05-6726825d.pth")
    with pytest.raises(UserError, match=r"SHA-256 starts with .* its name says 6726825d.* Download it again"):
        frugan.views.convert_weights(renamed, cache=tmp_path)
    with pytest.raises(UserError, match=r"should have 472 tensors, and 471 missing, e\.g\. Conv2d_1a_3x3\.bn\.bias"):
        convert({"fc.bias": weights["fc.bias"]})
    with pytest.raises(
        UserError, match=r"1 missing, e\.g\. Mixed_5b\.branch1x1\.bn\.running_var and 1 extra, e\.g\. x"
    ):
        convert({name.replace("Mixed_5b.branch1x1.bn.running_var", "x"): tensor for name, tensor in weights.items()})
    with pytest.raises(UserError, match=r"fc\.weight is \[1000, 2048\], but in the FID network it is \[1008, 2048\]"):
        convert({**weights, "fc.weight": weights["fc.weight"][:1000]})
    with pytest.raises(UserError, match=r"fc\.bias has values that are not finite"):
        convert({**weights, "fc.bias": weights["fc.bias"] / 0})
    with pytest.raises(UserError, match="holds a list, but named tensors"):
        convert([weights["fc.bias"]])
    with pytest.raises(UserError, match="cannot be read as plain tensors"):
        convert({"fc.bias": Path("code")})
    with pytest.raises(UserError, match=r"is not the name of a weights file .*6726825d\* for the view 'inception'"):
        frugan.views.convert_weights(tmp_path / "weights.pth")
    assert not (tmp_path / "cache").exists()


def test_without_weights_it_says_what_to_type(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"frugan data convert-weights FILE"):
        frugan.views.build("inception", cache=tmp_path)


def test_converted_weights_are_checked_at_every_use(converted: Path, tmp_path: Path) -> None:
    def build() -> None:
        frugan.views.build("inception", cache=tmp_path)

    kept = tmp_path / "inception-6726825d.safetensors"
    kept.write_bytes(b"cut short")
    with pytest.raises(UserError, match=r"is damaged .*Delete it and convert"):
        build()
    data = bytearray(converted.read_bytes())
    data[-1] ^= 1
    kept.write_bytes(data)
    with pytest.raises(UserError, match=r"is damaged: its tensors no longer have the checksum .*Delete it and convert"):
        build()
    save_file(load_file(converted), kept)
    with pytest.raises(UserError, match=r"was not written by this version of frugan. Delete it and convert"):
        build()
