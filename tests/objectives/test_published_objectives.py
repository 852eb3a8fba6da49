"""Against values computed with the public implementations of each objective, on small random tensors.

MIXGRPO_OBJECTIVES names another file of the same format. `crd` and `dgpo` are not built. `par` of ELBO-PEPG has the
gradient of `pepg` and is no objective of its own; its gradient alone is compared.
"""

import json
import math
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mixgrpo.objectives.advantages import advantages
from mixgrpo.objectives.endpoint_losses import Draws, anchored, likelihood, nft, ram, ratio
from mixgrpo.objectives.objective import Loss
from mixgrpo.objectives.ratio import clipped, gaussian_kl, guarded_log_ratio, masked
from mixgrpo.objectives.velocity_error import velocity_error
from mixgrpo.sampling.step_weights import raw_weight
from mixgrpo.sampling.steppers.gaussian import advance, log_prob
from mixgrpo.sampling.steppers.move import Move
from mixgrpo.sampling.steppers.sde import SDE_STEPS, SdeType, dance

Case = dict[str, Any]
FILE = Path(os.environ.get("MIXGRPO_OBJECTIVES", Path(__file__).parents[1] / "support" / "objectives.json"))
REFERENCE = json.loads(FILE.read_text(encoding="utf-8"))
SINGLE, DOUBLE, GRADIENT = 2e-5, 1e-7, 2e-5
_KINDS: dict[str, SdeType] = {
    "flow": "flow",
    "dance": "dance",
    "precise": "precise",
    "dance_precise": "dance-precise",
}


def cases(kind: str) -> list[Any]:
    group = REFERENCE["endpoint"][kind] if kind in REFERENCE["endpoint"] else REFERENCE[kind]
    return [pytest.param(case, id=case["name"]) for case in group]


def tensor(values: Any, shape: Any = None) -> Tensor:
    result = torch.tensor(values, dtype=torch.float64)
    return result if shape is None else result.view(shape)


def assert_close(ours: Tensor, reference: Any, tolerance: float) -> None:
    expected = tensor(reference).view(ours.shape)
    torch.testing.assert_close(ours.detach().double(), expected, atol=tolerance, rtol=tolerance)


def assert_gradient(loss: Tensor, of: Tensor, reference: Any) -> None:
    (ours,) = torch.autograd.grad(loss, of)
    expected = tensor(reference).view(ours.shape)
    torch.testing.assert_close(ours, expected, rtol=0, atol=GRADIENT * expected.abs().max().item() + 1e-15)


def move_of(kind: str, sigma: float, sigma_next: float, noise_level: float) -> Move:
    return SDE_STEPS[_KINDS[kind]](sigma, sigma_next, noise_level)


@pytest.mark.parametrize("case", cases("sde_steps"))
def test_sde_steps(case: Case) -> None:
    given, expected = case["inputs"], case["outputs"]
    x, velocity, x_next = (tensor(given[key], given["shape"]) for key in ("x", "velocity", "x_next"))
    move = move_of(given["kind"], given["sigma"], given["sigma_next"], given["noise_level"])
    mean, tolerance = advance(move, x, velocity), case.get("tolerance", SINGLE)
    assert_close(tensor(move.std), expected["std"], tolerance)
    assert_close(tensor(abs(move.velocity_coef)), expected["velocity_coef_abs"], tolerance)
    assert_close(mean, expected["mean"], tolerance)
    assert_close(log_prob(move, x_next, mean), expected["log_prob"], tolerance)


@pytest.mark.parametrize("case", cases("grpo_guard"))
def test_grpo_guard(case: Case) -> None:
    given, expected = case["inputs"], case["outputs"]
    old_mean, mean, x_next = (tensor(given[key], given["shape"]) for key in ("old_mean", "mean", "x_next"))
    mean.requires_grad_()
    std, advantage = given["std"], tensor(given["advantages"]).clamp(-given["adv_clip"], given["adv_clip"])
    log_ratio = guarded_log_ratio(x_next, mean, old_mean, std)
    scale = max(abs(value) for value in expected["log_ratio"])
    torch.testing.assert_close(log_ratio.detach(), tensor(expected["log_ratio"]), rtol=0, atol=5e-7 * scale)
    loss = clipped(log_ratio, advantage, given["clip_range"]).value.mean()
    move = Move(1.0, -given["velocity_coef_abs"], std=std, log_prob_std=std)
    assert_close(loss, expected["loss_flow_factory"], 1e-6)
    assert_close(loss / (given["sigma"] - given["sigma_next"]), expected["loss_verl_omni"], 1e-6)
    assert_close(loss * raw_weight("guard", move), expected["loss_precise"], 1e-6)
    assert_gradient(loss, mean, expected["grad_mean_flow_factory"])


def weighted_loss(given: Case, weights: Tensor) -> Tensor:
    advantage = tensor(given["advantages"]).clamp(-given["adv_clip"], given["adv_clip"])
    log_ratio = tensor(given["log_prob"]) - tensor(given["old_log_prob"])
    return (weights * clipped(log_ratio, advantage, given["clip_range"]).value).mean()


@pytest.mark.parametrize("case", cases("flash_weights"))
def test_flash_weights(case: Case) -> None:
    given, expected, tolerance = case["inputs"], case["outputs"], case.get("tolerance", SINGLE)
    sigmas, eta = given["sigmas"], given["noise_level"]

    def move(step: int) -> Move:
        sigma, sigma_next = sigmas[step], sigmas[step + 1]
        if given["kind"] == "flash":  # a step like `dance`, with a rate that depends on sigma
            return dance(sigma, sigma_next, eta * (sigmas[-1] + (sigmas[1] - sigmas[-1]) * sigma))
        return move_of(given["kind"], sigma, sigma_next, eta)

    raw = tensor([raw_weight("flash", move(step)) for step in given["steps"]])
    assert_close(1 / raw, expected["c"], tolerance)
    pool = given["steps"] if given["normalise_over"] == "batch" else given["normalise_over"]
    weights = raw / tensor([raw_weight("flash", move(step)) for step in pool]).mean()
    assert_close(weights, expected["weights"], tolerance)
    assert_close(weighted_loss(given, weights), expected["loss"], max(tolerance, SINGLE))


@pytest.mark.parametrize("case", cases("tempflow_weights"))
def test_temporal_weights(case: Case) -> None:
    given, expected = case["inputs"], case["outputs"]
    pairs = [given["sigmas"][step : step + 2] for step in given["steps"]]
    std = tensor(
        [
            raw_weight("temporal", move_of(given["kind"], sigma, sigma_next, given["noise_level"]))
            for sigma, sigma_next in pairs
        ]
    )
    assert_close(std, expected["std"], SINGLE)
    weights = given["scale"] * std
    assert_close(weights, expected["weights"], SINGLE)
    assert_close(weighted_loss(given, weights), expected["loss"], SINGLE)


@pytest.mark.parametrize("case", cases("flow_dppo"))
def test_flow_dppo(case: Case) -> None:
    given, expected = case["inputs"], case["outputs"]
    old_mean, mean = (tensor(given[key], given["shape"]) for key in ("old_mean", "mean"))
    std = tensor(given["std"]).view(-1, *[1] * (mean.dim() - 1))
    divergence = gaussian_kl(mean, old_mean, std)
    assert_close(divergence, expected["kl"], DOUBLE)
    new = tensor(given["log_prob"]).requires_grad_()
    result = masked(new - tensor(given["old_log_prob"]), tensor(given["advantages"]), divergence, given["threshold"])
    assert (~result.clipped).tolist() == [bool(kept) for kept in expected["keep"]]
    assert_close(result.ratio, expected["ratio"], DOUBLE)
    assert_close(result.value.mean(), expected["loss"], DOUBLE)
    assert_gradient(result.value.mean(), new, expected["grad_log_prob"])


def batch_of(case: Case) -> Case:
    return dict(REFERENCE["endpoint_batches"][case["inputs"]["batch"]])


def draws_of(batch: Case) -> tuple[Draws, Tensor]:
    """The reference's rows are draw after draw; here an image's draws are together."""
    count = batch["draws"]

    def by_image(values: Tensor) -> Tensor:
        return values.view(count, -1, *values.shape[1:]).transpose(0, 1)

    def velocities(key: str) -> Tensor:
        return by_image(tensor(batch[key], [-1, *batch["shape"][1:]]))

    current = velocities("v").clone().requires_grad_()
    target = velocities("noise") - velocities("x0")
    return Draws(by_image(tensor(batch["sigma"])), target, current, velocities("v_old"), velocities("v_ref")), current


def of_images(batch: Case, key: str) -> Tensor:
    """Of the first draw: the others are of the same images."""
    values = tensor(batch[key])
    return values[: len(values) // batch["draws"]]


def advantage_of(case: Case, batch: Case) -> Tensor:
    advantage, bound = of_images(batch, "advantages"), case["inputs"].get("adv_clip")
    return advantage if bound is None else advantage.clamp(-bound, bound)


def by_draw(values: Tensor) -> Tensor:
    """As the reference's rows."""
    return values.transpose(0, 1).flatten()


def check(case: Case, loss: Loss, current: Tensor, *, value: bool = True) -> None:
    tolerance, expected = case.get("tolerance", 1e-6), case["outputs"]
    total = loss.value.mean()
    if value:
        assert_close(total, expected["loss"], tolerance)
    (gradient,) = torch.autograd.grad(total, current)
    reference = tensor(expected["grad_v"]).view(current.shape[1], current.shape[0], *current.shape[2:]).transpose(0, 1)
    torch.testing.assert_close(gradient, reference, rtol=0, atol=GRADIENT * reference.abs().max().item() + 1e-15)


@pytest.mark.parametrize("case", cases("nft"))
def test_nft(case: Case) -> None:
    given, batch = case["inputs"], batch_of(case)
    draws, current = draws_of(batch)
    loss = nft(
        draws,
        of_images(batch, "advantages"),
        mixing=given["beta"],
        advantage_range=given["adv_clip"],
        signal=given["adv_mode"].replace("_", "-"),
        adaptive=given["adaptive_weight"],
    )
    check(case, anchored(loss, draws, {"reference": given["kl_beta"]}), current)


@pytest.mark.parametrize("case", cases("awm"))
def test_awm(case: Case) -> None:
    given, batch = case["inputs"], batch_of(case)
    draws, current = draws_of(batch)
    weighting = {"uniform": "velocity", "sigma^2": "image"}.get(given["weighting"], given["weighting"])
    power = given["power"] or 0.25
    for key, velocity in (("log_prob", draws.current), ("old_log_prob", draws.old)):
        error = velocity_error(weighting, velocity, draws.target, draws.sigma, power)
        assert_close(by_draw(-error), case["outputs"][key], case.get("tolerance", 1e-6))
    advantage = advantage_of(case, batch)
    if given["advantage_max"] is not None:
        advantage = advantage / given["adv_clip"] * given["advantage_max"]
    loss = ratio(
        draws,
        advantage,
        weighting=weighting,
        power=power,
        clip_range=given["clip_range"],
        average={"ratios": "ratios", "log_probs": "log-likelihoods"}[given["average"]],  # type: ignore[arg-type]
    )
    check(case, anchored(loss, draws, {"reference": given["kl_beta"], "old": given["ema_beta"]}), current)


@pytest.mark.parametrize("case", cases("elbo_pepg"))
def test_elbo_pepg(case: Case) -> None:
    given, batch = case["inputs"], batch_of(case)
    draws, current = draws_of(batch)
    weighting = {"uniform": "velocity", "t": "image"}.get(given["weight"], given["weight"])
    advantage, method = of_images(batch, "advantages"), given["method"]
    if method == "grpo":
        loss = ratio(draws, advantage.clamp(-5, 5), weighting=weighting, clip_range=1e-3, average="ratios")
    else:
        loss = likelihood(
            draws,
            advantage,
            weighting=weighting,
            proximal=not method.startswith("epg"),
            off_policy=not method.endswith("noratio"),
            guidance=given["guidance"],
        )
    loss = anchored(loss, draws, {"reference": given["kl_beta"]})
    check(case, loss, current, value=not method.startswith("par"))


@pytest.mark.parametrize("case", cases("v_grpo"))
def test_v_grpo(case: Case) -> None:
    given, batch = case["inputs"], batch_of(case)
    draws, current = draws_of(batch)
    for key, velocity in (("surrogate", draws.current), ("old_surrogate", draws.old)):
        error = velocity_error("adaptive", velocity, draws.target, draws.sigma)
        assert_close(by_draw(error), case["outputs"][key], case.get("tolerance", 1e-6))
    loss = ratio(
        draws,
        of_images(batch, "advantages"),
        weighting="adaptive",
        clip_range=given["clip_range"],
        average="log-likelihoods",
        soft_clip=given["soft_clip"],
    )
    check(case, anchored(loss, draws, {"old-image": given["kl_beta"]}), current)


@pytest.mark.parametrize("case", cases("rvm"))
def test_rvm(case: Case) -> None:
    given, batch = case["inputs"], batch_of(case)
    draws, current = draws_of(batch)
    coefficient = given["scale"] * rvm_advantages(case, batch)
    assert_close(coefficient, case["outputs"]["coefficient"], 1e-6)
    loss = likelihood(draws, coefficient, weighting="velocity")
    check(case, anchored(loss, draws, {"reference": given["anchor_beta"]}), current)


def rvm_advantages(case: Case, batch: Case) -> Tensor:
    """Ours divide by the std of a sample, RVM's by that of a population plus its eps."""
    given, rewards = case["inputs"], of_images(batch, "rewards")
    rows = [[row for row, own in enumerate(batch["group"][: len(rewards)]) if own == g] for g in {*batch["group"]}]
    table = torch.full((len(rows), max(map(len, rows))), math.nan, dtype=torch.float64)
    for group, own in zip(table, rows, strict=True):
        group[: len(own)] = rewards[own]
    ours = advantages({"r": table}, {"r": 1.0}, clip=math.inf, spread=given["std"])
    result = torch.empty_like(rewards)
    for group, own in zip(ours, rows, strict=True):
        across = rewards if given["std"] == "batch" else rewards[own]
        unit = across.std(correction=1) / (across.std(correction=0) + given["eps"])
        result[own] = (group[: len(own)] * unit).clamp(-given["clip"], given["clip"])
    return result


@pytest.mark.parametrize("case", cases("ram"))
def test_ram(case: Case) -> None:
    given, batch = case["inputs"], batch_of(case)
    draws, current = draws_of(batch)
    signal = of_images(batch, given["signal"])
    loss = ram(draws, signal, multiplier=given["multiplier"], residual=given["residual"])
    check(case, loss, current)
