"""yifan123/flow_grpo: a configuration of `config/*.py`, as Python or JSON."""

from typing import Any

from .errors import ConvertError
from .ledger import Ledger, Rule, renamed
from .python_config import Computed

DEFAULTS: dict[str, Any] = {
    "seed": 42,
    "use_lora": True,
    "resolution": 768,
    "mixed_precision": "fp16",
    "sample.num_steps": 40,
    "sample.eval_num_steps": 40,
    "sample.guidance_scale": 4.5,
    "sample.noise_level": 0.7,
    "sample.global_std": True,
    "sample.same_latent": False,
    "sample.train_batch_size": 1,
    "sample.num_image_per_prompt": 1,
    "sample.num_batches_per_epoch": 2,
    "train.learning_rate": 3e-4,
    "train.adam_weight_decay": 1e-4,
    "train.gradient_accumulation_steps": 1,
    "train.max_grad_norm": 1.0,
    "train.num_inner_epochs": 1,
    "train.clip_range": 1e-4,
    "train.adv_clip_max": 5,
    "train.timestep_fraction": 1.0,
    "train.beta": 0.0,
    "train.ema": False,
    "save_freq": 20,
    "eval_freq": 20,
}
"""Of `config/base.py`, as far as absence changes the result there."""

_DTYPES = {"fp16": "float16", "bf16": "bfloat16", "no": "float32"}
_FOLDER = "the folder that --out names"
_UNUSED = "left over from another trainer: not read there"

RULES: dict[str, Rule] = {
    "pretrained.model": Rule("model.path"),
    "pretrained.revision": Rule(None, "the newest, or a folder"),
    "mixed_precision": Rule("model.dtype", "other names for the same", lambda value: renamed(_DTYPES, value)),
    "seed": Rule("seed", "the same seed draws other noise"),
    "sample.num_steps": Rule("grid.steps"),
    "sample.eval_num_steps": Rule("evaluation.steps"),
    "sample.guidance_scale": Rule("model.guidance_scale"),
    "sample.eval_guidance_scale": Rule(None, "evaluations have model.guidance_scale"),
    "sample.noise_level": Rule("sde.noise_level"),
    "sample.num_image_per_prompt": Rule("rollout.group_size"),
    "sample.same_latent": Rule("rollout.shared_noise"),
    "sample.global_std": Rule(
        "advantage.spread", "what a reward's distance is divided by", lambda value: "batch" if value else "group"
    ),
    "sample.test_batch_size": Rule(None, "rollout.micro_batch bounds every model call"),
    "sample.batch_size": Rule(None, _UNUSED),
    "sample.train_num_steps": Rule(None, "of train_*_fast scripts: their window follows from sde_window_size here"),
    "sample.mini_num_image_per_prompt": Rule(None, "a group is never drawn in parts"),
    "sample.sample_time_per_prompt": Rule(None, "a group is never drawn in parts"),
    "sample.kl_reward": Rule(None, "here KL is a term of the loss alone: objective.kl_weight"),
    "train.batch_size": Rule(None, "rollout.micro_batch bounds every model call"),
    "train.learning_rate": Rule("update.learning_rate"),
    "train.adam_weight_decay": Rule("update.weight_decay"),
    "train.adam_epsilon": Rule(None, "1e-8, as there by default"),
    "train.use_8bit_adam": Rule(None, "here AdamW keeps full precision"),
    "train.max_grad_norm": Rule("update.max_grad_norm"),
    "train.num_inner_epochs": Rule("update.passes"),
    "train.clip_range": Rule("objective.clip_range"),
    "train.clip_range_lt": Rule(None, "one clip_range for both sides"),
    "train.clip_range_gt": Rule(None, "one clip_range for both sides"),
    "train.adv_clip_max": Rule("advantage.clip"),
    "train.beta": Rule("objective.kl_weight"),
    "train.cfg": Rule(None, "the update has the rollout's guidance, always"),
    "train.timestep_shift": Rule(None, "of Bagel"),
    "train.lora_path": Rule(None, "here adapters begin anew"),
    "train.sft": Rule(None, "no supervised loss here"),
    "train.sft_batch_size": Rule(None, "no supervised loss here"),
    "diffusion_loss": Rule(None, "no supervised loss here"),
    "activation_checkpointing": Rule("update.gradient_checkpointing"),
    "fsdp_optimizer_offload": Rule(None, "parallel.offload is the last resort; `mixgrpo plan --gpus N --fit` says if"),
    "save_freq": Rule("save.every"),
    "eval_freq": Rule("evaluation.every"),
    "num_checkpoint_limit": Rule("save.keep"),
    "num_epochs": Rule("iterations", "an epoch there is an iteration here"),
    "height": Rule("model.height"),
    "width": Rule("model.width"),
    "frames": Rule(None, "of videos: here images alone are drawn"),
    "run_name": Rule(None, _FOLDER),
    "save_dir": Rule(None, _FOLDER),
    "logdir": Rule(None, _FOLDER),
    "resume_from": Rule(None, "`mixgrpo resume RUN`"),
    "debug": Rule(None, _UNUSED),
    "allow_tf32": Rule(None, "rounding of float32 products, which PyTorch decides"),
    "prompt_fn": Rule(None, "how that trainer reads its data set"),
    "prompt_fn_kwargs": Rule(None, "how that trainer reads its data set"),
    "per_prompt_stat_tracking": Rule(None, "advantages are always relative to the group"),
}

REWARDS = {
    "pickscore": "pickscore",
    "clipscore": "clipscore",
    "imagereward": "imagereward",
    "aesthetic": "aesthetic",
    "jpeg_compressibility": "jpeg-compressibility",
    "jpeg_incompressibility": "jpeg-incompressibility",
    "ocr": "ocr",
    "geneval": "geneval",
    "unifiedreward": "unifiedreward",
}

_EMA_DECAY = 0.9
_LORA = {"stable-diffusion-3": (32, 64)}
_OTHER_LORA = (64, 128)
"""Rank and alpha, which are written into the trainer of each model."""


def convert(ledger: Ledger, gpus: int | None) -> None:
    ledger.apply(RULES)
    side = ledger.get("resolution")
    if "height" in ledger:
        ledger.left("resolution", "height and width are given")
    ledger.took("resolution", {"model.height": side, "model.width": side})
    lora = bool(ledger.get("use_lora"))
    ledger.took("use_lora", {"tune": "lora" if lora else "full"})
    if lora:
        path = str(ledger.get("pretrained.model", ""))
        rank, alpha = next((sizes for name, sizes in _LORA.items() if name in path), _OTHER_LORA)
        ledger.set("lora.rank", rank)
        ledger.set("lora.alpha", alpha)
    betas = [ledger.get("train.adam_beta1", 0.9), ledger.get("train.adam_beta2", 0.999)]
    for key in ("train.adam_beta1", "train.adam_beta2"):
        ledger.took(key, {"update.betas": betas})
    _average(ledger)
    _window(ledger)
    _batch(ledger, gpus)
    _rewards(ledger)
    ledger.left("dataset", "a folder in that trainer's form; here the file of prompts is named")
    ledger.needs("prompts.train", "prompts.txt", "dataset/NAME/train.txt or train_metadata.jsonl there")
    ledger.needs("prompts.evaluation", "prompts-test.txt", "dataset/NAME/test.txt or test_metadata.jsonl there")


def _average(ledger: Ledger) -> None:
    if ledger.get("train.ema"):
        ledger.changed("train.ema", {"update.ema_decay": _EMA_DECAY}, "the decay written into the trainer's code")
    else:
        ledger.took("train.ema", {}, "none")


def _window(ledger: Ledger) -> None:
    kinds = {"sde": "flow", "cps": "cps"}
    kind = ledger.get("sample.sde_type", "sde")
    ledger.changed("sample.sde_type", {"sde.type": renamed(kinds, kind)}, "other names for the same")
    ledger.set("sde.type", renamed(kinds, kind))
    size, span = ledger.get("sample.sde_window_size", 0), ledger.get("sample.sde_window_range", None)
    if size:
        ledger.set("algorithm", "flowgrpo-fast")
        ours: dict[str, Any] = {"window.strategy": "random", "window.size": size}
        ledger.took("sample.sde_window_size", ours, "drawn once an iteration here, for each batch there")
        if span is not None:
            ledger.took("sample.sde_window_range", {"window.range": span})
    else:
        ledger.set("algorithm", "flowgrpo")
        ledger.set("window.strategy", "frozen")
        ledger.set("window.size", None)
        ledger.left("sample.sde_window_size", "0: every step is stochastic")
        ledger.left("sample.sde_window_range", "is not read without sde_window_size")
    steps, fraction = ledger.number("sample.num_steps"), ledger.number("train.timestep_fraction")
    if int(steps * fraction) >= steps - 1 or size:
        ledger.changed("train.timestep_fraction", {"window.trained_fraction": 1.0}, "the last step never trains here")
    else:
        ledger.took("train.timestep_fraction", {"window.trained_fraction": fraction})


def _batch(ledger: Ledger, gpus: int | None) -> None:
    each, batches = ledger.number("sample.train_batch_size"), ledger.number("sample.num_batches_per_epoch")
    group, accumulated = ledger.number("sample.num_image_per_prompt"), "train.gradient_accumulation_steps"
    counted = ("sample.train_batch_size", "sample.num_batches_per_epoch")
    processes = gpus or (ledger.number("gpu_number") if "gpu_number" in ledger else None)
    if gpus is not None:
        ledger.left("gpu_number", f"--gpus {gpus} was given")
    if processes is None:
        ledger.needs("rollout.prompts", 1, "the number of GPUs is not in the file: give --gpus N")
        for key in counted:
            ledger.left(key, "without the number of GPUs it says nothing about rollout.prompts")
    else:
        prompts = max(1, round(processes * each * batches / group))
        for key in ("gpu_number", *counted):
            ledger.changed(key, {"rollout.prompts": prompts}, "GPUs x batches x images of a batch / images of a group")
        ledger.set("rollout.prompts", prompts)
    updates = max(1, round(batches / ledger.number(accumulated)))
    ledger.changed(accumulated, {"update.minibatches": updates}, "batches an update there; updates an iteration here")


def _rewards(ledger: Ledger) -> None:
    given = ledger.get("reward_fn", None) if "reward_fn" in ledger else {}
    if isinstance(given, Computed) or not isinstance(given, dict):
        raise ConvertError(f"reward_fn = {given!r}: must map names of rewards to weights")
    known = {REWARDS[name]: weight for name, weight in given.items() if name in REWARDS}
    unknown = [name for name in given if name not in REWARDS]
    entries: dict[str, Any] = {f"rewards.{name}": weight for name, weight in known.items()}
    if "geneval" in known:
        entries["rewards.geneval"] = {"weight": known["geneval"], "detector": "detector.py:detect"}
        ledger.missing["rewards.geneval.detector"] = (
            "your detector: a function (image) -> [(label, box, score, colour)]"
        )
    if unknown or not entries:
        entries["rewards.reward.py:score"] = 1.0
        what = ", ".join(unknown) or "none is given there"
        ledger.missing["rewards.reward.py:score"] = f"your own reward, for {what}: (images, prompts) -> scores"
    for path, entry in entries.items():
        ledger.set(path, entry)
    if len(entries) > 1:  # the weighted sum is compared there, not each reward
        ledger.set("advantage.aggregation", "reward")
    if unknown:
        ledger.changed("reward_fn", entries, f"no {', '.join(unknown)} here")
    else:
        ledger.took("reward_fn", entries)
