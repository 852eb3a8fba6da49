"""The shipped recipes, written with `extends`, resolve to what they were when each was written out."""

import json
from pathlib import Path

import pytest

from mixgrpo.recipe.load import load_recipe, shipped_recipes

REFERENCE = json.loads((Path(__file__).parent / "reference" / "shipped.json").read_text())


def test_each_has_a_reference() -> None:
    assert [*REFERENCE] == shipped_recipes()


@pytest.mark.parametrize("name", shipped_recipes())
def test_resolves_to_its_reference(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Except that files are absolute now."""
    monkeypatch.chdir(tmp_path)
    resolved = json.dumps(load_recipe(name).model_dump(mode="json"))
    assert json.loads(resolved.replace(f"{tmp_path}/", "")) == REFERENCE[name]
