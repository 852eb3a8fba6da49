"""Teach the text encoders to read before anything is drawn, as FLUX's own were taught long before.

Each word of T5's must know what it belongs to - a colour its shape, a shape its colour and its place in the
relation, a letter its position - and CLIP's summary what the caption holds. Linear heads ask for it, and are
thrown away. The flow then finds order and binding in the text instead of having to discover them in pictures.
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
from .stream import COLOUR_NAMES, FORM_NAMES
from .tokens import tokenize

_OPPOSITE = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}
_ASKED = {
    "thing": 3,
    "colour": 1 + len(COLOUR_NAMES),
    "shape": 1 + len(SHAPES),
    "relation": 1 + len(RELATIONS),
    "number": 1 + len(NUMBERS),
    "letter": 6,
    "length": 6,
    "background": 1 + len(BACKGROUNDS),
}
"""What is asked of every word, and how many answers there are; 0 is `nothing`."""


def fit_text(pipeline: FluxPipeline, steps: int, batch: int, seed: int, log: Log) -> None:
    clip, t5 = pipeline.text_encoder, pipeline.text_encoder_2
    word_head = nn.Linear(t5.config.d_model, sum(_ASKED.values()))
    summary_head = nn.Linear(clip.config.hidden_size, len(COLOUR_NAMES) + len(FORM_NAMES) + len(BACKGROUNDS))
    modules = nn.ModuleList([clip, t5, word_head, summary_head]).train()
    optimizer = torch.optim.AdamW(modules.parameters(), lr=3e-3, betas=(0.9, 0.98), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1.0, (step + 1) / 50, (steps - step) / (0.4 * steps))
    )
    source = train_requests(seed)
    for step in range(steps):
        requests = [*itertools.islice(source, batch)]
        clip_ids, t5_ids = tokenize(pipeline, [caption(request) for request in requests])
        answers = torch.stack([_answers(pipeline, ids, request) for ids, request in zip(t5_ids, requests, strict=True)])
        words = word_head(t5(t5_ids)[0]).flatten(0, 1).split([*_ASKED.values()], dim=1)
        asked = answers.flatten(0, 1).unbind(1)
        reading = torch.stack([functional.cross_entropy(*pair) for pair in zip(words, asked, strict=True)]).sum()
        held = torch.stack([_holds(request) for request in requests])
        summary = functional.binary_cross_entropy_with_logits(summary_head(clip(clip_ids).pooler_output), held)
        optimizer.zero_grad()
        (reading + summary).backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(modules.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if (step + 1) % 50 == 0:
            log(phase="text", step=step + 1, loss=reading.item(), summary=summary.item())


def _answers(pipeline: FluxPipeline, ids: Tensor, request: Request) -> Tensor:
    """[words, questions]: what each word of a caption belongs to."""
    words = pipeline.tokenizer_2.convert_ids_to_tokens(ids.tolist())
    answers = torch.zeros(len(words), len(_ASKED), dtype=torch.long)
    things = request.things[:1] if request.kind == "counting" else request.things
    background = 1 + [*BACKGROUNDS].index(request.background) if request.background else 0
    thing = letter = 0
    for i, word in enumerate(word.removeprefix("▁") for word in words):
        if word == "<pad>":
            break
        shape = next((shape for shape in SHAPES if word.startswith(shape)), None)
        if thing < len(things) and (shape or word in COLOUR_NAMES):
            answers[i] = _of_thing(request, thing, len(things))
            thing += shape is not None
        elif request.word is not None and len(word) == 1 and word.isupper():
            letter += 1
            answers[i, 5], answers[i, 6] = letter, len(request.word)
        answers[i, 7] = background
    return answers


def _of_thing(request: Request, index: int, count: int) -> Tensor:
    thing, relation = request.things[index], request.relation
    if relation is not None and index == 1:
        relation = _OPPOSITE[relation]
    return torch.tensor(
        [
            1 + index,
            0 if thing.colour is None else 1 + COLOUR_NAMES.index(thing.colour),
            1 + SHAPES.index(thing.shape),
            0 if relation is None else 1 + RELATIONS.index(relation),
            len(request.things) if count == 1 else 1,
            0,
            0,
            0,
        ]
    )


def _holds(request: Request) -> Tensor:
    """Which colours, shapes, letters and background a caption names."""
    named: Sequence[str] = [
        *(thing.shape for thing in request.things),
        *(thing.colour for thing in request.things if thing.colour),
        *(request.word or ""),
        *([request.background] if request.background else []),
    ]
    return torch.tensor([float(name in named) for name in (*COLOUR_NAMES, *FORM_NAMES, *BACKGROUNDS)])
