"""What a group shares, measured: model calls and seconds of naive and shared rollouts on one tiny FLUX.

    make bench-sampling

A random-weight FLUX of 2.3 million parameters and 64 image tokens, T = 25, a window of 4, 12 images a
prompt. Naive and shared runs alternate; figures are medians. Also: the largest |ratio - 1| between what a
rollout recorded and what the update computes, in float32 and bfloat16. Writes benchmarks/results/sampling.json.
"""

import json
import platform
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

import pipelines
from mixgrpo.models.base import FlowModel
from mixgrpo.models.load import adapt
from mixgrpo.sampling.noise import KeyedNoise
from mixgrpo.sampling.plan import Plan, make_plan
from mixgrpo.sampling.rollout import rollout, transition_log_prob
from mixgrpo.sampling.schedule import shifted_linspace

GROUP, PROMPTS, MICRO_BATCH, REPETITIONS = 12, 4, 12, 5
POSITIONS = (0, 8, 16)
RESULTS = Path(__file__).parent / "results" / "sampling.json"


def tiny_flux(dtype: torch.dtype) -> FlowModel:
    pipeline = pipelines.flux(layers=2, single_layers=4, heads=8).to(dtype)
    return adapt(pipeline, height=32, width=32, guidance_scale=3.5, max_sequence_length=16)


def plan_at(position: int) -> Plan:
    return make_plan(shifted_linspace(25, 3.0), range(position, position + 4))


def measure_sharing(model: FlowModel) -> list[dict[str, Any]]:
    conditioning = model.encode([f"prompt {i}" for i in range(PROMPTS)])
    rows = []
    for position in POSITIONS:
        plan = plan_at(position)
        seconds: dict[bool, list[float]] = {False: [], True: []}
        for repetition in range(REPETITIONS + 1):  # the first warms up
            for shared in (False, True):
                begin = time.perf_counter()
                rollout(
                    model,
                    plan,
                    conditioning,
                    KeyedNoise(0, repetition, model.latent_shape),
                    group_size=GROUP,
                    micro_batch=MICRO_BATCH,
                    share_computation=shared,
                )
                if repetition:
                    seconds[shared].append(time.perf_counter() - begin)
        calls = {shared: plan.price(GROUP, shared).rollout_calls for shared in (False, True)}
        rows.append(
            {
                "window_start": position,
                "calls_per_image": {"naive": calls[False], "shared": calls[True]},
                "seconds": {"naive": seconds[False], "shared": seconds[True]},
                "calls_ratio": calls[True] / calls[False],
                "seconds_ratio": statistics.median(seconds[True]) / statistics.median(seconds[False]),
            }
        )
    return rows


@torch.no_grad()
def measure_ratio_gap(dtype: torch.dtype, micro_batch: int) -> float:
    """The update runs all rows at once; the rollout ran `micro_batch` at a time."""
    model = tiny_flux(dtype)
    conditioning = model.encode(["prompt"])
    noise = KeyedNoise(0, 0, model.latent_shape)
    sampled = rollout(model, plan_at(8), conditioning, noise, group_size=GROUP, micro_batch=micro_batch)
    ratios = [(transition_log_prob(model, t, conditioning) - t.log_prob).exp() for t in sampled.transitions]
    return (torch.stack(ratios) - 1).abs().max().item()


def main() -> None:
    torch.set_num_threads(2)
    model = tiny_flux(torch.float32)
    result = {
        "command": "make bench-sampling",
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}",
        "parameters": sum(parameter.numel() for parameter in model.transformer.parameters()),
        "image_tokens": model.latent_shape[0],
        "group_size": GROUP,
        "prompts": PROMPTS,
        "micro_batch": MICRO_BATCH,
        "rollouts": measure_sharing(model),
        "first_ratio_gap": {
            str(dtype).removeprefix("torch."): {
                f"micro_batch_{size}": measure_ratio_gap(dtype, size) for size in (GROUP, 5, 1)
            }
            for dtype in (torch.float32, torch.bfloat16)
        },
    }
    RESULTS.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    show(result)


def show(result: dict[str, Any]) -> None:
    console = Console(highlight=False)
    table = Table(title=f"{result['parameters'] / 1e6:.1f} M parameters, {PROMPTS} prompts x {GROUP} images", box=None)
    for name in ("window", "calls naive", "calls shared", "ratio", "seconds naive", "seconds shared", "ratio "):
        table.add_column(name, justify="right")
    for row in result["rollouts"]:
        naive, shared = (row["seconds"][name] for name in ("naive", "shared"))
        table.add_row(
            f"{row['window_start']} - {row['window_start'] + 3}",
            f"{row['calls_per_image']['naive']:.2f}",
            f"{row['calls_per_image']['shared']:.2f}",
            f"{row['calls_ratio']:.3f}",
            f"{statistics.median(naive):.2f}",
            f"{statistics.median(shared):.2f}",
            f"{row['seconds_ratio']:.3f}",
        )
    console.print(table)
    for dtype, gaps in result["first_ratio_gap"].items():
        console.print(f"largest |ratio - 1|, {dtype}: " + ", ".join(f"{k} {v:.1e}" for k, v in gaps.items()))


if __name__ == "__main__":
    main()
