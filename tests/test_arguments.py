"""Arguments written down once: a record gives a function its signature, its docstring and its message for slips."""

from __future__ import annotations

import inspect
import json
import pydoc
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass

import numpy as np
import pytest
import torch

import frugan
from frugan import benching, costing, data, exporting, reporting, training
from frugan.arguments import Name, explanations, names_in, taking
from frugan.recipe import to_dict
from frugan.registry import UserError


@dataclass(frozen=True)
class Greeting:
    """How somebody is greeted."""

    name: Name
    """Who is greeted,
    by first name."""
    _: KW_ONLY
    times: int = 1
    """How often."""
    loud: bool = False


@taking(Greeting)
def greet(asked: Greeting) -> str:
    """Greet somebody.

    Raises:
        UserError: nobody is there.
    """
    return " ".join(["Hello", asked.name] * asked.times)


def test_a_function_is_called_with_the_fields_of_its_record() -> None:
    assert greet("Ada") == "Hello Ada"
    assert greet(name="Ada", times=2) == "Hello Ada Hello Ada"


def test_help_and_editors_see_every_argument() -> None:
    signature = inspect.signature(greet)
    assert list(signature.parameters) == ["name", "times", "loud"]
    assert signature.parameters["times"].default == 1
    assert signature.parameters["times"].kind is inspect.Parameter.KEYWORD_ONLY
    assert signature.return_annotation == "str"
    shown = pydoc.plain(pydoc.render_doc(greet))
    assert "greet(name: 'Name', *, times: 'int' = 1" in shown
    assert shown.index("Args:") < shown.index("name: Who is greeted, by first name.") < shown.index("Raises:")


def test_a_slip_in_the_name_of_an_argument_is_answered_with_the_nearest() -> None:
    with pytest.raises(UserError, match=r"greet\(\) has no argument 'tiems'. Did you mean 'times'\? Choose from: loud"):
        greet("Ada", tiems=2)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="name"):
        greet()  # type: ignore[call-arg]


def test_what_is_written_below_a_field_explains_it() -> None:
    assert explanations(Greeting) == {"name": "Who is greeted, by first name.", "times": "How often."}


@pytest.mark.parametrize(
    ("verb", "first", "slip", "meant"),
    [
        (frugan.train, "recipe", "imgaes", "images"),
        (frugan.evaluate, "fakes", "metric", "metrics"),
        (frugan.compare, "arms", "alow_few", "allow_few"),
    ],
)
def test_the_verbs_of_python_tell_their_arguments_and_know_slips(
    verb: Callable[..., object], first: str, slip: str, meant: str
) -> None:
    parameters = inspect.signature(verb).parameters
    assert next(iter(parameters)) == first
    assert f"\n    {meant}: " in (verb.__doc__ or "")
    assert all(of.kind is of.KEYWORD_ONLY for name, of in parameters.items() if name != first)
    with pytest.raises(UserError, match=rf"has no argument '{slip}'\. Did you mean '{meant}'"):
        verb("anything", **{slip: 1})


def test_values_of_numpy_and_paths_are_taken_as_plain_ones(tmp_path):
    keys = {"data.size": np.int64(8), "generator.hidden": [np.int32(4)], "discriminator.hidden": (4,)}
    np.savez(tmp_path / "a.npz", images=np.zeros((8, 8, 8), np.uint8))
    recipe = training.resolve(
        "vanilla", data=tmp_path / "a.npz", seed=np.int64(3), batch_size=np.int16(4), changes={**keys, "data.only": []}
    )
    assert recipe.data.source == str(tmp_path / "a.npz")
    assert (recipe.seed, recipe.batch_size, recipe.data.size) == (3, 4, 8)
    assert json.dumps(to_dict(recipe))


def test_an_argument_that_is_missing_is_named():
    with pytest.raises(TypeError, match=r"evaluate\(\): missing a required argument: 'fakes'"):
        frugan.evaluate()  # type: ignore[call-arg]


@pytest.mark.parametrize(("given", "names"), [
    (None, ()), ("fid", ("fid",)), (["kid", "fid", "kid"], ("kid", "fid")),
])  # fmt: skip
def test_names_are_taken_once_each_in_their_order(given, names):
    assert names_in(given) == names


CONV = torch.nn.Conv2d(3, 4, 3, padding=1)

REFUSED = [
    (frugan.train, {"recipe": 5}, r"train\(recipe=5\): give a name or a Recipe"),
    (frugan.train, {"recipe": {}}, "give a name or a Recipe"),
    (frugan.train, {"data": b""}, "give a source of images"),
    (frugan.train, {"data": torch.zeros(2)}, r"train\(data=tensor\(\[0\., 0\.\]\)\): give a source of images"),
    (frugan.train, {"data": ""}, "give a source of images"),
    (frugan.train, {"family": ["standard"]}, r"train\(family=\['standard'\]\): give a name"),
    (frugan.train, {"family": " "}, "give a name"),
    (frugan.train, {"rounds": [2]}, "give a whole number"),
    (frugan.train, {"rounds": True}, "give a whole number"),
    (frugan.train, {"seed": 1.5}, "give a whole number"),
    (frugan.train, {"minutes": "0.01"}, "give a number"),
    (frugan.train, {"images": 0.5}, "give a number of images, such as 60000 or '60k'"),
    (frugan.train, {"out": 5}, "give a path"),
    (frugan.train, {"out": ""}, "give a path"),
    (frugan.train, {"device": ""}, "give a name"),
    (frugan.train, {"init": ["x"]}, "give a path, or paths by network"),
    (frugan.train, {"init": {1: "x"}}, "give a path, or paths by network"),
    (frugan.train, {"init": {"generator": ""}}, "give a path, or paths by network"),
    (frugan.train, {"observers": [5]}, "give an observer"),
    (frugan.train, {"keep_best": 5}, "give a name"),
    (frugan.train, {"code": 5}, "give the path of a Python file"),
    (frugan.train, {"changes": "a=1"}, "give values by key"),
    (frugan.train, {"changes": {1: 2}}, "give values by key"),
    (frugan.train, {"trust_code": "no"}, "give True or False"),
    (frugan.train, {"allow_unusable": 0}, "give True or False"),
    (frugan.train, {"quiet": None}, "give True or False"),
    (frugan.evaluate, {"fakes": 5}, "give a path"),
    (frugan.evaluate, {"fakes": np.zeros((3, 4))}, "give a path"),
    (frugan.evaluate, {"fakes": "x", "metrics": ["swd", 5]}, "give a name, or a list of names"),
    (frugan.evaluate, {"fakes": "x", "allow_few": True}, "give a name, or a list of names"),
    (frugan.evaluate, {"fakes": "x", "view": 5}, "give a name or a View"),
    (frugan.evaluate, {"fakes": "x", "truncation": "x"}, "give a number"),
    (frugan.evaluate, {"fakes": "x", "progress": 5}, "give a function"),
    (frugan.compare, {"arms": [5]}, "give an arm"),
    (frugan.compare, {"seeds": 3}, "give a list of whole numbers"),
    (frugan.fit, {"max_bytes": [3]}, "give a limit with its unit"),
    (frugan.load, {"path": 5}, r"load\(path=5\): give a path"),
    (frugan.load, {"path": "x", "device": 0}, "give a name or a device"),
    (frugan.load, {"path": "x", "trust_code": "no"}, "give True or False"),
    (frugan.load, {"path": "x", "devic": "cpu"}, r"load\(\) has no argument 'devic'\. Did you mean 'device'"),
    (frugan.export, {"run": "x", "to": 5, "out": "y"}, "give a name"),
    (frugan.export, {"run": "x", "out": 5}, "give a path"),
    (frugan.export, {"run": "x", "out": "y", "truncation": "a"}, "give a number"),
    (frugan.export, {"run": "x", "out": "y", "overwrite": "no"}, "give True or False"),
    (frugan.classify, {"run": "x", "images": 5}, "give a path or a list"),
    (frugan.probe, {"run": "x", "per_class": 2}, "give a list of numbers"),
    (frugan.probe, {"run": "x", "per_class": [2.5]}, "give a list of numbers"),
    (frugan.probe, {"run": "x", "per_class": [True]}, "give a list of numbers"),
    (frugan.probe, {"run": "x", "draws": 1.5}, "give a whole number"),
    (frugan.probe, {"run": "x", "draws": 0}, r"probe\(draws=0\): give a whole number, 1 or more\.$"),
    (frugan.probe, {"run": "x", "draws": 1001}, "1 or more and at most 1,000"),
    (frugan.probe, {"run": "x", "draws": True}, "give a whole number"),
    (benching.bench, {"recipe": "mnist", "repeats": 10**7}, "at most 1,000"),
    (frugan.probe, {"run": "x", "only": 5}, "give a list"),
    (frugan.probe, {"run": "x", "announce": 5}, "give a function"),
    (frugan.swap, {"module": 5, "family": "depthwise"}, "give a Module"),
    (frugan.swap, {"module": CONV, "family": 5}, "give a name or a ConvFamily"),
    (frugan.swap, {"module": CONV, "family": "depthwise", "layers": 5}, "give a name or a list or a function"),
    (frugan.swap, {"module": CONV, "family": "depthwise", "minimum_channels": "a"}, "give a whole number"),
    (exporting.find, {"name": 5}, "give a name"),
    (training.resolve, {"recipe": "vanilla", "precision": 5}, "give a name"),
]


@pytest.mark.parametrize(("verb", "given", "told"), REFUSED)
def test_a_value_that_is_not_what_its_argument_says_is_refused(verb, given, told):
    with pytest.raises(UserError, match=told):
        verb(**given)


def test_what_is_given_by_place_is_checked_too():
    with pytest.raises(UserError, match=r"check\(5\): give a path"):
        frugan.check("mine.py", 5)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"train\(\) takes no more than recipe without a name, but 2 values"):
        frugan.train("vanilla", "glyphs")  # type: ignore[call-arg]


def test_a_string_may_hold_several_names_each_with_its_options():
    assert names_in("swd, fid,") == ("swd", "fid")
    assert names_in("depthwise,multiplier=2,standard") == ("depthwise,multiplier=2", "standard")
    assert names_in(["swd"]) == ("swd",)
    assert names_in(None) == ()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    pixels = np.random.default_rng(0).integers(0, 255, (32, 8, 8), dtype=np.uint8)
    np.savez(folder / "data.npz", images=pixels, labels=np.arange(32) % 2)
    changes = {
        "generator.hidden": [8], "discriminator.hidden": [8], "latents.size": 4, "batch_size": 4, "data.size": 8,
        "precision": "float32",
    }  # fmt: skip
    return frugan.train(
        "vanilla", data=folder / "data.npz", changes=changes, images=8, out=folder / "run", device=torch.device("cpu"),
        quiet=True,
    )  # fmt: skip


@pytest.mark.parametrize("verb", [
    lambda run, out: frugan.load(run).save(out),
    lambda run, out: frugan.export(run, "torch", out=out),
    lambda run, out: frugan.probe(run, data=run.path.parent / "data.npz", features="layers", per_class=[2], draws=1),
    lambda run, out: frugan.evaluate(run, metrics="kid", view="pixels", allow_few="fid,kid", count=8),
    lambda run, out: frugan.train(run.recipe, images=8, init=run, out=out, quiet=True),
    lambda run, out: reporting.report(run, out=out),
    lambda run, out: costing.cost_of(run),
], ids=["load", "export", "probe", "evaluate", "init", "report", "cost"])  # fmt: skip
def test_what_train_returned_serves_wherever_a_run_does(verb, run, tmp_path):
    assert verb(run, tmp_path / "out")


def test_a_source_of_images_may_be_a_path(run):
    path = run.path.parent / "data.npz"
    assert len(data.open_dataset(path)) == len(list(data.read_images(path, size=8, channels=1))) == 32
    assert data.look(path).count == data.check(path).usable == 32


def test_a_run_is_no_recipe_but_has_one(run):
    told = r"run is a folder, not a recipe\. Its recipe is .*recipe\.json"
    with pytest.raises(UserError, match=told):
        frugan.train(run)
    with pytest.raises(UserError, match=told):
        frugan.compare([str(run), "vanilla"])


def test_no_value_that_reads_as_true_overwrites(run, tmp_path):
    generator = frugan.load(run)
    generator.save(tmp_path / "artefact")
    with pytest.raises(UserError, match=r"save\(overwrite='no'\): give True or False"):
        generator.save(tmp_path / "artefact", overwrite="no")  # type: ignore[arg-type]
