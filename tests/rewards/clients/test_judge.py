"""Judges behind OpenAI-compatible servers that answer well, badly, or not at all."""

import base64
import io
import json
import math
from collections import Counter
from pathlib import Path
from threading import Lock
from typing import Any

import pytest
from PIL import Image

from messages import noise
from mixgrpo.rewards.clients.endpoints import AllDown, Refused
from mixgrpo.rewards.clients.judge import unifiedreward, vlm_judge
from mixgrpo.rewards.clients.judge_templates import TEMPLATES, find_template
from mixgrpo.rewards.reward import Reward
from servers import Answer, Asked, address_where_nothing_listens, answering, as_json


def completion(text: str | None, finish_reason: str = "stop") -> Answer:
    return as_json({"choices": [{"message": {"content": text}, "finish_reason": finish_reason}]})


def brightness_in_fives(asked: Asked) -> Answer:
    """A judge that looks: black is 1, white is 5."""
    level = picture(asked).convert("L").resize((1, 1)).getpixel((0, 0))
    assert isinstance(level, int | float)
    return completion(f"It is {level} bright.\nFinal Score: {1 + 4 * level / 255:.3f}")


def picture(asked: Asked) -> Image.Image:
    image, _ = json.loads(asked.body)["messages"][0]["content"]
    head, data = image["image_url"]["url"].split(",")
    assert head == "data:image/png;base64"
    return Image.open(io.BytesIO(base64.b64decode(data)))


def question(asked: Asked) -> str:
    return str(json.loads(asked.body)["messages"][0]["content"][1]["text"])


def gray(value: int) -> Image.Image:
    return Image.new("RGB", (4, 4), (value, value, value))


def judge(*urls: str, **options: Any) -> Reward:
    given: dict[str, Any] = {"model": "m", "backoff": 0.001, "retries": 2, **options}
    return vlm_judge(urls=[f"{url}/v1" for url in urls], **given)


def test_each_image_gets_its_own_verdict() -> None:
    levels = [(37 * i) % 256 for i in range(24)]
    with answering(brightness_in_fives) as server:
        scores = judge(server.url)([gray(level) for level in levels], [f"prompt {i}" for i in range(24)])
    assert scores == pytest.approx([level / 255 for level in levels], abs=1e-3)
    assert {asked.path for asked in server.asked} == {"/v1/chat/completions"}
    assert {picture(asked).getpixel((0, 0))[0]: question(asked) for asked in server.asked} == {  # type: ignore[index]
        level: TEMPLATES["overall"].ask(f"prompt {i}") for i, level in enumerate(levels)
    }


def test_what_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_KEY", "secret")
    with answering(lambda _: completion("3")) as server:
        assert judge(server.url, api_key_env="A_KEY", max_tokens=99)([gray(0)], ["p"]) == [0.5]
    sent = json.loads(server.asked[0].body)
    assert (sent["model"], sent["temperature"], sent["max_tokens"]) == ("m", 0, 99)
    assert server.asked[0].headers["Authorization"] == "Bearer secret"


def test_unifiedreward_asks_what_it_was_trained_on_and_understands_its_answers() -> None:
    def answer(asked: Asked) -> Answer:
        if "Final Score:" in question(asked):
            return completion("star (object): 1\nFinal Score: 4")
        return completion("Alignment Score (1-5): 2\nCoherence Score (1-5): 3\nStyle Score (1-5): 4")

    with answering(answer) as server:
        assert unifiedreward(urls=[server.url])([gray(0)], ["a star"]) == [0.75]
        assert unifiedreward(urls=[server.url], template="unifiedreward-acs")([gray(0)], ["a star"]) == [0.5]
    assert all("[a star]" in question(asked) for asked in server.asked)
    assert json.loads(server.asked[0].body)["model"] == "UnifiedReward"


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (completion("I would rather not."), "no score from 1 to 5 in 'I would rather not.'"),
        (completion("Final Score: 11"), "no score from 1 to 5 in 'Final Score: 11'"),
        (completion(None), "no score from 1 to 5 in ''"),
        (completion("Final Score: 4", "length"), "the answer was cut off at max_tokens = 512: 'Final Score: 4'"),
    ],
)
def test_an_answer_without_a_score_is_nan_after_retries(
    bad: Answer, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    with answering(lambda asked: bad if "bad" in question(asked) else completion("5")) as server:
        scores = judge(server.url)([gray(0)] * 3, ["good", "bad", "good"])
    assert (scores[0], scores[2]) == (1.0, 1.0)
    assert math.isnan(scores[1])
    assert len(server.asked) == 2 + 3
    assert caplog.messages == [f"m gave no score for 1 of 3 images: {why}"]


def test_a_second_answer_may_have_the_score_that_the_first_lacked() -> None:
    with answering(lambda asked: completion("well" if asked.number == 0 else "5")) as server:
        assert judge(server.url)([gray(0)], ["p"]) == [1.0]


def test_an_image_that_the_server_will_not_judge_leaves_the_others_alone() -> None:
    def choosy(asked: Asked) -> Answer:
        if "secret" in question(asked):
            return as_json({"error": {"message": "not allowed"}}, status=400)
        return completion("5")

    with answering(choosy) as server:
        scores = judge(server.url)([gray(0)] * 3, ["a", "secret", "c"])
    assert (scores[0], scores[2]) == (1.0, 1.0)
    assert math.isnan(scores[1])
    assert len(server.asked) == 3


@pytest.mark.parametrize("status", [401, 404])
def test_a_wrong_key_or_model_ends_it(status: int) -> None:
    with (
        answering(lambda _: as_json({"error": "no model m"}, status=status)) as server,
        pytest.raises(Refused, match="no model m"),
    ):
        judge(server.url, concurrency=1)([gray(0)] * 5, ["p"] * 5)
    assert len(server.asked) < 5  # what had not begun is not begun


def test_of_three_endpoints_one_is_down_one_flaps_and_nothing_is_lost() -> None:
    def flapping(asked: Asked) -> Answer:
        bad = (Answer(status=500), Answer(b"{"), Answer(hang_up=True), Answer(b"x" * 99, cut_at=9))
        return bad[asked.number // 2 % 4] if asked.number % 2 else brightness_in_fives(asked)

    levels = range(0, 250, 5)
    down = address_where_nothing_listens()
    with answering(brightness_in_fives) as good, answering(flapping) as other:
        scores = judge(down, other.url, good.url)([gray(level) for level in levels], ["p"] * 50)
    assert scores == pytest.approx([level / 255 for level in levels], abs=1e-3)
    assert len(other.asked) > 2


def test_when_all_are_down_it_ends() -> None:
    urls = [address_where_nothing_listens() for _ in range(2)]
    with pytest.raises(AllDown, match=r"no usable answer in 6 attempts .*vllm serve m"):
        judge(*urls)([gray(0)] * 20, ["p"] * 20)


def test_no_more_than_so_many_at_a_time() -> None:
    lock, now, most = Lock(), Counter[str](), 0

    def counted(asked: Asked) -> Answer:
        nonlocal most
        with lock:
            now["open"] += 1
            most = max(most, now["open"])
        answer = brightness_in_fives(asked)
        with lock:
            now["open"] -= 1
        return answer

    with answering(counted) as server:
        judge(server.url, concurrency=3)([noise(32, 32)] * 30, ["p"] * 30)
    assert most <= 3


def test_a_template_of_ones_own(tmp_path: Path) -> None:
    file = tmp_path / "mine.txt"
    file.write_text('Is this {prompt}? Answer {"score": 0 or 1}.', encoding="utf-8")
    with answering(lambda _: completion('{"score": 1}')) as server:
        assert judge(server.url, template=str(file), scale=(0, 1))([gray(0)], ["a star"]) == [1.0]
    assert question(server.asked[0]) == 'Is this a star? Answer {"score": 0 or 1}.'


@pytest.mark.parametrize(
    ("text", "scale", "problem"),
    [
        (None, (1, 5), "must be overall, alignment, unifiedreward, unifiedreward-acs, or a text file that exists"),
        ("{prompt}", None, "needs its scale, such as scale: [1, 5]"),
        ("How good is it?", (1, 5), "must contain {prompt}, where the image's prompt goes"),
        ("{prompt}", (5, 1), "the worst and the best score, the worst being lower"),
    ],
)
def test_a_template_that_cannot_work_is_refused(
    tmp_path: Path, text: str | None, scale: tuple[float, float] | None, problem: str
) -> None:
    file = tmp_path / "mine.txt"
    if text is not None:
        file.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=r"must|needs") as error:
        find_template(str(file), scale)
    assert problem in str(error.value)


@pytest.mark.parametrize("name", TEMPLATES)
def test_templates_that_ship_have_a_place_for_the_prompt(name: str) -> None:
    assert find_template(name, None).ask("a fox").count("a fox") == 1
