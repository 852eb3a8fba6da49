"""What mkdocs does beside reading the pages: it makes those of the reference from the code."""

from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

from mixgrpo import tiny
from reference_pages import pages

_PICTURES = {"images/tiny-samples.png": "samples.png", "images/tiny-losses.png": "curve.png"}
"""Of the tiny model, beside its weights."""


def on_files(files: Files, config: Any) -> Files:
    for path, text in pages().items():
        files.append(File.generated(config, path, content=text))
    for path, name in _PICTURES.items():
        files.append(File.generated(config, path, abs_src_path=str(Path(tiny.path()) / name)))
    return files
