"""What serving a reward over HTTP costs, and what batching gains: images per second at 1, 8 and 64 concurrent requests.

A server that batches waiting requests and one that does not (`--max-batch 1`) run side by side and take turns. The
threads of one client send an image per request. Two rewards: `scenes`, whose cost is per image, so that only the
overhead of a call can be saved; and one that takes 10 ms per call however many images it gets, much like a model on a
GPU that is not full. No image is sent twice: `scenes` remembers its verdicts.
"""

import json
import random
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import urllib3
from PIL import Image

from mixgrpo.rewards.clients.remote import remote
from mixgrpo.rewards.entry import RewardConfig
from mixgrpo.rewards.registry import find_reward
from mixgrpo.scenes.captions import caption
from mixgrpo.scenes.prompts import train_requests
from mixgrpo.scenes.render import compose, draw

from .local_servers import reward_server
from .progress import Track

IMAGES = {1: 100, 8: 200, 64: 640}
"""Images per repetition, by the number of concurrent requests."""
TEN_MS_PER_CALL = """
import time

def score(images, prompts, **metadata):
    time.sleep(0.01)
    return [float(len(prompt)) for prompt in prompts]
"""


class Rate(NamedTuple):
    images_per_second: float
    images_per_call: float


def measure(repetitions: int, track: Track) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "ten_ms_per_call.py"
        file.write_text(TEN_MS_PER_CALL, encoding="utf-8")
        rewards = {"scenes": "scenes", "10 ms per call": f"{file}:score"}
        rows = [
            {"reward": name, **row}
            for name, reward in track([*rewards.items()])
            for row in compare(reward, repetitions, IMAGES)
        ]
    return {"repetitions": repetitions, "rows": rows}


def compare(reward: str, repetitions: int, images: Mapping[int, int]) -> list[dict[str, Any]]:
    """A row per number of concurrent requests."""
    local, stream = find_reward(reward, RewardConfig()), _captioned_images()
    rows = []
    with reward_server(reward) as (batched, _), reward_server(reward, "--max-batch", "1") as (single, _):
        for concurrent, count in images.items():
            rates: dict[str, list[Rate]] = {"single": [], "batched": []}
            for repetition in range(repetitions + 1):
                sent = [*islice(stream, count)]
                expected = local([image for image, _ in sent], [prompt for _, prompt in sent])
                for name, url in (("single", single), ("batched", batched)):
                    rate = _send(url, sent, expected, concurrent)
                    if repetition:  # the first is the warm-up
                        rates[name].append(rate)
            rows.append(
                {
                    "concurrent_requests": concurrent,
                    "images_per_second": {name: [r.images_per_second for r in some] for name, some in rates.items()},
                    # Every repetition has as many images.
                    "images_per_call": {
                        name: statistics.harmonic_mean([r.images_per_call for r in some])
                        for name, some in rates.items()
                    },
                    "speedup": _median(rates["batched"]) / _median(rates["single"]),
                }
            )
    return rows


def _send(url: str, sent: Sequence[tuple[Image.Image, str]], expected: Sequence[float], concurrent: int) -> Rate:
    client = remote(url=url)
    before, begin = _calls(url), time.perf_counter()
    with ThreadPoolExecutor(concurrent) as pool:
        scores = [*pool.map(lambda item: client([item[0]], [item[1]])[0], sent)]
    seconds = time.perf_counter() - begin
    if scores != expected:
        raise ValueError(f"{url}: the scores differ from those that the reward returns in this process")
    return Rate(len(sent) / seconds, len(sent) / (_calls(url) - before))


def _calls(url: str) -> int:
    """How often the server has called its reward."""
    return int(json.loads(urllib3.request("GET", f"{url}/metrics").data)["batches"])


def _median(rates: Sequence[Rate]) -> float:
    return statistics.median(rate.images_per_second for rate in rates)


def _captioned_images() -> Iterator[tuple[Image.Image, str]]:
    rng = random.Random(0)
    for request in train_requests(0):
        yield Image.fromarray(draw(compose(request, rng))), caption(request)
