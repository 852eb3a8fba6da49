"""Token ids for both text encoders."""

from diffusers import FluxPipeline
from torch import Tensor

from .build import TEXT_TOKENS


def tokenize(pipeline: FluxPipeline, captions: list[str]) -> list[Tensor]:
    """Token ids of CLIP and T5, each [captions, length], padded as in the pipeline."""
    return [
        tokenizer(captions, padding="max_length", max_length=length, truncation=True, return_tensors="pt").input_ids
        for tokenizer, length in (
            (pipeline.tokenizer, pipeline.tokenizer_max_length),
            (pipeline.tokenizer_2, TEXT_TOKENS),
        )
    ]
