"""The network behind the FID and the Inception Score of the literature (Szegedy et al. 2015, arXiv 1512.00567).

Its weights are those of a TensorFlow file of 2015-12-05, which others have converted to PyTorch tensors. They are not
part of frugan: `convert_weights` reads such a file once and keeps it as safetensors. It differs from other Inception-v3
nets: it has 1008 classes, no auxiliary head, averages that do not count padding, and maximum pooling in the last block.
Images are resized to 299 x 299 by TensorFlow 1's bilinear rule and mapped by (x - 128) / 128.

The view `inception_clean` is the same with another resizing. Features are the 2048 numbers after global average
pooling. As in the original score, probabilities are computed from the logits without their bias.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from frugan.arithmetic import exact
from frugan.registry import UserError, suggest
from frugan.views import Builder, Seen, View
from frugan.views._resize import clean_bicubic, tensorflow1_bilinear
from frugan.views._weights import Layout, check_layout, keep, read_kept, read_published

if TYPE_CHECKING:
    from frugan.data import Dataset

PUBLISHED = "6726825d"
"""How the SHA-256 of the published file starts; it stands in the file's name."""

NETWORK = "the FID network"

SIDE, WIDTH, CLASSES = 299, 2048, 1008


class Resizing(NamedTuple):
    """A way to resize to 299 x 299: the view's name, its word in the version, its description, and the function."""

    view: str
    short: str
    words: str
    resize: Callable[[Tensor, int, int], Tensor]


RESIZING = {
    "tensorflow1": Resizing("inception", "tf1bilinear", "TensorFlow 1 bilinear", tensorflow1_bilinear),
    "clean": Resizing("inception_clean", "cleanbicubic", "Pillow bicubic (clean-FID)", clean_bicubic),
}
"""The resizing rules. Values of different rules cannot be compared."""

AT_ONCE = 32
"""Images that pass the net together: 299 x 299 makes large activations of small images."""


class Unit(NamedTuple):
    """A convolution without bias, batch normalisation and ReLU, called `name` in the published files."""

    name: str
    channels: int
    kernel: tuple[int, int] = (1, 1)
    stride: int = 1
    same: bool = True


class Block(NamedTuple):
    """Branches side by side, joined in this order: chains of units, of which the end may be two side by side."""

    name: str
    branches: tuple[tuple[Unit | tuple[Unit, Unit], ...], ...]
    pool: str


def _mixed_5(name: str, pooled: int) -> Block:
    return Block(
        name,
        (
            (Unit("branch1x1", 64),),
            (Unit("branch5x5_1", 48), Unit("branch5x5_2", 64, (5, 5))),
            (Unit("branch3x3dbl_1", 64), Unit("branch3x3dbl_2", 96, (3, 3)), Unit("branch3x3dbl_3", 96, (3, 3))),
            (Unit("branch_pool", pooled),),
        ),
        "average",
    )


def _mixed_6(name: str, inner: int) -> Block:
    across, down = (1, 7), (7, 1)
    return Block(
        name,
        (
            (Unit("branch1x1", 192),),
            (Unit("branch7x7_1", inner), Unit("branch7x7_2", inner, across), Unit("branch7x7_3", 192, down)),
            (
                Unit("branch7x7dbl_1", inner),
                Unit("branch7x7dbl_2", inner, down),
                Unit("branch7x7dbl_3", inner, across),
                Unit("branch7x7dbl_4", inner, down),
                Unit("branch7x7dbl_5", 192, across),
            ),
            (Unit("branch_pool", 192),),
        ),
        "average",
    )


def _mixed_7(name: str, pool: str) -> Block:
    across, down = (1, 3), (3, 1)
    return Block(
        name,
        (
            (Unit("branch1x1", 320),),
            (Unit("branch3x3_1", 384), (Unit("branch3x3_2a", 384, across), Unit("branch3x3_2b", 384, down))),
            (
                Unit("branch3x3dbl_1", 448),
                Unit("branch3x3dbl_2", 384, (3, 3)),
                (Unit("branch3x3dbl_3a", 384, across), Unit("branch3x3dbl_3b", 384, down)),
            ),
            (Unit("branch_pool", 192),),
        ),
        pool,
    )


STEM: tuple[Unit | None, ...] = (  # None is maximum pooling, 3 x 3 with stride 2
    Unit("Conv2d_1a_3x3", 32, (3, 3), stride=2, same=False),
    Unit("Conv2d_2a_3x3", 32, (3, 3), same=False),
    Unit("Conv2d_2b_3x3", 64, (3, 3)),
    None,
    Unit("Conv2d_3b_1x1", 80),
    Unit("Conv2d_4a_3x3", 192, (3, 3), same=False),
    None,
)

BLOCKS = (
    _mixed_5("Mixed_5b", 32),
    _mixed_5("Mixed_5c", 64),
    _mixed_5("Mixed_5d", 64),
    Block(
        "Mixed_6a",
        (
            (Unit("branch3x3", 384, (3, 3), stride=2, same=False),),
            (
                Unit("branch3x3dbl_1", 64),
                Unit("branch3x3dbl_2", 96, (3, 3)),
                Unit("branch3x3dbl_3", 96, (3, 3), stride=2, same=False),
            ),
            (),
        ),
        "halve",
    ),
    _mixed_6("Mixed_6b", 128),
    _mixed_6("Mixed_6c", 160),
    _mixed_6("Mixed_6d", 160),
    _mixed_6("Mixed_6e", 192),
    Block(
        "Mixed_7a",
        (
            (Unit("branch3x3_1", 192), Unit("branch3x3_2", 320, (3, 3), stride=2, same=False)),
            (
                Unit("branch7x7x3_1", 192),
                Unit("branch7x7x3_2", 192, (1, 7)),
                Unit("branch7x7x3_3", 192, (7, 1)),
                Unit("branch7x7x3_4", 192, (3, 3), stride=2, same=False),
            ),
            (),
        ),
        "halve",
    ),
    _mixed_7("Mixed_7b", "average"),
    _mixed_7("Mixed_7c", "maximum"),
)
"""Every block's last branch pools first, by its `pool`."""

_POOLS: dict[str, Callable[[Tensor], Tensor]] = {
    "average": lambda x: functional.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False),
    "maximum": lambda x: functional.max_pool2d(x, 3, stride=1, padding=1),
    "halve": lambda x: functional.max_pool2d(x, 3, stride=2),
}


class ConvUnit(nn.Module):
    """Convolution, batch normalisation (eps 0.001), ReLU."""

    def __init__(self, in_channels: int, unit: Unit) -> None:
        super().__init__()
        padding = (unit.kernel[0] // 2, unit.kernel[1] // 2) if unit.same else 0
        self.conv = nn.Conv2d(in_channels, unit.channels, unit.kernel, unit.stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(unit.channels, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.bn(self.conv(x)), inplace=True)


class Mixed(nn.Module):
    """One block of `BLOCKS`, its units named as published."""

    def __init__(self, in_channels: int, block: Block) -> None:
        super().__init__()
        self.block = block
        self.out_channels = 0
        for chain in block.branches:
            channels = in_channels
            for step in chain:
                units = (step,) if isinstance(step, Unit) else step
                for unit in units:
                    self.add_module(unit.name, ConvUnit(channels, unit))
                channels = sum(unit.channels for unit in units)
            self.out_channels += channels

    def forward(self, x: Tensor) -> Tensor:
        joined = []
        last = len(self.block.branches) - 1
        for number, chain in enumerate(self.block.branches):
            y = _POOLS[self.block.pool](x) if number == last else x
            for step in chain:
                units = (step,) if isinstance(step, Unit) else step
                parts = [self.get_submodule(unit.name)(y) for unit in units]
                y = parts[0] if len(parts) == 1 else torch.cat(parts, 1)
            joined.append(y)
        return torch.cat(joined, 1)


class Inception(nn.Module):
    """The net, with random weights: from floats ``[n, 3, 299, 299]`` in -1..0.9922 to features ``[n, 2048]``."""

    def __init__(self) -> None:
        super().__init__()
        channels = 3
        for unit in STEM:
            if unit is not None:
                self.add_module(unit.name, ConvUnit(channels, unit))
                channels = unit.channels
        for block in BLOCKS:
            mixed = Mixed(channels, block)
            self.add_module(block.name, mixed)
            channels = mixed.out_channels
        self.fc = nn.Linear(channels, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        for unit in STEM:
            x = functional.max_pool2d(x, 3, stride=2) if unit is None else self.get_submodule(unit.name)(x)
        for block in BLOCKS:
            x = self.get_submodule(block.name)(x)
        return x.mean((2, 3))

    def logits(self, features: Tensor) -> Tensor:
        """Logits ``[n, 1008]`` without their bias, as in the original score."""
        return functional.linear(features, self.fc.weight)


def build(
    *,
    dataset: Dataset | None,
    cache: Path,
    device: str,
    announce: Callable[[str], None],
    weights: str | None = None,
    resizing: str = "tensorflow1",
) -> View:
    """The view for any images, grey (repeated to three channels) or colour, from the converted weights in the cache.

    Args:
        weights: a file that `convert_weights` has made, instead of the one in the cache.
        resizing: "tensorflow1", as in the literature, or "clean", Pillow's bicubic, which the literature calls
            clean-FID. The view is then called ``inception_clean``.

    Raises:
        UserError: no converted weights, a damaged file, or an unknown resizing.
    """
    if resizing not in RESIZING:
        raise UserError(f"There is no resizing '{resizing}'. {suggest(resizing, RESIZING)}")
    name, short, words, resize = RESIZING[resizing]
    path = Path(weights) if weights is not None else _converted(cache, PUBLISHED)
    if not path.is_file():
        raise UserError(
            f"The view '{name}' needs the published weights, converted, at {path}. Get the file "
            f"pt_inception-2015-12-05-{PUBLISHED}.pth and type: frugan data convert-weights FILE"
        )
    announce(f"Loading {path}.")
    tensors, checksum = read_kept(path)
    with torch.device("meta"):
        net = Inception()
    check_layout(path, NETWORK, tensors, _layout(net))
    net.load_state_dict({**_counters(net), **tensors}, assign=True)
    net = net.requires_grad_(False).to(device).eval()
    place = torch.device(device)

    def look(images: Tensor) -> Seen:
        with exact(place):
            ready = (prepare(part.to(place), resize) for part in images.split(AT_ONCE))
            features = torch.cat([net(part) for part in ready])
            return Seen(features.cpu(), net.logits(features).log_softmax(1).cpu())

    return View(
        name=name,
        version=f"inception-{checksum[:12]}-{short}{SIDE}",
        width=WIDTH,
        input_size=(SIDE, SIDE),
        look=look,
        classes=CLASSES,
        description={
            "weights": checksum,
            "resizing": f"{words} to {SIDE}x{SIDE}",
            "range": "(x - 128) / 128",
            "probabilities": "logits without bias",
        },
    )


def prepare(images: Tensor, resize: Callable[[Tensor, int, int], Tensor] = tensorflow1_bilinear) -> Tensor:
    """Prepare images ``[n, 1 or 3, h, w]`` in 0..255 for the net: float32 ``[n, 3, 299, 299]`` in -1..0.9922."""
    if images.shape[1] not in (1, 3):
        raise UserError(f"The view 'inception' takes 1 or 3 channels, but these images have {images.shape[1]}.")
    return ((resize(images.float(), SIDE, SIDE) - 128) / 128).expand(-1, 3, -1, -1)


def convert_weights(path: Path, cache: Path, known: str = PUBLISHED) -> Path:
    """Convert the published file at `path` to safetensors in `cache`; return the new file's path.

    Args:
        path: a file whose name contains `known`.
        known: the first digits of the file's SHA-256.

    Raises:
        UserError: no such file, another name or content, not a plain file of tensors, or tensors of another network.
    """
    if path.is_file() and not path.stem.endswith(f"-{known}"):
        raise UserError(
            f"{path.name}: the name of the published weights ends in -{known}, the start of their SHA-256. Download "
            "that file."
        )
    tensors, digest = read_published(path)
    tensors = {name: tensor for name, tensor in tensors.items() if not name.endswith("num_batches_tracked")}
    with torch.device("meta"):
        net = Inception()
    check_layout(path, NETWORK, tensors, _layout(net))
    return keep(_converted(cache, known), tensors, path, digest)


def _converted(cache: Path, known: str) -> Path:
    return cache / f"inception-{known}.safetensors"


def _layout(net: Inception) -> Layout:
    return {name: tensor.shape for name, tensor in net.state_dict().items() if "num_batches" not in name}


def _counters(net: Inception) -> dict[str, Tensor]:
    """Batch counters that no file needs to have: nothing reads them."""
    return {
        name: torch.zeros((), dtype=torch.long) for name in net.state_dict() if name.endswith("num_batches_tracked")
    }


variant = Builder("inception", build, needs=("weights",), weights_name=PUBLISHED, convert=convert_weights)
