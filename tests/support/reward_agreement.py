"""Compare our preference rewards with the authors' own code, on the same tiny random weights.

    python tests/support/reward_agreement.py

It needs the packages that published.py names, and writes docs/results/reward_agreement.json.
"""

import json
import platform
import tempfile
from pathlib import Path

import torch
import transformers
from rich.console import Console
from rich.table import Table

import published

RESULTS = Path(__file__).parents[2] / "docs" / "results" / "reward_agreement.json"


def main() -> None:
    published.supply_imports()
    rows = []
    for comparison in published.COMPARISONS:
        with tempfile.TemporaryDirectory() as folder:
            ours, theirs = comparison.run(Path(folder))
        rows.append(
            {
                "reward": comparison.reward,
                "reference": comparison.reference,
                "ours": ours,
                "theirs": theirs,
                "max_difference": max(abs(a - b) for a, b in zip(ours, theirs, strict=True)),
            }
        )
    result = {
        "command": "python tests/support/reward_agreement.py",
        "machine": f"{platform.machine()}, torch {torch.__version__}, transformers {transformers.__version__}",
        "weights": "random, the published names and modules, two layers a tower, widths of 128 to 768",
        "pictures": [f"{image.width} x {image.height}" for image in published.IMAGES],
        "rows": rows,
    }
    RESULTS.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    table = Table(box=None)
    for name in ("reward", "reference", "max difference"):
        table.add_column(name)
    for row in rows:
        table.add_row(str(row["reward"]), str(row["reference"]), f"{row['max_difference']:.1e}")
    Console(highlight=False, width=140).print(table)


if __name__ == "__main__":
    main()
