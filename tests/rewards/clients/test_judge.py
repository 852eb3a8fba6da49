"""Judges behind OpenAI-compatible servers that respond correctly, incorrectly or not at all."""

import base64
import io
import json
import math
from collections import Counter
from pathlib import Path
from threading import Lock
from typing import Any

import pytest
import torch
from PIL import Image

from messages import noise
from mixgrpo.bench.local_servers import Answer, Request, address_where_nothing_listens, as_json, local_server
from mixgrpo.data.prompts import Prompt
from mixgrpo.recipe.sections import ScoringConfig
from mixgrpo.rewards.clients.endpoints import AllServersFailed, RequestRefused
from mixgrpo.rewards.clients.judge import Judge, unifiedreward, vlm_judge
from mixgrpo.rewards.clients.judge_templates import TEMPLATES, find_template
from mixgrpo.training.scoring import Scorer


def completion(text: str | None, finish_reason: str = "stop") -> Answer:
    return as_json({"choices": [{"message": {"content": text}, "finish_reason": finish_reason}]})


def brightness_from_1_to_5(request: Request) -> Answer:
    """A judge that scores the brightness: black is 1, white is 5."""
    level = image_of(request).convert("L").resize((1, 1)).getpixel((0, 0))
    assert isinstance(level, int | float)
    return completion(f"It is {level} bright.\nFinal Score: {1 + 4 * level / 255:.3f}")


def image_of(request: Request) -> Image.Image:
    image, _ = json.loads(request.body)["messages"][0]["content"]
    head, data = image["image_url"]["url"].split(",")
    assert head == "data:image/png;base64"
    return Image.open(io.BytesIO(base64.b64decode(data)))


def question_of(request: Request) -> str:
    return str(json.loads(request.body)["messages"][0]["content"][1]["text"])


def gray(value: int) -> Image.Image:
    return Image.new("RGB", (4, 4), (value, value, value))


def judge(*urls: str, **options: Any) -> Judge:
    given: dict[str, Any] = {"model": "m", "backoff": 0.001, "retries": 2, **options}
    return vlm_judge(urls=[f"{url}/v1" for url in urls], **given)


def test_each_image_gets_its_own_verdict() -> None:
    levels = [(37 * i) % 256 for i in range(24)]
    with local_server(brightness_from_1_to_5) as server:
        scores = judge(server.url)([gray(level) for level in levels], [f"prompt {i}" for i in range(24)])
    assert scores == pytest.approx([level / 255 for level in levels], abs=1e-3)
    assert {request.path for request in server.requests} == {"/v1/chat/completions"}
    assert {image_of(request).getpixel((0, 0))[0]: question_of(request) for request in server.requests} == {  # type: ignore[index]
        level: TEMPLATES["overall"].fill(f"prompt {i}") for i, level in enumerate(levels)
    }


def test_images_of_other_modes_are_sent_as_rgb() -> None:
    with local_server(brightness_from_1_to_5) as server:
        images = [Image.new("RGBA", (4, 4), (0, 0, 0, 0)), Image.new("CMYK", (4, 4), (0, 0, 0, 255))]
        assert judge(server.url)(images, ["p"] * 2) == [1, 0]
    assert {image_of(request).mode for request in server.requests} == {"RGB"}


def test_the_request_has_the_model_the_options_and_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_KEY", "secret")
    with local_server(lambda _: completion("3")) as server:
        assert judge(server.url, api_key_env="A_KEY", max_tokens=99)([gray(0)], ["p"]) == [0.5]
    sent = json.loads(server.requests[0].body)
    assert (sent["model"], sent["temperature"], sent["max_tokens"]) == ("m", 0, 99)
    assert server.requests[0].headers["Authorization"] == "Bearer secret"


def test_unifiedreward_uses_its_training_prompts_and_parses_its_answers() -> None:
    def answer(request: Request) -> Answer:
        if "Final Score:" in question_of(request):
            return completion("star (object): 1\nFinal Score: 4")
        return completion("Alignment Score (1-5): 2\nCoherence Score (1-5): 3\nStyle Score (1-5): 4")

    with local_server(answer) as server:
        assert unifiedreward(urls=[server.url])([gray(0)], ["a star"]) == [0.75]
        assert unifiedreward(urls=[server.url], template="unifiedreward-acs")([gray(0)], ["a star"]) == [0.5]
    assert all("[a star]" in question_of(request) for request in server.requests)
    assert json.loads(server.requests[0].body)["model"] == "UnifiedReward"


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (completion("I would rather not."), "no score from 1 to 5 in 'I would rather not.'"),
        (completion("Final Score: 11"), "no score from 1 to 5 in 'Final Score: 11'"),
        (completion(None), "no score from 1 to 5 in ''"),
        (completion("Final Score: 4", "length"), "the answer was cut off at max_tokens = 512: 'Final Score: 4'"),
    ],
)
def test_an_answer_without_a_score_is_no_score_and_not_asked_for_again(
    bad: Answer, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    with local_server(lambda request: bad if "bad" in question_of(request) else completion("5")) as server:
        scores = judge(server.url)([gray(0)] * 3, ["good", "bad", "good"])
    assert (scores[0], scores[2]) == (1.0, 1.0)
    assert scores[1] is None
    assert len(server.requests) == 3
    assert caplog.messages == [f"m gave no score for 1 of 3 images: {why}"]


def test_training_does_not_ask_again_either() -> None:
    with local_server(lambda _: completion("well")) as server:
        scorer = Scorer({"judge": judge(server.url)}, ScoringConfig())
        scorer.submit(torch.zeros(1, 1, 3, 4, 4), [Prompt("p", {})])
        assert scorer.collect().failed == {"judge": 1}
    assert len(server.requests) == 1


def test_an_image_that_no_server_answers_is_asked_again_alone() -> None:
    """One answer has a score, one has none, and one is an error of the server. Only the last may be different."""

    def answer(request: Request) -> Answer:
        if "elk" in question_of(request):
            return completion("1") if request.number == 5 else Answer(status=500)
        return completion("5" if "fox" in question_of(request) else "well")

    with local_server(answer) as server:
        scorer = Scorer({"judge": judge(server.url, retries=1, concurrency=1)}, ScoringConfig())
        scorer.submit(torch.zeros(3, 1, 3, 4, 4), [Prompt(word, {}) for word in ("fox", "owl", "elk")])
        scored = scorer.collect()
    assert scored.values["judge"].nan_to_num(9).tolist() == [1, 9, 0]
    assert (scored.failed, scored.retried) == ({"judge": 1}, {"judge": 1})
    asked = [word for request in server.requests for word in ("fox", "owl", "elk") if word in question_of(request)]
    assert asked == ["fox", "owl", "elk", "elk", "elk", "elk"]


def test_the_rest_is_not_asked_once_the_servers_are_gone() -> None:
    def dies(request: Request) -> Answer:
        return completion("5") if request.number < 2 else Answer(hang_up=True)

    with local_server(dies) as server:
        scores = judge(server.url, concurrency=2, retries=0)([gray(0)] * 50, ["p"] * 50)
    assert scores.count(1.0) == 2  # whichever of the two threads comes first
    assert sum(score is not None and math.isnan(score) for score in scores) == 48
    assert len(server.requests) < 10


def test_a_refused_image_does_not_affect_the_others() -> None:
    def choosy(request: Request) -> Answer:
        if "secret" in question_of(request):
            return as_json({"error": {"message": "not allowed"}}, status=400)
        return completion("5")

    with local_server(choosy) as server:
        scores = judge(server.url)([gray(0)] * 3, ["a", "secret", "c"])
    assert (scores[0], scores[2]) == (1.0, 1.0)
    assert scores[1] is None
    assert len(server.requests) == 3


@pytest.mark.parametrize("status", [401, 404])
def test_a_wrong_key_or_model_is_an_error(status: int) -> None:
    with (
        local_server(lambda _: as_json({"error": "no model m"}, status=status)) as server,
        pytest.raises(RequestRefused, match="no model m"),
    ):
        judge(server.url, concurrency=1)([gray(0)] * 200, ["p"] * 200)
    assert len(server.requests) < 200  # pending requests were cancelled


def test_no_score_is_lost_if_one_of_three_servers_is_down_and_another_unreliable() -> None:
    def unreliable(request: Request) -> Answer:
        bad = (Answer(status=500), Answer(b"{"), Answer(hang_up=True), Answer(b"x" * 99, cut_at=9))
        return bad[request.number // 2 % 4] if request.number % 2 else brightness_from_1_to_5(request)

    levels = range(0, 250, 5)
    down = address_where_nothing_listens()
    with local_server(brightness_from_1_to_5) as good, local_server(unreliable) as other:
        scores = judge(down, other.url, good.url)([gray(level) for level in levels], ["p"] * 50)
    assert scores == pytest.approx([level / 255 for level in levels], abs=1e-3)
    assert len(other.requests) > 2


def test_the_client_gives_up_if_all_servers_are_down() -> None:
    urls = [address_where_nothing_listens() for _ in range(2)]
    with pytest.raises(AllServersFailed, match=r"no usable response in 6 attempts .*vllm serve m"):
        judge(*urls)([gray(0)] * 20, ["p"] * 20)


def test_concurrency_limits_the_open_requests() -> None:
    lock, now, most = Lock(), Counter[str](), 0

    def counted(request: Request) -> Answer:
        nonlocal most
        with lock:
            now["open"] += 1
            most = max(most, now["open"])
        answer = brightness_from_1_to_5(request)
        with lock:
            now["open"] -= 1
        return answer

    with local_server(counted) as server:
        judge(server.url, concurrency=3)([noise(32, 32)] * 30, ["p"] * 30)
    assert most <= 3


def test_a_template_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.txt"
    file.write_text('Is this {prompt}? Answer {"score": 0 or 1}.', encoding="utf-8")
    with local_server(lambda _: completion('{"score": 1}')) as server:
        assert judge(server.url, template=str(file), scale=(0, 1))([gray(0)], ["a star"]) == [1.0]
    assert question_of(server.requests[0]) == 'Is this a star? Answer {"score": 0 or 1}.'


@pytest.mark.parametrize(
    ("text", "scale", "problem"),
    [
        (None, (1, 5), "must be overall, alignment, unifiedreward, unifiedreward-acs, or a text file that exists"),
        ("{prompt}", None, "needs a scale, such as scale: [1, 5]"),
        ("How good is it?", (1, 5), "must contain {prompt}, the place for the image's prompt"),
        ("{prompt}", (5, 1), "must be [worst score, best score], the worst score lower"),
    ],
)
def test_an_invalid_template_is_an_error(
    tmp_path: Path, text: str | None, scale: tuple[float, float] | None, problem: str
) -> None:
    file = tmp_path / "mine.txt"
    if text is not None:
        file.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=r"must|needs") as error:
        find_template(str(file), scale)
    assert problem in str(error.value)


@pytest.mark.parametrize("name", TEMPLATES)
def test_every_built_in_template_contains_the_prompt(name: str) -> None:
    assert find_template(name, None).fill("a fox").count("a fox") == 1
