"""The pages and figures that methods wrote beside the cells, inside the report."""

from __future__ import annotations

import itertools
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote

from markdown_it import MarkdownIt

from harness.report.html.frame import esc, scroll, slug
from harness.report.pages import pages_of

TITLES = {"experiment": "published", "levels": "levels", "delta": "differences of weights"}
IMAGES = (".png", ".svg")


@dataclass(frozen=True)
class MethodPage:
    """A page that a method wrote.

    Attributes:
        title: in the navigation.
        address: from the report's root.
        path: the Markdown file.
    """

    title: str
    address: str
    path: Path


def method_pages(folder: Path) -> list[MethodPage]:
    """The pages that lie in a results folder."""
    out = []
    for path in pages_of(folder):
        relative = path.relative_to(folder)
        kind = TITLES.get(path.stem, path.stem)
        title = kind if len(relative.parts) == 1 else f"{kind}: {path.parent.name}"
        out.append(MethodPage(title, f"methods/{slug('-'.join(relative.with_suffix('').parts))}/index.html", path))
    return out


def method_body(page: MethodPage, target: Path) -> str:
    """The page as HTML; the files it shows or links are copied beside it.

    Args:
        page: the page.
        target: folder of the new page.
    """
    text = page.path.read_text(encoding="utf-8")
    body = markdown(text)
    for address in dict.fromkeys(re.findall(r'(?:src|href)="([^"#:]+)"', body)):
        try:
            home = page.path.parent.resolve()
            source = (home / unquote(address)).resolve()
            # Both ends stay inside: a link that leaves the page's folder, or names it from outside, is not followed.
            if Path(unquote(address)).is_absolute() or ".." in Path(unquote(address)).parts or not source.is_file():
                continue
            copied = target / source.relative_to(home)
        except (ValueError, OSError):
            continue
        copied.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, copied)
    shown = set(re.findall(r'src="([^"#:]+)"', body))
    more = [p for p in _figures(page.path.parent) if str(p.relative_to(page.path.parent)) not in shown]
    if page.path.stem not in ("circuits", "crosscoder", "delta") or not more:
        return body
    return body + "<h2>More figures</h2>" + _gallery(more, page.path.parent, target, "")


def _figures(folder: Path) -> list[Path]:
    """Each figure once: the PNG where there are both, which is quick to show whatever it holds."""
    found: dict[str, Path] = {}
    for path in sorted(p for kind in IMAGES for p in folder.rglob(f"*{kind}")):
        key = str(path.with_suffix(""))
        if key not in found or path.suffix == ".png":
            found[key] = path
    return list(found.values())


def gallery(folders: Sequence[Path], target: Path) -> str:
    """Figures of other folders (importance masks of trained patches), copied; empty where there are none."""
    parts = []
    for folder in folders:
        name = slug(folder.name)
        parts.append(f"<h2>{esc(folder.name)}</h2>{_gallery(_figures(folder), folder, target / name, name + '/')}")
    return "".join(parts)


def _gallery(figures: Sequence[Path], folder: Path, target: Path, prefix: str) -> str:
    parts = []
    for path in figures:
        relative = path.relative_to(folder)
        copied = target / relative
        copied.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copied)
        name = " / ".join(relative.with_suffix("").parts)
        address = esc(prefix + quote(relative.as_posix()))
        image = f'<img src="{address}" alt="{esc(name)}" loading="lazy">'
        parts.append(f"<figure>{image}<figcaption>{esc(name)}</figcaption></figure>")
    return f'<div class="gallery">{"".join(parts)}</div>'


def markdown(text: str) -> str:
    """Markdown as HTML: tables scroll on their own, raw HTML is shown as text but for line breaks."""
    rendered = MarkdownIt("commonmark", {"html": False}).enable("table").render(text)
    rendered = rendered.replace("&lt;br&gt;", "<br>")
    numbers = itertools.count(1)
    return re.sub(
        r"<table>.*?</table>", lambda m: scroll(m.group(0), f"Table {next(numbers)}"), rendered, flags=re.DOTALL
    )
