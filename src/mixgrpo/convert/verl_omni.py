"""verl-project/verl-omni: Hydra overrides of its diffusion trainer."""

from typing import Any

from mixgrpo.recipe.verl import VERL_NAMES, from_verl

from .ledger import Ledger, Rule, renamed

_A = "actor_rollout_ref."
_ALGO = f"{_A}rollout.algo."
_PIPELINE = f"{_A}rollout.pipeline."

DEFAULTS: dict[str, Any] = {
    f"{_ALGO}noise_level": 1.0,
    f"{_ALGO}sde_type": "sde",
    f"{_ALGO}sde_window_size": None,
    f"{_ALGO}sample_strategy": "random",
    f"{_PIPELINE}num_inference_steps": 10,
    f"{_PIPELINE}height": 512,
    f"{_PIPELINE}width": 512,
    f"{_A}rollout.n": 1,
    f"{_A}actor.optim.lr": 1e-6,
    f"{_A}actor.optim.weight_decay": 0.01,
    f"{_A}actor.diffusion_loss.clip_ratio": 1e-4,
    f"{_A}actor.diffusion_loss.adv_clip_max": 5.0,
    f"{_A}rollout.val_kwargs.pipeline.num_inference_steps": 50,
}
"""Of keys whose absence changes the result there."""

_NEVER = 10_000_000
_ENGINE = "of verl-omni's engines; here one model in one process draws and learns"
_PARQUET = "parquet with the trainer's own columns; here .txt, .jsonl and .csv are read"

RULES: dict[str, Rule] = {
    f"{_A}model.path": Rule("model.path"),
    f"{_A}model.lora_rank": Rule("lora.rank"),
    f"{_A}model.lora_alpha": Rule("lora.alpha"),
    f"{_A}model.target_modules": Rule(None, "adapters go to the attention projections"),
    f"{_A}actor.fsdp_config.model_dtype": Rule("model.dtype"),
    f"{_A}actor.fsdp_config.param_offload": Rule(
        None, "weights there wait in the machine's memory while the engine draws; here one model does both"
    ),
    f"{_A}actor.fsdp_config.optimizer_offload": Rule(
        None, "as for param_offload; parallel.offload keeps shares in the machine's memory all the time"
    ),
    f"{_A}actor.optim.lr": Rule("update.learning_rate"),
    f"{_A}actor.optim.weight_decay": Rule("update.weight_decay"),
    f"{_A}actor.optim.lr_warmup_steps": Rule(
        "update.warmup_iterations", "-1: none", lambda value: max(0, value) if isinstance(value, int) else value
    ),
    f"{_A}actor.ppo_epochs": Rule("update.passes"),
    f"{_A}actor.ppo_micro_batch_size_per_gpu": Rule("rollout.micro_batch", "images of one model call; no result"),
    f"{_A}actor.diffusion_loss.clip_ratio": Rule("objective.clip_range"),
    f"{_A}actor.diffusion_loss.adv_clip_max": Rule("advantage.clip"),
    f"{_A}rollout.n": Rule("rollout.group_size"),
    f"{_A}rollout.seed": Rule("seed", "the same seed draws other noise"),
    f"{_A}rollout.dtype": Rule(None, "model.dtype decides for drawing and training"),
    f"{_A}rollout.log_prob_micro_batch_size_per_gpu": Rule(None, "rollout.micro_batch bounds every model call"),
    f"{_A}ref.log_prob_micro_batch_size_per_gpu": Rule(None, "rollout.micro_batch bounds every model call"),
    f"{_PIPELINE}height": Rule("model.height"),
    f"{_PIPELINE}width": Rule("model.width"),
    f"{_PIPELINE}num_inference_steps": Rule("grid.steps"),
    f"{_PIPELINE}max_sequence_length": Rule("model.max_sequence_length"),
    f"{_A}rollout.val_kwargs.pipeline.num_inference_steps": Rule("evaluation.steps"),
    f"{_A}rollout.val_kwargs.algo.noise_level": Rule(None, "evaluations are always without noise"),
    "trainer.total_training_steps": Rule("iterations"),
    "trainer.total_epochs": Rule(None, "the number of iterations counts"),
    "trainer.save_freq": Rule(
        "save.every", "-1: the last iteration alone", lambda value: value if value != -1 else _NEVER
    ),
    "trainer.test_freq": Rule(
        "evaluation.every", "-1: before and after training alone", lambda value: value if value != -1 else 0
    ),
    "trainer.val_before_train": Rule(None, "the model is always evaluated before training"),
    "trainer.project_name": Rule(None, "the folder that --out names"),
    "trainer.experiment_name": Rule(None, "the folder that --out names"),
    "trainer.n_gpus_per_node": Rule(None, "batches are counted over all GPUs; `mixgrpo plan --gpus`"),
    "trainer.nnodes": Rule(None, "batches are counted over all GPUs; `mixgrpo plan --gpus`"),
    "trainer.log_val_generations": Rule(None, "a grid of images is saved at every evaluation"),
    "trainer.use_v1": Rule(None, "which of verl-omni's trainers runs"),
    "data.seed": Rule(None, "`seed` decides the order of prompts too"),
    "data.max_prompt_length": Rule(None, "model.max_sequence_length bounds the text"),
    "data.train_files": Rule(None, _PARQUET),
    "data.val_files": Rule(None, _PARQUET),
    "$@": Rule(None, "what is added when the script is called is not in the file"),
}

REWARDS = {
    "compute_score_ocr": ("ocr", "a vision-language model reads the text there, RapidOCR here"),
    "compute_score_hpsv3": ("hpsv3", "the same network"),
    "compute_score_pickscore": ("pickscore", "the same network"),
}
"""Functions of verl-omni -> the reward here."""


def convert(ledger: Ledger, gpus: int | None) -> None:
    lora = ledger.get(f"{_A}model.lora_rank") not in (0, None)
    ledger.set("tune", "lora" if lora else "full")
    if not lora:
        ledger.changed(f"{_A}model.lora_rank", {"tune": "full"}, "0: the weights themselves")
        ledger.left(f"{_A}model.lora_alpha", "of LoRA, which lora_rank turns off")
    if ledger.get("trainer.total_training_steps") is None:
        ledger.left("trainer.total_training_steps", "follows there from the number of prompts and epochs")
    ledger.apply(RULES)
    if "model" in ledger.recipe and "dtype" not in ledger.recipe["model"]:
        ledger.set("model.dtype", "bfloat16")
    _algorithm(ledger)
    _window(ledger)
    _guidance(ledger)
    _batch(ledger)
    _kl(ledger)
    _logger(ledger)
    _rewards(ledger)
    for key in ledger.open():
        if key.startswith((f"{_A}rollout.", f"{_A}actor.fsdp_config.", f"{_A}actor.strategy", "reward.", "ray_")):
            ledger.left(key, _ENGINE)
    ledger.needs("prompts.train", "prompts.txt", "a .txt file with a prompt a line, or .jsonl or .csv")
    ledger.needs("prompts.evaluation", "prompts-test.txt", "prompts that are not trained on, in the same form")


def _algorithm(ledger: Ledger) -> None:
    """All of verl-omni's policy-gradient trainers are a window and a kind of noise here."""
    for key in (f"{_A}model.algorithm", "algorithm.adv_estimator", f"{_A}actor.diffusion_loss.loss_mode"):
        name = ledger.get(key)
        if name in ("flow_grpo", "mix_grpo", "dance_grpo"):
            ledger.took(key, {"objective.type": "clipped-ratio"}, "the window and the SDE say the rest")
        elif name == "grpo_guard":
            ledger.took(key, {"objective.ratio": "guarded"})
        elif name == "flow_dppo":
            threshold = ledger.get(f"{_A}actor.diffusion_loss.kl_mask_threshold", 1e-5)
            ledger.took(key, {"objective.divergence": threshold})
            ledger.took(f"{_A}actor.diffusion_loss.kl_mask_threshold", {"objective.divergence": threshold})
        else:
            ledger.left(key, "not converted: see objective.type for what there is")


def _window(ledger: Ledger) -> None:
    """The names that recipes take as they are: their meaning is `recipe/verl.py`'s."""
    given = {name: ledger.get(_ALGO + name) for name in VERL_NAMES if _ALGO + name in ledger}
    strategy = given["sample_strategy"]
    unread = renamed({"random": "iters_per_group", "progressive": "sde_window_seed"}, strategy)
    if isinstance(unread, str) and unread in given:
        ledger.left(_ALGO + unread, f"is not read with sample_strategy {strategy}")
        del given[unread]
    if given["sde_window_size"] is None:
        given["sample_strategy"] = "frozen"
        for name in ("sde_window_seed", "iters_per_group", "sde_window_range"):
            if given.pop(name, None) is not None:
                ledger.left(_ALGO + name, "without sde_window_size every step is stochastic")
    elif "sde_window_range" in given and given["sde_window_range"] is None:
        del given["sde_window_range"]
        ledger.left(f"{_ALGO}sde_window_range", "none: all steps but the last")
    sections = from_verl(given)
    for name, value in given.items():
        section, field = VERL_NAMES[name].split(".")
        ours = sections[section][field]
        if ours == value and ledger.get(_ALGO + name) == value:
            ledger.took(_ALGO + name, {VERL_NAMES[name]: ours})
        else:
            ledger.changed(_ALGO + name, {VERL_NAMES[name]: ours}, "another name for the same")
    for field in ("stride", "wrap"):
        if field in sections["window"]:
            ledger.set(f"window.{field}", sections["window"][field])


def _guidance(ledger: Ledger) -> None:
    cfg, distilled = f"{_PIPELINE}true_cfg_scale", f"{_PIPELINE}guidance_scale"
    if ledger.get(distilled) is not None:
        ledger.took(distilled, {"model.guidance_scale": ledger.get(distilled)})
        ledger.left(cfg, "the model's own guidance_scale counts here")
    elif cfg in ledger:
        ledger.took(cfg, {"model.guidance_scale": ledger.get(cfg)})
    ledger.left(distilled, "none given")


def _batch(ledger: Ledger) -> None:
    prompts, mini = "data.train_batch_size", f"{_A}actor.ppo_mini_batch_size"
    if prompts not in ledger:
        ledger.needs("rollout.prompts", 32, "prompts an iteration: data.train_batch_size is not in the file")
        ledger.left(mini, "without data.train_batch_size it says nothing about update.minibatches")
        return
    count = ledger.number(prompts)
    ledger.took(prompts, {"rollout.prompts": count}, "prompts an iteration, of all GPUs together")
    if mini in ledger:
        updates = max(1, round(count / ledger.number(mini)))
        ledger.changed(mini, {"update.minibatches": updates}, "prompts an update there; updates an iteration here")


def _kl(ledger: Ledger) -> None:
    use, weight = f"{_A}actor.use_kl_loss", f"{_A}actor.kl_loss_coef"
    value = ledger.get(weight, 0.001) if ledger.get(use) else 0.0
    ledger.took(use, {"objective.kl_weight": value})
    if ledger.get(use):
        ledger.took(weight, {"objective.kl_weight": value})
    ledger.left(weight, "is not read without use_kl_loss")


def _logger(ledger: Ledger) -> None:
    value = ledger.get("trainer.logger")
    names = value if isinstance(value, list) else [value]
    trackers = [name for name in names if name in ("tensorboard", "wandb", "trackio")]
    if "trainer.logger" in ledger:
        ledger.changed("trainer.logger", {"trackers": trackers}, "the terminal and the run's folder always get them")


def _rewards(ledger: Ledger) -> None:
    key = "reward.custom_reward_function.name"
    name = str(ledger.get(key))
    if name in REWARDS:
        reward, note = REWARDS[name]
        ledger.changed(key, {f"rewards.{reward}": 1.0}, note)
        ledger.left("reward.custom_reward_function.path", f"the reward {reward} ships with the package")
        return
    ledger.needs("rewards.reward.py:score", 1.0, "your own reward: a function (images, prompts) -> scores")
    ledger.left(key, "its signature is another: (images, prompts, **columns) -> a score an image")
    ledger.left("reward.custom_reward_function.path", "as for its name")
