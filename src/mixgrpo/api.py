"""The trainer in the shape known from TRL: a model, reward functions, arguments, datasets.

    trainer = MixGRPOTrainer(
        model="black-forest-labs/FLUX.1-dev",
        reward_funcs=[my_reward],
        args=MixGRPOConfig("runs/mine", iterations=100, rollout={"prompts": 4, "group_size": 12}),
        train_dataset=["a fox in the snow", "a red bicycle"],
        peft_config=LoraConfig(r=32, lora_alpha=64),
    )
    trainer.train()

`MixGRPOConfig` takes the sections of a YAML recipe as keyword arguments. The script runs alone or under torchrun.
"""

import atexit
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import DiffusionPipeline
from peft import LoraConfig as PeftLoraConfig

from mixgrpo.data.prompts import Dataset, Prompt, evaluation_sets, prompts_of
from mixgrpo.models.base import FlowModel
from mixgrpo.models.load import adapt, load_model
from mixgrpo.parallel import distributed
from mixgrpo.recipe.load import resolve
from mixgrpo.recipe.schema import Recipe
from mixgrpo.report.automatic import ReportWriter
from mixgrpo.rewards.calling import check_parameters
from mixgrpo.rewards.naming import Given, named, reference_to
from mixgrpo.rewards.registry import check_rewards
from mixgrpo.rewards.reward import Reward
from mixgrpo.runs.callbacks import Callback
from mixgrpo.runs.folder import RunFolder
from mixgrpo.runs.run import Run
from mixgrpo.training.policy import make_policy
from mixgrpo.training.trainer import Trainer


class MixGRPOConfig:
    """A recipe in keyword arguments, and the folder of the run."""

    def __init__(self, output_dir: str | Path = "runs/python", **sections: Any) -> None:
        self.output_dir = Path(output_dir)
        self.sections = {"description": "from Python", **sections}


class MixGRPOTrainer:
    def __init__(
        self,
        model: str | Path | DiffusionPipeline,
        reward_funcs: Given | Sequence[Given] | Mapping[str, Given],
        args: MixGRPOConfig | None = None,
        *,
        train_dataset: Dataset,
        eval_dataset: Dataset | Mapping[str, Dataset] | None = None,
        peft_config: PeftLoraConfig | None = None,
        callbacks: Sequence[Callback] = (),
    ) -> None:
        """A reward is a shipped name, `file.py:function` or any callable with parameters `images`, `prompts` and
        `**metadata`; several are a list, or a mapping of names of your own. Weights and options go into `args` by the
        reward's name, such as `rewards={"my_reward": 0.5}`; the default weight is 1. A dataset is a list of prompts or
        of rows, a `datasets.Dataset` or the path of a prompt file; evaluation sets may have names. A given pipeline is
        changed in place.
        """
        args = args or MixGRPOConfig()
        if not torch.distributed.is_initialized():
            distributed.start()
            atexit.register(distributed.stop)
        self.folder = RunFolder(args.output_dir)
        given = named(reward_funcs)
        train = prompts_of(train_dataset)
        evaluated_on = train if eval_dataset is None else _evaluation_prompts(eval_dataset)
        self.recipe = _recipe(args, model, given, peft_config, self.folder)
        settings = self.recipe.model
        rewards = _rewards(given, self.recipe)
        flow_model: FlowModel = (
            adapt(model, settings.height, settings.width, settings.guidance_scale, settings.max_sequence_length)
            if isinstance(model, DiffusionPipeline)
            else load_model(settings)
        )
        self._prompts = {"train": train, "evaluation": evaluated_on}
        self._adapter = peft_config
        policy = make_policy(flow_model, self.recipe, peft_config, device=distributed.device())
        watching = [*callbacks, ReportWriter()]
        self._run = Run(Trainer(self.recipe, policy, rewards, train), evaluated_on, self.folder, watching)

    @property
    def model(self) -> DiffusionPipeline:
        """The pipeline that is trained."""
        return self._run.trainer.model.pipeline

    @property
    def iteration(self) -> int:
        """Iterations done."""
        return self._run.trainer.iteration

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """One mapping per iteration, as in metrics.jsonl."""
        return self.folder.lines()[0]

    def train(self, resume: bool = False) -> None:
        """Train from the start, or continue from the folder's newest checkpoint; also where torchrun started the
        script again after a failure.
        """
        if resume or (distributed.restarted() and self.folder.begun()):
            if not self.folder.recipe.is_file():
                raise FileNotFoundError(f"{self.folder.path} holds no run to resume: call train() without resume")
            self._run.run()
        else:
            with self.folder.new_run(self.recipe):
                for name, prompts in self._prompts.items():
                    self.folder.write_prompts(name, prompts)
                if self._adapter is not None:
                    self.folder.write_adapter(self._adapter)
                self._run.run()
        distributed.gather(None)  # all processes finish together: the first one to leave would end the others' group

    def stop(self) -> None:
        """Save and end after the current iteration. For callbacks and other threads."""
        self._run.stop()

    def evaluate(self) -> dict[str, dict[str, float]]:
        """Mean rewards on the evaluation prompts, by reward and kind, of the model as it is now."""
        return self._run.evaluate()

    def export(self, path: str | Path) -> list[Path]:
        """Write the model as it is now for diffusers. Returns the folders that were written."""
        return self._run.export(RunFolder(Path(path)))


def _recipe(
    args: MixGRPOConfig,
    model: str | Path | DiffusionPipeline,
    given: Mapping[str, Given],
    peft_config: PeftLoraConfig | None,
    folder: RunFolder,
) -> Recipe:
    sections = dict(args.sections)
    sections["model"] = {**sections.get("model", {}), **_model_section(model, sections.get("model", {}))}
    weights = sections.get("rewards", {})
    unknown = weights.keys() - given.keys()
    if unknown:
        raise ValueError(f"rewards {', '.join(sorted(unknown))}: has a weight, but is not among reward_funcs")
    sections["rewards"] = {
        name: {**_as_mapping(weights.get(name, 1.0)), **_source(name, reward)} for name, reward in given.items()
    }
    sections["prompts"] = {name: str((folder.path / f"{name}.jsonl").resolve()) for name in ("train", "evaluation")}
    if peft_config is not None:
        sections["tune"] = "lora"
        sections["lora"] = {"rank": peft_config.r, "alpha": peft_config.lora_alpha}
    return resolve(sections)


def _model_section(model: str | Path | DiffusionPipeline, given: Mapping[str, Any]) -> dict[str, Any]:
    if not isinstance(model, DiffusionPipeline):
        return {"path": str(model)}
    dtype = str(model.transformer.dtype).removeprefix("torch.")
    if given.get("dtype", dtype) != dtype:
        raise ValueError(f"model.dtype = {given['dtype']!r}: the given pipeline is {dtype}; load it in the other dtype")
    return {"path": str(model.config.get("_name_or_path") or "given as a Python object"), "dtype": dtype}


def _source(name: str, reward: Given) -> dict[str, str]:
    """Where the recipe finds the reward again, if not under its own name."""
    reference = reference_to(reward)
    return {} if reference == name else {"reward": reference}


def _as_mapping(weight: Any) -> dict[str, Any]:
    return dict(weight) if isinstance(weight, Mapping) else {"weight": weight}


def _rewards(given: Mapping[str, Given], recipe: Recipe) -> dict[str, Reward]:
    by_name = {name: recipe.rewards[name] for name, reward in given.items() if isinstance(reward, str)}
    found = check_rewards(by_name)
    for name, reward in given.items():
        if not isinstance(reward, str):
            check_parameters(reward)
            found[name] = reward
    return {name: found[name] for name in given}


def _evaluation_prompts(dataset: Dataset | Mapping[str, Dataset]) -> list[Prompt]:
    """Several named sets are one, with the name as the kind of prompts that have none."""
    if not isinstance(dataset, Mapping):
        return prompts_of(dataset)
    sets = evaluation_sets(dataset)
    return [Prompt(prompt.text, {"kind": name, **prompt.metadata}) for name, rows in sets.items() for prompt in rows]
