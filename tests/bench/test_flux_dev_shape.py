import torch

from bench_setups import tiny_flux
from mixgrpo.bench.flux_dev_shape import flux_dev_recipe, flux_dev_shape, random_texts
from mixgrpo.data.prompts import Prompt
from mixgrpo.models.base import PipelineModel
from mixgrpo.recipe.sections import ModelConfig


def test_the_sizes_are_flux_devs() -> None:
    pipeline = flux_dev_shape(flux_dev_recipe().model, torch.device("meta")).pipeline
    size = sum(parameter.numel() for parameter in pipeline.transformer.parameters())
    decoder = sum(parameter.numel() for parameter in pipeline.vae.decoder.parameters())
    assert size == 11_901_408_320
    assert decoder == 49_545_475
    assert (flux_dev_recipe().tune, flux_dev_recipe().model.height) == ("lora", 720)


def test_random_texts_have_the_shapes_of_encoded_prompts() -> None:
    model = tiny_flux(ModelConfig(path="", height=32, width=24), torch.device("cpu"))
    assert isinstance(model, PipelineModel)
    prompts = [Prompt("a star", {}), Prompt("a ring", {})]
    random, encoded = random_texts(model, prompts), model.encode(prompts)
    assert random.per_prompt["embeds"].shape == (2, 512, 4096)
    assert random.per_prompt["pooled"].shape == (2, 768)
    assert random.common["image_ids"].equal(encoded.common["image_ids"])
