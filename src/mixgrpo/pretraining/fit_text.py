"""Pre-train the text encoders before any image is generated, as FLUX's own were.

Linear heads, discarded afterwards, predict from each of T5's token states what the token belongs to (for a colour its
shape, for a shape its colour and its place in the relation, for a letter its position), and from CLIP's pooled output
what the caption contains. The flow then finds word order and binding in the text embeddings and need not learn them
from images.
"""

import itertools
from collections.abc import Sequence

import torch
from diffusers import FluxPipeline
from torch import Tensor, nn
from torch.nn import functional

from mixgrpo.scenes.captions import BACKGROUNDS, NUMBERS, RELATIONS, SHAPES, Request, caption
from mixgrpo.scenes.prompts import train_requests

from .fit_vae import Log
from .stream import COLOUR_NAMES, SYMBOL_NAMES
from .tokens import tokenize

_OPPOSITE = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}
_TOKEN_LABELS = {
    "index": 3,
    "colour": 1 + len(COLOUR_NAMES),
    "shape": 1 + len(SHAPES),
    "relation": 1 + len(RELATIONS),
    "number": 1 + len(NUMBERS),
    "letter": 6,
    "length": 6,
    "background": 1 + len(BACKGROUNDS),
}
"""The labels of a token, each with its number of classes. Class 0 means that the label does not apply."""


def fit_text(pipeline: FluxPipeline, steps: int, batch: int, seed: int, log: Log) -> None:
    clip, t5 = pipeline.text_encoder, pipeline.text_encoder_2
    token_head = nn.Linear(t5.config.d_model, sum(_TOKEN_LABELS.values()))
    pooled_head = nn.Linear(clip.config.hidden_size, len(COLOUR_NAMES) + len(SYMBOL_NAMES) + len(BACKGROUNDS))
    modules = nn.ModuleList([clip, t5, token_head, pooled_head]).train()
    optimizer = torch.optim.AdamW(modules.parameters(), lr=3e-3, betas=(0.9, 0.98), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1.0, (step + 1) / 50, (steps - step) / (0.4 * steps))
    )
    source = train_requests(seed)
    for step in range(steps):
        requests = [*itertools.islice(source, batch)]
        clip_ids, t5_ids = tokenize(pipeline, [caption(request) for request in requests])
        labels = torch.stack(
            [_token_labels(pipeline, ids, request) for ids, request in zip(t5_ids, requests, strict=True)]
        )
        logits = token_head(t5(t5_ids)[0]).flatten(0, 1).split([*_TOKEN_LABELS.values()], dim=1)
        targets = labels.flatten(0, 1).unbind(1)
        token_loss = torch.stack([functional.cross_entropy(*pair) for pair in zip(logits, targets, strict=True)]).sum()
        contents = torch.stack([_caption_contents(request) for request in requests])
        pooled_loss = functional.binary_cross_entropy_with_logits(pooled_head(clip(clip_ids).pooler_output), contents)
        optimizer.zero_grad()
        (token_loss + pooled_loss).backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(modules.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if (step + 1) % 50 == 0:
            log(phase="text", step=step + 1, loss=token_loss.item(), summary=pooled_loss.item())


def _token_labels(pipeline: FluxPipeline, ids: Tensor, request: Request) -> Tensor:
    """[tokens, labels]: what each token of a caption belongs to."""
    tokens = pipeline.tokenizer_2.convert_ids_to_tokens(ids.tolist())
    labels = torch.zeros(len(tokens), len(_TOKEN_LABELS), dtype=torch.long)
    shapes = request.shapes[:1] if request.kind == "counting" else request.shapes
    background = 1 + [*BACKGROUNDS].index(request.background) if request.background else 0
    index = letter = 0
    for i, token in enumerate(token.removeprefix("▁") for token in tokens):
        if token == "<pad>":
            break
        name = next((name for name in SHAPES if token.startswith(name)), None)
        if index < len(shapes) and (name or token in COLOUR_NAMES):
            labels[i] = _shape_labels(request, index, len(shapes))
            index += name is not None
        elif request.word is not None and len(token) == 1 and token.isupper():
            letter += 1
            labels[i, 5], labels[i, 6] = letter, len(request.word)
        labels[i, 7] = background
    return labels


def _shape_labels(request: Request, index: int, count: int) -> Tensor:
    """The labels of the tokens of one shape, its colour and its name."""
    shape, relation = request.shapes[index], request.relation
    if relation is not None and index == 1:
        relation = _OPPOSITE[relation]
    return torch.tensor(
        [
            1 + index,
            0 if shape.colour is None else 1 + COLOUR_NAMES.index(shape.colour),
            1 + SHAPES.index(shape.name),
            0 if relation is None else 1 + RELATIONS.index(relation),
            len(request.shapes) if count == 1 else 1,
            0,
            0,
            0,
        ]
    )


def _caption_contents(request: Request) -> Tensor:
    """Which colours, shapes, letters and background a caption names, as zeros and ones."""
    named: Sequence[str] = [
        *(shape.name for shape in request.shapes),
        *(shape.colour for shape in request.shapes if shape.colour),
        *(request.word or ""),
        *([request.background] if request.background else []),
    ]
    return torch.tensor([float(name in named) for name in (*COLOUR_NAMES, *SYMBOL_NAMES, *BACKGROUNDS)])
