r"""Run the authors' published scoring code on the same tiny checkpoints as ours. It needs their packages:

    pip install --no-deps hpsv2 open_clip_torch image-reward clip-anytorch torchvision timm ftfy wcwidth \
        clint args hpsv3
    pip install --no-deps --target FOLDER transformers==4.45.2 tokenizers==0.20.3 huggingface_hub==0.26.5

Set the environment variable TRANSFORMERS_4_45=FOLDER; hpsv3 runs with that version in a process of its own. Copy the
vocabulary bpe_simple_vocab_16e6.txt.gz, which is missing from hpsv2's wheel, from open_clip to hpsv2/src/open_clip.
This module supplies what the packages import from older versions of transformers. If torchvision was built for another
version of torch, this line in a .pth file of the environment makes its transforms importable, which are pure Python:

    import sys, types; sys.modules["torchvision._meta_registrations"] = types.ModuleType("without operators")
"""

import gzip
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import torch
import transformers
from transformers import CLIPTokenizer

import pipelines
import preference_models as tiny
import qwen2_vl
from mixgrpo.rewards.networks.aesthetic_predictor import aesthetic
from mixgrpo.rewards.networks.clipscore import clipscore
from mixgrpo.rewards.networks.hpsv2 import hpsv2
from mixgrpo.rewards.networks.hpsv3 import hpsv3
from mixgrpo.rewards.networks.imagereward import imagereward
from mixgrpo.rewards.networks.open_clip import build_clip
from mixgrpo.rewards.networks.pickscore import pickscore
from mixgrpo.rewards.networks.preprocessing import letterbox

MODULES = {
    "hpsv2": "hpsv2",
    "open_clip": "open_clip_torch",
    "ImageReward": "image-reward",
    "clip": "clip-anytorch",
    "torchvision": "torchvision",
    "timm": "timm",
    "clint": "clint",
    "hpsv3": "hpsv3",
}
IMAGES = tiny.images()
# One needs clean-up and one is truncated.
PROMPTS = [*tiny.PROMPTS[:2], "it\u2019s a \u201csign\u201d &amp; \ufb01ne", "a fox " * 60]
VOCABULARY = 49408
TRANSFORMERS_4_45 = "TRANSFORMERS_4_45"

Scores = list[float]


def missing_packages() -> list[str]:
    missing = [package for module, package in MODULES.items() if importlib.util.find_spec(module) is None]
    return missing + [name for name in (TRANSFORMERS_4_45,) if name not in os.environ]


@dataclass(frozen=True)
class Comparison:
    """Our scores and the published code's, for the same weights, images and prompts."""

    reward: str
    package: str
    code: str
    """What is called in the package."""
    run: Callable[[Path], tuple[Scores, Scores]]
    tolerance: float = 2e-6

    @property
    def reference(self) -> str:
        return f"{self.package} {version(self.package)}: {self.code}"


def _hpsv2(folder: Path) -> tuple[Scores, Scores]:
    from hpsv2 import img_score
    from hpsv2.src.open_clip import factory

    state = tiny.open_clip_state(VOCABULARY)
    checkpoint = folder / "HPS_v2.1_compressed.pt"
    torch.save({"state_dict": state}, checkpoint)
    _tokenizer().save_pretrained(folder)
    factory._MODEL_CONFIGS["ViT-H-14"] = _sizes(state)
    published = factory.create_model_and_transforms
    img_score.create_model_and_transforms = lambda name, weights, **options: published(name, None, **options)
    theirs = [
        float(img_score.score(image, prompt, str(checkpoint))[0]) for image, prompt in zip(IMAGES, PROMPTS, strict=True)
    ]
    return hpsv2(path=str(folder), tokenizer=str(folder), device="cpu")(IMAGES, PROMPTS), theirs


def _open_clip(folder: Path) -> tuple[Scores, Scores]:
    import open_clip

    state = tiny.open_clip_state(VOCABULARY)
    torch.save({"state_dict": state}, folder / "HPS_v2.1_compressed.pt")
    _tokenizer().save_pretrained(folder)
    network = open_clip.CLIP(**_sizes(state)).eval()
    network.load_state_dict(state)
    with torch.no_grad():
        images = network.encode_image(letterbox(IMAGES, network.visual.image_size[0]), normalize=True)
        texts = network.encode_text(open_clip.tokenize(PROMPTS), normalize=True)
    ours = hpsv2(path=str(folder), tokenizer=str(folder), device="cpu")(IMAGES, PROMPTS)
    return ours, (images * texts).sum(-1).tolist()


def _pickscore(folder: Path) -> tuple[Scores, Scores]:
    state = tiny.open_clip_state()
    build_clip(state, vision_head_dim=80, text_head_dim=64, activation="gelu").save_pretrained(folder)
    pipelines.clip_tokenizer().save_pretrained(folder)
    ours = pickscore(path=str(folder), tokenizer=str(folder), device="cpu")(IMAGES, PROMPTS)
    return ours, tiny.pickscores(folder, IMAGES, PROMPTS)


def _imagereward(folder: Path) -> tuple[Scores, Scores]:
    from ImageReward.ImageReward import ImageReward
    from ImageReward.models.BLIP import blip_pretrain, med
    from ImageReward.models.BLIP.vit import VisionTransformer

    width, text = 128, 768
    state = tiny.blip_state(width, text, image_size=224)
    torch.save(state, folder / "ImageReward.pt")
    tiny.bert_tokenizer().save_pretrained(folder)
    # Methods that every model had in transformers 4. The mask covers image tokens, none of which is masked out.
    med.BertModel.init_weights = lambda self: None
    med.BertModel.get_head_mask = lambda self, mask, layers: [None] * layers
    med.BertModel.invert_attention_mask = lambda self, mask: (1.0 - mask[:, None, None, :]) * -1e9
    blip_pretrain.init_tokenizer = tiny.bert_tokenizer
    blip_pretrain.create_vit = lambda kind, size, *_: (
        VisionTransformer(img_size=size, patch_size=16, embed_dim=width, depth=2, num_heads=width // 64),
        width,
    )
    sizes = {
        "hidden_act": "gelu",
        "hidden_size": text,
        "intermediate_size": 4 * text,
        "layer_norm_eps": 1e-12,
        "max_position_embeddings": 64,
        "num_attention_heads": text // 64,
        "num_hidden_layers": 2,
        "pad_token_id": 0,
        "vocab_size": len(tiny.BERT_WORDS),
        "add_cross_attention": True,
    }
    (folder / "med_config.json").write_text(json.dumps(sizes), encoding="utf-8")
    model = ImageReward(str(folder / "med_config.json")).eval()
    model.blip.vision_proj, model.blip.text_proj = torch.nn.Linear(width, 16), torch.nn.Linear(text, 16)
    model.load_state_dict(state)
    with torch.no_grad():
        theirs = [model.score(prompt, image) for image, prompt in zip(IMAGES, tiny.PROMPTS, strict=True)]
    ours = imagereward(path=str(folder), tokenizer=str(folder), device="cpu")(IMAGES, tiny.PROMPTS)
    return ours, theirs


def _hpsv3(dtype: Literal["float32", "bfloat16"], folder: Path) -> tuple[Scores, Scores]:
    qwen2_vl.save(folder)
    qwen2_vl.save_case(folder, IMAGES, PROMPTS)
    process = subprocess.run(
        [sys.executable, Path(__file__).with_name("published_hpsv3.py"), folder, dtype],
        env={**os.environ, "PYTHONPATH": os.environ[TRANSFORMERS_4_45]},
        capture_output=True,
        check=True,
        text=True,
    )
    ours = hpsv3(path=str(folder), backbone=str(folder), device="cpu", dtype=dtype)(IMAGES, PROMPTS)
    return ours, json.loads(process.stdout.splitlines()[-1])


def _clipscore(folder: Path) -> tuple[Scores, Scores]:
    from ImageReward.models.CLIPScore import CLIPScore

    theirs = _openai_scores(CLIPScore, folder, None)
    return clipscore(path=str(folder), device="cpu")(IMAGES, PROMPTS), theirs


def _aesthetic(folder: Path) -> tuple[Scores, Scores]:
    from ImageReward.models.AestheticScore import AestheticScore

    head = tiny.head_state(768)
    torch.save(head, folder / "aesthetic-model.pth")
    theirs = _openai_scores(AestheticScore, folder, head)
    return aesthetic(path=str(folder), head=str(folder), device="cpu")(IMAGES, PROMPTS), theirs


def _openai_scores(kind: Any, folder: Path, head: tiny.State | None) -> Scores:
    """Scores on OpenAI's CLIP. The same network is saved in the folder in the format of transformers."""
    import clip

    random_state = tiny.open_clip_state(VOCABULARY, vision=128, embedding=768)
    state = {name: tensor.half().float() for name, tensor in random_state.items()}  # as OpenAI's code does
    build_clip(state, vision_head_dim=64, text_head_dim=64, activation="quick_gelu").save_pretrained(folder)
    _tokenizer().save_pretrained(folder)
    torch.save(state, folder / "clip.pt")
    clip.load = lambda name, device, jit, download_root: clip.clip.load(str(folder / "clip.pt"), device)
    model = kind(download_root=None, device="cpu").eval()
    if head is not None:
        model.mlp.load_state_dict(head)
    scores = []
    with torch.no_grad():
        for i, (image, prompt) in enumerate(zip(IMAGES, PROMPTS, strict=True)):
            image.save(folder / f"{i}.png")
            scores.append(float(model.score(prompt, str(folder / f"{i}.png"))))
    return scores


COMPARISONS = (
    Comparison("hpsv2", "hpsv2", "img_score.score, its network, transform and tokenizer", _hpsv2),
    Comparison("hpsv2", "open_clip_torch", "CLIP and tokenize, on our letterboxed pixels", _open_clip),
    Comparison("hpsv3", "hpsv3", "its inferencer on transformers 4.45.2, float32", partial(_hpsv3, "float32")),
    Comparison("hpsv3", "hpsv3", "the same in bfloat16, its default", partial(_hpsv3, "bfloat16"), tolerance=5e-3),
    Comparison("pickscore", "transformers", "the lines of PickScore's README, with the PIL processor", _pickscore),
    Comparison("imagereward", "image-reward", "ImageReward.score, with our tokenizer", _imagereward),
    Comparison("clipscore", "image-reward", "CLIPScore.score, on OpenAI's CLIP (clip-anytorch)", _clipscore),
    Comparison("aesthetic", "image-reward", "AestheticScore.score, on OpenAI's CLIP (clip-anytorch)", _aesthetic),
)


@cache
def supply_imports() -> None:
    """Names that the packages import but do not use, and `apply_chunking_to_forward`, which has moved."""
    old_names: dict[str, dict[str, Any]] = {
        "transformers.file_utils": {"ModelOutput": transformers.utils.ModelOutput},
        "fairscale.nn.checkpoint.checkpoint_activations": {"checkpoint_wrapper": None},
        "ImageReward": {"__path__": importlib.util.find_spec("ImageReward").submodule_search_locations},  # type: ignore[union-attr]
    }
    for name, contents in old_names.items():
        sys.modules[name] = ModuleType(name)
        vars(sys.modules[name]).update(contents)
    vars(transformers.modeling_utils).update(
        apply_chunking_to_forward=transformers.pytorch_utils.apply_chunking_to_forward,
        find_pruneable_heads_and_indices=None,
        prune_linear_layer=None,
    )


def _tokenizer() -> CLIPTokenizer:
    """The CLIP tokenizer of transformers with the full vocabulary, taken from open_clip."""
    from open_clip.tokenizer import bytes_to_unicode, default_bpe

    with gzip.open(default_bpe()) as file:
        lines = file.read().decode().split("\n")[1 : VOCABULARY - 2 - 512 + 1]
    letters = list(bytes_to_unicode().values())
    merges = [tuple(line.split()) for line in lines]
    tokens = [*letters, *(letter + "</w>" for letter in letters), *map("".join, merges)]
    ids = {token: i for i, token in enumerate([*tokens, "<|startoftext|>", "<|endoftext|>"])}
    return CLIPTokenizer(vocab=ids, merges=merges, model_max_length=77)


def _sizes(state: tiny.State) -> dict[str, Any]:
    """The configuration of the tiny network in OpenCLIP's format."""
    side = round((len(state["visual.positional_embedding"]) - 1) ** 0.5)
    vision, text = state["visual.class_embedding"], state["ln_final.weight"]
    return {
        "embed_dim": state["text_projection"].shape[1],
        "vision_cfg": {
            "image_size": 14 * side,
            "layers": 2,
            "width": len(vision),
            "head_width": 80,
            "patch_size": 14,
        },
        "text_cfg": {
            "context_length": 77,
            "vocab_size": VOCABULARY,
            "width": len(text),
            "heads": len(text) // 64,
            "layers": 2,
        },
    }
