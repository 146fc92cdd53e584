"""What mkdocs needs to know about this repository: pages outside docs/, and links between them.

The same links must work in a checkout and on the site. Links to source files have no page: the site shows their text.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
#: Pages outside docs/, by their place on the site. A page keeps its path except the README, the site's first page.
OUTSIDE = {
    "index.md": "README.md",
    **{
        name: name
        for name in (
            "CONTRIBUTING.md",
            "CHANGELOG.md",
            "profiles/README.md",
            "envs/README.md",
            "benchmarks/README.md",
            "benchmarks/gpu/README.md",
            "results/reference/mini/README.md",
            "results/reference/mini/summary.md",
            "results/reference/mini-tuning/README.md",
        )
    },
}
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)")


def on_files(files: Files, config: Any) -> Files:
    """Add the pages outside docs/ and the pictures that they show."""
    pictures = set()
    for place, path in OUTSIDE.items():
        text = (ROOT / path).read_text()
        files.append(File.generated(config, place, content=text))
        for is_picture, _, target in LINK.findall(text):
            if is_picture:
                pictures.add(posixpath.normpath(posixpath.join(posixpath.dirname(path), target)))
    for page in (ROOT / "docs").glob("*.md"):
        for is_picture, _, target in LINK.findall(page.read_text()):
            if is_picture and target.startswith("../"):
                pictures.add(posixpath.normpath(posixpath.join("docs", target)))
    for picture in sorted(pictures):
        if not picture.startswith("docs/"):
            files.append(File.generated(config, picture, abs_src_path=str(ROOT / picture)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Point relative links at pages of the site; a link to a file without a page becomes its text."""
    place = page.file.src_uri
    here = posixpath.dirname(OUTSIDE.get(place, f"docs/{place}"))
    places = {path: place for place, path in OUTSIDE.items()}

    def relink(match: re.Match[str]) -> str:
        is_picture, text, target = match.groups()
        path, hash_, anchor = target.partition("#")
        if not path or "://" in path or path.startswith("mailto:"):
            return match[0]
        path = posixpath.normpath(posixpath.join(here, path))
        if not (ROOT / path).exists():
            return match[0]  # mkdocs reports it
        goal = places.get(path, path.removeprefix("docs/"))
        if files.get_file_from_path(goal) is None:
            return text
        return (
            f"{is_picture}[{text}]({posixpath.relpath(goal, posixpath.dirname(place) or '.')}{hash_}{anchor})"
        )

    return LINK.sub(relink, markdown)
