"""`mixgrpo serve-reward`: a reward over HTTP."""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mixgrpo.recipe.load import parse_yaml
from mixgrpo.rewards.entry import RewardConfig
from mixgrpo.signals import raising

from .errors import as_sentences

if TYPE_CHECKING:
    from mixgrpo.rewards.reward import Reward


def serve_reward(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A shipped reward, or file.py:function.")],
    options: Annotated[
        list[str] | None, typer.Argument(metavar="[OPTION=VALUE]...", help="The reward's own options.")
    ] = None,
    host: Annotated[str, typer.Option(help="An address that other machines can reach needs a token.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any free port.")] = 8300,
    token_env: Annotated[
        str | None,
        typer.Option(help="The environment variable with the token that clients must send, e.g. MIXGRPO_REWARD_TOKEN."),
    ] = None,
    token_file: Annotated[Path | None, typer.Option(help="The file with that token.")] = None,
    max_batch: Annotated[int, typer.Option(min=1, help="Images per call of the reward.")] = 64,
    max_requests: Annotated[int, typer.Option(min=1, help="Waiting requests; further ones get status 503.")] = 128,
    max_memory: Annotated[int, typer.Option(min=1, help="MiB of all requests; further ones get status 503.")] = 4096,
    read_timeout: Annotated[float, typer.Option(min=0.1, help="Seconds in which a request must arrive.")] = 30.0,
) -> None:
    """Serve a reward over HTTP. A recipe uses it as `rewards: {NAME: {url: "http://127.0.0.1:8300"}}`."""
    with as_sentences(ValueError, OSError, ImportError):
        if find_spec("fastapi") is None or find_spec("uvicorn") is None:
            raise ImportError("a reward server needs FastAPI and uvicorn: pip install 'mixgrpo[serve]'")
        from mixgrpo.rewards.clients import credentials
        from mixgrpo.serving.app import Settings, reward_app
        from mixgrpo.serving.batching import Batcher
        from mixgrpo.serving.server import listen, serve, url

        if token_env is not None and token_file is not None:
            raise ValueError("--token-env and --token-file: give one of them")
        token = None
        if token_env is not None:
            token = credentials.from_environment(token_env)
        elif token_file is not None:
            token = credentials.from_file(token_file)
        batcher = Batcher(name, _reward(name, options or []), max_batch)
        listening = listen(host, port, token)
        typer.echo(f"serving {name} at {url(listening)}")
        settings = Settings(token, max_requests, max_memory * 2**20, read_timeout)
        with raising():  # the server has handlers of its own
            serve(reward_app(batcher, settings), batcher, listening, read_timeout)


def _reward(name: str, assignments: Sequence[str]) -> "Reward":
    from mixgrpo.rewards.registry import check_rewards

    options = {}
    for assignment in assignments:
        option, equals, value = assignment.partition("=")
        if not equals:
            raise ValueError(f"{assignment!r} is not an option: write option=value, such as device=cuda:1")
        options[option] = parse_yaml(value, what=assignment)
    if "weight" in options:
        raise ValueError("`weight` belongs in the client's recipe; a reward server does not use it")
    return check_rewards({name: RewardConfig.model_validate(options)})[name]
