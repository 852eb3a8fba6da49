import functools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import FluxPipeline
from peft import LoraConfig
from safetensors.torch import load_file

from mixgrpo import Callback, MixGRPOConfig, MixGRPOTrainer, tiny
from mixgrpo.models.common import JOINT_ATTENTION
from mixgrpo.rewards.naming import named
from mixgrpo.runs.folder import RunFolder
from runs import brightness

SECTIONS: dict[str, Any] = {
    "iterations": 2,
    "model": {"dtype": "float32", "height": 64, "width": 64, "max_sequence_length": 16},
    "grid": {"steps": 6},
    "window": {"size": 2},
    "rollout": {"prompts": 2, "group_size": 4},
    "evaluation": {"prompts": 4, "steps": 4},
}
PROMPTS = ["a star", "a red circle", "two squares"]


def config(folder: Path, **sections: Any) -> MixGRPOConfig:
    return MixGRPOConfig(folder, **{**SECTIONS, **sections})


def test_a_pipeline_a_function_and_an_adapter_train(tmp_path: Path) -> None:
    trainer = MixGRPOTrainer(
        FluxPipeline.from_pretrained(tiny.path()),
        ["scenes", brightness],
        config(tmp_path / "run", rewards={"scenes": 0.5}),
        train_dataset=PROMPTS,
        peft_config=LoraConfig(r=8, lora_alpha=16, target_modules=["to_q", "to_v"], use_rslora=True),
    )
    assert trainer.recipe.weights == {"scenes": 0.5, "brightness": 1.0}
    trainer.train()
    assert [line["iteration"] for line in trainer.metrics] == [0, 1]
    assert trainer.iteration == 2
    adapters = load_file(trainer.folder.lora / "pytorch_lora_weights.safetensors")
    assert {name.split(".")[-3] for name in adapters} == {"to_q", "to_v"}
    assert any(tensor.abs().max() > 0 for name, tensor in adapters.items() if "lora_B" in name)
    restored = RunFolder(tmp_path / "run").adapter()
    assert restored is not None
    assert (restored.use_rslora, set(restored.target_modules or ())) == (True, {"to_q", "to_v"})


def test_a_weight_without_its_reward_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="rewards sharpness: has a weight, but is not among reward_funcs"):
        MixGRPOTrainer("tiny", brightness, config(tmp_path / "run", rewards={"sharpness": 1.0}), train_dataset=PROMPTS)


def test_an_adapter_without_targets_gets_the_models(tmp_path: Path) -> None:
    trainer = MixGRPOTrainer(
        "tiny", "scenes", config(tmp_path / "run"), train_dataset=PROMPTS, peft_config=LoraConfig(r=4)
    )
    trained = trainer._run.trainer.policy.weights.parameters
    assert {name.rpartition(".lora_")[0].rpartition("attn.")[2] for name in trained} == {*JOINT_ATTENTION}


class RedLover:
    def __call__(self, images: list[Any], prompts: list[str], **metadata: Any) -> list[float]:
        return [0.0] * len(images)


def test_every_callable_has_a_name() -> None:
    rewards = named([brightness, RedLover(), functools.partial(json.dumps), lambda images, prompts: [], "ocr"])
    assert [*rewards] == ["brightness", "red_lover", "dumps", "<lambda>".strip("<>"), "ocr"]
    assert [*named(brightness)] == ["brightness"]
    assert [*named({"mine": brightness, "other": brightness})] == ["mine", "other"]
    with pytest.raises(ValueError, match="are both called brightness; give names of your own"):
        named([brightness, brightness])


class Recorder(Callback):
    def __init__(self) -> None:
        self.seen: list[str] = []

    def on_start(self, run: Any) -> None:
        self.seen.append("start")

    def on_iteration_end(self, run: Any, metrics: dict[str, Any]) -> None:
        self.seen.append(f"iteration {metrics['iteration']}")
        if metrics["iteration"] == 0:
            run.stop()

    def on_evaluation(self, run: Any, iteration: int, rewards: dict[str, Any]) -> None:
        self.seen.append(f"evaluation {iteration}")
        assert "overall" in rewards["brightness"]

    def on_save(self, run: Any, checkpoint: Path) -> None:
        self.seen.append(f"save {checkpoint.name}")

    def on_stop_requested(self, run: Any) -> None:
        self.seen.append("stop")


def test_callbacks_see_a_run_and_may_stop_it_and_python_goes_on(tmp_path: Path) -> None:
    recorder = Recorder()

    def make() -> MixGRPOTrainer:
        return MixGRPOTrainer(
            "tiny",
            brightness,
            config(tmp_path / "run", iterations=3),
            train_dataset=PROMPTS,
            eval_dataset={"easy": ["a star"], "hard": [{"prompt": "two squares", "kind": "counting"}]},
            callbacks=[recorder],
        )

    make().train()
    assert recorder.seen == ["start", "save 000000", "iteration 0", "stop", "save 000001"]
    trainer = make()
    trainer.train(resume=True)
    assert trainer.iteration == 3
    assert [line["iteration"] for line in trainer.metrics] == [0, 1, 2]
    assert recorder.seen[-2:] == ["evaluation 0", "evaluation 3"]
    assert {*trainer.evaluate()["brightness"]} == {"easy", "counting", "overall"}
    (network,) = trainer.export(tmp_path / "exported")
    assert (network / "config.json").is_file()


def test_the_prompts_are_kept_with_the_run_and_the_reward_is_found_or_asked_for(tmp_path: Path) -> None:
    rewards = {"bright": brightness, "none": lambda images, prompts, **metadata: [0.0] * len(images)}
    trainer = MixGRPOTrainer("tiny", rewards, config(tmp_path / "run", iterations=1), train_dataset=PROMPTS)
    trainer.train()
    rows = [json.loads(line) for line in (tmp_path / "run" / "train.jsonl").read_text().splitlines()]
    assert [row["prompt"] for row in rows] == PROMPTS
    recipe = RunFolder(tmp_path / "run").load_recipe()
    assert recipe.prompts.train == str(tmp_path / "run" / "train.jsonl")
    assert recipe.rewards["bright"].reward == f"{Path(brightness.__code__.co_filename)}:brightness"
    support = {"PYTHONPATH": f"{Path(brightness.__code__.co_filename).parent}:{os.environ.get('PYTHONPATH', '')}"}
    evaluate = [sys.executable, "-m", "mixgrpo", "eval", str(tmp_path / "run")]
    done = subprocess.run(evaluate, capture_output=True, text=True, env={**os.environ, **support})
    assert done.stderr.strip() == (
        "rewards.none was given as a Python object: continue this run in Python, with "
        "MixGRPOTrainer(...).train(resume=True)"
    )


def test_a_pipeline_of_another_dtype_is_refused_in_words(tmp_path: Path) -> None:
    pipeline = FluxPipeline.from_pretrained(tiny.path(), dtype=torch.bfloat16)
    with pytest.raises(ValueError, match=r"model\.dtype = 'float32': the given pipeline is bfloat16"):
        MixGRPOTrainer(pipeline, brightness, config(tmp_path / "run"), train_dataset=PROMPTS)


def test_resuming_what_never_began_is_refused(tmp_path: Path) -> None:
    trainer = MixGRPOTrainer("tiny", brightness, config(tmp_path / "run"), train_dataset=PROMPTS)
    with pytest.raises(FileNotFoundError, match="holds no run to resume"):
        trainer.train(resume=True)


SCRIPT = """
from mixgrpo import MixGRPOConfig, MixGRPOTrainer
from runs import brightness
from test_api import PROMPTS, config

trainer = MixGRPOTrainer("tiny", brightness, config({folder!r}), train_dataset=PROMPTS)
trainer.train()
print("done " + str(trainer.iteration))  # at once: the lines of two processes may mix
"""


def test_a_script_under_torchrun_is_one_run(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(folder=str(tmp_path / "run")))
    tests = Path(__file__).parent
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", script],
        capture_output=True,
        text=True,
        env={
            **os.environ,
            "PYTHONPATH": f"{tests}:{tests / 'support'}:{os.environ.get('PYTHONPATH', '')}",
            "CUDA_VISIBLE_DEVICES": "",  # of which there may be one
        },
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("done 2") == 2
    assert done.stdout.count("   2/2") == 1
    assert len(RunFolder(tmp_path / "run").lines()[0]) == 2
