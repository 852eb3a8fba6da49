"""The `mixgrpo` command.

What needs diffusers or transformers is imported where it is used: `mixgrpo plan` does not wait for them.
"""

import json
import logging
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mixgrpo.recipe.load import RecipeError, load_recipe, parse_yaml, shipped_recipes
from mixgrpo.recipe.plan_view import plan_as_json, print_plan
from mixgrpo.recipe.schema import Recipe

if TYPE_CHECKING:
    from mixgrpo.rewards.reward import Reward

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

RecipeName = Annotated[str, typer.Argument(metavar="RECIPE", help="A shipped recipe or a YAML file.")]
Overrides = Annotated[
    list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Changes to it, such as window.size=2.")
]

RunFolderArgument = Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder.", show_default=False)]


@app.callback()
def main() -> None:
    """Online reinforcement learning for flow-matching text-to-image models."""


@app.command()
def recipes() -> None:
    """List the recipes that ship with the package."""
    names = shipped_recipes()
    width = max(map(len, names))
    for name in names:
        typer.echo(f"{name:<{width}}  {load_recipe(name).description}")


@app.command()
def plan(
    recipe: RecipeName,
    overrides: Overrides = None,
    iteration: Annotated[int, typer.Option(min=0, help="Which iteration's plan to show.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="The same for a machine.")] = False,
) -> None:
    """Show what a recipe samples and trains, and what that costs. Loads no model."""
    loaded = _load(recipe, overrides or [])
    if as_json:
        typer.echo(json.dumps(plan_as_json(loaded, iteration), indent=2))
    else:
        print_plan(loaded, iteration)


@app.command()
def train(
    recipe: Annotated[str, typer.Argument(metavar="[RECIPE]", help="A shipped recipe or a YAML file.")] = "scenes",
    overrides: Overrides = None,
    # Not `--run`: torchrun takes that for an abbreviation of an option of its own.
    out: Annotated[Path | None, typer.Option(help="The run's folder; by default a new one under runs/.")] = None,
) -> None:
    """Train. The result, checkpoints and metrics are in the run's folder."""
    changes = [*(overrides or [])]
    if "=" in recipe:  # the recipe left out: mixgrpo train iterations=5
        recipe, changes = "scenes", [recipe, *changes]
    loaded = _load(recipe, changes)
    with _process_group(), _plain_errors():
        from mixgrpo.parallel import distributed
        from mixgrpo.runs.run import start

        folder = distributed.gather(out or _new_folder(Path(recipe).stem))[0]  # the same for all processes
        start(loaded, folder)


@app.command()
def resume(run: RunFolderArgument) -> None:
    """Continue a run from its last checkpoint, exactly as if it had never stopped."""
    with _process_group(), _plain_errors():
        from mixgrpo.runs.run import resume

        resume(run)


@app.command()
def sample(
    run: RunFolderArgument,
    prompts: Annotated[list[str], typer.Argument(metavar="PROMPT...", help="One picture each.")],
    out: Annotated[Path, typer.Option(help="Where the PNG files go.")] = Path("samples"),
    steps: Annotated[int, typer.Option(min=1, help="Euler steps.")] = 20,
    seed: Annotated[int, typer.Option(help="Decides the noise.")] = 0,
    share: Annotated[
        float,
        typer.Option("--hybrid", min=0, max=1, help="Share of the steps by the tuned model; the base draws the rest."),
    ] = 1.0,
) -> None:
    """Draw pictures with a run's tuned model."""
    with _plain_errors():
        from mixgrpo.runs.sample_files import sample_to_files

        for path in sample_to_files(run, prompts, out, steps=steps, seed=seed, share=share):
            typer.echo(str(path))


@app.command("eval")
def evaluate(
    run: RunFolderArgument,
    count: Annotated[int | None, typer.Option("--prompts", min=1, help="How many; by default the recipe's.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Euler steps; by default the recipe's.")] = None,
    seed: Annotated[int, typer.Option(help="Decides the noise, the same for both.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="The same for a machine.")] = False,
) -> None:
    """Compare a run's model before and after on held-out prompts, per kind, from the same noise."""
    with _plain_errors():
        from mixgrpo.runs.comparison import compare, print_comparison

        result = compare(run, count=count, steps=steps, seed=seed)
        if as_json:
            typer.echo(json.dumps(result, indent=2))
        else:
            print_comparison(result)


@app.command()
def bench(
    learning: Annotated[bool, typer.Option("--learning", help="What is learned in the same time.")] = False,
    levers: Annotated[bool, typer.Option("--levers", help="What each of turbo's levers gives.")] = False,
    one_by_one: Annotated[bool, typer.Option("--one-by-one", help="Against one image at a time.")] = False,
    suffix: Annotated[bool, typer.Option("--suffix", help="Which short suffixes keep the order of rewards.")] = False,
    growth: Annotated[
        bool, typer.Option("--growth", help="Cost and memory against every size, and predicted.")
    ] = False,
    model: Annotated[
        str, typer.Option(metavar="RECIPE", help="Whose model is measured; flux-dev-shape: FLUX.1-dev's size, random.")
    ] = "scenes",
    device: Annotated[str, typer.Option(help="Where: cpu, cuda.")] = "cpu",
    dtype: Annotated[
        str | None, typer.Option(help="What it computes in: float32, bfloat16, float16.", show_default="the recipe's")
    ] = None,
    prompts: Annotated[
        int | None, typer.Option(min=1, help="An iteration's, of 12 images each.", show_default="4")
    ] = None,
    repetitions: Annotated[int, typer.Option(min=1, help="How often all is measured; of --learning the seeds.")] = 2,
    minutes: Annotated[
        float | None, typer.Option(min=0, help="Of training, with --learning.", show_default="10")
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option(min=1e-12, help="Of all, with --learning.", show_default="the recipe's")
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option(help="An algorithm beside DanceGRPO; may be repeated. None: all.")
    ] = None,
    compile: Annotated[bool, typer.Option("--compile", help="Turbo with compiled blocks too.")] = False,
    as_json: Annotated[Path | None, typer.Option("--json", help="Where all that was measured goes.")] = None,
    png: Annotated[Path | None, typer.Option(help="Where the picture of it goes.")] = None,
) -> None:
    """Measure what the algorithms cost, side by side on one model; or one of the five things below."""
    with _plain_errors():
        from mixgrpo.bench.command import bench

        chosen = {"learning": learning, "levers": levers, "one-by-one": one_by_one, "suffix": suffix, "growth": growth}
        asked = [name for name, on in chosen.items() if on] or ["cost"]
        if len(asked) > 1:
            raise ValueError(f"{', '.join(f'--{name}' for name in asked)}: give one of them")
        settings = {
            "prompts": prompts,
            "minutes": minutes,
            "learning-rate": learning_rate,
            "only": only,
            "compile": compile,
        }
        given = {name: value for name, value in settings.items() if value}
        bench(asked[0], model, device, dtype, repetitions, given, as_json, png)


@app.command("serve-reward")
def serve_reward(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A reward that ships, or file.py:function.")],
    options: Annotated[
        list[str] | None, typer.Argument(metavar="[OPTION=VALUE]...", help="The reward's own options.")
    ] = None,
    host: Annotated[str, typer.Option(help="One that other machines can reach needs a token.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: one that is free.")] = 8300,
    token_env: Annotated[
        str | None, typer.Option(help="The variable with the token that clients must show, e.g. MIXGRPO_REWARD_TOKEN.")
    ] = None,
    token_file: Annotated[Path | None, typer.Option(help="The file with that token.")] = None,
    max_batch: Annotated[int, typer.Option(min=1, help="Images in one call of the reward.")] = 64,
    max_requests: Annotated[int, typer.Option(min=1, help="Requests at a time; more are told to come back.")] = 128,
) -> None:
    """Serve a reward over HTTP. Recipes use it as `rewards: {NAME: {url: "http://127.0.0.1:8300"}}`."""
    with _in_a_sentence(ValueError, OSError, ImportError):
        if find_spec("fastapi") is None or find_spec("uvicorn") is None:
            raise ImportError("a reward server needs FastAPI and uvicorn: pip install 'mixgrpo[serve]'")
        from mixgrpo.rewards.clients import credentials
        from mixgrpo.serving.app import Settings, reward_app
        from mixgrpo.serving.server import listen, serve, url

        if token_env is not None and token_file is not None:
            raise ValueError("--token-env and --token-file: give one of them")
        token = None
        if token_env is not None:
            token = credentials.from_environment(token_env)
        elif token_file is not None:
            token = credentials.from_file(token_file)
        reward = _served_reward(name, options or [])
        listening = listen(host, port, token)
        typer.echo(f"serving {name} at {url(listening)}")
        serve(reward_app(name, reward, Settings(token, max_batch, max_requests)), listening)


def _served_reward(name: str, assignments: Sequence[str]) -> "Reward":
    from mixgrpo.rewards.entry import RewardConfig
    from mixgrpo.rewards.registry import find_reward

    options = {}
    for assignment in assignments:
        option, equals, value = assignment.partition("=")
        if not equals:
            raise ValueError(f"{assignment!r} is not an option: write option=value, such as device=cuda:1")
        options[option] = parse_yaml(value, what=assignment)
    if "weight" in options:
        raise ValueError("weight: belongs into the recipe of whoever asks, not to a server")
    return find_reward(name, RewardConfig.model_validate(options))


def _load(recipe: str, overrides: Sequence[str]) -> Recipe:
    try:
        return load_recipe(recipe, overrides)
    except RecipeError as error:
        typer.echo(str(error), err=True)
        sys.exit(2)


def _new_folder(name: str) -> Path:
    number = 1
    while (folder := Path("runs") / f"{name}-{number}").exists():
        number += 1
    return folder


@contextmanager
def _process_group() -> Iterator[None]:
    from mixgrpo.parallel import distributed

    distributed.start()
    try:
        yield
    finally:
        distributed.stop()


def _quiet_libraries() -> None:
    """No bars for loading what takes a second, and no word of what is as it should be."""
    import diffusers
    import transformers

    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()
    for handler in logging.getLogger("transformers").handlers:
        handler.addFilter(lambda record: "requires torchvision" not in record.getMessage())
    warnings.filterwarnings("ignore", "Mismatch dtype between input and weight")  # float32 weights under autocast
    warnings.filterwarnings("ignore", "Dynamo detected a call to a `functools.lru_cache`")  # diffusers' version checks


@contextmanager
def _plain_errors() -> Iterator[None]:
    """What the user can mend is said in a sentence, without a traceback. Libraries speak when they are imported: what
    imports them belongs inside.
    """
    _quiet_libraries()
    from mixgrpo.training.scoring import RewardError
    from mixgrpo.training.trainer import TrainingStopped

    with _in_a_sentence(RecipeError, RewardError, TrainingStopped, ValueError, OSError):
        yield


@contextmanager
def _in_a_sentence(*mendable: type[Exception]) -> Iterator[None]:
    try:
        yield
    except mendable as error:
        typer.echo(str(error), err=True)
        sys.exit(1)
