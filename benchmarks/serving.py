"""What serving a reward costs and what batching gives back: images a second at 1, 8 and 64 requests at a time.

    make bench-serving

A server that joins waiting requests and one that does not (`--max-batch 1`) run side by side and are asked in turn, by
threads of one client, one image a request; figures are medians. Two rewards: `scenes`, whose cost is by the image, so
that only the overhead of a call can be saved; and one that takes 10 ms a call however many images it gets, as a model
on a GPU nearly does as long as it is not full. Writes benchmarks/results/serving.json.
"""

import json
import platform
import random
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

import urllib3
from PIL import Image
from rich.console import Console
from rich.table import Table

from mixgrpo.rewards.clients.remote import remote
from mixgrpo.rewards.entry import RewardConfig
from mixgrpo.rewards.registry import find_reward
from mixgrpo.scenes.captions import caption
from mixgrpo.scenes.prompts import train_requests
from mixgrpo.scenes.render import compose, draw
from servers import reward_server

CONCURRENT = (1, 8, 64)
IMAGES = {1: 100, 8: 200, 64: 640}  # in a repetition
REPETITIONS = 5
PER_CALL = """
import time

def score(images, prompts, **metadata):
    time.sleep(0.01)
    return [float(len(prompt)) for prompt in prompts]
"""
RESULTS = Path(__file__).parent / "results" / "serving.json"


def pictures(count: int) -> list[tuple[Image.Image, str]]:
    rng = random.Random(0)
    return [(Image.fromarray(draw(compose(r, rng))), caption(r)) for r in islice(train_requests(0), count)]


def batches(url: str) -> int:
    return int(json.loads(urllib3.request("GET", f"{url}/metrics").data)["batches"])


def measure(name: str, reward: str) -> list[dict[str, Any]]:
    asked = pictures(max(IMAGES.values()))
    own = find_reward(reward, RewardConfig())
    expected = own([image for image, _ in asked], [prompt for _, prompt in asked])
    rows = []
    with reward_server(reward) as (joining, _), reward_server(reward, "--max-batch", "1") as (single, _):
        for concurrent in CONCURRENT:
            rates: dict[str, list[float]] = {"single": [], "batched": []}
            calls = {"single": 0, "batched": 0}
            count = IMAGES[concurrent]
            for repetition in range(REPETITIONS + 1):  # the first warms up
                for kind, url in (("single", single), ("batched", joining)):
                    client = remote(url=url)
                    before, begin = batches(url), time.perf_counter()
                    with ThreadPoolExecutor(concurrent) as pool:
                        scores = pool.map(client, *zip(*(([i], [p]) for i, p in asked[:count]), strict=True))
                    seconds = time.perf_counter() - begin
                    assert [score for one in scores for score in one] == expected[:count]
                    if repetition:
                        rates[kind].append(count / seconds)
                        calls[kind] += batches(url) - before
            rows.append(
                {
                    "reward": name,
                    "concurrent_requests": concurrent,
                    "images_per_second": rates,
                    "images_per_call": {kind: REPETITIONS * count / number for kind, number in calls.items()},
                    "ratio": statistics.median(rates["batched"]) / statistics.median(rates["single"]),
                }
            )
    return rows


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "per_call.py"
        file.write_text(PER_CALL, encoding="utf-8")
        result = {
            "command": "make bench-serving",
            "machine": f"{platform.machine()}, Python {platform.python_version()}",
            "rows": [*measure("scenes", "scenes"), *measure("10 ms a call", f"{file}:score")],
        }
    RESULTS.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    show(result)


def show(result: dict[str, Any]) -> None:
    table = Table(title="Served over HTTP on one machine, images a second", box=None)
    for name in ("reward", "requests at a time", "one by one", "batched", "ratio", "images a call"):
        table.add_column(name, justify="left" if name == "reward" else "right")
    for row in result["rows"]:
        table.add_row(
            row["reward"],
            str(row["concurrent_requests"]),
            *(f"{statistics.median(row['images_per_second'][kind]):.0f}" for kind in ("single", "batched")),
            f"{row['ratio']:.2f}",
            f"{row['images_per_call']['batched']:.1f}",
        )
    Console(highlight=False).print(table)


if __name__ == "__main__":
    main()
