"""MkDocs hooks: pages from other folders, links between them, and the command reference."""

from __future__ import annotations

import contextlib
import io
import os
import posixpath
import re
from pathlib import Path

import typer
from mkdocs.plugins import event_priority
from mkdocs.structure.files import File

from gmseg.cli import main, models

ROOT = Path(__file__).resolve().parents[1]
OUTSIDE = {
    "CHANGELOG.md": "changelog.md",
    "data/README.md": "data.md",
    "experiments/README.md": "experiments.md",
    "models/README.md": "models.md",
    **{
        name: name
        for name in (f"notebooks/{path.name}" for path in sorted(ROOT.glob("notebooks/*.ipynb")))
    },
}
"""Pages that lie outside `docs`: path in the repository, and in the site."""

PLACE_OF_COMMANDS = "<!-- commands -->"
_LINK = re.compile(r"(?<!!)\[([^]]*)\]\((?![a-z]+:|#)([^)#\s]+)(#[^)]*)?\)")
_HREF = re.compile(r'(?<=href=")(?![a-z]+:|#)([^"#]+)(?=["#])')


@event_priority(100)  # before mkdocs-jupyter looks for notebooks
def on_files(files, config):
    """Add the pages that lie outside `docs`."""
    for source, page in OUTSIDE.items():
        if source == page:
            file = File(page, str(ROOT), config.site_dir, config.use_directory_urls)
        else:
            file = File.generated(config, page, abs_src_path=str(ROOT / source))
        files.append(file)
    return files


def on_page_markdown(markdown, page, **_):
    """Fill the command reference in; adapt the links, and leave those to code as plain text."""

    def adapt(match):
        text, link, anchor = match.groups(default="")
        target = _page_of(link, page)
        if target is None:
            return text
        return f"[{text}]({_relative(target, page.file.src_uri)}{anchor})"

    return _LINK.sub(adapt, markdown).replace(PLACE_OF_COMMANDS, _commands())


def on_page_content(html, page, files, **_):
    """Adapt the links of notebooks, which do not pass through `on_page_markdown`."""

    def adapt(match):
        target = _page_of(match[1], page)
        return files.get_file_from_path(target).url_relative_to(page.file) if target else match[1]

    return _HREF.sub(adapt, html) if page.file.src_uri.endswith(".ipynb") else html


def _page_of(link: str, page) -> str | None:
    """Return the page in the site to which a link of the repository leads, or None."""
    sources = {target: source for source, target in OUTSIDE.items()}
    source = sources.get(page.file.src_uri, f"docs/{page.file.src_uri}")
    target = posixpath.normpath(posixpath.join(posixpath.dirname(source), link))
    if target.startswith("docs/") and (ROOT / target).is_file():
        return target.removeprefix("docs/")
    return OUTSIDE.get(target)


def _relative(target: str, page: str) -> str:
    return posixpath.relpath(target, posixpath.dirname(page) or ".")


def _commands() -> str:
    """Return a section with the help of each command, in the order of ``gmseg --help``."""
    names = [[]]
    for name in main.COMMANDS:
        names.append([name])
        if name == "models":
            names += [[name, command] for command in typer.main.get_command(models.app).commands]
    return "\n\n".join(
        f"##{'#' * (len(words) > 1)} {' '.join(['gmseg', *words])}\n\n```text\n{_help(words)}\n```"
        for words in names
    )


def _help(words: list[str]) -> str:
    os.environ["COLUMNS"] = "96"
    with contextlib.redirect_stdout(io.StringIO()) as output:
        main.run([*words, "--help"])
    return output.getvalue().strip("\n")
