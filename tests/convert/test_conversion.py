import json
from pathlib import Path

import pytest

from mixgrpo.convert.conversion import Conversion, Source, convert, of_settings, recognised
from mixgrpo.convert.errors import ConvertError
from mixgrpo.convert.python_config import Computed, read_python
from mixgrpo.convert.words import Pairs, flags, overrides
from mixgrpo.recipe.load import resolve

PUBLISHED = Path(__file__).parent / "published"
DANCE = "torchrun --nproc_per_node 8 train_grpo_flux.py --sampling_steps 16 --eta 0.3 --h 512 --w 512 --use_hpsv2 "


def of(conversion: Conversion, key: str) -> str:
    (kind,) = [line.kind for line in conversion.lines if line.key == key]
    return kind


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("mixgrpo.sh", "mixgrpo"),
        ("dancegrpo.sh", "dancegrpo"),
        ("verl-omni.sh", "verl-omni"),
        ("flow_grpo.py.txt", "flow-grpo"),
    ],
)
def test_the_trainer_is_recognised(file: str, source: Source) -> None:
    assert recognised((PUBLISHED / file).read_text()) == source


@pytest.mark.parametrize("file", ["mixgrpo.sh", "mixgrpo-flash-frozen.sh", "dancegrpo.sh", "verl-omni.sh"])
def test_every_key_of_a_published_script_is_known(file: str) -> None:
    assert [line.key for line in convert((PUBLISHED / file).read_text()).lines if line.note == "unknown here"] == []


def test_each_key_is_in_one_list_even_if_nobody_knows_it() -> None:
    conversion = convert(f"{DANCE} --made_up 3 --eta 0.4")
    keys = [line.key for line in conversion.lines if not line.by_default]
    expected = ["nproc_per_node", "sampling_steps", "eta", "h", "w", "use_hpsv2", "made_up", "eta"]
    assert sorted(keys) == sorted(expected)
    assert of(conversion, "made_up") == "left"
    assert [(line.kind, line.value) for line in conversion.lines if line.key == "eta"] == [("left", 0.3), ("took", 0.4)]
    assert conversion.recipe["sde"]["noise_level"] == 0.4


def test_what_the_source_leaves_out_has_its_default_there() -> None:
    recipe = resolve(convert(DANCE).recipe)
    assert not recipe.rollout.shared_noise
    assert (recipe.update.max_grad_norm, recipe.update.weight_decay) == (2.0, 0.01)
    assert recipe.rollout.prompts == 8 * 16


def test_dancegrpo_with_adapters() -> None:
    recipe = resolve(convert(f"{DANCE} --use_lora --lora_rank 64").recipe)
    assert (recipe.tune, recipe.lora.rank, recipe.lora.alpha) == ("lora", 64, 256)
    assert resolve(convert(f"{DANCE} --lora_rank 64").recipe).tune == "full"


def test_the_number_of_gpus_is_asked_for_where_batches_need_it() -> None:
    text = DANCE.replace("--nproc_per_node 8", "") + "--train_batch_size 2"
    assert "give --gpus N" in convert(text).missing["rollout.prompts"]
    assert convert(text, gpus=4).recipe["rollout"]["prompts"] == 8


def test_json_of_flow_grpo() -> None:
    settings = {
        "sample": {"num_steps": 10, "num_image_per_prompt": 8, "train_batch_size": 4, "num_batches_per_epoch": 4},
        "train": {"learning_rate": 1e-4},
        "reward_fn": {"pickscore": 0.5, "nudity": 1},
    }
    conversion = convert(json.dumps(settings), gpus=2)
    recipe = resolve(conversion.recipe)
    assert (recipe.rollout.prompts, recipe.rollout.group_size, recipe.update.minibatches) == (4, 8, 4)
    assert recipe.weights == {"pickscore": 0.5, "reward.py:score": 1.0}
    assert recipe.advantage.aggregation == "reward"
    assert (recipe.lora.rank, recipe.lora.alpha) == (64, 128)
    assert of(conversion, "reward_fn") == "changed"
    assert "nudity" in conversion.missing["rewards.reward.py:score"]


def test_a_progressive_window_of_verl_omni_moves_by_its_size() -> None:
    algo = "actor_rollout_ref.rollout.algo."
    text = f"{algo}sample_strategy=progressive {algo}sde_window_size=3 {algo}iters_per_group=5 {algo}sde_window_seed=1"
    text += " actor_rollout_ref.rollout.n=4"
    conversion = convert(text)
    window = resolve(conversion.recipe).window.model_dump()
    assert (window["stride"], window["wrap"], window["iters_per_group"]) == (3, False, 5)
    assert of(conversion, f"{algo}sde_window_seed") == "left"


def test_cps_has_the_noise_level_that_it_has_there() -> None:
    text = (PUBLISHED / "mixgrpo.sh").read_text().replace("--sde_type sde", "--sde_type cps")
    conversion = convert(text)
    assert conversion.recipe["sde"] == {"type": "cps", "noise_level": 0.8}
    assert of(conversion, "eta") == "left"


def test_secrets_are_not_shown() -> None:
    text = (PUBLISHED / "mixgrpo.sh").read_text().replace('wandb_key=""', "wandb_key=abc123")
    assert "abc123" not in str(convert(text))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("hello", "of no trainer that is known: give --from verl-omni, mixgrpo, dancegrpo, flow-grpo"),
        (DANCE.replace("--eta 0.3", "--eta $ETA"), r"eta = \$ETA: only a shell can say"),
        (DANCE.replace("--eta 0.3", ""), "--eta is missing"),
        (DANCE.replace("--nproc_per_node 8", "--nproc_per_node many"), "nproc_per_node = 'many': must be a number"),
        (DANCE + "--num_generations 1", "rollout.group_size = 1"),
        ('{"train": 1', "not valid JSON"),
        ("config.sample.num_steps = len(x)", r"sample.num_steps = len\(x\): is computed there"),
    ],
)
def test_mistakes_are_sentences(text: str, sentence: str) -> None:
    with pytest.raises(ConvertError, match=sentence):
        convert(text)


def test_minus_one_and_zero_mean_in_verl_omni_what_they_mean_there() -> None:
    text = (PUBLISHED / "verl-omni.sh").read_text()
    for old, new in (
        ("save_freq=30", "save_freq=-1"),
        ("test_freq=30", "test_freq=-1"),
        ("lora_rank=64", "lora_rank=0"),
        ("trainer.total_training_steps=150", ""),
    ):
        assert old in text
        text = text.replace(old, new)
    conversion = convert(text)
    recipe = resolve(conversion.recipe)
    assert (recipe.tune, recipe.evaluation.every) == ("full", 0)
    assert recipe.save.every > recipe.iterations
    assert "iterations" in conversion.missing


def test_a_script_that_names_a_configuration_points_there() -> None:
    with pytest.raises(ConvertError, match=r"with config/grpo\.py:ocr: convert that, with --gpus N"):
        convert("accelerate launch --num_processes 8 scripts/train_sd3.py --config config/grpo.py:ocr")


def settings_of(file: str, source: Source) -> Pairs:
    text = (PUBLISHED / file).read_text()
    if source == "flow-grpo":
        return [*read_python(text, "pickscore_sd3_fast_nocfg").items()]
    return overrides(text) if source == "verl-omni" else flags(text)


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("mixgrpo-flash.sh", "mixgrpo"),
        ("dancegrpo.sh", "dancegrpo"),
        ("verl-omni.sh", "verl-omni"),
        ("flow_grpo.py.txt", "flow-grpo"),
    ],
)
def test_a_strange_value_of_any_key_makes_a_recipe_or_a_sentence(file: str, source: Source) -> None:
    settings = settings_of(file, source)
    for at, (key, _) in enumerate(settings):
        for strange in (None, True, -1, 1e308, float("nan"), [1], {"a": 1}, "x", "$X", Computed("f(x)")):
            try:
                conversion = of_settings([*settings[:at], (key, strange), *settings[at + 1 :]], source)
            except ConvertError:
                continue
            assert {line.key for line in conversion.lines} >= {name for name, _ in settings}
