"""What happens to scores when servers fail: a reward server and a judge, faults that pass and faults that stay.

    make bench-serving

60 images, one a request, from 8 threads, each with a score of its own. A fault that passes hits every third
request; one that stays hits all. Right: the image's own score came back; without: NaN, or an error that says so;
lost: anything else, such as a zero or another image's score. Writes benchmarks/results/faults.json.
"""

import base64
import io
import json
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from PIL import Image
from rich.console import Console
from rich.table import Table

from mixgrpo.rewards.clients.endpoints import AllDown
from mixgrpo.rewards.clients.judge import vlm_judge
from mixgrpo.rewards.clients.remote import remote
from mixgrpo.rewards.clients.wire import Limits, decode
from mixgrpo.rewards.reward import Reward
from servers import Answer, Asked, LocalServer, address_where_nothing_listens, answering, as_json

LEVELS = range(5, 245, 4)
TIMEOUT = 0.3
FAULTS = {
    "slow": Answer(b"{}", delay=2 * TIMEOUT),
    "wrong: status 500": Answer(b"out of memory", status=500),
    "wrong: busy, 503": Answer(status=503, headers={"Retry-After": "0"}),
    "cut off": Answer(b'{"scores": [0.5], "choices": []}' + b" " * 1000, cut_at=20),
    "hung up": Answer(hang_up=True),
    "malformed": Answer(b"<html>Bad gateway</html>"),
}
RESULTS = Path(__file__).parent / "results" / "faults.json"


def gray(level: int) -> Image.Image:
    return Image.new("RGB", (8, 8), (level, level, level))


def level_of(image: Image.Image) -> int:
    level = image.convert("L").getpixel((0, 0))
    assert isinstance(level, int)
    return level


def good_reward(asked: Asked) -> Answer:
    images = decode(asked.body, asked.headers["Content-Type"], Limits()).images
    return as_json({"scores": [level_of(image) / 255 for image in images]})


def good_judge(asked: Asked) -> Answer:
    url = json.loads(asked.body)["messages"][0]["content"][0]["image_url"]["url"]
    level = level_of(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))))
    content = f"A gray square.\nFinal Score: {1 + 4 * level / 255}"
    return as_json({"choices": [{"message": {"content": content}, "finish_reason": "stop"}]})


def client(kind: str, urls: list[str]) -> Reward:
    if kind == "remote":
        return remote(url=urls[0], timeout=TIMEOUT, retries=6, backoff=0.02)
    return vlm_judge(urls=urls, model="judge", timeout=TIMEOUT, retries=6, backoff=0.02)


GOOD: dict[str, Callable[[Asked], Answer]] = {"remote": good_reward, "judge": good_judge}


def count(reward: Reward) -> dict[str, Any]:
    def one(level: int) -> str:
        try:
            score = reward([gray(level)], ["a gray square"])[0]
        except AllDown as error:
            return str(error)
        if score != score:
            return "NaN"
        return "right" if abs(score - level / 255) < 1e-6 else "lost"

    begin = time.perf_counter()
    with ThreadPoolExecutor(8) as pool:
        outcomes = [*pool.map(one, LEVELS)]
    errors = [outcome for outcome in outcomes if outcome not in ("right", "lost", "NaN")]
    return {
        "right": outcomes.count("right"),
        "without": outcomes.count("NaN") + len(errors),
        "lost": outcomes.count("lost"),
        "seconds": time.perf_counter() - begin,
        "error": errors[0] if errors else None,
    }


def with_fault(kind: str, fault: Answer, every: int) -> dict[str, Any]:
    def answer(asked: Asked) -> Answer:
        return fault if asked.number % every == 0 else GOOD[kind](asked)

    with answering(answer) as server:
        return {**count(client(kind, [server.url])), "requests": len(server.asked)}


def beside_two_good_ones(bad: list[Answer | None]) -> dict[str, Any]:
    """A judge with two good endpoints after bad ones; None is down."""

    def up(answer: Callable[[Asked], Answer]) -> LocalServer:
        server = stack.enter_context(answering(answer))
        servers.append(server)
        return server

    def always(fault: Answer) -> Callable[[Asked], Answer]:
        return lambda asked: fault

    servers: list[LocalServer] = []
    with ExitStack() as stack:
        urls = [address_where_nothing_listens() if fault is None else up(always(fault)).url for fault in bad]
        urls += [up(good_judge).url for _ in range(2)]
        return {**count(client("judge", urls)), "requests": sum(len(server.asked) for server in servers)}


def main() -> None:
    logging.disable(logging.WARNING)
    rows = []
    for kind in GOOD:
        for name, fault in FAULTS.items():
            rows.append({"client": kind, "fault": f"{name}, every third", **with_fault(kind, fault, every=3)})
        rows.append({"client": kind, "fault": "malformed, always", **with_fault(kind, FAULTS["malformed"], every=1)})
        down = client(kind, [address_where_nothing_listens()])
        rows.append({"client": kind, "fault": "down", **count(down), "requests": 0})
    rows.append({"client": "judge", "fault": "one of three endpoints down", **beside_two_good_ones([None])})
    hopeless = [None, FAULTS["hung up"], FAULTS["wrong: status 500"]]
    rows.append({"client": "judge", "fault": "three of five down or broken", **beside_two_good_ones(hopeless)})
    RESULTS.write_text(json.dumps({"command": "make bench-serving", "rows": rows}, indent=2) + "\n", encoding="utf-8")
    show(rows)


def show(rows: list[dict[str, Any]]) -> None:
    table = Table(title=f"{len(LEVELS)} images, 8 threads", box=None)
    for name in ("client", "fault", "right", "without", "lost", "requests", "seconds"):
        table.add_column(name, justify="left" if name in ("client", "fault") else "right")
    for row in rows:
        numbers = [str(row[name]) for name in ("right", "without", "lost", "requests")]
        table.add_row(row["client"], row["fault"], *numbers, f"{row['seconds']:.1f}")
    console = Console(highlight=False)
    console.print(table)
    console.print(*dict.fromkeys(row["error"] for row in rows if row["fault"] == "down"), sep="\n")


if __name__ == "__main__":
    main()
