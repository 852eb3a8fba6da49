"""The big models at their true size, on the device without memory, as `mixgrpo plan` builds them."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace

from torch import nn

from mixgrpo.data.prompts import Prompt
from mixgrpo.models.base import PipelineModel
from mixgrpo.models.load import ADAPTERS
from mixgrpo.models.qwen_image import QWEN_IMAGE
from mixgrpo.planning.published import modules
from mixgrpo.planning.sized import sized_model
from mixgrpo.recipe.sections import ModelConfig
from mixgrpo.sampling.field import Conditioning

PARAMETERS = {
    "black-forest-labs/FLUX.1-dev": 11_901_408_320,
    "stabilityai/stable-diffusion-3.5-medium": 2_243_171_520,
    "stabilityai/stable-diffusion-3.5-large": 8_056_627_520,
    "Qwen/Qwen-Image": 20_430_401_088,
    "black-forest-labs/FLUX.2-klein-base-4B": 3_875_544_576,
    "black-forest-labs/FLUX.2-klein-base-9B": 9_078_581_248,
    "Tongyi-MAI/Z-Image": 6_154_908_736,
}
"""Of the transformer."""

_TEXT_ENCODER_BLOCKS = ("block", "layers")


class _Ends(nn.ModuleList):
    """Of blocks that are alike only the first and the last are run. All are there, trained and saved."""

    def __iter__(self) -> Iterator[nn.Module]:
        kinds: dict[object, list[nn.Module]] = {}
        for block in self._modules.values():
            shapes = tuple((name, parameter.shape) for name, parameter in block.named_parameters())
            kinds.setdefault(shapes, []).append(block)
        return iter([block for alike in kinds.values() for block in dict.fromkeys((alike[0], alike[-1]))])


def true_size(config: ModelConfig, all_blocks: bool = False) -> PipelineModel:
    """`all_blocks`: run them all."""
    model = sized_model(config)
    if not all_blocks:
        repeated = {*ADAPTERS[type(model.pipeline).__name__].blocks, *_TEXT_ENCODER_BLOCKS}
        for part in modules(model.pipeline):
            _run_ends_only(part, repeated)
    if model.adapter.velocity != QWEN_IMAGE.velocity:
        return model
    full_length = model.adapter.encode

    def every_second_is_shorter(model: PipelineModel, prompts: Sequence[Prompt]) -> Conditioning:
        conditioning = full_length(model, prompts)
        mask = conditioning.per_prompt["mask"].to("cpu")
        mask[1::2, mask.shape[1] // 2 :] = 0
        return replace(conditioning, per_prompt={**conditioning.per_prompt, "mask": mask.to(model.device)})

    return replace(model, adapter=replace(model.adapter, encode=every_second_is_shorter))


def _run_ends_only(part: nn.Module, repeated: Collection[str]) -> None:
    for module in [*part.modules()]:
        for name, blocks in [*module.named_children()]:
            if name in repeated and isinstance(blocks, nn.ModuleList):
                setattr(module, name, _Ends(blocks).eval())
