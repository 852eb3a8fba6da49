"""One of the processes of `bench.network`: a few iterations, then what it sent and how long they took, as JSON."""

import json
import sys
import time
from pathlib import Path

from mixgrpo.data.sources import train_prompts
from mixgrpo.models.load import load_model
from mixgrpo.parallel import distributed
from mixgrpo.recipe.load import load_recipe
from mixgrpo.training.policy import make_policy
from mixgrpo.training.trainer import Trainer

from .namespaces import DEVICE
from .network import ITERATIONS, RECIPE, WARMUP
from .plans import differing

_SENT = Path(f"/sys/class/net/{DEVICE}/statistics/tx_bytes")


def main(changes: list[str]) -> None:
    with distributed.processes():
        recipe = load_recipe(RECIPE, changes)
        prompts = train_prompts(recipe.prompts.train, recipe.seed, 16)
        rewards = dict.fromkeys(recipe.rewards, differing)
        trainer = Trainer(recipe, make_policy(load_model(recipe.model), recipe), rewards, prompts)
        for _ in range(WARMUP):
            trainer.iterate()
        distributed.gather(None)
        begin, before = time.monotonic(), int(_SENT.read_text())
        for _ in range(ITERATIONS):
            trainer.iterate()
        distributed.gather(None)
        seconds, sent = time.monotonic() - begin, int(_SENT.read_text()) - before
    print(json.dumps({"seconds": seconds / ITERATIONS, "sent_bytes": sent / ITERATIONS}))


if __name__ == "__main__":
    main(sys.argv[1:])
