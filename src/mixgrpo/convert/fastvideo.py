"""The flags that MixGRPO's and DanceGRPO's trainers share: both grew from FastVideo's `train_grpo_flux.py`."""

from typing import Any

from .ledger import Ledger, Rule, renamed

DTYPES = {"bf16": "bfloat16", "fp16": "float16", "no": "float32", None: "float32"}

DEFAULTS: dict[str, Any] = {
    "train_batch_size": 16,
    "gradient_accumulation_steps": 1,
    "learning_rate": 1e-4,
    "weight_decay": 0.01,
    "max_grad_norm": 2.0,
    "lr_warmup_steps": 10,
    "lr_scheduler": "constant_with_warmup",
    "num_generations": 16,
    "init_same_noise": False,
    "shift": 1.0,
    "clip_range": 1e-4,
    "adv_clip_max": 5.0,
    "checkpointing_steps": 500,
}
"""Of flags whose absence changes the result there."""

_PROCESSES = "how processes are started: `torchrun ... -m mixgrpo train`"
_FRAMES = "of videos: here images alone are drawn"

RULES: dict[str, Rule] = {
    "seed": Rule("seed", "the same seed draws other noise"),
    "sampler_seed": Rule(None, "`seed` decides the order of prompts too"),
    "pretrained_model_name_or_path": Rule("model.path", "a folder in the form of diffusers, or a name on the hub"),
    "h": Rule("model.height"),
    "w": Rule("model.width"),
    "mixed_precision": Rule("model.dtype", "other names for the same", lambda value: renamed(DTYPES, value)),
    "sampling_steps": Rule("grid.steps"),
    "shift": Rule("grid.shift"),
    "num_generations": Rule("rollout.group_size"),
    "init_same_noise": Rule("rollout.shared_noise"),
    "clip_range": Rule("objective.clip_range"),
    "adv_clip_max": Rule("advantage.clip"),
    "max_train_steps": Rule("iterations"),
    "learning_rate": Rule("update.learning_rate"),
    "weight_decay": Rule("update.weight_decay"),
    "max_grad_norm": Rule("update.max_grad_norm"),
    "gradient_checkpointing": Rule("update.gradient_checkpointing"),
    "checkpointing_steps": Rule("save.every"),
    "dit_model_name_or_path": Rule(None, "the transformer comes with the model's folder"),
    "cache_dir": Rule(None, "set HF_HOME"),
    "output_dir": Rule(None, "`mixgrpo train RECIPE --out DIR`"),
    "logging_dir": Rule(None, "metrics lie in the run's folder"),
    "resume_from_checkpoint": Rule(None, "`mixgrpo resume RUN`"),
    "dataloader_num_workers": Rule(None, "prompts are text, and need no workers"),
    "num_latent_t": Rule(None, _FRAMES),
    "t": Rule(None, _FRAMES),
    "cfg": Rule(None, "the share of prompts dropped from a data set of embeddings; not the guidance scale"),
    "precondition_outputs": Rule(None, "has no effect on a flow model"),
    "selective_checkpointing": Rule(None, "here every block is checkpointed, or none"),
    "allow_tf32": Rule(None, "rounding of float32 products, which PyTorch decides"),
    "use_cpu_offload": Rule("parallel.offload"),
    "fsdp_sharding_startegy": Rule(None, "parallel.shard = auto decides by the memory"),
    "master_weight_type": Rule(None, "the trained weights' type follows model.dtype"),
    "lr_num_cycles": Rule(None, "of schedules that do not exist here"),
    "lr_power": Rule(None, "of schedules that do not exist here"),
    "loss_coef": Rule(None, "not read there either"),
    "use_group": Rule(None, "advantages are always relative to the group"),
    "ignore_last": Rule(None, "the last step is never trained"),
    "ema_start_step": Rule(None, "the average begins with the first update"),
    "wandb_key": Rule(None, "a recipe holds no secrets: `wandb login`, and trackers: [wandb]"),
    "experiment_name": Rule(None, "the folder that --out names"),
    "node_rank": Rule(None, _PROCESSES),
    "master_addr": Rule(None, _PROCESSES),
    "master_port": Rule(None, _PROCESSES),
    "rdzv_backend": Rule(None, _PROCESSES),
    "rdzv_endpoint": Rule(None, _PROCESSES),
    "rdzv_id": Rule(None, _PROCESSES),
    "standalone": Rule(None, _PROCESSES),
    "$@": Rule(None, "what is added when the script is called is not in the file"),
}


def apply_shared(ledger: Ledger, gpus: int | None) -> None:
    ledger.set("tune", "full")
    ledger.apply(RULES)
    if "vae_model_path" in ledger:
        if ledger.get("vae_model_path") == ledger.get("pretrained_model_name_or_path"):
            ledger.took("vae_model_path", {}, "model.path has the VAE too")
        else:
            ledger.left("vae_model_path", "the VAE is the one in model.path")
    if "guidance_scale" not in ledger.recipe.get("model", {}):
        ledger.set("model.guidance_scale", 3.5)  # written into the trainer's code
    _batch(ledger, gpus)
    _learning_rate(ledger)
    if "data_json_path" in ledger:
        ledger.left("data_json_path", "lists embeddings computed beforehand; here the prompts themselves are read")
    ledger.needs("prompts.train", "prompts.txt", "a .txt file with a prompt a line, or .jsonl or .csv")
    ledger.needs("prompts.evaluation", "prompts-test.txt", "prompts that are not trained on, in the same form")


def _batch(ledger: Ledger, gpus: int | None) -> None:
    """A prompt each process (times the batch) is one iteration; `gradient_accumulation_steps` counts its images."""
    counted = ["nnodes", "nproc_per_node", "train_batch_size", "sp_size", "train_sp_batch_size"]
    if gpus is None and "nproc_per_node" not in ledger:
        ledger.needs("rollout.prompts", 1, "the number of processes is not in the file: give --gpus N")
        for key in counted:
            ledger.left(key, "without the number of processes it says nothing about rollout.prompts")
        processes = 1
    else:
        processes = gpus or ledger.number("nnodes") * ledger.number("nproc_per_node")
        of_each = ledger.number("train_batch_size") * ledger.number("train_sp_batch_size") / ledger.number("sp_size")
        prompts = max(1, round(processes * of_each))
        for key in counted:
            note = "processes x batch of each, counted over all processes"
            if key in ("nnodes", "nproc_per_node") and gpus is not None:
                ledger.left(key, f"--gpus {gpus} was given")
            else:
                ledger.changed(key, {"rollout.prompts": prompts}, note)
    images = round(ledger.number("train_batch_size") * ledger.number("num_generations"))
    accumulated = ledger.number("gradient_accumulation_steps")
    updates = max(1, int(images // accumulated))
    rest = f"; {images % accumulated} images that fill no update were lost there" if images % accumulated else ""
    ledger.changed(
        "gradient_accumulation_steps",
        {"update.minibatches": updates, "update.split_groups": updates > 1},
        f"{images} images a process / {accumulated} = {updates} updates an iteration{rest}",
    )


def _learning_rate(ledger: Ledger) -> None:
    steps, updates = ledger.get("lr_warmup_steps"), ledger.recipe["update"]["minibatches"]
    if steps == 0:
        ledger.took("lr_warmup_steps", {"update.warmup_iterations": 0})
    else:
        iterations = max(1, round(ledger.number("lr_warmup_steps") / updates))
        ledger.changed(
            "lr_warmup_steps", {"update.warmup_iterations": iterations}, "counted in iterations, not updates"
        )
    schedule = str(ledger.get("lr_scheduler"))
    if schedule in ("constant", "constant_with_warmup"):
        ledger.changed("lr_scheduler", {"update.schedule": "constant"}, "the warm-up has a key of its own")
    else:
        ledger.left(
            "lr_scheduler", "here: constant, or linear to 0 at the last iteration; there the schedule ends much later"
        )
