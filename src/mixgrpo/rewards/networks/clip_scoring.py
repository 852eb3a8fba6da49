"""Shared by the CLIP rewards: unit-length embeddings of images and texts, and their cosine similarity.

Embeddings are float32, whatever the network's dtype.
"""

import html
from collections.abc import Callable

from PIL.Image import Image
from torch import Tensor, nn
from torch.nn import functional
from transformers import CLIPModel, CLIPTokenizer

from .preprocessing import Preprocess, centre_crop


class ClipCosine(nn.Module):
    """scale * cosine(image, text)."""

    def __init__(
        self,
        network: CLIPModel,
        tokenizer: CLIPTokenizer,
        preprocess: Preprocess,
        *,
        scale: float = 1.0,
        clean: Callable[[str], str] = str,
    ) -> None:
        super().__init__()
        self.network = network
        self._tokenizer, self._preprocess, self._scale, self._clean = tokenizer, preprocess, scale, clean

    def forward(self, images: list[Image], prompts: list[str]) -> Tensor:
        image = image_embeddings(self.network, images, self._preprocess)
        text = text_embeddings(self.network, self._tokenizer, [self._clean(prompt) for prompt in prompts])
        return self._scale * (image * text).sum(-1)


class HeadOnClip(nn.Module):
    """A head on the image embedding; the prompt is ignored."""

    def __init__(self, network: CLIPModel, head: nn.Module) -> None:
        super().__init__()
        self.network, self.head = network, head

    def forward(self, images: list[Image], prompts: list[str]) -> Tensor:
        scores: Tensor = self.head(image_embeddings(self.network, images, centre_crop))
        return scores.squeeze(-1)


def image_embeddings(network: CLIPModel, images: list[Image], preprocess: Preprocess) -> Tensor:
    pixels = preprocess(images, network.config.vision_config.image_size)
    features = network.get_image_features(pixels.to(network.device, network.dtype))
    return functional.normalize(features.pooler_output.float(), dim=-1)


def text_embeddings(network: CLIPModel, tokenizer: CLIPTokenizer, texts: list[str]) -> Tensor:
    # No attention mask is needed: padding follows the text, and a causal network never attends to later tokens.
    max_tokens = network.config.text_config.max_position_embeddings
    tokens = tokenizer(texts, padding=True, truncation=True, max_length=max_tokens, return_tensors="pt").input_ids
    features = network.get_text_features(tokens.to(network.device))
    return functional.normalize(features.pooler_output.float(), dim=-1)


def clean_text(text: str) -> str:
    """The clean-up that the tokenizers of OpenAI and OpenCLIP do first, and that of transformers does not."""
    try:
        import ftfy
    except ImportError as error:
        raise ImportError("the published clean-up of prompts needs ftfy: pip install 'mixgrpo[rewards]'") from error
    return html.unescape(html.unescape(ftfy.fix_text(text))).strip()
