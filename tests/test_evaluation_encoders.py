"""The evaluation of a generator with an encoder: what is encoded, made again, and told in the protocol."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import frugan
from frugan import build, data, metrics
from frugan.artefact import load
from frugan.batch import to_bytes
from frugan.cache import cached_in
from frugan.engine import checkpoint
from frugan.engine.loop import Parts
from frugan.engine.run import RunFolder
from frugan.evaluation.arguments import EvaluationArguments
from frugan.evaluation.refusals import resolve_arguments
from frugan.evaluation.values.measurement import foresee_measurement
from frugan.recipe import from_run
from frugan.registry import UserError

SMALL = {
    "data.size": 8, "data.limit": 120, "batch_size": 20, "latents.size": 5, "precision": "float32",
    "generator.hidden": [8, 8], "encoder.hidden": [8, 8], "discriminator.hidden": [8, 8],
}  # fmt: skip
METRICS = ["reconstruction_ratio", "latent_ratio", "nearest_neighbour"]


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("bigan")
    with cached_in(folder / "cache"):
        frugan.train("bigan-mnist", data="glyphs:digits", images=40, out=folder / "run", changes=SMALL, observers=[])
        yield folder / "run"


def test_what_a_run_with_an_encoder_ships_is_measured_as_by_hand(run):
    measured = frugan.evaluate(run, metrics=METRICS, view="pixels", count=100, reference="train")
    found = {one["metric"]: one for one in measured}
    assert list(found) == [*METRICS, "memorisation"]  # real images are training images, and few
    generator, encoder = load(run), load(run, role="encoder")
    assert found["latent_ratio"]["protocol"]["encoder"] == encoder.weights_hash
    assert all(found[name]["floor"] is None for name in METRICS)

    latents = generator.latents.rows(0, 100, 0)
    with torch.no_grad():
        seen = generator(latents)
    coded = encoder.encode(np.uint8((seen * 255).round().permute(0, 2, 3, 1)))
    distance = float((latents.double() - torch.from_numpy(coded).double()).norm(dim=1).mean())
    assert found["latent_ratio"]["values"]["distance"] == pytest.approx(distance, rel=1e-5)

    reference = data.open_dataset("glyphs:digits", split="train", size=8, channels=1, limit=120)
    values = found["reconstruction_ratio"]["values"]
    rows = frugan.evaluation.opening.fakes.draw_places(reference, 100)
    real = reference.images[rows]
    with torch.no_grad():
        back = generator(torch.from_numpy(encoder.encode(real.permute(0, 2, 3, 1).numpy())))
    apart = (real.double() / 255 - (back * 255).round().double() / 255).flatten(1).norm(dim=1).mean()
    assert values["distance"] == pytest.approx(float(apart), rel=1e-5)
    assert 0 < found["nearest_neighbour"]["values"]["accuracy_pixels"] <= 1


def test_an_averaged_encoder_has_norms_of_real_images(run, tmp_path):
    """Their statistics stand in the last checkpoint beside the averages; a run goes on as if they were not there."""
    kept = checkpoint.newest(run / "checkpoints")
    tensors, _ = checkpoint.read(kept)
    encoder = load(run, role="encoder")
    norms = {path: one for path, one in encoder.module.named_modules() if isinstance(one, torch.nn.BatchNorm1d)}
    assert norms
    real = data.open_dataset("glyphs:digits", split="train", size=8, channels=1, limit=120)
    batches, seen = data.Batches({"train": real}, seed=0, image_range=encoder.image_range), []
    path, norm = next(iter(norms.items()))
    with norm.register_forward_pre_hook(lambda module, given: seen.append(given[0])), torch.no_grad():
        for _ in range(8):
            encoder(batches.take("train", 64).images)
    torch.testing.assert_close(norm.running_mean, torch.stack([one.mean(0) for one in seen]).mean(0))
    torch.testing.assert_close(norm.running_var, torch.stack([one.var(0) for one in seen]).mean(0))
    assert not torch.allclose(norm.running_mean, tensors[f"average.encoder/{path}.running_mean"], atol=1e-3)
    for name, tensor in encoder.module.named_parameters():
        assert torch.equal(tensor, tensors[f"average.encoder/{name}"])
    assert encoder.config["norms"] == "standing"
    assert load(encoder.save(tmp_path / "artefact")).weights_hash == encoder.weights_hash

    further = shutil.copytree(run, tmp_path / "further")
    for out in (further, tmp_path / "unbroken"):
        frugan.train("bigan-mnist", data="glyphs:digits", images=80, out=out, changes=SMALL, observers=[])
    ends = [checkpoint.read(checkpoint.newest(out / "checkpoints"))[0] for out in (further, tmp_path / "unbroken")]
    assert ends[0].keys() == ends[1].keys()
    assert all(torch.equal(tensor, ends[1][name]) for name, tensor in ends[0].items())


def test_the_norms_of_an_encoder_are_told_in_the_protocol_and_foreseen(run, monkeypatch):
    given = {"metrics": METRICS[:1], "view": "pixels", "count": 100, "reference": "train"}
    measured = frugan.evaluate(run, **given)[0]
    assert measured["protocol"]["encoder_norms"] == "standing"
    asked = resolve_arguments(EvaluationArguments(run, **given))
    foreseen = foresee_measurement(build.assemble(from_run(RunFolder(run))), "it", asked)
    assert foreseen.protocol(metrics.find(METRICS[0]))["encoder_norms"] == "standing"
    # A run that was killed has a checkpoint without them.
    monkeypatch.setattr(checkpoint, "read_standing", lambda path, network: {})
    assert "norms" not in load(run, role="encoder").config


def test_what_a_finished_run_lacks_of_them_is_made_up_for(tmp_path, monkeypatch, capsys):
    asked = {"data": "glyphs:digits", "images": 40, "out": tmp_path / "run", "changes": SMALL, "observers": []}

    def refuse(self):
        raise MemoryError

    with monkeypatch.context() as patched:
        patched.setattr(Parts, "standing", refuse)
        frugan.train("bigan-mnist", **asked)
    assert "without batch norm statistics of encoder on real images" in capsys.readouterr().err
    assert "norms" not in load(tmp_path / "run", role="encoder").config
    frugan.train("bigan-mnist", **asked)
    assert load(tmp_path / "run", role="encoder").config["norms"] == "standing"
    written = checkpoint.newest(tmp_path / "run" / "checkpoints")
    monkeypatch.setattr(Parts, "standing", refuse)
    frugan.train("bigan-mnist", **asked)
    assert checkpoint.newest(tmp_path / "run" / "checkpoints") == written


def test_an_encoder_computes_in_float32_and_not_in_tensorfloat32(run):
    encoder, units = load(run, role="encoder"), set()
    encoder.module.register_forward_hook(lambda *_: units.add(torch.backends.cudnn.conv.fp32_precision))
    encoder.encode(np.zeros((2, 8, 8, 1), dtype=np.uint8))
    assert units == {"ieee"}


def test_the_last_stage_of_an_encoder(run):
    encoder = load(run, role="encoder")
    images = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 1), dtype=np.uint8)
    hidden = encoder.hidden(images)
    assert (hidden.shape, hidden.dtype) == ((40, 8), np.float32)
    with torch.no_grad():
        head = torch.tanh(encoder.module.heads["latents"].layer(torch.from_numpy(hidden)) / 2)
    np.testing.assert_allclose(head.numpy(), encoder.encode(images), atol=1e-6)


def test_a_generator_without_an_encoder_is_refused_with_what_has_one(tmp_path):
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "fakes.npz", images=rng.integers(0, 256, (60, 8, 8, 1), dtype=np.uint8))
    np.savez(tmp_path / "real.npz", images=rng.integers(0, 256, (60, 8, 8, 1), dtype=np.uint8))
    with pytest.raises(UserError, match=r"needs an encoder .* has none\. Evaluate .* such as 'bigan-mnist'"):
        frugan.evaluate(tmp_path / "fakes.npz", real=str(tmp_path / "real.npz"), metrics="reconstruction_ratio",
                        view="pixels")  # fmt: skip


def test_an_encoder_of_finer_images_is_measured_by_the_finer_ones(tmp_path):
    small = {
        "data.size": 8, "data.finer": 2, "data.limit": 60, "batch_size": 10, "latents.size": 6,
        "precision": "float32", "generator.channels": 2, "encoder.channels": 2, "discriminator.channels": 2,
        "encoder.hidden": 4, "discriminator.hidden": 4,
    }  # fmt: skip
    with cached_in(tmp_path / "cache"):
        run = frugan.train(
            "bigbigan-mnist", data="glyphs:digits", images=40, out=tmp_path / "run", changes=small, observers=[]
        )
        values = frugan.evaluate(
            run.path, metrics=METRICS, view="pixels", count=60, reference="train", allow_few=METRICS
        )
        generator, encoder = load(run.path), load(run.path, role="encoder")
        assert encoder.config["norms"] == "standing"
        assert (tuple(encoder.config["image"]), tuple(generator.config["image"])) == ((1, 16, 16), (1, 8, 8))
        real = data.open_dataset("glyphs:digits", split="train", size=8, channels=1, limit=60, finer=2)
    assert real.finer is not None
    assert torch.equal(real.labels, real.finer.labels)
    with torch.no_grad():
        back = generator(torch.from_numpy(encoder.encode(real.finer.images.permute(0, 2, 3, 1).numpy())))
    made = to_bytes(back, generator.module.image_range)
    apart = (real.images.double() - made.double()).flatten(1).norm(dim=1).mean() / 255
    assert values[0]["values"]["distance"] == pytest.approx(float(apart), rel=1e-5)
