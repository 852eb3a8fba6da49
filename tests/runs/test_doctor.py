import sys
from importlib import metadata

import pytest

from mixgrpo.rewards.registry import REWARDS
from mixgrpo.runs import doctor
from mixgrpo.runs.doctor import Observation, observations, what_is_missing


def test_every_reward_and_extra_is_looked_at_and_nothing_is_broken() -> None:
    seen = [*observations()]
    assert [each for each in seen if each.state == "broken"] == []
    assert {each.what for each in seen if each.part == "rewards"} == REWARDS.keys()
    declared = {*(metadata.metadata("mixgrpo").get_all("Provides-Extra") or [])} - {"test"}
    assert {each.what for each in seen if each.part == "extras"} == declared
    (trained,) = [each for each in seen if each.part == "self-test"]
    assert "one update" in trained.detail


def test_what_is_missing_comes_with_a_command() -> None:
    lacking = [each for each in doctor.rewards() if each.state == "missing"]
    assert all(each.fix.startswith(("hf download", "pip install")) for each in lacking)


def of_extras(monkeypatch: pytest.MonkeyPatch, requires: list[str]) -> Observation:
    monkeypatch.setattr(metadata, "requires", lambda name: requires)
    (found,) = [each for each in doctor.extras() if each.what == "serve"]
    return found


def test_an_extra_of_which_a_package_is_absent_or_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    found = of_extras(monkeypatch, ["pillow>=9000; extra == 'serve'", "no-such-package; extra == 'serve'", "numpy"])
    assert found.state == "missing"
    assert "needs >=9000" in found.detail
    assert "no-such-package (not installed)" in found.detail
    assert found.fix == "pip install 'mixgrpo[serve]'"


def test_a_package_that_every_run_needs_is_broken_if_it_is_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "requires", lambda name: ["no-such-package>=2", "numpy", "no-other; extra == 'ocr'"])
    absent, present = doctor.packages()
    assert (absent.what, absent.state, absent.fix) == ("no-such-package", "broken", "pip install 'no-such-package>=2'")
    assert (present.what, present.state) == ("numpy", "ok")


def test_a_package_that_does_not_import_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "requires", lambda name: ["peft>=0.1"])
    monkeypatch.setitem(sys.modules, "peft", None)
    (found,) = doctor.packages()
    assert found.state == "broken"
    assert "does not import" in found.detail
    assert found.fix == f"pip install --force-reinstall --no-deps 'peft=={metadata.version('peft')}'"


def test_a_part_that_fails_is_broken_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(name: str) -> list[str]:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "requires", fails)
    seen = [*observations(self_test=False)]
    assert {each.part for each in seen if each.state == "broken"} == {"packages", "extras"}
    assert any(each.part == "models" for each in seen)


@pytest.mark.parametrize(
    ("message", "command"),
    [
        ("the OCR reward needs RapidOCR: pip install 'mixgrpo[ocr]'", "pip install 'mixgrpo[ocr]'"),
        ("its words: pip install --no-deps hpsv3", "pip install --no-deps hpsv3"),
        ("x: found no a.pt there, neither. Get https://huggingface.co/o/r and set x", "hf download o/r a.pt"),
        ("x: found no config.json there, neither. Get https://huggingface.co/o/r and set x", "hf download o/r"),
        ("something else", ""),
    ],
)
def test_the_command_in_an_error(message: str, command: str) -> None:
    assert what_is_missing(message)[1] == command
