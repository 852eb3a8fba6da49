"""The judge's client against `transformers serve`, an OpenAI-compatible server that is not ours, with tiny networks."""

import math
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from threading import Thread

import pytest
from PIL import Image, ImageChops

import tiny_llava
from messages import noise
from mixgrpo.rewards.clients.endpoints import AllServersFailed
from mixgrpo.rewards.entry import RewardConfig
from mixgrpo.rewards.registry import check_rewards
from mixgrpo.rewards.reward import Reward

pytestmark = [
    pytest.mark.long,  # 20 s until the server is up
    pytest.mark.skipif(find_spec("openai") is None, reason="needs `pip install 'transformers[serving]'`"),
]


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("networks")
    tiny_llava.save_judge_of_light(folder / "light")
    tiny_llava.save_speaker(folder / "maybe", "maybe")
    tiny_llava.save_random(folder / "random")
    return folder


@pytest.fixture(scope="module")
def url(networks: Path) -> Iterator[str]:
    command = [str(Path(sys.executable).with_name("transformers")), "serve", "--host", "127.0.0.1", "--port", "0"]
    environment = {**os.environ, "HF_HOME": str(networks / "no-models-of-the-hub")}
    with subprocess.Popen(
        [*command, "--device", "cpu"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stderr is not None
        rest = Thread(target=process.stderr.readlines, daemon=True)  # a full pipe would stop the server
        try:
            address = _url(process.stderr)
            rest.start()
            yield address
        finally:
            process.terminate()
            if rest.ident is not None:
                rest.join()


def _url(log: Iterator[str]) -> str:
    lines = []
    for line in log:
        lines.append(line)
        if found := re.search(r"running on (http://\S+)", line):
            return found[1]
    raise ChildProcessError("".join(lines))


def judge(url: str, model: Path, **options: object) -> Reward:
    """As a recipe's entry."""
    entry = {"reward": "vlm-judge", "urls": [f"{url}/v1"], "model": str(model), **options}
    return check_rewards({"judge": RewardConfig.model_validate(entry)})["judge"]


def picture(i: int) -> Image.Image:
    """A light or a dark one, of a size of its own."""
    grain = noise(40 + 7 * i, 90 - 5 * i, i)
    return (ImageChops.lighter if i % 3 == 0 else ImageChops.darker)(grain, ImageChops.invert(grain))


def test_every_image_gets_the_score_that_the_network_gives_it(url: str, networks: Path) -> None:
    prompts = ["a fox", "", "日本語 café 🦊", 'a sign that reads "\\n{prompt}"', "x" * 1500, "two\nlines\t"] * 2
    scores = judge(url, networks / "light", concurrency=4)(images=[*map(picture, range(12))], prompts=prompts)
    assert scores == [1, 0, 0] * 4


def test_an_answer_without_a_score_is_none(url: str, networks: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert judge(url, networks / "maybe")(images=[picture(0)] * 2, prompts=["a", "b"]) == [None, None]
    assert caplog.messages[-1].endswith("gave no score for 2 of 2 images: no score from 1 to 5 in 'maybe'")


def test_a_network_that_does_not_stop_is_cut_off(url: str, networks: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert judge(url, networks / "random", max_tokens=9)(images=[picture(0)], prompts=["a"]) == [None]
    assert "for 1 of 1 images: the answer was cut off at max_tokens = 9: " in caplog.messages[-1]


def test_one_prompt_that_breaks_the_server_does_not_cost_the_others_their_scores(url: str, networks: Path) -> None:
    """The network's own mark for an image: there are then more marks than images."""
    reward = judge(url, networks / "light", retries=1, backoff=0.1)
    first, second, third = reward(images=[*map(picture, range(3))], prompts=["a fox", "an <image>", "a fox"])
    assert (first, math.isnan(second), third) == (1, True, 0)


def test_a_server_that_cannot_list_its_models_is_there(
    url: str, networks: Path, caplog: pytest.LogCaptureFixture
) -> None:
    judge(url, networks / "light")
    assert caplog.messages == [f"{url}/v1/models: status 500: Internal Server Error"]


def test_a_model_that_is_not_there_is_an_error(url: str, networks: Path) -> None:
    with pytest.raises(AllServersFailed, match=r"no usable response in 2 attempts .*status 500: Internal Server Error"):
        judge(url, networks / "nowhere", retries=1, backoff=0.1)(images=[picture(0)], prompts=["a"])
