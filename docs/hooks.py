"""What mkdocs does beside reading the pages: it makes those of the reference, from the code."""

from typing import Any

from mkdocs.structure.files import File, Files

from reference_pages import pages


def on_files(files: Files, config: Any) -> Files:
    for path, text in pages().items():
        files.append(File.generated(config, path, content=text))
    return files
