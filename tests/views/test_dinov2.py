"""DINOv2 with weights made on the spot: its published layout, and its arithmetic against plain numpy in float64."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.special import erf
from torch import Tensor

import frugan.views
from frugan.registry import UserError
from frugan.views import View
from frugan.views.dinov2 import SIZES, DinoV2, Size, convert_weights, prepare

Arrays = dict[str, np.ndarray]


def layout(size: Size) -> dict[str, torch.Size]:
    with torch.device("meta"):
        return {name: tensor.shape for name, tensor in DinoV2(size).state_dict().items()}


def made(size: Size) -> dict[str, Tensor]:
    """Random weights of the published layout, scaled so that every part matters and nothing explodes."""
    numbers = torch.Generator().manual_seed(0)
    tensors = {}
    for name, shape in layout(size).items():
        noise = torch.randn(shape, generator=numbers)
        if name.endswith("gamma") or (".norm" in f".{name}" and name.endswith("weight")):
            tensors[name] = 1 + 0.1 * noise
        elif name.endswith("weight"):
            tensors[name] = noise / shape[1:].numel() ** 0.5
        else:
            tensors[name] = 0.3 * noise
    return tensors


def images(channels: int = 3, count: int = 2) -> Tensor:
    numbers = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (count, channels, 32, 32), dtype=torch.uint8, generator=numbers)


@pytest.fixture(scope="module")
def weights() -> dict[str, Tensor]:
    return made(SIZES["s"])


@pytest.fixture(scope="module")
def published(weights: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "dinov2_vits14_pretrain.pth"
    torch.save(weights, path)
    return path


@pytest.fixture(scope="module")
def cache(published: Path) -> Path:
    assert (
        frugan.views.convert_weights(published, cache=published.parent)
        == published.parent / "dinov2-vits14.safetensors"
    )
    return published.parent


@pytest.fixture(scope="module")
def view(cache: Path) -> View:
    return frugan.views.build("dinov2", cache=cache, size="s")


def test_the_layout_is_the_published_one() -> None:
    for letter, parameters in {"s": 22_056_576, "b": 86_580_480, "l": 304_368_640, "g": 1_136_480_768}.items():
        shapes = layout(SIZES[letter])
        assert sum(shape.numel() for shape in shapes.values()) == parameters
        width = SIZES[letter].width
        assert shapes["pos_embed"] == (1, 1370, width)
        assert shapes["mask_token"] == (1, width)
        assert shapes["patch_embed.proj.weight"] == (width, 3, 14, 14)
        assert len({name.split(".")[1] for name in shapes if name.startswith("blocks")}) == SIZES[letter].blocks
    parts = {name.removeprefix("blocks.39.") for name in layout(SIZES["g"]) if name.startswith("blocks.39.")}
    assert parts == {
        *(f"{layer}.{kind}" for layer in ("norm1", "norm2", "attn.qkv", "attn.proj") for kind in ("weight", "bias")),
        *("ls1.gamma", "ls2.gamma", "mlp.w12.weight", "mlp.w12.bias", "mlp.w3.weight", "mlp.w3.bias"),
    }
    assert layout(SIZES["g"])["blocks.0.mlp.w12.weight"] == (8192, 1536)
    assert {"blocks.23.mlp.fc1.weight", "blocks.23.mlp.fc2.bias", "norm.bias"} <= layout(SIZES["l"]).keys()


def cubic(x: np.ndarray) -> np.ndarray:
    """Keys' kernel (1981) with a = -3/4."""
    x, a = np.abs(x), -0.75
    near = (a + 2) * x**3 - (a + 3) * x**2 + 1
    return np.where(x < 1, near, np.where(x < 2, a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a, 0))


def shares() -> np.ndarray:
    """How much of each of 37 places each of 16 takes: the border repeats, and the step is 37 / 16.1."""
    result = np.zeros((16, 37))
    for number in range(16):
        centre = (number + 0.5) * 37 / 16.1 - 0.5
        for place in range(math.floor(centre) - 1, math.floor(centre) + 3):
            result[number, min(max(place, 0), 36)] += cubic(np.array(centre - place))
    return result


def norm(x: np.ndarray, w: Arrays, name: str) -> np.ndarray:
    x = x - x.mean(-1, keepdims=True)
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6) * w[f"{name}.weight"] + w[f"{name}.bias"]


def linear(x: np.ndarray, w: Arrays, name: str) -> np.ndarray:
    return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]


def plainly(tensors: dict[str, Tensor], pixels: np.ndarray, size: Size) -> np.ndarray:
    """The network written out in float64 from the published names: ``[n, 3, 224, 224]`` to ``[n, width]``."""
    w = {name: tensor.double().numpy() for name, tensor in tensors.items()}
    count = len(pixels)
    patches = pixels.reshape(count, 3, 16, 14, 16, 14).transpose(0, 2, 4, 1, 3, 5).reshape(count, 256, -1)
    x = patches @ w["patch_embed.proj.weight"].reshape(size.width, -1).T + w["patch_embed.proj.bias"]
    x = np.concatenate([np.repeat(w["cls_token"], count, 0), x], 1)
    grid = w["pos_embed"][0, 1:].reshape(37, 37, size.width)
    grid = np.einsum("ia,jb,abw->ijw", shares(), shares(), grid, optimize=True).reshape(256, size.width)
    x = x + np.concatenate([w["pos_embed"][0, :1], grid])
    for number in range(size.blocks):
        b = f"blocks.{number}"
        joined = []
        query, key, value = np.split(linear(norm(x, w, f"{b}.norm1"), w, f"{b}.attn.qkv"), 3, -1)
        for start in range(0, size.width, 64):
            head = slice(start, start + 64)
            scores = query[..., head] @ key[..., head].transpose(0, 2, 1) / 8
            scores = np.exp(scores - scores.max(-1, keepdims=True))
            joined.append(scores / scores.sum(-1, keepdims=True) @ value[..., head])
        x = x + linear(np.concatenate(joined, -1), w, f"{b}.attn.proj") * w[f"{b}.ls1.gamma"]
        y = norm(x, w, f"{b}.norm2")
        if size.gated:
            gate, value = np.split(linear(y, w, f"{b}.mlp.w12"), 2, -1)
            y = linear(gate / (1 + np.exp(-gate)) * value, w, f"{b}.mlp.w3")
        else:
            y = linear(y, w, f"{b}.mlp.fc1")
            y = linear(y * (1 + erf(y / np.sqrt(2))) / 2, w, f"{b}.mlp.fc2")
        x = x + y * w[f"{b}.ls2.gamma"]
    return norm(x, w, "norm")[:, 0]


def looked_at(images: Tensor) -> np.ndarray:
    """Bytes as the network takes them, by the definitions."""
    made = np.empty((2, 3, 224, 224))
    for number, image in enumerate(images.expand(-1, 3, -1, -1).numpy()):
        for channel, (mean, deviation) in enumerate(zip((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), strict=True)):
            plane = Image.fromarray(image[channel].astype(np.float32)).resize((224, 224), Image.Resampling.BICUBIC)
            made[number, channel] = (np.clip(np.asarray(plane, np.float64), 0, 255) / 255 - mean) / deviation
    return made


def test_metrics_sheet_2_5_bytes_to_class_token_written_out_plainly(view: View, weights: dict[str, Tensor]) -> None:
    features = view.features(images())
    expected = plainly(weights, looked_at(images()), SIZES["s"])
    assert features.shape == (2, 384) == (2, view.width)
    assert np.abs(features.numpy() - expected).max() <= 1e-5 * np.abs(expected).max()
    assert features.std(0).max() > 0.01  # the images are told apart


def test_grey_images_are_repeated() -> None:
    grey = images(1)
    assert torch.equal(prepare(grey), prepare(grey.expand(-1, 3, -1, -1)))
    assert np.abs(prepare(grey).numpy() - looked_at(grey)).max() < 1e-5


def test_the_gated_network_written_out_plainly() -> None:
    size = Size(128, 2, gated=True)
    tensors, net = made(size), DinoV2(size)
    net.load_state_dict(tensors)
    with torch.no_grad():
        features = net(prepare(images()))
    expected = plainly(tensors, looked_at(images()), size)
    assert np.abs(features.numpy() - expected).max() <= 1e-5 * np.abs(expected).max()


def test_what_the_view_says_of_itself(view: View) -> None:
    weights = view.description["weights"]
    assert view.version == f"dinov2-vits14-{weights[:12]}-cleanbicubic224"
    assert view.description["network"] == "DINOv2 ViT-S/14"
    assert view.description["resizing"] == "Pillow bicubic to 224x224, not rounded"
    assert view.description["places"] == "bicubic by (16 + 0.1) / 37"
    assert frugan.views.extract(view, images()).log_probabilities is None
    with pytest.raises(UserError, match="1 or 3 channels, but these images have 4"):
        view.features(images(4))


def test_values_do_not_depend_on_the_batch_or_a_callers_precision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SIZES, "s", Size(128, 2))
    torch.save(made(SIZES["s"]), tmp_path / "small.pth")
    small = frugan.views.build("dinov2", weights=str(convert_weights(tmp_path / "small.pth", tmp_path)))
    many = images(count=9)  # one by one, 7 and a last batch of 2, one batch that is not full
    one, some, together = (frugan.views.extract(small, many, batch_size).features for batch_size in (1, 7, 64))
    for other in (one, some):
        assert (other - together).abs().max() <= 1e-5 * together.abs().max()
    with torch.autocast("cpu", torch.bfloat16):
        assert (small.features(many) - together).abs().max() <= 1e-5 * together.abs().max()


def test_each_mistake_with_the_weights_is_said(weights: dict[str, Tensor], cache: Path, tmp_path: Path) -> None:
    def convert(name: str, tensors: object) -> None:
        torch.save(tensors, tmp_path / name)
        convert_weights(tmp_path / name, tmp_path / "cache")

    with pytest.raises(UserError, match="no such file"):
        convert_weights(tmp_path / "dinov2_vits14_pretrain.pth", tmp_path)
    with pytest.raises(UserError, match=r"dinov2_vitb14_pretrain.pth holds DINOv2 ViT-S/14, but its name says another"):
        convert("dinov2_vitb14_pretrain.pth", weights)
    with pytest.raises(UserError, match=r"is not DINOv2 ViT-S/14: .*175 tensors.*1 extra, e\.g\. register_tokens"):
        convert("dinov2_vits14_reg4_pretrain.pth", {**weights, "register_tokens": torch.zeros(1, 4, 384)})
    with pytest.raises(
        UserError, match=r"not a DINOv2 network: it has a class token of 100 features. Known are 384, 768, 1024, 1536"
    ):
        convert("dinov2_vits14_pretrain.pth", {"cls_token": torch.zeros(1, 1, 100)})
    with pytest.raises(UserError, match=r"it has no class token"):
        convert("dinov2_vits14_pretrain.pth", {"norm.bias": weights["norm.bias"]})
    with pytest.raises(UserError, match=r"norm\.bias is \[3\], but in DINOv2 ViT-S/14 it is \[384\]"):
        convert("dinov2_vits14_pretrain.pth", {**weights, "norm.bias": torch.zeros(3)})
    with pytest.raises(
        UserError, match=r"its SHA-256 starts with .* its name says 01234567.* Download it again"
    ):
        convert("dinov2_vits14_pretrain-01234567.pth", weights)
    with pytest.raises(UserError, match="cannot be read as plain tensors"):
        convert("dinov2_vits14_pretrain.pth", {"cls_token": Path("code")})
    assert not (tmp_path / "cache").exists()
    with pytest.raises(UserError, match=r"dinov2_vitl14_pretrain\.pth and type: frugan data convert-weights FILE\.$"):
        frugan.views.build("dinov2", cache=tmp_path)
    with pytest.raises(UserError, match=r"convert-weights FILE. Size s is there: size='s' in Python"):
        frugan.views.build("dinov2", cache=cache)
    with pytest.raises(UserError, match=r"no size 'xl'. .*Choose from: b, g, l, s"):
        frugan.views.build("dinov2", cache=cache, size="xl")
    data = bytearray((cache / "dinov2-vits14.safetensors").read_bytes())
    data[-1] ^= 1
    (tmp_path / "dinov2-vits14.safetensors").write_bytes(data)
    with pytest.raises(UserError, match=r"is damaged: its tensors no longer have the checksum"):
        frugan.views.build("dinov2", cache=tmp_path, size="s")
