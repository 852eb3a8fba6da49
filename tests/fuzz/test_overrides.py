"""Whatever is typed after a recipe's name changes it, or is refused in sentences that name the key. The order in which
different keys are typed does not matter.
"""

import json
from typing import Any

from drawing import KEYS, answered_soon, check_sentences, fuzzed, text, values, words
from hypothesis import given
from hypothesis import strategies as st

from mixgrpo.recipe.load import RecipeError, load_recipe, shipped_recipes
from mixgrpo.recipe.plan_view import plan_as_json
from mixgrpo.recipe.schema import Recipe
from mixgrpo.section import readable

_values = values.map(lambda value: json.dumps(value, ensure_ascii=False)) | words | text
_overrides = st.tuples(st.sampled_from(KEYS) | words | text, _values).map("=".join) | text


@fuzzed
@given(st.sampled_from(shipped_recipes()), st.lists(_overrides, min_size=1, max_size=4))
def test_overrides(name: str, overrides: list[str]) -> None:
    with answered_soon():
        answer = _answer(name, overrides)
    if not isinstance(answer, Recipe):
        keys = (readable(override.partition("=")[0])[:50] for override in overrides)
        check_sentences(answer, *(key.partition(".")[0] for key in KEYS), *keys, "is not an override", "unknown key")


@fuzzed
@given(
    st.sampled_from(shipped_recipes()),
    st.lists(_overrides, unique_by=lambda o: o.partition("=")[0], max_size=4),
    st.randoms(),
)
def test_their_order_does_not_matter(name: str, overrides: list[str], order: Any) -> None:
    shuffled = [*overrides]
    order.shuffle(shuffled)
    first, second = _answer(name, overrides), _answer(name, shuffled)
    assert isinstance(first, Recipe) == isinstance(second, Recipe)
    if isinstance(first, Recipe):
        assert first == second


def _answer(name: str, overrides: list[str]) -> Recipe | RecipeError:
    try:
        recipe = load_recipe(name, overrides)
    except RecipeError as error:
        return error
    plan_as_json(recipe, 0)
    return recipe
