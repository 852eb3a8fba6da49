"""Draws the figures of the concepts from the real code: `make figures`. Needs the extra `bench`."""

import sys
import textwrap
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from mixgrpo import load_recipe
from mixgrpo.data.prompts import prompts_of
from mixgrpo.models.load import load_model
from mixgrpo.recipe.schema import Recipe
from mixgrpo.rewards.registry import find_rewards
from mixgrpo.sampling.noise import KeyedNoise
from mixgrpo.sampling.plan import Plan
from mixgrpo.sampling.rollout import rollout

mpl.rcParams.update({"font.family": "DejaVu Sans", "svg.fonttype": "path", "svg.hashsalt": "mixgrpo"})
INK, QUIET = "#7a828c", "#a9b0b8"
PREFIX, WINDOW, SUFFIX = "#2a6f97", "#e76f51", "#8ab17d"
PROMPT = "a red star left of a blue circle"


def group(recipe: Recipe) -> tuple[Plan, NDArray[np.float64], list[NDArray[np.uint8]], list[float]]:
    """A real group of the tiny model: its plan, where each of its states is on the grid, images and rewards."""
    model = load_model(recipe.model)
    grid = recipe.own_grid() or model.grid(recipe.grid.steps)
    plan, prompts = recipe.plan_at(0, grid), prompts_of([PROMPT])
    sampled = rollout(
        model,
        plan,
        model.encode(prompts),
        KeyedNoise(recipe.seed, 0, model.latent_shape),
        group_size=recipe.rollout.group_size,
        micro_batch=16,
    )
    images = [
        (image[0].permute(1, 2, 0) * 255).round().byte().numpy() for image in model.decode(sampled.latents).clamp(0, 1)
    ]
    (reward,) = find_rewards(recipe.rewards).values()
    scores = reward(images=[*map(Image.fromarray, images)], prompts=[PROMPT] * len(images))
    sigmas = np.array(grid.sigmas)
    states = np.array([*(step.sigma for step in plan.steps), 0.0])
    return plan, np.interp(-states, -sigmas, np.linspace(0, 1, len(sigmas))), images, [float(score) for score in scores]


def method() -> Figure:
    """One group: a trunk that is computed once, a window in which its images part, and what follows."""
    recipe = load_recipe(
        "scenes",
        ["rollout.group_size=5", "window={strategy: frozen, size: 3, range: [2, 11]}", "rewards={scenes: 1}", "seed=4"],
    )
    plan, places, images, rewards = group(recipe)
    stochastic = [number for number, step in enumerate(plan.steps) if step.stochastic]
    fork, end = stochastic[0], stochastic[-1] + 1

    figure = Figure(figsize=(10, 4))
    axes = figure.add_axes((0.01, 0.02, 0.84, 0.96))
    axes.set_xlim(-0.03, 1.03)
    axes.set_ylim(-1.8, 1.5)
    axes.axis("off")
    for number, height in enumerate(np.linspace(1.1, -0.9, len(images))):
        way = _branch(places, fork, end, height, number)
        for part, colour in ((slice(end, None), SUFFIX), (slice(fork, end + 1), WINDOW)):
            axes.plot(places[part], way[part], color=colour, lw=1.8, solid_capstyle="round", marker="o", ms=4.5)
        _result(figure, axes, images[number], height, rewards[number] - float(np.mean(rewards)))
    axes.plot(places[: fork + 1], np.full(fork + 1, 0.1), color=PREFIX, lw=3.2, marker="o", ms=6.5)
    _labels(axes, places, fork, end)
    figure.text(0.85, 0.95, "reward above mean", color=INK, size=9.5)
    return figure


def _branch(places: NDArray[np.float64], fork: int, end: int, height: float, number: int) -> NDArray[np.float64]:
    """Where an image is: random steps through the window, and from there straight to its place."""
    way = np.full(len(places), 0.1)
    inside = np.arange(fork + 1, end + 1)
    jitter = np.random.default_rng(number).normal(0, 0.07, len(inside))
    way[inside] = 0.1 + (height - 0.1) * 0.85 * (inside - fork) / (end - fork) + jitter
    way[end:] = np.interp(places[end:], places[[end, -1]], [way[end], height])
    return way


def _labels(axes: Axes, places: NDArray[np.float64], fork: int, end: int) -> None:
    spans = [
        (places[0], places[fork], PREFIX, "prefix", "ODE, computed once for the group"),
        (places[fork], places[end], WINDOW, "window", "SDE: the images part, and the model learns from them"),
        (places[end], 1.0, SUFFIX, "suffix", "ODE, in fewer steps (Flash)"),
    ]
    for start, stop, colour, name, what in spans:
        middle = (start + stop) / 2
        axes.plot([start + 0.004, stop - 0.004], [-1.3, -1.3], color=colour, lw=5, solid_capstyle="butt")
        axes.text(middle, -1.42, name, color=colour, ha="center", va="top", weight="bold", size=11)
        axes.text(
            middle,
            -1.62,
            textwrap.fill(what, 28 if stop - start > 0.2 else 20),
            color=INK,
            ha="center",
            va="top",
            size=8.5,
        )
    axes.text(0, 0.26, "noise", color=INK, size=9.5)
    axes.text(0, 1.32, f"“{PROMPT}”", color=INK, size=10.5, style="italic")


def _result(figure: Figure, axes: Axes, image: NDArray[np.uint8], height: float, better: float) -> None:
    """The image at its height, and by how much its reward is above the group's mean."""
    size = 0.135
    _, middle = figure.transFigure.inverted().transform(axes.transData.transform((1, height)))
    width = size * figure.get_figheight() / figure.get_figwidth()
    frame = figure.add_axes((0.85, middle - size / 2, width, size))
    frame.imshow(image)
    frame.axis("off")
    colour = PREFIX if better > 0.005 else WINDOW if better < -0.005 else INK
    figure.text(
        0.85 + width + 0.015,
        middle,
        f"{better:+.2f}".replace("-", "\N{MINUS SIGN}"),
        color=colour,
        va="center",
        size=10.5,
        weight="bold",
    )


def slide() -> Figure:
    """Which steps are stochastic, over a run, for three ways to move the window."""
    figure = Figure(figsize=(10, 2.6), layout="constrained")
    names = {"progressive": "slides (MixGRPO)", "random": "jumps (random)", "frozen": "stays (frozen)"}
    grids = figure.subplots(1, 3, sharey=True)
    for axes, (strategy, title) in zip(grids, names.items(), strict=True):
        recipe = load_recipe("flux-dev-hpdv2", [f"window={{strategy: {strategy}, size: 4}}"])
        steps, iterations = recipe.grid.steps, 300
        shown = np.zeros((iterations, steps))
        for k in range(iterations):
            shown[k, list(recipe.window_at(k))] = 1
        axes.pcolormesh(shown.T, cmap=ListedColormap(["#d7e3ea", WINDOW]), rasterized=True)
        axes.set_title(title, color=INK, size=10)
        axes.set_xlabel("iteration", color=INK, size=9)
        axes.tick_params(colors=QUIET, labelsize=8)
        for spine in axes.spines.values():
            spine.set_visible(False)
    grids[0].set_ylabel("denoising step", color=INK, size=9)
    return figure


def main() -> None:
    folder = Path(__file__).parent / "images"
    for name, draw in {"method": method, "slide": slide}.items():
        draw().savefig(folder / f"{name}.svg", transparent=True, metadata={"Date": None})
        sys.stdout.write(f"{folder / name}.svg\n")


if __name__ == "__main__":
    main()
