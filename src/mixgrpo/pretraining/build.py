"""The tiny FLUX before training: a complete `FluxPipeline` with random weights.

2.3 M parameters, 64 image tokens of 8 x 8 pixels, and guidance as an input, like FLUX.1-dev. The vocabulary of its
tokenizers is that of the world of scenes, plus single letters for the words to write.
"""

import string

from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer, T5Config, T5EncoderModel, T5Tokenizer

from mixgrpo.scenes.captions import BACKGROUNDS, COLOURS, NUMBERS, RELATIONS, SHAPES, plural

TEXT_TOKENS = 16
"""The longest caption has 14 tokens. Pass this value to the pipeline as `max_sequence_length`."""

_LATENT_CHANNELS = 8
_TEXT_WIDTH = 64
_CLIP_TOKENS = 24  # the length of the longest caption; CLIP's own is 77


def build() -> FluxPipeline:
    return FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=4.0),
        vae=_vae(),
        text_encoder=CLIPTextModel(_clip_config()),
        tokenizer=_clip_tokenizer(),
        text_encoder_2=T5EncoderModel(_t5_config()),
        tokenizer_2=_t5_tokenizer(),
        transformer=FluxTransformer2DModel(
            patch_size=1,
            in_channels=4 * _LATENT_CHANNELS,
            num_layers=2,
            num_single_layers=4,
            attention_head_dim=32,
            num_attention_heads=4,
            joint_attention_dim=_TEXT_WIDTH,
            pooled_projection_dim=_TEXT_WIDTH,
            guidance_embeds=True,
            axes_dims_rope=(8, 12, 12),
        ),
    )


def _vae() -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(16, 32, 64),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        layers_per_block=1,
        norm_num_groups=8,
        latent_channels=_LATENT_CHANNELS,
        mid_block_add_attention=False,
        use_quant_conv=False,
        use_post_quant_conv=False,
        scaling_factor=1.0,
        shift_factor=0.0,
        sample_size=64,
    )


def _clip_config() -> CLIPTextConfig:
    size = len(_clip_vocabulary())
    return CLIPTextConfig(
        vocab_size=size,
        hidden_size=_TEXT_WIDTH,
        intermediate_size=2 * _TEXT_WIDTH,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=_CLIP_TOKENS,
        projection_dim=_TEXT_WIDTH,
        bos_token_id=size - 2,
        eos_token_id=size - 1,
        pad_token_id=size - 1,
    )


def _t5_config() -> T5Config:
    return T5Config(
        vocab_size=len(_t5_pieces()),
        d_model=_TEXT_WIDTH,
        d_kv=16,
        d_ff=4 * _TEXT_WIDTH,
        num_layers=3,
        num_heads=4,
        feed_forward_proj="gated-gelu",
        dropout_rate=0.0,
        relative_attention_num_buckets=32,
        relative_attention_max_distance=32,
    )


def _words() -> list[str]:
    plain = ["a", "an", "and", "of", "on", "the", "word", "background"]
    relations = sorted({word for relation in RELATIONS for word in relation.split()} - set(plain))
    return [*plain, *relations, *SHAPES, *map(plural, SHAPES), *COLOURS, *BACKGROUNDS, *NUMBERS]


def _t5_pieces() -> list[str]:
    words = [f"▁{word}" for word in _words()]
    return ["<pad>", "</s>", "<unk>", "▁", *words, '▁"', '"', *string.ascii_uppercase]


def _t5_tokenizer() -> T5Tokenizer:
    return T5Tokenizer(vocab=[(piece, -float(i > 2)) for i, piece in enumerate(_t5_pieces())], extra_ids=0)


def _clip_vocabulary() -> dict[str, int]:
    """Letters inside and at the end of a word, the merges that build the words, and the start and end tokens."""
    letters = [*string.ascii_lowercase, '"']
    tokens = [*letters, *(f"{letter}</w>" for letter in letters)]
    tokens += ["".join(merge) for merge in _clip_merges()]
    return {token: i for i, token in enumerate([*tokens, "<|startoftext|>", "<|endoftext|>"])}


def _clip_merges() -> list[tuple[str, str]]:
    """Byte-pair merges that build each word from left to right."""
    merges: dict[tuple[str, str], None] = {}
    for word in _words():
        parts = [*word[:-1], f"{word[-1]}</w>"]
        while len(parts) > 1:
            merges[parts[0], parts[1]] = None
            parts = [parts[0] + parts[1], *parts[2:]]
    return list(merges)


def _clip_tokenizer() -> CLIPTokenizer:
    return CLIPTokenizer(vocab=_clip_vocabulary(), merges=_clip_merges(), model_max_length=_CLIP_TOKENS)
