"""What pyproject.toml declares is what `make test-lowest` and `make test` install."""

import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]
UNTESTED = {"wandb", "trackio"}  # services of others: no test installs them


def declared() -> dict[str, Requirement]:
    """Every dependency with a floor, those of the extras too."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    lines = [*project["dependencies"], *(line for name in extras if name != "test" for line in extras[name])]
    return {canonicalize_name(line.name): line for line in map(Requirement, lines)}


def pinned(file: str) -> dict[str, Version]:
    lines = [Requirement(line) for line in (ROOT / file).read_text(encoding="utf-8").splitlines() if line[0] != "#"]
    return {canonicalize_name(line.name): Version(str(line.specifier).removeprefix("==")) for line in lines}


def test_the_lowest_versions_are_the_declared_floors() -> None:
    floors = {
        name: Version(str(requirement.specifier).removeprefix(">="))
        for name, requirement in declared().items()
        if name not in UNTESTED
    }
    lowest = pinned("constraints-lowest.txt")
    assert lowest.pop("torch") > floors.pop("torch")  # whose floor was tested on a GPU machine
    assert lowest == floors


@pytest.mark.parametrize("name", sorted(declared().keys() - UNTESTED))
def test_the_tested_version_is_an_allowed_one(name: str) -> None:
    assert pinned("constraints.txt")[name] in declared()[name].specifier
