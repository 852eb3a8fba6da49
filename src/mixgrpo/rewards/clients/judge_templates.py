"""Prompt templates for judges, each with the scale of its scores. `{prompt}` stands for the image's prompt."""

from pathlib import Path
from typing import NamedTuple


class Template(NamedTuple):
    text: str
    scale: tuple[float, float]
    """The worst and the best score."""

    def fill(self, prompt: str) -> str:
        return self.text.replace("{prompt}", prompt)  # not `format`, because a template may contain JSON


TEMPLATES = {
    "overall": Template(
        """This image was generated from the prompt below. Judge how well it does what the prompt asks for (objects, \
their number, attributes, relations, any text) and how good it looks (sharpness, anatomy, artifacts, composition).

Prompt: {prompt}

1 is a failure, 3 is usable, 5 could not be better; decimals are allowed. Name what is wrong in one sentence, then \
end with a line that reads
Final Score: <number>""",
        (1, 5),
    ),
    "alignment": Template(
        """Check this image against the prompt it was generated from, one by one: every object, number, attribute, \
relation and written word. How pretty it is does not matter.

Prompt: {prompt}

10 means that everything is there and right, 0 that nothing is. Answer with JSON \
alone: {"wrong": [...], "score": <number>}""",
        (0, 10),
    ),
    # UnifiedReward's two published tasks for a single image, with the labels that it was trained to use.
    "unifiedreward": Template(
        """Evaluate an image that was generated from a text caption, by two criteria: how faithfully it shows the \
caption's objects, attributes and relations, and its visual quality, that is clarity, detail, colour and appeal.
List the caption's key elements as 'element (type): value', where the value is 1 if the element was generated and 0 \
if not, and give a score from 1 to 5 after 'Final Score:'.
Text Caption: [{prompt}]""",
        (1, 5),
    ),
    "unifiedreward-acs": Template(
        """Rate an image that was generated from a text caption on three axes, each from 1 to 5: how well its content \
matches the caption (alignment), whether it is free of glitches and distortions (coherence), and how appealing it is \
whatever the caption (style). Answer in this form:
Alignment Score (1-5): X
Coherence Score (1-5): Y
Style Score (1-5): Z
Text Caption: [{prompt}]""",
        (1, 5),
    ),
}


def find_template(name: str, scale: tuple[float, float] | None) -> Template:
    """A built-in template, or a text file. A given scale replaces the template's own."""
    if name in TEMPLATES:
        template = TEMPLATES[name]
    elif not Path(name).is_file():
        raise ValueError(f"template {name!r}: must be {', '.join(TEMPLATES)}, or a text file that exists")
    elif scale is None:
        raise ValueError(f"template {name!r}: a template of your own needs a scale, such as scale: [1, 5]")
    else:
        template = Template(Path(name).read_text(encoding="utf-8"), scale)
    if "{prompt}" not in template.text:
        raise ValueError(f"template {name!r}: must contain {{prompt}}, the place for the image's prompt")
    low, high = scale or template.scale
    if not low < high:
        raise ValueError(f"scale {[low, high]}: must be [worst score, best score], the worst score lower")
    return Template(template.text, (low, high))
