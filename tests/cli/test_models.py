from typer.testing import CliRunner

from mixgrpo.cli.main import app
from mixgrpo.models.load import ADAPTERS
from mixgrpo.planning.catalogue import entries, peak
from mixgrpo.recipe.load import load_recipe, shipped_recipes


def test_every_kind_of_model_and_every_recipe_is_listed() -> None:
    shown = CliRunner().invoke(app, ["models"])
    assert shown.exit_code == 0, shown.output
    for kind, adapter in ADAPTERS.items():
        assert kind in shown.output
        assert adapter.guidance in shown.output
    for name in shipped_recipes():
        assert (name in shown.output) == (load_recipe(name).model.path != "tiny")


def test_the_memory_is_planned_with_a_recipe_of_the_same_kind() -> None:
    of = {entry.path: entry for entry in entries()}
    large, medium = (of[f"stabilityai/stable-diffusion-3.5-{size}"] for size in ("large", "medium"))
    assert large.recipes == ()
    assert large.settings == medium.settings == "sd35-medium-geneval"
    assert peak(medium, "lora") < peak(large, "lora")
