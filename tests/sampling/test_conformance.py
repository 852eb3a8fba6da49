"""Against values computed with the public implementations of MixGRPO and verl-omni.

MIXGRPO_CONFORMANCE names another file of the same format. Where we differ on purpose, the test says so for
exactly those entries: windows that slid off the end (truncated or empty there, full here), and compressed
suffixes without a single call (they stop at sigma > 0 there, at 0 here).
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from fields import Field
from mixgrpo.data.prompts import prompts_of
from mixgrpo.objectives.advantages import advantages
from mixgrpo.sampling.plan import Plan, make_plan
from mixgrpo.sampling.rollout import rollout
from mixgrpo.sampling.schedule import shifted_linspace
from mixgrpo.sampling.steppers.gaussian import advance, log_prob
from mixgrpo.sampling.steppers.ode import Solver
from mixgrpo.sampling.steppers.sde import SDE_STEPS
from mixgrpo.sampling.window import Decay, ExpDecay, Frozen, Progressive, Random

Case = dict[str, Any]
REFERENCE = json.loads(
    Path(os.environ.get("MIXGRPO_CONFORMANCE", Path(__file__).parents[1] / "support" / "reference.json")).read_text(
        encoding="utf-8"
    )
)


def cases(kind: str, *naming: str) -> list[Any]:
    def name(case: Case) -> str:
        return "-".join(str(case[key]) for key in naming).replace(" ", "")

    return [pytest.param(case, id=f"{i}-{name(case)}") for i, case in enumerate(REFERENCE[kind])]


def assert_close(ours: Tensor, reference: Any) -> None:
    torch.testing.assert_close(ours, torch.tensor(reference).view(ours.shape), atol=2e-5, rtol=2e-5)


@pytest.mark.parametrize("case", cases("sde_steps", "kind", "noise_level", "num_steps", "shift", "index"))
def test_sde_step(case: Case) -> None:
    x, velocity, candidate = (torch.tensor(case[key]).view(case["shape"]) for key in ("x", "velocity", "candidate"))
    move = SDE_STEPS[case["kind"]](case["sigma"], case["sigma_next"], case["noise_level"])
    mean = advance(move, x, velocity)
    assert_close(mean, case["mean"])
    assert_close(torch.tensor([move.std]), case["std"])
    ours, reference = log_prob(move, candidate, mean), torch.tensor(case["log_prob"])
    if not case["log_prob_normaliser"]:  # a constant may differ: compare the candidates with each other
        ours, reference = ours - ours[0], reference - reference[0]
    assert_close(ours, reference.tolist())


@pytest.mark.parametrize("case", cases("rollouts", "kind", "window_start", "window_size", "suffix_solver"))
def test_rollout(case: Case) -> None:
    plan = reference_plan(case)
    model = Field(lambda x, _: 0.8 * x - 0.5 * torch.sin(2 * x) + 0.1, tuple(case["shape"][1:]))
    images = case["shape"][0]
    recorded = RecordedNoise(
        start=torch.tensor(case["x_init"]).view(case["shape"]),
        steps=torch.tensor(case["window_noise"]).view(-1, *case["shape"]),
        window=plan.window,
    )
    result = rollout(model, plan, model.encode(prompts_of([""] * images)), recorded, group_size=1, micro_batch=images)

    assert_close(result.transitions[-1].x_next, case["latents_after_window"])
    assert_close(torch.stack([transition.log_prob for transition in result.transitions]), case["window_log_probs"])
    assert plan.steps[-1].sigma_next == 0
    if case["num_model_calls"] == plan.window.stop:
        # The reference's compressed suffix has no call left and its image is still noisy. Ours has one call.
        assert len(plan.steps) == plan.window.stop + 1
    else:
        assert len(plan.steps) == case["num_model_calls"]
        assert_close(result.latents, case["x_final"])


def reference_plan(case: Case) -> Plan:
    solver: Solver = "euler"
    ratio = 1.0
    if case["suffix_solver"] is not None:
        order, kind, ratio = (case["suffix_solver"][key] for key in ("order", "type", "compress_ratio"))
        by_order: dict[int, Solver] = {
            1: "dpm++1",
            2: "dpm++2-heun" if kind == "heun" else "dpm++2-midpoint",
            3: "dpm++3",
        }
        solver = by_order[order]
    return make_plan(
        shifted_linspace(case["num_steps"], case["shift"]),
        range(case["window_start"], case["window_start"] + case["window_size"]),
        sde_type=case["kind"],
        noise_level=case["noise_level"],
        suffix_solver=solver,
        compress_ratio=ratio,
    )


@dataclass(frozen=True)
class RecordedNoise:
    """The noises of a reference rollout. There each image is a prompt of its own."""

    start: Tensor
    steps: Tensor
    window: range

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.start.shape[1:])

    def initial(self, prompt: int, image: int | None) -> Tensor:
        return self.start[prompt]

    def step(self, prompt: int, image: int, step: int) -> Tensor:
        return self.steps[step - self.window.start][prompt]


@pytest.mark.parametrize("case", [c for c in cases("windows", "source") if "starts" in c.values[0]])
def test_window_starts(case: Case) -> None:
    """verl-omni: sequences of starts, all windows full."""
    params = case["params"]
    envelope, size = range(*params["sde_window_range"]), params["sde_window_size"]
    window: Random | Progressive = (
        Random(strategy="random", seed=params["sde_window_seed"])
        if params["sample_strategy"] == "random"
        else Progressive(iters_per_group=params["iters_per_group"], stride=size, wrap=False)
    )
    ours = [window.start(k, envelope, size) for k in range(len(case["starts"]))]
    assert ours == case["starts"]


@pytest.mark.parametrize("case", [c for c in cases("windows", "source") if "run_lengths" in c.values[0]])
def test_window_runs(case: Case) -> None:
    """MixGRPO: windows and how many iterations each lasted."""
    params = case["params"]
    window, envelope, size = mixgrpo_window(params), range(params["max_timesteps"]), params["group_size"]
    reference = [steps for steps, length in case["run_lengths"] for _ in range(length)]
    full = [steps for steps in reference if len(steps) == size]
    ours = [list(range(start, start + size)) for start in (window.start(k, envelope, size) for k in range(len(full)))]
    assert ours == full

    # The reference's other windows slid off the end. Ours have wrapped to the start by then, or they stay on
    # the last full one.
    if len(full) < len(reference) and not params["roll_back"]:
        last = envelope.stop - size
        assert all(window.start(k, envelope, size) == last for k in range(len(full), len(reference)))


def mixgrpo_window(params: Case) -> Any:
    iters, wrap = params["iters_per_group"], params["roll_back"]
    stride = params.get("prog_overlap_step", 1) if params["prog_overlap"] else params["group_size"]
    if stride == 0:
        return Frozen(strategy="frozen")
    match params["sample_strategy"]:
        case "progressive":
            return Progressive(iters_per_group=iters, stride=stride, wrap=wrap)
        case "exp_decay":
            return ExpDecay(strategy="exp_decay", iters_per_group=iters, stride=stride, wrap=wrap)
        case "decay":
            longest, shortest = params["max_iters_per_group"], params["min_iters_per_group"]
            return Decay(
                strategy="decay", iters_per_group=longest, min_iters_per_group=shortest, stride=stride, wrap=wrap
            )
    raise AssertionError(f"the reference file has a strategy this test does not know: {params['sample_strategy']}")


@pytest.mark.parametrize("case", cases("advantages", "prompts", "group_size"))
def test_advantages(case: Case) -> None:
    shape = (case["prompts"], case["group_size"])
    rewards = {name: torch.tensor(values).view(shape) for name, values in case["rewards"].items()}
    assert_close(advantages(rewards, case["weights"], "advantage", case["clip"]).flatten(), case["advantages"])
