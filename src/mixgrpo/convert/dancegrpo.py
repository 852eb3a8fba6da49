"""XueZeyue/DanceGRPO: the flags of `fastvideo/train_grpo_flux.py` there."""

from typing import Any

from . import fastvideo
from .errors import ConvertError
from .ledger import Ledger, Rule

DEFAULTS: dict[str, Any] = {**fastvideo.DEFAULTS, "timestep_fraction": 1.0}

RULES: dict[str, Rule] = {
    "eta": Rule("sde.noise_level"),
    "timestep_fraction": Rule("window.trained_fraction", "drawn once an iteration here, for each image there"),
}

REWARDS = {"use_hpsv2": "hpsv2", "use_pickscore": "pickscore"}


def convert(ledger: Ledger, gpus: int | None) -> None:
    if "eta" not in ledger:
        raise ConvertError("--eta is missing: the trainer needs it, and so does sde.noise_level")
    ledger.set("algorithm", "dancegrpo")
    fastvideo.apply_shared(ledger, gpus)
    ledger.set("sde.type", "dance")
    ledger.set("window.strategy", "frozen")
    ledger.set("window.size", None)
    ledger.apply(RULES)
    _adapters(ledger)
    if ledger.get("use_ema"):
        decay = ledger.get("ema_decay", 0.995)
        ledger.took("use_ema", {"update.ema_decay": decay})
        ledger.took("ema_decay", {"update.ema_decay": decay})
    ledger.left("ema_decay", "is not read without use_ema")
    for flag, reward in REWARDS.items():
        if ledger.get(flag):
            ledger.took(flag, {f"rewards.{reward}": 1.0})
    if "rewards" not in ledger.recipe:
        ledger.needs("rewards.reward.py:score", 1.0, "your own reward, or one of `mixgrpo doctor`'s list")


def _adapters(ledger: Ledger) -> None:
    sizes = {"lora_rank": ("lora.rank", 128), "lora_alpha": ("lora.alpha", 256)}
    if ledger.get("use_lora"):
        ledger.took("use_lora", {"tune": "lora"})
        for flag, (ours, default) in sizes.items():
            value = ledger.get(flag, default)
            ledger.set(ours, value)
            ledger.took(flag, {ours: value})
    for flag in ("use_lora", *sizes):
        ledger.left(flag, "is not read without use_lora")
