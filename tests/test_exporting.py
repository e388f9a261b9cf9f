"""What a run ships leaves the house whole: every architecture and family, compared with the artefact, or refused."""

from __future__ import annotations

import base64
import json
import pkgutil
import sys
import tempfile
import zipfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx as onnx_library
import pytest
import torch
from torch import Tensor, nn

import frugan
from frugan import artefact, convs, exporting, games, nets, recipes
from frugan.artefact import _onnx
from frugan.batch import ImageShape
from frugan.checking._ground import Ground
from frugan.checking.networks import CONDITION, Part
from frugan.convs import Transposed
from frugan.exporting import EXAMPLES, TOLERANCE, Parcel, _precision, onnx, web
from frugan.fusing import SubPixel
from frugan.recipe import Network, Rule
from frugan.registry import UserError

ROLES = {"decoder": "generator", "translator": "translator", "encoder": "classifier"}


def trained(part: str, architecture: str, *, labels: bool = True, family: str | None = None,
            place: str | None = None, truncation: float | None = None, **changes: Any) -> Parcel:  # fmt: skip
    """The parcel of one part of an architecture, thin and for small images; with labels if it takes them."""
    tested = Part(f"{architecture}.{part}", Ground(Path(tempfile.gettempdir())))
    blueprint = tested.blueprint(CONDITION if labels else 0, family=family)
    if changes:
        blueprint = replace(blueprint, **changes)
    torch.manual_seed(0)
    try:
        module, _ = blueprint.build()
    except UserError:
        blueprint = replace(blueprint, condition=0)
        module, _ = blueprint.build()
    learn_statistics(module, tested.inputs(blueprint.condition, 16))
    return Parcel.of(opened(blueprint, module), place, truncation)


def opened(blueprint: Any, module: nn.Module) -> Any:
    """What `frugan.load` would give for such a network."""
    role = ROLES[blueprint.part]
    spec = blueprint.spec
    config = {
        "role": role, "recipe": "small", "system": "test", "part": blueprint.part, "vector": 0,
        "outputs": blueprint.outputs,
        "condition": blueprint.condition, "class_numbers": blueprint.labels, "averaged": False, "images": 0, "seed": 0,
        "network": {
            "architecture": spec.architecture, "options": spec.options, "labels": bool(blueprint.condition),
            "families": [asdict(rule) for rule in spec.families],
        },
        "image": list(blueprint.image), "image_range": [-1.0, 1.0], "classes": list("abcd"),
        "latents": {"size": blueprint.latents, "distribution": "normal"},
        "domains": {"kind": "classes", "names": list("abcd"), "exclusive": []},
        "data": {"title": "noise", "hash": "0", "name": "noise", "split": "train", "count": 1},
    }  # fmt: skip
    return artefact.KINDS[role](module, config)


def learn_statistics(module: nn.Module, inputs: Any) -> None:
    norms = [one for one in module.modules() if isinstance(one, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        module.train()(*inputs)
        for norm in norms:
            if norm.affine:
                norm.weight.add_(torch.linspace(-0.3, 0.3, len(norm.weight)))
                norm.bias.add_(torch.linspace(-0.2, 0.2, len(norm.bias)))
    module.eval()


def tiny(family: str | None = None, image: ImageShape = ImageShape(1, 8, 8), **options: Any) -> Parcel:  # noqa: B008
    """A generator of the DCGAN architecture that exports in about a second."""
    rules = () if family is None else (Rule("*", family),)
    spec = Network("dcgan", {"width": 0.0625, **options}, rules)
    return trained("decoder", "dcgan", spec=spec, image=image, condition=0, labels=False)


def shipped() -> list[tuple[str, str]]:
    """Every architecture of frugan with each part that a recipe ships, or could. (Other tests add their own.)"""
    ours = [module.name for module in pkgutil.iter_modules(nets.__path__) if module.name in nets.names()]
    makers = [(name, part) for name in ours for part in ("decoder", "translator")
              if getattr(nets.find(name), part) is not None]  # fmt: skip
    readers = set()
    for recipe in map(recipes.find, recipes.names()):
        for name, order in games.orders(recipe.game.name, recipe.game.options).items():
            tells = order.role in ("encoder", "classifier") or (order.outputs and "classes" in order.outputs)
            if order.part == "encoder" and tells and "star" not in recipe.game.name:
                readers.add((recipe.networks[order.like or name].architecture, "encoder"))
    return [*makers, *sorted(readers)]


def session_of(parcel: Parcel, *rewrites: str) -> tuple[Any, Any]:
    model = onnx.model_of(parcel, rewrites)
    return model, _onnx.session(model.SerializeToString())


def operators(model: Any) -> set[str]:
    return {node.op_type for node in model.graph.node}


def grouped_transposed(model: Any) -> list[str]:
    return [node.name for node in model.graph.node if node.op_type == "ConvTranspose"
            and any(one.name == "group" and one.i > 1 for one in node.attribute)]  # fmt: skip


@pytest.mark.parametrize(("architecture", "part"), shipped(), ids=".".join)
def test_every_network_that_ships_computes_the_same_in_onnx(architecture: str, part: str) -> None:
    parcel = trained(part, architecture)
    model, session = session_of(parcel)
    parity = parcel.compare(lambda inputs: _onnx.run(session, inputs))
    assert 0 <= parity.mean <= parity.largest <= TOLERANCE
    assert all(one.type.tensor_type.shape.dim[0].dim_param == "batch" for one in model.graph.input)


@pytest.mark.parametrize("family", [name for name in convs.names() if name != "standard"])
def test_every_family_computes_the_same_in_onnx_and_for_phones(family: str) -> None:
    parcel = tiny(family)
    model, session = session_of(parcel, onnx.GROUPED)
    parcel.compare(lambda inputs: _onnx.run(session, inputs))
    assert not grouped_transposed(model)


def test_the_family_that_phones_refuse_has_what_they_refuse() -> None:
    assert grouped_transposed(onnx.model_of(tiny("depthwise")))


def exported(parcel: Parcel, folder: Path, target: str = "onnx", **options: Any) -> Path:
    folder.mkdir()
    exporting.find(target).write(parcel, folder, **options)
    return next(folder.iterdir())


@pytest.fixture(autouse=True)
def _no_time_is_measured_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx, "SECONDS", 0.02)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported(tiny(), tmp_path_factory.mktemp("exports") / "plain", form="plain")


def test_the_file_says_what_it_takes_and_gives_and_carries_an_image(file: Path) -> None:
    loaded = onnx_library.load_from_string(file.read_bytes())
    assert loaded.opset_import[0].version == onnx.OPSET >= 17
    facts = {one.key: one.value for one in loaded.metadata_props}
    told = json.loads(facts["frugan"])
    latents, images = told["inputs"][0], told["outputs"][0]
    assert (latents["name"], latents["shape"], latents["range"]) == ("latents", [12], [-4.0, 4.0])
    assert (images["name"], images["shape"], images["range"]) == ("images", [1, 8, 8], [-1.0, 1.0])
    assert told["parity"]["inputs"] == EXAMPLES
    assert told["parity"]["largest"] <= TOLERANCE
    assert str(Path.cwd()) not in str(loaded)  # nobody's folders
    assert not any(one.external_data for one in loaded.graph.initializer)
    assert "off by" in str(exporting.check_file(file))


def test_the_file_makes_the_artefacts_images(file: Path) -> None:
    made = artefact.load(file)
    assert isinstance(made, artefact.Generator)
    levels = np.abs(made.sample(70, seed=3).astype(int) - tiny().artefact.sample(70, seed=3))  # type: ignore[union-attr]
    assert levels.max() <= 1
    assert made.config["exported"]["precision"] == "float32"
    with pytest.raises(UserError, match="role 'generator', but 'encoder' is needed"):
        artefact.load(file, role="encoder")


def test_bytes_go_in_and_come_out(tmp_path: Path) -> None:
    parcel = trained("translator", "stargan")
    file = exported(parcel, tmp_path / "bytes", form="plain", bytes=True)
    session = _onnx.session(file.read_bytes())
    given = np.random.default_rng(0).integers(0, 256, (2, *session.get_inputs()[0].shape[1:]), dtype=np.uint8)
    (made,) = _onnx.run(session, [given, np.array([0, 1])])
    assert (made.dtype, made.shape) == (np.uint8, given.shape)
    own = parcel.artefact.translate(given, to=np.array([0, 1]))  # type: ignore[union-attr]
    assert np.abs(own.astype(int) - made).max() <= 1
    again = artefact.load(file).translate(given, to=np.array([0, 1]))
    assert np.array_equal(again, made)
    exporting.check_file(file)


def test_torchs_program_needs_no_frugan_and_holds_no_pickle(tmp_path: Path) -> None:
    parcel = trained("decoder", "dcgan", spec=Network("dcgan", {"width": 0.0625}))
    file = exported(parcel, tmp_path / "torch", "torch")
    with zipfile.ZipFile(file) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    assert not any(text.startswith(b"\x80\x02") or b"PK\x03\x04" in text for text in contents.values())
    assert not any(str(Path.cwd()).encode() in text for text in contents.values())
    program = torch.export.load(file).module()
    inputs = parcel.examples(5)
    assert torch.allclose(program(*inputs)[0], parcel.expected(inputs)[0], atol=1e-5)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda whole: whole[:4000] + bytes([whole[4000] ^ 1]) + whole[4001:], "has changed since it was exported"),
        (lambda whole: whole[:-90], "cut off"),
        (lambda whole: onnx_library.load_from_string(whole).SerializeToString()[:-1] + b"x", "has changed|cut off"),
        (lambda whole: b"no model", "not exported by frugan"),
        (lambda whole: b"", "not exported by frugan"),
    ],
)
def test_an_edited_file_is_refused(damage: Any, message: str, file: Path, tmp_path: Path) -> None:
    edited = tmp_path / "edited.onnx"
    edited.write_bytes(damage(file.read_bytes()))
    with pytest.raises(UserError, match=message):
        artefact.load(edited)


def changed(file: Path, to: Path, **facts: Any) -> Path:
    """The file with other facts, and a checksum that is right."""
    model = onnx_library.load_from_string(file.read_bytes())
    told = json.loads(next(one.value for one in model.metadata_props if one.key == "frugan"))
    to.write_bytes(onnx._with_facts(model, {**told, **facts}))
    return to


def test_a_file_of_another_version_and_one_that_computes_something_else_are_refused(file: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"exported in format 99.*Update frugan, or export the run again"):
        artefact.load(changed(file, tmp_path / "newer.onnx", format=99))
    black = {"type": "uint8", "shape": [1, 1, 8, 8], "base64": base64.b64encode(bytes(64)).decode()}
    latents = json.loads(_onnx.session(file.read_bytes()).get_modelmeta().custom_metadata_map["frugan"])["example"]
    example = {"inputs": latents["inputs"], "outputs": {"images": black}}
    with pytest.raises(UserError, match=r"computes something else here.*grey levels"):
        exporting.check_file(changed(file, tmp_path / "black.onnx", example=example))
    with pytest.raises(UserError, match=r"is a folder. Name the file in it"):
        exporting.check_file(tmp_path)


def test_without_the_runtime_the_extra_is_named(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UserError, match=r"onnxruntime, which is not installed. Type: pip install 'frugan\[export\]'"):
        artefact.load(file)
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(UserError, match=r"onnxscript, which is not installed. Type: pip install 'frugan\[export\]'"):
        onnx.model_of(tiny())


class Odd(nn.Module):
    """A generator with something in it that cannot leave the house."""

    image_range = (-1.0, 1.0)

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.project, self.inner = nn.Linear(12, 64), inner

    def forward(self, latents: Tensor) -> Tensor:
        return self.inner(torch.tanh(self.project(latents)).view(-1, 1, 8, 8))


class Noise(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + 0.1 * torch.randn_like(x)


class ByLength(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + torch.zeros(len(x), 1, 8, 8)


class WithoutForm(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.linalg.eigvalsh(x + x.transpose(2, 3))[:, :, None].expand_as(x)


def odd(inner: nn.Module) -> Parcel:
    return Parcel.of(opened(tiny().artefact.blueprint, Odd(inner).eval()))


@pytest.mark.parametrize(
    ("inner", "message"),
    [
        (Noise(), "draws random numbers in evaluation mode"),
        (nn.BatchNorm2d(1, track_running_stats=False), "depends on the others of the batch"),
        (ByLength(), "one size of a batch only|no form in ONNX"),
        (WithoutForm(), "no form in ONNX"),
    ],
)
def test_what_cannot_be_exported_is_refused_in_one_line(inner: nn.Module, message: str) -> None:
    with pytest.raises(UserError, match=message) as refused:
        onnx.model_of(odd(inner))
    assert "\n" not in str(refused.value)


def test_an_instance_norm_with_running_statistics_is_exported_as_it_computes() -> None:
    norm = nn.InstanceNorm2d(1, affine=True, track_running_stats=True)
    norm.running_mean.fill_(0.3)  # type: ignore[union-attr]
    norm.running_var.fill_(2.0)  # type: ignore[union-attr]
    parcel = odd(norm)
    _, session = session_of(parcel)
    parcel.compare(lambda inputs: _onnx.run(session, inputs))


def test_an_export_that_computes_something_else_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parcel = tiny()
    run = parcel.artefact.save(tmp_path / "artefact")
    monkeypatch.setattr(_onnx, "run", lambda session, inputs: [np.zeros((len(inputs[0]), 1, 8, 8), np.float32)])
    with pytest.raises(UserError, match=r"computes something else than the artefact.*Nothing was written"):
        frugan.export(run, out=tmp_path / "out", form="plain")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["artefact"]
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("")
    with pytest.raises(UserError, match=r"is not empty. Give another --out, or --overwrite"):
        frugan.export(run, out=tmp_path / "full")
    with pytest.raises(UserError, match="Did you mean 'onnx'"):
        frugan.export(run, "onx", out=tmp_path / "out")
    with pytest.raises(UserError, match="has no option 'fp17'"):
        frugan.export(run, out=tmp_path / "out", fp17=True)
    with pytest.raises(UserError, match="--for fridge is unknown"):
        frugan.export(run, out=tmp_path / "out", place="fridge")


@pytest.mark.parametrize("precision", ["int8", "fp16"])
def test_a_smaller_file_is_written_by_name_with_what_it_costs(
    precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_precision, "judged", lambda *given: ({"mean_difference": 0.1}, f"FID on {given[2:]}"))
    file = exported(tiny("depthwise"), tmp_path / "small", precision=precision, form="plain", real="glyphs")
    _, told = _onnx.read(file)
    assert told["precision"] == precision
    assert told["bytes"] < told["bytes_float32"]
    assert told["ms"] > 0
    # Static, per channel and calibrated, depthwise layers survive: per tensor they would not.
    assert 0 < told["parity"]["mean"] < 0.01
    assert (told.get("fid") is not None) == (precision == "int8")
    exporting.check_file(file)
    model = onnx_library.load_from_string(file.read_bytes())
    kinds = {one.data_type for one in model.graph.initializer}
    assert {"int8": onnx_library.TensorProto.INT8, "fp16": onnx_library.TensorProto.FLOAT16}[precision] in kinds
    scales = [one for one in model.graph.initializer if one.name.endswith("weight_scale")]
    assert precision == "fp16" or any(max(one.dims, default=1) > 1 for one in scales)  # one for each channel


def test_fp16_that_overflows_names_the_layer() -> None:
    class Large(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.tanh(self.scaled(x) / 1e5)

        def __init__(self) -> None:
            super().__init__()
            self.scaled = nn.Conv2d(1, 1, 1)
            nn.init.constant_(self.scaled.weight, 6e4)
            nn.init.constant_(self.scaled.bias, 6e4)

    with pytest.raises(UserError, match=r"fp16 cannot hold.*'inner.scaled' reaches 1\.\d*e\+05"):
        _precision._check_range(odd(Large()))


def test_int8_without_real_images_says_what_to_type(file: Path) -> None:
    with pytest.raises(UserError, match=r"int8 is written only with its FID.*real=SOURCE"):
        _precision.judged(file, file, None, 100, "int8")


@pytest.mark.parametrize("grouped", [1, 3])
@pytest.mark.parametrize(
    ("kernel", "stride", "rows", "columns"),
    [((4, 4), (2, 2), (1, 1), (1, 1)), ((5, 5), (2, 2), (1, 2), (1, 2)), ((3, 3), (2, 2), (0, 1), (0, 1)),
     ((2, 2), (2, 2), (0, -1), (0, 0)), ((4, 1), (2, 1), (1, 1), (0, 0)), ((1, 4), (1, 2), (0, 0), (0, 0)),
     ((7, 7), (4, 4), (1, 2), (2, 1))],
)  # fmt: skip
def test_a_transposed_layer_as_sub_pixels_is_the_same_layer(
    grouped: int, kernel: Any, stride: Any, rows: Any, columns: Any
) -> None:
    layer = Transposed(6, 12, kernel, stride=stride, rows=rows, columns=columns, groups=grouped)
    images = torch.randn(2, 6, 5, 7)
    with torch.no_grad():
        assert torch.allclose(SubPixel(layer)(images), layer(images), atol=1e-5)


def test_a_page_shows_one_value_of_each_metric_by_the_first_judge_without_truncation() -> None:
    parcel = trained("decoder", "dcgan")
    values = [(9.0, 0.5, "one"), (3.0, None, "one"), (700.0, None, "two")]
    parcel.artefact.config["values"] = [
        {"metric": "fid", "better": "lower", "headline": "fid", "values": {"fid": number},
         "protocol": {"truncation": truncation, "view_version": judge}}
        for number, truncation, judge in values
    ]  # fmt: skip
    assert [fact for fact in web._facts(parcel, 1) if fact[0].startswith("fid")] == [["fid (lower is better)", "3"]]


def test_norms_that_follow_truncation_are_exported_for_one_of_them(tmp_path: Path) -> None:
    parcel = trained("decoder", "biggan", spec=Network("biggan", {"width": 0.125, "skip": True}), truncation=0.5)
    cut = artefact.load(exported(parcel, tmp_path / "cut", form="plain"))
    assert float(parcel.examples()[0].abs().max()) <= 0.5
    assert np.abs(cut.sample(6).astype(int) - parcel.artefact.sample(6, truncation=0.5)).max() <= 1  # type: ignore
    with pytest.raises(UserError, match=r"norms of a truncation of 0.5. For 1.0, export the run again"):
        cut.sample(6, truncation=1.0)
    with pytest.raises(UserError, match="--truncation is for generators"):
        trained("translator", "stargan", truncation=0.5)


def test_what_a_network_costs_where_it_will_run(monkeypatch: pytest.MonkeyPatch) -> None:
    network = tiny().artefact
    cost = exporting.in_runtime({"tiny": network}, "onnxruntime", threads=1, batches=(1, 16))["tiny"]
    assert [one.batch for one in cost.latency] == [1, 16]
    assert all(one.quartiles_ms[0] <= one.median_ms <= one.quartiles_ms[1] for one in cost.latency)
    assert {(one.threads, "onnxruntime" in one.machine) for one in cost.latency} == {(1, True)}
    assert cost.peak_bytes[16] >= cost.peak_bytes[1] > 0
    assert cost.file_bytes > 4 * sum(one.numel() for one in network.module.parameters())
    for asked, message in (({"runtime": "tensorrt"}, "no runtime 'tensorrt'"), ({"threads": 0}, "--threads 0: give")):
        with pytest.raises(UserError, match=message):
            exporting.in_runtime({"tiny": network}, **{"runtime": "onnxruntime", **asked})
