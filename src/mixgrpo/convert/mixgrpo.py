"""Tencent-Hunyuan/MixGRPO: the flags of `fastvideo/train_grpo_flux.py` there."""

from typing import Any

from . import fastvideo
from .errors import ConvertError
from .ledger import Ledger, Rule, renamed

DEFAULTS: dict[str, Any] = {
    **fastvideo.DEFAULTS,
    "training_strategy": "all",
    "group_size": 4,
    "sample_strategy": "progressive",
    "iters_per_group": 25,
    "prog_overlap": False,
    "prog_overlap_step": 1,
    "roll_back": False,
    "timestep_fraction": 1.0,
    "flow_grpo_sampling": False,
    "sde_type": "sde",
    "kl_coeff": 0.01,
    "reward_model": "hpsv2",
    "multi_reward_mix": "advantage_aggr",
    "dpm_algorithm_type": None,
}

_PROXY = "set HTTPS_PROXY"
_WEIGHTS = "weights come from the hub, or from the folder that the reward's option `path` names"

RULES: dict[str, Rule] = {
    "kl_coeff": Rule("objective.kl_weight"),
    "multi_reward_mix": Rule(
        "advantage.aggregation",
        "other names for the same",
        lambda value: renamed({"advantage_aggr": "advantage", "reward_aggr": "reward"}, value),
    ),
    "trimmed_ratio": Rule(None, "the worst images of a group are never left out; 0 there is the same"),
    "advantage_rerange_strategy": Rule(None, "mini-batches are always drawn at random"),
    "drop_last_sample": Rule(None, "the image is always the one after the last step"),
    **dict.fromkeys(
        ("hps_path", "hps_clip_path", "clip_score_path", "image_reward_path", "image_reward_med_config"),
        Rule(None, _WEIGHTS),
    ),
    **dict.fromkeys(
        ("image_reward_http_proxy", "image_reward_https_proxy", "pick_score_http_proxy", "pick_score_https_proxy"),
        Rule(None, _PROXY),
    ),
    "unified_reward_default_question_type": Rule(None, "a judge's template: rewards.unifiedreward.template"),
    "unified_reward_num_workers": Rule(None, "rewards.unifiedreward.concurrency"),
}

REWARDS = {
    "hpsv2": ("hpsv2", "hps_weight"),
    "image_reward": ("imagereward", "image_reward_weight"),
    "clip_score": ("clipscore", "clip_score_weight"),
    "pick_score": ("pickscore", "pick_score_weight"),
    "unified_reward": ("unifiedreward", "unified_reward_weight"),
}
"""Name there -> name here, and the flag of its weight."""

SETS = {
    "hpsv2_clip_score": ["hpsv2", "clip_score"],
    "multi_reward": ["hpsv2", "image_reward", "pick_score"],
}

SOLVERS = {
    (1, "heun"): "dpm++1",
    (1, "midpoint"): "dpm++1",
    (2, "midpoint"): "dpm++2-midpoint",
    (2, "heun"): "dpm++2-heun",
    (3, "heun"): "dpm++3",
    (3, "midpoint"): "dpm++3",
}


def convert(ledger: Ledger, gpus: int | None) -> None:
    ledger.set("algorithm", "mixgrpo")
    fastvideo.apply_shared(ledger, gpus)
    ledger.apply(RULES)
    _sde(ledger)
    if ledger.get("training_strategy") == "part":
        _window(ledger)
    else:
        _every_step(ledger)
    _suffix(ledger)
    _rewards(ledger)


def _sde(ledger: Ledger) -> None:
    """eta counts, unless noise_level is given; CPS knows noise_level alone."""
    cps, level = ledger.get("sde_type") == "cps", ledger.get("noise_level")
    kind = "cps" if cps else "flow" if ledger.get("flow_grpo_sampling") else "dance"
    ledger.changed("flow_grpo_sampling", {"sde.type": kind}, "with sde_type one key here")
    ledger.changed(
        "sde_type", {"sde.type": kind}, "the two kinds of sde are flow (Flow-GRPO's) and dance (DanceGRPO's)"
    )
    if level is not None:
        ledger.took("noise_level", {"sde.noise_level": level})
        ledger.left("eta", "noise_level counts there instead")
    elif cps:
        ledger.changed("noise_level", {"sde.noise_level": 0.8}, "without one it is 0.8 there")
        ledger.set("sde.noise_level", 0.8)
        ledger.left("eta", "cps does not read it there")
    else:
        ledger.left("noise_level", "without one eta counts there, as here")
        if "eta" not in ledger:
            raise ConvertError("--eta is missing: the trainer needs it, and so does sde.noise_level")
        ledger.took("eta", {"sde.noise_level": ledger.get("eta")})


def _window(ledger: Ledger) -> None:
    strategy, stride = ledger.get("sample_strategy"), ledger.get("prog_overlap_step")
    steps = ledger.number("sampling_steps", 25)
    size = ledger.get("group_size")
    ledger.changed(
        "training_strategy", {"window.range": [0, steps - 2]}, "the window never covers the last two steps there"
    )
    if not ledger.get("prog_overlap"):
        ledger.changed("prog_overlap", {}, "without it the window moves by its whole size")
        ledger.left("prog_overlap_step", "is not read without prog_overlap")
        stride = size
    frozen = strategy == "progressive" and stride == 0
    ledger.took("sample_strategy", {"window.strategy": "frozen" if frozen else strategy})
    ledger.took("group_size", {"window.size": size}, "the window's size; group_size here is images per prompt")
    ledger.left("timestep_fraction", "is read with training_strategy all alone")
    ledger.left("frozen_init_timesteps", "is read with training_strategy all alone")
    if frozen:
        ledger.set("algorithm", "mixgrpo-flash-frozen")
        ledger.changed("prog_overlap", {"window.strategy": "frozen"}, "with prog_overlap_step 0 the window stays")
        ledger.changed("prog_overlap_step", {"window.strategy": "frozen"}, "0: the window stays")
    _moves(ledger, "random" if frozen else strategy, stride)


def _moves(ledger: Ledger, strategy: Any, stride: Any) -> None:
    moves = strategy in ("progressive", "decay", "exp_decay")
    if moves:
        ledger.took("prog_overlap", {"window.stride": stride}, "with prog_overlap_step one key here")
        ledger.set("window.stride", stride)
        ledger.took("prog_overlap_step", {"window.stride": stride})
        ledger.took("roll_back", {"window.wrap": ledger.get("roll_back")})
    if strategy == "decay":
        longest = ledger.get("max_iters_per_group", 10)
        ledger.left("iters_per_group", "decay begins with max_iters_per_group there")
        ledger.took("max_iters_per_group", {"window.iters_per_group": longest})
        ledger.set("window.iters_per_group", longest)
        ledger.took("min_iters_per_group", {"window.min_iters_per_group": ledger.get("min_iters_per_group", 1)})
    elif moves:
        ledger.took("iters_per_group", {"window.iters_per_group": ledger.get("iters_per_group")})
    for key in ("iters_per_group", "prog_overlap", "prog_overlap_step", "roll_back"):
        ledger.left(key, "of a window that moves")
    for key in ("max_iters_per_group", "min_iters_per_group"):
        ledger.left(key, "is read with sample_strategy decay alone")


def _every_step(ledger: Ledger) -> None:
    ledger.set("algorithm", "dancegrpo")
    ledger.changed("training_strategy", {"window.strategy": "frozen", "window.size": None}, "every step is stochastic")
    ledger.took("timestep_fraction", {"window.trained_fraction": ledger.get("timestep_fraction")})
    ledger.left("frozen_init_timesteps", "here all stochastic steps can train, not the first of them alone")
    for key in ("sample_strategy", "group_size", "iters_per_group", "prog_overlap", "prog_overlap_step", "roll_back"):
        ledger.left(key, "is read with training_strategy part alone")
    for key in ("max_iters_per_group", "min_iters_per_group"):
        ledger.left(key, "is read with training_strategy part alone")


def _suffix(ledger: Ledger) -> None:
    kind, others = ledger.get("dpm_algorithm_type"), ["dpm_apply_strategy", "dpm_post_compress_ratio"]
    others += ["dpm_solver_order", "dpm_solver_type"]
    where = ledger.get("dpm_apply_strategy", "post")
    if kind is None or where == "all":
        why = (
            "is read with dpm_algorithm_type alone"
            if kind is None
            else "here the solver takes the steps after the window alone"
        )
        if kind is None:
            ledger.took("dpm_algorithm_type", {"suffix.solver": "euler"}, "Euler steps")
        else:
            ledger.left("dpm_algorithm_type", why)
        for key in others:
            ledger.left(key, why)
        return
    if ledger.recipe["algorithm"] == "mixgrpo":
        ledger.set("algorithm", "mixgrpo-flash")
    order, variant = ledger.get("dpm_solver_order", 2), ledger.get("dpm_solver_type", "heun")
    solver = SOLVERS.get((order, variant)) if isinstance(order, int) and isinstance(variant, str) else None
    if solver is None:
        raise ConvertError(
            f"--dpm_solver_order {order} --dpm_solver_type {variant}: known are 1 to 3, heun or midpoint"
        )
    ratio = ledger.get("dpm_post_compress_ratio", 0.4)
    plus = "++" in str(kind)
    note = "kind, order and type are one key here"
    ledger.changed("dpm_algorithm_type", {"suffix.solver": solver}, note if plus else "here: DPM-Solver++ alone")
    ledger.changed("dpm_solver_order", {"suffix.solver": solver}, note)
    ledger.changed("dpm_solver_type", {"suffix.solver": solver}, note)
    ledger.took("dpm_apply_strategy", {"suffix.compress_ratio": ratio}, "the steps after the window")
    ledger.took("dpm_post_compress_ratio", {"suffix.compress_ratio": ratio})
    ledger.set("suffix.compress_ratio", ratio)
    ledger.set("suffix.solver", solver)


def _rewards(ledger: Ledger) -> None:
    name, url = str(ledger.get("reward_model")), ledger.get("unified_reward_url")
    chosen = SETS.get(name, [name])
    if name == "multi_reward" and url is not None:
        chosen = [*chosen, "unified_reward"]
    unknown = [each for each in chosen if each not in REWARDS]
    if unknown:
        raise ConvertError(f"--reward_model {name}: known are {', '.join([*REWARDS, *SETS])}")
    entries: dict[str, Any] = {}
    for each in chosen:
        ours, flag = REWARDS[each]
        weight = ledger.get(flag, 1.0)
        entries[f"rewards.{ours}"] = weight
        ledger.took(flag, {f"rewards.{ours}": weight}, "there weights are divided by their sum; here they are not")
    if "unified_reward" in chosen:
        judge = {"weight": entries["rewards.unifiedreward"], "urls": str(url).split(","), "model": "UnifiedReward"}
        entries["rewards.unifiedreward"] = judge
        ledger.took("unified_reward_url", {"rewards.unifiedreward": judge})
        ledger.missing["rewards.unifiedreward.model"] = "the name that the server gives its model"
    ledger.took("reward_model", entries)
    for _, flag in REWARDS.values():
        ledger.left(flag, f"reward_model {name} has no such reward")
    ledger.left("unified_reward_url", "none, or a reward that reward_model leaves out")
