from pathlib import Path

import pytest
from diffusers import FluxPipeline
from peft import LoraConfig
from safetensors.torch import load_file

from mixgrpo import tiny
from mixgrpo.api import MixGRPOConfig, MixGRPOTrainer
from mixgrpo.models.common import JOINT_ATTENTION
from runs import brightness

SECTIONS = {
    "iterations": 2,
    "model": {"dtype": "float32", "height": 64, "width": 64, "max_sequence_length": 16},
    "grid": {"steps": 6},
    "window": {"size": 2},
    "rollout": {"prompts": 2, "group_size": 4},
    "evaluation": {"prompts": 4, "steps": 4},
}
PROMPTS = ["a star", "a red circle", "two squares"]


def test_a_pipeline_a_function_and_an_adapter_train(tmp_path: Path) -> None:
    trainer = MixGRPOTrainer(
        model=FluxPipeline.from_pretrained(tiny.path()),
        reward_funcs=["scenes", brightness],
        args=MixGRPOConfig(tmp_path / "run", **SECTIONS, rewards={"scenes": 0.5}),
        train_dataset=PROMPTS,
        peft_config=LoraConfig(r=8, lora_alpha=16, target_modules=["to_q", "to_v"]),
    )
    assert trainer.recipe.weights == {"scenes": 0.5, "brightness": 1.0}
    trainer.train()
    assert [line["iteration"] for line in trainer.folder.lines()[0]] == [0, 1]
    adapters = load_file(trainer.folder.lora / "pytorch_lora_weights.safetensors")
    assert {name.split(".")[-3] for name in adapters} == {"to_q", "to_v"}
    assert any(tensor.abs().max() > 0 for name, tensor in adapters.items() if "lora_B" in name)


def test_a_weight_without_its_reward_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="rewards sharpness: has a weight, but is not among reward_funcs"):
        MixGRPOTrainer(
            model="tiny",
            reward_funcs=[brightness],
            args=MixGRPOConfig(tmp_path / "run", **SECTIONS, rewards={"sharpness": 1.0}),
            train_dataset=PROMPTS,
        )


def test_an_adapter_without_targets_gets_the_models(tmp_path: Path) -> None:
    trainer = MixGRPOTrainer(
        model="tiny",
        reward_funcs=["scenes"],
        args=MixGRPOConfig(tmp_path / "run", **SECTIONS),
        train_dataset=PROMPTS,
        peft_config=LoraConfig(r=4),
    )
    trained = trainer._run.trainer.policy.weights.parameters
    assert {name.rpartition(".lora_")[0].rpartition("attn.")[2] for name in trained} == {*JOINT_ATTENTION}
