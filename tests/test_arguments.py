"""Arguments written down once: a record gives a function its signature, its docstring and its message for slips."""

from __future__ import annotations

import inspect
import json
import pydoc
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass

import numpy as np
import pytest

import frugan
from frugan import training
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
