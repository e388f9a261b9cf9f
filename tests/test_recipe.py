"""Recipes as records: dotted keys, values as typed, JSON both ways, differences."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace

import pytest

from frugan import recipes
from frugan.cli._arguments import listed
from frugan.recipe import Average, Choice, Data, Rule, differences, from_dict, parse_count, parse_value, to_dict
from frugan.registry import UserError


@pytest.fixture
def mnist():
    return recipes.find("mnist")


@pytest.mark.parametrize(("text", "value"), [
    ("60000", 60_000), ("60k", 60_000), ("2M", 2_000_000), ("1.5k", 1500), ("60_000", 60_000), ("1,000", 1000),
    (" 7 ", 7), (12, 12), ("2e3", 2000),
])
def test_numbers_of_images_as_typed(text, value):
    assert parse_count(text) == value


@pytest.mark.parametrize("text", [
    "", "k", "many", "0", "-5", "1.5", "0.0001k", "nan", "inf", "1e999", "2G", "1,5", "10,00", "9999999999M",
])
def test_what_is_no_number_of_images_is_answered_with_what_is(text):
    with pytest.raises(UserError, match="such as 60000, 60k or 2M"):
        parse_count(text)


@pytest.mark.parametrize(("text", "value"), [
    ("64", 64), ("1e-4", 1e-4), ("0.5", 0.5), (".5", 0.5), ("true", True), ("False", False), ("null", None),
    ("[1, 2]", [1, 2]), ('{"a": 1}', {"a": 1}), ("hinge", "hinge"), ("none", "none"), ("a b", "a b"), ("-3", -3),
    ("[smile, blond hair,3]", ["smile", "blond hair", 3]), ("[a", "[a"), ('[{"a": b}]', '[{"a": b}]'),
    ("[[red, light blue],[a,b]]", [["red", "light blue"], ["a", "b"]]), ("[[a],[b]", "[[a],[b]"), ("[a]b]", "[a]b]"),
])
def test_values_as_typed(text, value):
    found = parse_value(text)
    assert found == value
    assert type(found) is type(value)


def test_keys_reach_every_part(mnist):
    changed = mnist.with_changes({
        "batch_size": 32, "learning_rate": 1e-3, "generator.width": 0.5, "discriminator.dropout": 0.1,
        "loss": "lsgan,real_target=0.9", "loss.fake_target": 0.1, "penalties": "r1,weight=2,every=4", "augment": "flip",
        "game.discriminator_steps": 2, "data.size": 32, "averages.generator.half_life": 7, "latents.size": 10,
        "players.discriminator.betas": [0.0, 0.9], "players.generator.schedule": "cosine,end=1000",
    })
    assert changed.batch_size == 32
    assert {player.learning_rate for player in changed.players.values()} == {1e-3}
    assert changed.networks["generator"].options["width"] == 0.5
    assert changed.networks["discriminator"].options["dropout"] == 0.1
    assert changed.loss == Choice("lsgan", {"real_target": 0.9, "fake_target": 0.1})
    assert changed.penalties == (Choice("r1", {"weight": 2, "every": 4}),)
    assert changed.augment == (Choice("flip"),)
    assert changed.game.options == {"discriminator_steps": 2}
    assert changed.data.size == 32
    assert changed.averages == {"generator": Average(7.0)}
    assert changed.players["discriminator"].betas == (0.0, 0.9)
    assert changed.players["generator"].betas == mnist.players["generator"].betas
    assert changed.players["generator"].schedule == Choice("cosine", {"end": 1000})
    assert mnist.batch_size == recipes.find("mnist").batch_size  # the first is as it was


@pytest.mark.parametrize(("first", "later"), [
    ({"generator.width": 0.5}, {"architecture.width": 0.25}), ({"architecture.width": 0.5}, {"generator.width": 0.25}),
    ({"players.generator.learning_rate": 1e-3}, {"learning_rate": 1e-4}),
    ({"game.discriminator_steps": 2}, {"game": "adversarial"}), ({"loss.smoothing": 0.9}, {"loss": "hinge"}),
    ({"networks.generator.options.width": 0.5}, {"generator.width": 0.25}),
])  # fmt: skip
def test_a_key_that_a_later_one_leaves_without_effect_is_refused(mnist, first, later):
    (key,), (after,) = first, later
    with pytest.raises(UserError, match=f"^{re.escape(key)}= has no effect, since {re.escape(after)}= comes after it"):
        mnist.with_changes({**first, **later})
    if key != "networks.generator.options.width" and "width" not in key:
        mnist.with_changes({**later, **first})  # for all players first, then for one: both count


def test_architecture_reaches_the_networks_that_make_images_only(mnist):
    changed = mnist.with_changes({"architecture.width": 0.5})
    assert changed.networks["generator"].options["width"] == 0.5
    assert changed.networks["discriminator"] == mnist.networks["discriminator"]
    assert mnist.makers() == ("generator",)


def test_options_may_be_lists(mnist):
    typed = "stages,factors=[[50000,0.5],[100000,0.1]]"
    schedule = mnist.with_changes({"players.generator.schedule": typed}).players["generator"].schedule
    assert schedule == Choice("stages", {"factors": [[50000, 0.5], [100000, 0.1]]})


def test_several_penalties_and_none(mnist):
    changed = mnist.with_changes({"penalties": "r1+r2,weight=3"})
    assert changed.penalties == (Choice("r1"), Choice("r2", {"weight": 3}))
    assert changed.with_changes({"penalties": "none"}).penalties == ()


def test_a_schedule_that_ends_with_the_budget_ends_with_another_one_too(mnist):
    falls = {"generator": "linear,start=600,end=1000", "discriminator": "linear,end=700"}
    recipe = mnist.with_changes({"images": 1000, **{f"players.{name}.schedule": one for name, one in falls.items()}})
    half = recipe.with_images(500)
    assert half.images == 500
    assert half.players["generator"].schedule.options == {"start": 300, "end": 500}
    assert half.players["discriminator"].schedule.options == {"end": 700}  # an end of its own
    assert half.with_images(1000) == recipe
    assert mnist.with_images(500) == replace(mnist, images=500)


@pytest.mark.parametrize(("key", "told"), [
    ("batchsize", "Did you mean 'batch_size'"), ("data.sise", "Did you mean 'data.size'"),
    ("generator", "has no key 'generator'"), ("architecture", "has no key 'architecture'"),
    ("player.generator.betas", "Did you mean 'players.generator.betas'"),
    ("averages.discriminator.half_life", "has no key"), ("networks.critic.options.width", "has no key"),
    ("batch_size.x", "has no key"), ("data.only.0", "has no key|list"),
])
def test_an_unknown_key_is_answered_with_the_nearest(mnist, key, told):
    with pytest.raises(UserError, match=told):
        mnist.with_changes({key: 1})


@pytest.mark.parametrize(("key", "value", "told"), [
    ("batch_size", "many", r"recipe\.batch_size is 'many', but it must be a whole number"),
    ("batch_size", 1.5, "whole number"), ("batch_size", True, "whole number"), ("learning_rate", "fast", "a number"),
    ("players.generator.betas", [0.5], "it must have 2 values"), ("data.source", 3, "a word"),
    ("players.generator.betas", 0.5, "must be a list of 2 values"), ("generator.labels", "yes", "true or false"),
    ("averages", {"generator": {"halflife": 3}}, "Did you mean 'half_life'"), ("networks", {}, ""),
])
def test_a_value_of_another_kind_is_refused_with_the_place(mnist, key, value, told):
    if not told:
        assert mnist.with_changes({key: value}).networks == {}  # `build.check` says what is missing
        return
    with pytest.raises(UserError, match=told):
        mnist.with_changes({key: value})


def test_values_of_a_stream_are_read_as_those_of_the_data(mnist):
    assert mnist.with_changes({"streams": {"b": {"only": 7}}}).streams == {"b": {"only": [7]}}
    for key, value, told in (("size", [16], r"recipe\.streams\.b\.size is \[16\]"), ("source", 5, "must be a word")):
        with pytest.raises(UserError, match=told):
            mnist.with_changes({"streams": {"b": {key: value}}})


@pytest.mark.parametrize("value", ["r1", ("r1",), ["r1"], {"name": "r1"}, ({"name": "r1"},)])
def test_penalties_may_be_given_in_each_way_that_python_has(mnist, value):
    assert [choice.name for choice in mnist.with_changes({"penalties": value}).penalties] == ["r1"]


@pytest.mark.parametrize("value", [[], None, "x", 3])
def test_what_is_no_object_is_no_recipe(value):
    with pytest.raises(UserError, match=r"mine\.json is no recipe: it must hold an object"):
        from_dict(value, where="mine.json")


@pytest.mark.parametrize(("key", "value", "told"), [
    ("batch_size", 0, r"^batch_size=0: give a whole number, 1 or more\.$"),
    ("learning_rate", -1, r"^players\.generator\.learning_rate=-1\.0: give a number above 0, e\.g\. 2e-4\.$"),
    ("learning_rate", math.nan, "give a number above 0"), ("learning_rate", math.inf, "give a number above 0"),
    ("players.generator.clip_value", -1, "give a number above 0"), ("players.generator.clip_norm", 0, "above 0"),
    ("players.generator.betas", [0.5, 1], "0 or more and below 1"), ("seed", -1, "whole number, 0 or more"),
    ("averages.generator.half_life", 0, "above 0"), ("averages.generator.half_life", math.nan, "above 0"),
    ("data.size", -32, "1 or more"), ("data.limit", 0, "1 or more"), ("latents.size", 0, "1 or more"),
    ("data.image_range", [1, 1], r"^data\.image_range=\(1\.0, 1\.0\): give numbers that rise\.$"),
    ("batch_size", 1e30, r"^batch_size=\d+: give a whole number, 1 or more and at most 1,000,000\.$"),
    ("latents.size", 10**9, "at most 1,000,000"), ("data.even_limit", 1e30, "at most 1,000,000,000,000"),
    ("data.even_limit", 0, "1 or more"), ("data.finer", 10**6, "at most 1,000"),
    ("rounds", 0, "1 or more"), ("rounds", math.inf, "rounds"), ("rounds", math.nan, "rounds"),
    ("loss.smoothing", math.nan, r"loss\.options\.smoothing=nan: give a finite number"),
    ("generator.channels", [64, math.inf], r"channels\.1=inf: give a finite number"),
])
def test_a_number_out_of_its_range_is_refused_with_what_is_accepted(mnist, key, value, told):
    with pytest.raises(UserError, match=told):
        mnist.with_changes({key: value})


@pytest.mark.parametrize("change", [{"seed": 1.5}, {"seed": True}, {"rounds": 2.5}, {"batch_size": 0}, {"seed": "1"}])
def test_python_accepts_what_the_command_line_does_and_no_more(mnist, change):
    with pytest.raises(UserError, match=r"^Recipe\.\w+=.*: give a whole number"):
        replace(mnist, **change)
    with pytest.raises(UserError, match=r"^Player\.betas=.*below 1"):
        replace(mnist.players["generator"], betas=(0.0, 1.0))


def test_numpys_whole_numbers_become_pythons(mnist):
    numpy = pytest.importorskip("numpy")
    changed = replace(mnist, seed=numpy.int64(3))
    assert type(changed.seed) is int
    assert json.loads(json.dumps(to_dict(changed)))["seed"] == 3


def test_numpys_small_floats_become_pythons(mnist):
    numpy = pytest.importorskip("numpy")
    player = replace(mnist.players["generator"], learning_rate=numpy.float32(0.5), betas=(numpy.float16(0.5), 0.9))
    changed = replace(mnist, players={**mnist.players, "generator": player})
    assert json.loads(json.dumps(to_dict(changed)))["players"]["generator"]["learning_rate"] == 0.5


def test_whole_numbers_serve_as_floats_and_back(mnist):
    changed = mnist.with_changes({"learning_rate": 1, "batch_size": 64.0})
    assert (type(changed.players["generator"].learning_rate), type(changed.batch_size)) == (float, int)


@pytest.mark.parametrize(("key", "typed", "kept"), [
    ("data.only", 0, (0,)), ("data.only", "shirt", ("shirt",)), ("data.attributes", "Smiling", ("Smiling",)),
    ("data.only", [], ()),
])
def test_one_value_is_a_list_of_one(mnist, key, typed, kept):
    assert getattr(mnist.with_changes({key: typed}).data, key.removeprefix("data.")) == kept


@pytest.mark.parametrize(("key", "value", "told"), [
    ("data.only", None, r"recipe\.data\.only is None, but it must be a list, e\.g\. \[1\]"),
    ("data.classes", "none", r"whole number\. .* no classes, give data\.source=flat:FOLDER \(--data flat:FOLDER\)"),
])
def test_a_type_is_told_in_words_that_can_be_typed(mnist, key, value, told):
    with pytest.raises(UserError, match=told):
        mnist.with_changes({key: value})


def test_json_of_everything_at_once(mnist):
    rules = (Rule("up.*", "factorised", {"kernel": 3}), Rule("output", "standard"))
    odd = replace(
        mnist, streams={"train": {"source": "x"}}, rounds=7,
        data=Data("d", 8, 1, only=("a", 3), image_range=(0.0, 1.0)),
        networks={**mnist.networks, "generator": replace(mnist.networks["generator"], families=rules)},
    )
    assert from_dict(json.loads(json.dumps(to_dict(odd)))) == odd


def test_strange_json_is_refused_with_the_place(mnist):
    tree = to_dict(mnist)
    with pytest.raises(UserError, match=r"has recipe format 2, but this frugan reads only 1 to 1\. Update"):
        from_dict({**tree, "format": 2})
    with pytest.raises(UserError, match="has recipe format 1"):
        from_dict({**tree, "format": "1"})
    with pytest.raises(UserError, match=r"file has no field 'nets'\. Did you mean"):
        from_dict({**tree, "nets": {}}, "file")
    with pytest.raises(UserError, match="the field 'players' is missing"):
        from_dict({key: value for key, value in tree.items() if key != "players"})
    tree["networks"]["generator"] = "dcgan"
    with pytest.raises(UserError, match=r"recipe\.networks\.generator is 'dcgan', .* \{architecture, options"):
        from_dict(tree)


def test_differences_name_key_and_both_values(mnist):
    other = mnist.with_changes({"batch_size": 3, "generator.width": 0.5})
    assert differences(mnist, other) == [
        f"batch_size: {mnist.batch_size} -> 3", "generator.width: None -> 0.5",
    ]
    assert differences(mnist, replace(mnist, images=1), but=("images",)) == []
    assert differences(mnist, replace(mnist, name="called otherwise")) == []


def test_every_listed_key_can_be_set_to_its_own_value():
    for name in recipes.names():
        recipe = recipes.find(name)
        assert recipe.with_changes(recipe.keys()) == recipe


def test_a_family_for_a_network_that_is_not_there(mnist):
    with pytest.raises(UserError, match=r"no network with the role 'critic'.*discriminator, generator"):
        mnist.with_family("factorised", "critic")


def test_a_recipe_of_ones_own_and_a_name_that_is_taken(mnist, monkeypatch):
    monkeypatch.setattr(recipes, "_known", dict(recipes._known))

    @recipes.recipe
    def my_digits():
        """Mine."""
        return replace(mnist, batch_size=3)

    assert recipes.find("my-digits").batch_size == 3
    assert recipes.explanation("my-digits") == "Mine."
    with pytest.raises(UserError, match="Did you mean 'my-digits'"):
        recipes.find("my-digit")
    with pytest.raises(UserError, match="There is already a recipe called 'mnist'"):
        recipes.add("mnist", my_digits)


def test_recipe_files_that_are_not(tmp_path):
    with pytest.raises(UserError, match="There is no file"):
        recipes.find(str(tmp_path / "none.json"))
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(UserError, match="is not valid JSON"):
        recipes.find(str(tmp_path / "broken.json"))


def test_a_family_takes_options_also_where_a_recipe_has_a_table_for_it():
    recipe = recipes.find("dcgan-64").with_family("factorised,middle=0.5,inner_norm=batch_norm")
    rules = recipe.networks["generator"].families
    assert rules == (Rule("*", "factorised", {"middle": 0.5, "inner_norm": "batch_norm"}), Rule("output", "standard"))
    rules = recipes.find("mnist").with_family("grouped,groups=2").networks["generator"].families
    assert rules == (Rule("*", "grouped", {"groups": 2}),)


def test_names_in_a_list_keep_their_options():
    assert listed("standard, depthwise,multiplier=2,between=relu ,factorised") == (
        "standard", "depthwise,multiplier=2,between=relu", "factorised",
    )  # fmt: skip


def test_an_arms_own_key_replaces_a_shared_one_by_any_name():
    from frugan.comparison.planning.arms import parse

    arm = parse("thin: mnist architecture.width=0.2", {}, {"generator.width": 0.5, "batch_size": 16})
    assert arm.recipe.networks["generator"].options["width"] == 0.2
    assert arm.recipe.batch_size == 16
