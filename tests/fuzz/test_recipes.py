"""Whatever stands in a recipe is a recipe, or is refused in sentences that name the key or the file."""

import io
from pathlib import Path
from typing import Any

from drawing import KEYS, answered_soon, check_sentences, fuzzed, recipes, values
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from mixgrpo.recipe.load import SHIPPED, RecipeError, load_recipe, resolve, shipped_recipes
from mixgrpo.recipe.plan_view import plan_as_json
from mixgrpo.recipe.schema import Recipe

_NAMED = [key.partition(".")[0] for key in KEYS]


@fuzzed
@given(recipes())
def test_a_recipe_from_python(data: dict[str, Any]) -> None:
    with answered_soon():
        try:
            recipe = resolve(data)
        except RecipeError as error:
            check_sentences(error, *_NAMED, "unknown key", "the recipe")
            return
        plan_as_json(recipe, 0)
    assert resolve(recipe.model_dump(mode="json")) == recipe


@fuzzed
@given(recipes())
def test_a_recipe_in_a_file(tmp_path: Path, data: dict[str, Any]) -> None:
    file = io.StringIO()
    try:
        YAML(typ="safe", pure=True).dump(data, file)
    except (YAMLError, ValueError):  # not every value can be written
        return
    _load(tmp_path, file.getvalue().encode("utf-8", "surrogatepass"))


@fuzzed
@given(st.data(), st.sampled_from(shipped_recipes()))
def test_a_shipped_recipe_with_changed_characters(tmp_path: Path, data: st.DataObject, name: str) -> None:
    content = bytearray((SHIPPED / f"{name}.yaml").read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(content) - 1))
        piece = data.draw(
            st.binary(max_size=3) | st.sampled_from([b"[", b"{", b"&a ", b"*a", b"!!int ", b"\n", b"- ", b": "])
        )
        content[place : place + data.draw(st.integers(0, 5))] = piece
    _load(tmp_path, bytes(content))


@fuzzed
@given(
    st.binary(max_size=300)
    | st.text(max_size=200).map(str.encode)
    | values.map(lambda value: repr(value).encode("utf-8", "replace"))
)
def test_a_file_of_anything(tmp_path: Path, content: bytes) -> None:
    _load(tmp_path, content)


def _load(folder: Path, content: bytes) -> Recipe | None:
    path = folder / "mine.yaml"
    path.write_bytes(content)
    with answered_soon():
        try:
            recipe = load_recipe(str(path))
        except RecipeError as error:
            check_sentences(error, *_NAMED, "mine.yaml", "unknown key", "no recipe")
            return None
        plan_as_json(recipe, 0)
    return recipe
