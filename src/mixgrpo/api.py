"""The trainer in the shape known from TRL: a model, reward functions, arguments, datasets.

    trainer = MixGRPOTrainer(
        model="black-forest-labs/FLUX.1-dev",
        reward_funcs=[my_reward],
        args=MixGRPOConfig(output_dir="runs/mine", iterations=100, rollout={"prompts": 4, "group_size": 12}),
        train_dataset=["a fox in the snow", "a red bicycle"],
        peft_config=LoraConfig(r=32, lora_alpha=64),
    )
    trainer.train()

`MixGRPOConfig` takes the sections of a YAML recipe as keyword arguments.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from diffusers import DiffusionPipeline
from peft import LoraConfig as PeftLoraConfig

from mixgrpo.data.prompts import Dataset, prompts_of
from mixgrpo.models.load import adapt, load_model
from mixgrpo.parallel import distributed
from mixgrpo.recipe.load import resolve
from mixgrpo.rewards.registry import find_reward
from mixgrpo.rewards.reward import Reward
from mixgrpo.runs.folder import RunFolder
from mixgrpo.runs.run import Run
from mixgrpo.training.policy import make_policy
from mixgrpo.training.trainer import Trainer


class MixGRPOConfig:
    """A recipe in keyword arguments, and the folder of the run."""

    def __init__(self, output_dir: str | Path, **sections: Any) -> None:
        self.output_dir = Path(output_dir)
        self.sections = {"description": "from Python", **sections}


class MixGRPOTrainer:
    def __init__(
        self,
        model: str | DiffusionPipeline,
        reward_funcs: Sequence[str | Reward],
        args: MixGRPOConfig,
        train_dataset: Dataset,
        eval_dataset: Dataset | None = None,
        peft_config: PeftLoraConfig | None = None,
    ) -> None:
        """A reward is a shipped name, `file.py:function`, or a callable `(images, prompts, **metadata) -> list[float]`.
        Weights and options go into `args` by the reward's name, such as `rewards={"my_reward": 0.5}`; the default is 1.
        """
        given = {reward if isinstance(reward, str) else reward.__name__: reward for reward in reward_funcs}
        sections = dict(args.sections)
        path = model if isinstance(model, str) else str(model.name_or_path or "given")
        sections["model"] = {**sections.get("model", {}), "path": path}
        sections["rewards"] = {**dict.fromkeys(given, 1.0), **sections.get("rewards", {})}
        if peft_config is not None:
            sections["tune"] = "lora"
            sections["lora"] = {"rank": peft_config.r, "alpha": peft_config.lora_alpha}
        self.recipe = resolve(sections)
        unknown = self.recipe.rewards.keys() - given.keys()
        if unknown:
            raise ValueError(f"rewards {', '.join(sorted(unknown))}: has a weight, but is not among reward_funcs")
        rewards = {
            name: find_reward(name, self.recipe.rewards[name]) if isinstance(reward, str) else reward
            for name, reward in given.items()
        }
        settings = self.recipe.model
        flow_model = (
            load_model(settings, distributed.device())
            if isinstance(model, str)
            else adapt(model, settings.height, settings.width, settings.guidance_scale, settings.max_sequence_length)
        )
        train = prompts_of(train_dataset)
        evaluated_on = train if eval_dataset is None else prompts_of(eval_dataset)
        self.folder = RunFolder(args.output_dir)
        policy = make_policy(flow_model, self.recipe, peft_config)
        self._run = Run(Trainer(self.recipe, policy, rewards, train), evaluated_on, self.folder)

    def train(self, resume: bool = False) -> None:
        """Train from the start, or continue from the folder's last checkpoint."""
        if not resume:
            self.folder.create(self.recipe)
        self._run.run()
