"""Our scores against those of the authors' own code. Skipped if their packages are not installed."""

from pathlib import Path

import pytest

import published

missing = published.missing_packages()


@pytest.mark.skipif(
    bool(missing), reason=f"needs {', '.join(missing)}; tests/support/published.py says how to install them"
)
@pytest.mark.parametrize("comparison", published.COMPARISONS, ids=lambda it: f"{it.reward}-{it.package}")
def test_scores_equal_those_of_the_published_code(comparison: published.Comparison, tmp_path: Path) -> None:
    published.supply_imports()
    ours, theirs = comparison.run(tmp_path)
    assert ours == pytest.approx(theirs, rel=1e-5, abs=comparison.tolerance)
    assert max(theirs) - min(theirs) > 0.01
