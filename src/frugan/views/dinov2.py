"""The class token of DINOv2 (Oquab et al. 2023, arXiv 2304.07193), a vision transformer trained without labels.

Stein et al. (2023, arXiv 2306.04675) found that distances with its size ViT-L/14 agree best with people; the option
`size` chooses another size. The weights are the publishers' files ``dinov2_vitl14_pretrain.pth`` and the like (without
registers). They are not part of frugan: `convert_weights` reads such a file once and keeps it as safetensors.

Images become 224 x 224 by Pillow's bicubic rule in float32, and are normalised by ImageNet's mean and deviation. Grey
images are repeated to three channels. (dgm-eval's default then rounds to bytes, which changes values a little.
torch-fidelity resizes bilinearly, which changes them a lot.)
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from frugan.arithmetic import exact
from frugan.registry import UserError, suggest
from frugan.views import Builder, Seen, View
from frugan.views._resize import clean_bicubic
from frugan.views._weights import check_layout, keep, read_kept, read_published

if TYPE_CHECKING:
    from frugan.data import Dataset


class Size(NamedTuple):
    """How many features and blocks a network has; `gated`: with SwiGLU instead of a plain feed-forward part."""

    width: int
    blocks: int
    gated: bool = False


SIZES = {"s": Size(384, 12), "b": Size(768, 12), "l": Size(1024, 24), "g": Size(1536, 40, gated=True)}
"""The published ones, by the letter in their names."""

SIDE, PATCH, HEAD = 224, 14, 64
"""Pixels of an image's side and of a patch's, and features of one attention head."""

GRID, LEARNT = SIDE // PATCH, 37
"""Patches along a side, here and in the images of 518 pixels that the place embeddings are for."""

OFFSET = 0.1
"""The published network stretches its place embeddings by (16 + OFFSET) / 37, not by 16 / 37."""

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

AT_ONCE = 32
"""Images that pass the net together."""


class Attention(nn.Module):
    """Self-attention of all tokens, with heads of 64 features."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = (
            self.qkv(x).unflatten(2, (3, -1, HEAD)).permute(2, 0, 3, 1, 4)
        )  # each [n, heads, tokens, 64]
        attended = functional.scaled_dot_product_attention(query, key, value)
        return self.proj(attended.transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    """The feed-forward part: four times as wide inside, with GELU."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(functional.gelu(self.fc1(x)))


class Gated(nn.Module):
    """The feed-forward part SwiGLU (Shazeer 2020, arXiv 2002.05202): 8/3 as wide inside, a multiple of 8."""

    def __init__(self, width: int) -> None:
        super().__init__()
        inner = (int(4 * width * 2 / 3) + 7) // 8 * 8
        self.w12 = nn.Linear(width, 2 * inner)
        self.w3 = nn.Linear(inner, width)

    def forward(self, x: Tensor) -> Tensor:
        gate, value = self.w12(x).chunk(2, dim=-1)
        return self.w3(functional.silu(gate) * value)


class Scale(nn.Module):
    """A learnt factor for each feature."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gamma


class Block(nn.Module):
    """Attention, then the feed-forward part. Each has a layer norm before it and a `Scale` after it."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(size.width, eps=1e-6)
        self.attn = Attention(size.width)
        self.ls1 = Scale(size.width)
        self.norm2 = nn.LayerNorm(size.width, eps=1e-6)
        self.mlp = Gated(size.width) if size.gated else FeedForward(size.width)
        self.ls2 = Scale(size.width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.ls1(self.attn(self.norm1(x)))
        return x + self.ls2(self.mlp(self.norm2(x)))


class DinoV2(nn.Module):
    """The net, with random weights: from normalised floats ``[n, 3, 224, 224]`` to the class token ``[n, width]``."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, size.width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + LEARNT**2, size.width))
        self.mask_token = nn.Parameter(torch.zeros(1, size.width))  # of its training; nothing here reads it
        self.patch_embed = nn.Module()
        self.patch_embed.proj = nn.Conv2d(3, size.width, PATCH, PATCH)
        self.blocks = nn.ModuleList(Block(size) for _ in range(size.blocks))
        self.norm = nn.LayerNorm(size.width, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        patches = self.patch_embed.get_submodule("proj")(x).flatten(2).transpose(1, 2)  # [n, 256, width]
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), patches], 1) + self.places()
        for block in self.blocks:
            x = block(x)
        return self.norm(x[:, 0])

    def places(self) -> Tensor:
        """The position embeddings of 16 x 16 patches ``[1, 257, width]``, bicubic (a = -3/4, not smoothed)."""
        own, learnt = self.pos_embed[:, :1], self.pos_embed[:, 1:]
        grid = learnt.transpose(1, 2).unflatten(2, (LEARNT, LEARNT))
        scale = ((GRID + OFFSET) / LEARNT,) * 2
        return torch.cat([own, functional.interpolate(grid, scale_factor=scale, mode="bicubic").flatten(2).mT], 1)


def build(
    *,
    dataset: Dataset | None,
    cache: Path,
    device: str,
    announce: Callable[[str], None],
    size: str = "l",
    weights: str | None = None,
) -> View:
    """The view for any images, grey or colour, from the converted weights in the cache.

    Args:
        size: "s", "b", "l" or "g": 384, 768, 1024 or 1536 features.
        weights: a file that `convert_weights` has made, instead of the one in the cache. Its tensors tell the size.

    Raises:
        UserError: no converted weights, a damaged file, or an unknown size.
    """
    if size not in SIZES:
        raise UserError(f"DINOv2 has no size '{size}'. {suggest(size, SIZES)}")
    path = Path(weights) if weights is not None else _converted(cache, size)
    if not path.is_file():
        others = [other for other in SIZES if _converted(cache, other).is_file()]
        there = f" Size {', '.join(others)} is there: size='{others[0]}' in Python." if others else ""
        raise UserError(
            f"The view 'dinov2' needs the published weights, converted, at {path}. Get the file "
            f"dinov2_vit{size}14_pretrain.pth and type: frugan data convert-weights FILE.{there}"
        )
    announce(f"Loading {path}.")
    tensors, checksum = read_kept(path)
    letter = _size_of(path, tensors)
    with torch.device("meta"):
        net = DinoV2(SIZES[letter])
    check_layout(path, _called(letter), tensors, {name: tensor.shape for name, tensor in net.state_dict().items()})
    net.load_state_dict(tensors, assign=True)
    net = net.requires_grad_(False).to(device).eval()
    place = torch.device(device)

    def look(images: Tensor) -> Seen:
        with exact(place):
            return Seen(torch.cat([net(prepare(part.to(place))) for part in images.split(AT_ONCE)]).cpu())

    return View(
        name="dinov2",
        version=f"dinov2-vit{letter}14-{checksum[:12]}-cleanbicubic{SIDE}",
        width=SIZES[letter].width,
        input_size=(SIDE, SIDE),
        look=look,
        classes=0,
        description={
            "weights": checksum,
            "network": _called(letter),
            "resizing": f"Pillow bicubic to {SIDE}x{SIDE}, not rounded",
            "range": "0 to 1, then ImageNet's mean and deviation",
            "places": f"bicubic by ({GRID} + {OFFSET}) / {LEARNT}",
        },
    )


def prepare(images: Tensor) -> Tensor:
    """Prepare images ``[n, 1 or 3, h, w]`` in 0..255 for the net: float32 ``[n, 3, 224, 224]``, normalised."""
    if images.shape[1] not in (1, 3):
        raise UserError(f"The view 'dinov2' takes 1 or 3 channels, but these images have {images.shape[1]}.")
    mean, deviation = (torch.tensor(values, device=images.device)[:, None, None] for values in (MEAN, DEVIATION))
    return (clean_bicubic(images.float(), SIDE, SIDE) / 255 - mean) / deviation


def convert_weights(path: Path, cache: Path) -> Path:
    """Convert the published file at `path` to safetensors in `cache`; return the new file's path.

    The publishers state no hash. The file's own hash is kept with the tensors.

    Raises:
        UserError: no such file, a content that does not fit its name, not a plain file of tensors, or another network.
    """
    tensors, digest = read_published(path)
    letter = _size_of(path, tensors)
    named = re.search(r"dinov2_vit([a-z])14", path.name)
    if named and named[1] != letter:
        raise UserError(
            f"{path.name} holds {_called(letter)}, but its name says another size. Download the file again."
        )
    with torch.device("meta"):
        layout = {name: tensor.shape for name, tensor in DinoV2(SIZES[letter]).state_dict().items()}
    check_layout(path, _called(letter), tensors, layout)
    return keep(_converted(cache, letter), tensors, path, digest)


def _converted(cache: Path, letter: str) -> Path:
    return cache / f"dinov2-vit{letter}14.safetensors"


def _called(letter: str) -> str:
    return f"DINOv2 ViT-{letter if letter == 'g' else letter.upper()}/14"


def _size_of(path: Path, tensors: dict[str, Tensor]) -> str:
    """The letter of the network that these tensors are of, by the width of its class token."""
    widths = {size.width: letter for letter, size in SIZES.items()}
    width = tensors["cls_token"].shape[-1] if "cls_token" in tensors and tensors["cls_token"].ndim else None
    if width not in widths:
        held = "no class token (cls_token)" if width is None else f"a class token of {width} features"
        raise UserError(
            f"{path.name} is not a DINOv2 network: it has {held}. Known are {', '.join(map(str, widths))} features."
        )
    return widths[width]


variant = Builder("dinov2", build, needs=("weights",), weights_name="dinov2_vit", convert=convert_weights)
