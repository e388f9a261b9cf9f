"""StarGAN's, its depthwise forms' and CycleGAN's recipes cost what the sheets say, at their own size."""

from __future__ import annotations

import pytest

from frugan import build, recipes
from frugan.costing import cost_of
from frugan.registry import UserError
from frugan.training import resolve

D = 44_762_048
COUNTS = {
    "stargan": (8_430_528, D), "depthwise-g": (1_525_128, D), "depthwise-dg": (1_525_128, 34_333_568),
    "depthwise-d": (8_430_528, 34_333_568), "deeper-depthwise-g": (5_640_384, D),
    "deeper-depthwise-g-frugal": (5_616_520, D), "deeper-depthwise-g-text": (2_208_648, D),
    "depthwise-g-bottleneck": (2_166_720, D), "depthwise-g-down": (1_555_392, D),
    "depthwise-g-ends-kept": (947_136, D), "depthwise-g-ends-kept-10": (1_493_952, D),
    "depthwise-g-full": (916_872, D), "depthwise-dg-full": (1_525_128, 2_890_867),
    "depthwise-dg-stem-kept": (1_525_128, 2_893_696),
}


@pytest.mark.parametrize("name", COUNTS)
def test_stargan_depthwise_sheet_5_2_recipes(name):
    found = cost_of(name).networks
    assert (found["generator"].cost.parameters, found["discriminator"].cost.parameters) == COUNTS[name]


def test_the_family_depthwise_means_the_published_layers_which_alone_start_piece_by_piece():
    recipe = recipes.find("stargan").with_family("depthwise").with_family("depthwise", "discriminator")
    published = recipes.find("depthwise-dg")
    for name in ("generator", "discriminator"):
        mine, theirs = recipe.networks[name].families, published.networks[name].families
        assert [(rule.pattern, rule.family) for rule in mine] == [(rule.pattern, rule.family) for rule in theirs]
        assert [rule.options for rule in mine] == [{}, {}]
        assert [rule.options for rule in theirs] == [{"start": "layerwise"}, {}]


@pytest.mark.parametrize(("name", "family", "generator"), [
    ("cyclegan", None, 11_378_179), ("cyclegan-6", None, 7_837_699), ("cyclegan", "depthwise", 1_987_075),
])
def test_cyclegan_sheet_2_1_recipes(name, family, generator):
    found = {name: network.cost.parameters for name, network in cost_of(name, family=family).networks.items()}
    assert found == {
        "generator_ab": generator, "generator_ba": generator,
        "discriminator_a": 2_764_737, "discriminator_b": 2_764_737,
    }


def test_joint_training_orders_both_sets_labels_and_two_mask_bits():
    found = build.blueprints(recipes.find("stargan-joint").with_changes({"streams.second.classes": 8}))
    assert found["generator"].condition == 15
    assert found["discriminator"].outputs == {"score": 1, "first": 5, "second": 8}


@pytest.mark.parametrize("size", [32, 64])
@pytest.mark.parametrize("name", ["depthwise-dg", "depthwise-dg-full", "deeper-depthwise-g"])
def test_the_forms_fit_smaller_images(name, size):
    thin = {"generator.width": 0.25, "discriminator.width": 0.1}
    build.check(recipes.find(name).with_changes({"data.size": size, **thin}))


def test_the_families_of_both_discriminators_are_set_at_once():
    recipe = resolve("cyclegan", discriminator_family="factorised")
    assert {recipe.networks[f"discriminator_{one}"].families[0].family for one in "ab"} == {"factorised"}
    assert recipe.networks["generator_ab"].families == ()
    with pytest.raises(UserError, match="Did you mean 'discriminator'"):
        recipe.with_family("factorised", "discriminatr")


def test_any_field_of_a_streams_data_may_be_set_and_a_wrong_one_is_answered():
    recipe = recipes.find("cyclegan").with_changes({"streams.b.source": "zebras", "streams.b.only": []})
    assert (recipe.data_of("a").source, recipe.data_of("b").source) == ("portraits", "zebras")
    assert (recipe.data_of("a").only, list(recipe.data_of("b").only)) == (["not glasses"], [])
    with pytest.raises(UserError, match="Did you mean 'source'"):
        build.check(recipe.with_changes({"streams.b.sorce": "zebras"}))


def test_a_schedule_that_follows_the_end_wants_its_end_in_images():
    with pytest.raises(UserError, match="images=N instead of rounds"):
        build.check(resolve("stargan", rounds=10))


def test_labels_that_the_data_are_not_expected_to_have_are_missed_before_they_are_opened():
    with pytest.raises(UserError, match=r"needs data with labels, .*data\.classes=0"):
        build.check(recipes.find("stargan").with_changes({"data.classes": 0}))
