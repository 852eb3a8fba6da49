"""The recipes that the public implementations publish come out as the shipped ones, in everything that they decide."""

from pathlib import Path
from typing import Any

import pytest

from mixgrpo.convert.conversion import Source, convert
from mixgrpo.recipe.load import load_recipe, resolve

PUBLISHED = Path(__file__).parent / "published"

ELSEWHERE = {
    "description": "names the source",
    "seed": "ours has the default; noise differs anyway",
    "model.path": "a folder there, the hub's name here",
    "save.every": "how often a checkpoint is written changes no result",
    "prompts.train": "prompts are embeddings or parquet there",
    "prompts.evaluation": "prompts are embeddings or parquet there",
    "update.gradient_checkpointing": "ours leaves memory to `mixgrpo plan --fit`",
}


def flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(value, dict):
        return {prefix.removesuffix("."): value}
    return {key: each for name, item in value.items() for key, each in flat(item, f"{prefix}{name}.").items()}


def differences(file: str, source: Source, shipped: str, function: str | None = None) -> set[str]:
    """Of what the source decides."""
    written = convert((PUBLISHED / file).read_text(), source, function).recipe
    rewards = {name: {"weight": each} if isinstance(each, float) else each for name, each in written["rewards"].items()}
    decided = flat({**written, "rewards": rewards})
    resolved = flat(resolve(written).model_dump(mode="json"))
    ours = flat(load_recipe(shipped).model_dump(mode="json"))
    assert decided.keys() <= resolved.keys()
    different = {key for key in decided if resolved[key] != ours.get(key, "(none)")}
    return different | ({"rewards"} if written["rewards"].keys() != load_recipe(shipped).rewards.keys() else set())


@pytest.mark.parametrize("variant", ["", "-flash", "-flash-frozen"])
def test_mixgrpo(variant: str) -> None:
    assert differences(f"mixgrpo{variant}.sh", "mixgrpo", f"flux-dev-hpdv2{variant}") == ELSEWHERE.keys()


def test_dancegrpo_but_for_the_batch_of_the_papers_comparison() -> None:
    """The shipped recipe has MixGRPO's prompts, steps and rewards, so that the two can be compared."""
    compared = {"grid.steps", "rollout.prompts", "update.minibatches", "rewards"}
    found = differences("dancegrpo.sh", "dancegrpo", "flux-dev-dancegrpo")
    assert found == ELSEWHERE.keys() | compared


def test_verl_omni() -> None:
    settings = {
        "description": "names the source",
        "rollout.micro_batch": "bounds the memory, changes no result",
        "model.max_sequence_length": "ours has the stock pipeline's",
        "evaluation.every": "ours evaluates at the end",
        "save.every": "how often a checkpoint is written changes no result",
        "trackers": "ours has none",
        "prompts.train": "parquet there",
        "prompts.evaluation": "parquet there",
    }
    assert differences("verl-omni.sh", "verl-omni", "qwen-image-ocr-lora") == settings.keys()


def test_flow_grpo() -> None:
    settings = {
        "description": "names the source",
        "algorithm": "the shipped recipe has the paper's window in Flow-GRPO's setup",
        "iterations": "there training goes on until somebody stops it",
        "window.strategy": "as for the algorithm",
        "window.size": "as for the algorithm",
        "model.dtype": "float16 there",
        "rollout.shared_noise": "as in MixGRPO",
        "advantage.spread": "as in MixGRPO",
        "seed": "ours has the default; noise differs anyway",
        "save.every": "how often a checkpoint is written changes no result",
        "evaluation.every": "ours evaluates at the end",
        "prompts.train": "the form of the file is another",
        "prompts.evaluation": "the form of the file is another",
    }
    found = differences("flow_grpo.py.txt", "flow-grpo", "sd35-medium-geneval", "geneval_sd3")
    assert found == settings.keys()


def test_flow_grpo_fast_has_no_shipped_recipe() -> None:
    recipe = resolve(convert((PUBLISHED / "flow_grpo.py.txt").read_text(), None, "pickscore_sd3_fast_nocfg").recipe)
    assert (recipe.sde.type, recipe.sde.noise_level) == ("cps", 0.8)
    assert (recipe.window.strategy, recipe.window.size, recipe.window.range) == ("random", 3, (0, 5))
    assert (recipe.rollout.prompts, recipe.rollout.group_size, recipe.update.minibatches) == (64, 18, 2)
    assert recipe.objective.clip == 1e-5
    assert recipe.weights == {"pickscore": 1.0}
