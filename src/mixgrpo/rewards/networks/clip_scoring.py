"""What the CLIP rewards share: unit embeddings of pictures and texts, and the cosine between them.

Embeddings are float32, whatever the network's dtype.
"""

import html
from collections.abc import Callable

from PIL.Image import Image
from torch import Tensor, nn
from torch.nn import functional
from transformers import CLIPModel, CLIPTokenizer

from .preprocessing import Prepare


class ClipCosine(nn.Module):
    """scale * cosine(picture, text)."""

    def __init__(
        self,
        network: CLIPModel,
        tokenizer: CLIPTokenizer,
        prepare: Prepare,
        *,
        scale: float = 1.0,
        clean: Callable[[str], str] = str,
    ) -> None:
        super().__init__()
        self.network = network
        self._tokenizer, self._prepare, self._scale, self._clean = tokenizer, prepare, scale, clean

    def forward(self, images: list[Image], prompts: list[str]) -> Tensor:
        seen = image_embeddings(self.network, images, self._prepare)
        read = text_embeddings(self.network, self._tokenizer, [self._clean(prompt) for prompt in prompts])
        return self._scale * (seen * read).sum(-1)


def image_embeddings(network: CLIPModel, images: list[Image], prepare: Prepare) -> Tensor:
    pixels = prepare(images, network.config.vision_config.image_size)
    features = network.get_image_features(pixels.to(network.device, network.dtype))
    return functional.normalize(features.pooler_output.float(), dim=-1)


def text_embeddings(network: CLIPModel, tokenizer: CLIPTokenizer, texts: list[str]) -> Tensor:
    # Without a mask: padding comes after the end of a text, where a causal network does not look.
    longest = network.config.text_config.max_position_embeddings
    tokens = tokenizer(texts, padding=True, truncation=True, max_length=longest, return_tensors="pt").input_ids
    features = network.get_text_features(tokens.to(network.device))
    return functional.normalize(features.pooler_output.float(), dim=-1)


def mended(text: str) -> str:
    """What OpenAI's and OpenCLIP's tokenizers do to a text first, and transformers' does not."""
    try:
        import ftfy
    except ImportError as error:
        raise ImportError("reading prompts as the authors do needs ftfy: pip install 'mixgrpo[rewards]'") from error
    return html.unescape(html.unescape(ftfy.fix_text(text))).strip()
