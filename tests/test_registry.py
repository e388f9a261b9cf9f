"""Variants by name, their options, a user's own file; and the seeds that everything random derives from."""

from __future__ import annotations

import hashlib
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import pytest

from frugan import registry, seeds
from frugan.ranges import Amount, Count, Range
from frugan.registry import Catalogue, Registry, UserError, check_options, declared, options_of, suggest


@pytest.fixture
def colours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    """An axis with the variants `red` and `green`, a shared piece and nothing else."""
    package = tmp_path / "frugan_test_colours"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "red.py").write_text("variant = {'hue': 0}\n")
    (package / "green.py").write_text("variant = {'hue': 120}\n")
    (package / "_shared.py").write_text("raise RuntimeError('listing must not import')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    __import__("frugan_test_colours")
    yield Registry("colour", "frugan_test_colours")
    for name in [name for name in sys.modules if name.split(".")[0] == "frugan_test_colours"]:
        del sys.modules[name]


def test_the_folder_listing_is_the_list_of_choices(colours: Registry) -> None:
    assert colours.names() == ["green", "red"]
    assert "frugan_test_colours.red" not in sys.modules
    assert colours.find("red") == {"hue": 0}


def test_what_was_found_once_needs_no_look_at_the_folder(colours: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    """Layers ask for their kernel in every call: a look at the folder took ten times as long as a small convolution."""
    red, blue = colours.find("red"), colours.add("blue", {"hue": 240})

    def listed(*arguments: object) -> None:
        raise AssertionError("the folder was listed")

    monkeypatch.setattr("pkgutil.iter_modules", listed)
    assert colours.find("red") is red
    assert colours.find("blue") is blue


def test_a_misspelt_name_is_answered_with_the_nearest_and_all(colours: Registry) -> None:
    with pytest.raises(UserError) as error:
        colours.find("gren")
    assert str(error.value) == "There is no colour called 'gren'. Did you mean 'green'? Choose from: green, red."
    for wrong in (5, None, ["red"], {}):
        with pytest.raises(UserError, match="There is no colour called"):
            colours.find(wrong)  # type: ignore[arg-type]


def test_a_shared_piece_is_no_variant(colours: Registry) -> None:
    with pytest.raises(UserError, match="There is no colour called '_shared'"):
        colours.find("_shared")


def test_a_variant_of_ones_own_is_known_by_its_name(colours: Registry) -> None:
    own = {"hue": 240}
    assert colours.add("blue", own) is own
    assert colours.names() == ["blue", "green", "red"]
    assert colours.find("blue") is own
    assert colours.add("blue", own) is own


def test_a_name_is_given_once(colours: Registry) -> None:
    with pytest.raises(UserError, match=r"frugan itself has the colour 'red'\. Give yours another name\."):
        colours.add("red", object())
    colours.add("blue", "one")
    with pytest.raises(UserError, match=r"The colour 'blue' was added twice\. Give one of them another name\."):
        colours.add("blue", 2)


def square(*, side: float = 1.0) -> float:
    """A function of the catalogue's own."""
    return side**2


def cube(*, side: float = 1.0) -> float:
    """One of the user's."""
    return side**3


def test_a_catalogue_takes_functions_of_ones_own() -> None:
    shapes = Catalogue("shape", square, has=("real",))
    assert shapes.add("cube", cube) is cube
    assert shapes.add("cube", cube) is cube
    assert shapes.names() == ["cube", "square"]
    assert shapes.options("cube") == {"side": 1.0}
    assert shapes.find("cube", side=2) == 8
    with pytest.raises(UserError, match=r"The shape 'cube' has no option 'sied'. Did you mean 'side'"):
        shapes.check("cube", {"sied": 2})
    with pytest.raises(UserError, match=r"no shape called 'cub'. Did you mean 'cube'"):
        shapes.find("cub")
    with pytest.raises(UserError, match=r"no shape called 'pyramid'.*--code FILE"):
        shapes.find("pyramid")


def test_a_catalogue_gives_a_name_once() -> None:
    shapes = Catalogue("shape", square)
    with pytest.raises(UserError, match=r"frugan itself has the shape 'square'\. Give yours another name\."):
        shapes.add("square", cube)
    shapes.add("cube", cube)
    with pytest.raises(UserError, match=r"The shape 'cube' was added twice\. Give one of them another name\."):
        shapes.add("cube", square)
    assert shapes.find("square", side=2.0) == 4


def test_a_catalogue_says_what_a_function_of_ones_own_lacks() -> None:
    shapes = Catalogue("shape", square, has=("real", "colour"))
    with pytest.raises(UserError, match=r"'square' makes a float without 'colour', but it needs real, colour"):
        shapes.find("square")
    shapes.add("sphere", lambda radius, *, more=1: radius)
    with pytest.raises(UserError, match=r"'sphere' cannot be made \(missing a required argument: 'radius'\)"):
        shapes.find("sphere")


def test_suggest_without_a_near_name_lists_what_is_accepted() -> None:
    assert suggest("zzz", ["b", "a"]) == "Choose from: a, b."
    assert suggest("zzz", []) == "There is nothing to choose from."


def variant(
    first: int, *, width: float = 1.0, norm: str = "batch", shallow: bool = False, stride: int = 2,
    units: Sequence[Count] = (8,), group: Amount | None = 4, form: Literal["pair", "small"] = "pair",
    shares: Mapping[str, float] | None = None,
    sides: Annotated[tuple[int, int], Range(0, most=9, rising=True)] = (1, 2),
    made_by: str | Callable[[int], int] = "hand",
) -> None:
    """A variant's function with options."""


def of_ones_own(*, width=1, sizes=(1, 2), anything=None, far: Nowhere = "x", steps: Count = 1) -> None:  # noqa: F821
    """What a user may write: without annotations, or with such as only type checkers know."""


def test_options_are_the_keyword_only_arguments_that_have_defaults() -> None:
    without = ["stride", "units", "group", "form", "shares", "sides", "made_by"]
    assert options_of(variant, without=without) == {"width": 1.0, "norm": "batch", "shallow": False}


@pytest.mark.parametrize(("function", "given"), [
    (variant, {"width": 2, "norm": "instance", "shallow": True}), (variant, {"stride": 3, "units": [1, 1_000_000]}),
    (variant, {"group": None, "form": "small", "shares": {"a": 0.5}, "sides": [0, 9]}), (variant, {"group": 0}),
    (variant, {"made_by": int, "units": []}),
    (of_ones_own, {"width": 0.5, "sizes": [1.5], "anything": [{}], "far": "y"}),
])  # fmt: skip
def test_options_of_their_types_are_taken_as_they_are(function: Callable[..., None], given: dict[str, Any]) -> None:
    assert check_options("It", given, declared(function)) == given


def test_whole_numbers_are_those_of_python_however_they_were_typed() -> None:
    taken = check_options("It", {"stride": 2e3, "units": [np.int64(3), 4.0], "group": 1e3}, declared(variant))
    assert [type(one) for one in (taken["stride"], *taken["units"], taken["group"])] == [int] * 4


@pytest.mark.parametrize(("given", "told"), [
    ({"widht": 2}, r"It has no option 'widht'\. Did you mean 'width'\? Choose from: "),
    ({"norm": 3}, r"It: the option 'norm' is 3\. Give a word, e\.g\. 'batch'\."),
    ({"norm": None}, r"It: the option 'norm' is None\. Give a word"),
    ({"width": True}, r"It: the option 'width' is True\. Give a finite number, e\.g\. 1\.0\."),
    ({"width": math.nan}, "finite number"), ({"width": math.inf}, "finite number"), ({"width": "2"}, "finite number"),
    ({"width": 1e30}, r"Give a number at most 1,000,000,000,000"), ({"width": -(10**400)}, "finite number"),
    ({"width": None}, "finite number"), ({"width": [1]}, "finite number"),
    ({"shallow": 1}, "Give true or false"), ({"shallow": None}, "Give true or false"),
    ({"stride": 1.5}, r"Give a whole number, e\.g\. 2\."), ({"stride": True}, "whole number"),
    ({"units": 8}, r"Give a list, e\.g\. \[1\] for one value"), ({"units": "8"}, "Give a list"),
    ({"units": [0]}, "Give a whole number, 1 or more, for each value"), ({"units": [True]}, "for each value"),
    ({"units": [None]}, "for each value"), ({"units": [10**30]}, "1 or more and at most 1,000,000, for each value"),
    ({"group": -1}, "Give a whole number, 0 or more"), ({"form": "big"}, "Give one of: pair, small"),
    ({"form": []}, "one of"), ({"shares": [1]}, "Give names with values"), ({"sides": [1]}, "Give a list of 2 values"),
    ({"sides": [3, 3]}, "numbers that rise"), ({"sides": [3, 10]}, "0 or more and at most 9"),
    ({"made_by": 3}, "Give a word"),
])  # fmt: skip
def test_options_of_other_types_or_outside_their_range_are_refused(given: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError, match=f"^{told}" if told.startswith("It") else told):
        check_options("It", given, declared(variant))


@pytest.mark.parametrize("given", [{"width": "2"}, {"width": None}, {"sizes": 1}, {"far": 1}, {"steps": 0}])
def test_an_option_without_annotation_is_of_its_defaults_kind(given: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"^It: the option"):
        check_options("It", given, declared(of_ones_own))


class _Entry:
    """Stands for an entry point of an installed package."""

    dist: Any = None

    def __init__(self, name: str, loaded: list[str], error: Exception | None = None) -> None:
        self.name, self.loaded, self.error = name, loaded, error

    def load(self) -> None:
        if self.error:
            raise self.error
        self.loaded.append(self.name)


def test_installed_plugins_are_loaded_once_and_a_broken_one_does_not_stop_us(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], colours: Registry
) -> None:
    loaded: list[str] = []
    entries = [_Entry("broken", loaded, ImportError("no such thing")), _Entry("good", loaded)]
    monkeypatch.setattr(registry, "_entry_points_loaded", False)
    monkeypatch.setattr(registry.importlib.metadata, "entry_points", lambda group: entries if group == "frugan" else [])
    colours.names()
    colours.names()
    assert loaded == ["good"]
    assert capsys.readouterr().err == "frugan: the plugin 'broken' could not be loaded: no such thing\n"


def test_a_variant_of_an_installed_plugin_tells_its_package_and_the_hash_of_its_file(
    monkeypatch: pytest.MonkeyPatch, colours: Registry, tmp_path: Path
) -> None:
    class Dist(NamedTuple):
        name: str
        version: str

    class Plugin(_Entry):
        dist = Dist("my-package", "1.0")

        def load(self) -> None:
            exec(compile(file.read_text(), str(file), "exec"), {"__name__": "my_package", "colours": colours})

    file = tmp_path / "my.py"
    file.write_text("colours.add('violet', 3)\n")
    monkeypatch.setattr(registry, "_entry_points_loaded", False)
    monkeypatch.setattr(registry.importlib.metadata, "entry_points", lambda group: [Plugin("violet", [])])
    assert colours.find("violet") == 3
    assert colours.origin("violet") == ("my-package 1.0", hashlib.sha256(file.read_bytes()).hexdigest(), False)
    assert "my-package 1.0" in registry.plugins()
    registry.take_back(["my-package 1.0"])
    assert "violet" not in colours.names()
    assert "my-package 1.0" not in registry.plugins()


def test_derived_seeds_are_pinned_because_runs_of_earlier_versions_must_continue() -> None:
    assert seeds.derive(0) == 4246866556266386882
    assert seeds.derive(0, "latents", 128) == 3943679752840386758
    assert seeds.generator(0, "latents", 128).initial_seed() == 3943679752840386758


def test_streams_of_different_names_differ() -> None:
    drawn = {seeds.derive(seed, name, count) for seed in range(5) for name in ("real", "fake") for count in range(50)}
    assert len(drawn) == 500
    assert all(0 <= value < 2**63 for value in drawn)
