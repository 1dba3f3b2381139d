"""What mkdocs calls: pages of the reference, generated parts of pages, formulas.

A line ``<!-- generated: NAME ARGUMENT -->`` in a page is replaced by what a function of ``page_values`` returns.
"""

import logging
import pathlib
from typing import Any

import page_api
import page_formulas
import page_values
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

LOG = logging.getLogger("mkdocs.hooks.build")
REFERENCE = "API reference"


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Puts the pages of the reference into the navigation."""
    for entry in config.nav or []:
        if isinstance(entry, dict) and REFERENCE in entry:
            entry[REFERENCE] = page_api.nav()
    # Sources and what generated parts are made from: a change of either rebuilds the pages that are served.
    config.watch += [str(page_api.ROOT / name) for name in ("rgflow", "configs", "README.md", "CITATION.cff")]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages of the reference, which no file holds."""
    for path, text in page_api.pages().items():
        files.append(File.generated(config, path, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Fills in the generated parts of a page; a part that cannot be made is a warning, and so an error in --strict."""
    try:
        return page_values.filled(markdown, pathlib.PurePosixPath(page.file.src_uri))
    except ValueError as error:
        LOG.warning("%s: %s", page.file.src_uri, error)
        return markdown


def on_page_content(html: str, page: Any, **_: Any) -> str:
    """Turns the formulas of a page into MathML."""
    try:
        return page_formulas.replaced(html)
    except ValueError as error:
        LOG.warning("%s: %s", page.file.src_uri, error)
        return html
