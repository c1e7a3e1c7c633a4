"""Writes the report: into a folder beside its place first, which then takes the name."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from harness.report.adaptation import adaptation
from harness.report.circuits import circuits
from harness.report.html.frame import page, slug
from harness.report.html.methods import gallery, markdown, method_body, method_pages
from harness.report.html.overview import overview
from harness.report.html.samples import write_samples
from harness.report.html.source import Source
from harness.report.html.tasks import task_page
from harness.report.stages import stages

MARK = ".harness-report"  # names the files of a report, which the next one may replace


def write_report(source: Source, target: Path, figures: Sequence[Path] = ()) -> Path:
    """Writes the report.

    Args:
        source: the results.
        target: folder of the report; an earlier report there is replaced, what others put beside it stays.
        figures: other folders whose figures are shown (``patches`` outside of the results folder).

    Returns:
        The first page.

    Raises:
        ValueError: if the target holds no report but something else, or a file where this report has one; or if a
            folder of figures is none.
    """
    if target.exists() and not (target / MARK).is_file() and any(target.iterdir() if target.is_dir() else [target]):
        raise ValueError(f"{target} is not a report: give another folder with --out, or delete it")
    if wrong := [str(f) for f in figures if not f.is_dir()]:
        raise ValueError(f"no folder {', '.join(wrong)} to take figures from")
    target.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
    try:
        _write(source, made, figures)
        _list(made)
        _keep_others(target, made)
        made.chmod(0o755)
        if target.exists():
            shutil.rmtree(target)
        made.rename(target)
    except BaseException:
        shutil.rmtree(made, ignore_errors=True)
        raise
    return target / "index.html"


def _list(root: Path) -> None:
    names = sorted(p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file())
    text = "\n".join(["made by python -m harness.report --html, with these files:", *names])
    (root / MARK).write_text(f"{text}\n", encoding="utf-8")


def _keep_others(old: Path, new: Path) -> None:
    """Copies what lies in an earlier report, and is not of it, into the one that takes its place."""
    if not (old / MARK).is_file():
        return
    own = {MARK, *(old / MARK).read_text(encoding="utf-8").splitlines()[1:]}
    for path in sorted(old.rglob("*")):
        place = path.relative_to(old)
        if place.as_posix() in own or (path.is_dir() and not path.is_symlink()):
            continue
        if (new / place).exists():
            raise ValueError(f"{path} is not of the report there, which now has a file of that name: move it away")
        (new / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, new / place, follow_symlinks=False)


def _write(source: Source, root: Path, figures: Sequence[Path]) -> None:
    shown = [task for task in source.table.tasks if source.rows(task)]
    names = _distinct([slug(task) for task in shown])
    tasks = {task: f"task/{name}.html" for task, name in zip(shown, names, strict=True)}
    methods = method_pages(source.folder)
    links = {"Overview": "index.html", **tasks}
    trained = _trained(source)
    if trained:
        links["training"] = "methods/training.html"
    links.update({m.title: m.address for m in methods})
    pictures = _pictures(source, figures)
    if pictures:
        links["figures"] = "methods/figures.html"
    _assets(root)
    title = source.folder.resolve().name
    _put(root / "index.html", page(title, overview(source, tasks), links, "Overview"))
    for task, address in tasks.items():
        data = f"data/{Path(address).stem}"
        counts = write_samples(source, task, root / data)
        scripts = ("assets/samples.js", f"{data}/index.js")
        body = f'<div id="data" data-address="../{data}/"></div>{task_page(source, task, counts)}'
        _put(root / address, page(f"{task} · {title}", body, links, task, "../", scripts))
    if trained:
        _put(root / links["training"], page(f"training · {title}", trained, links, "training", "../"))
    for method in methods:
        place = root / method.address
        place.parent.mkdir(parents=True, exist_ok=True)
        body = method_body(method, place.parent)
        _put(place, page(f"{method.title} · {title}", body, links, method.title, "../../"))
    if pictures:
        (root / "methods").mkdir(exist_ok=True)
        body = f"<h1>Figures</h1>{gallery(pictures, root / 'methods')}"
        _put(root / links["figures"], page(f"figures · {title}", body, links, "figures", "../"))


def _trained(source: Source) -> str:
    """What methods measured while they made their variants: sections of the table's page."""
    table = source.table
    lines = [line for part in (adaptation(table), stages(table), circuits(table)) for line in part]
    return f"<h1>How variants were made</h1>{markdown(chr(10).join(lines))}" if lines else ""


def _pictures(source: Source, figures: Sequence[Path]) -> list[Path]:
    """Folders with figures that no page shows: of trained patches, and those that were named."""
    places = sorted(p for p in (source.folder / "patches").glob("*") if p.is_dir())
    return [p for p in [*places, *figures] if any(p.rglob("*.png"))]


def _assets(root: Path) -> None:
    (root / "assets").mkdir()
    for file in files("harness.report.html").joinpath("assets").iterdir():
        (root / "assets" / file.name).write_bytes(file.read_bytes())


def _put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _distinct(names: list[str]) -> list[str]:
    """Names of which none stands twice, whatever a file system thinks of upper case."""
    seen: dict[str, int] = {}
    out = []
    for name in names:
        key = name.lower()
        seen[key] = seen.get(key, 0) + 1
        out.append(name if seen[key] == 1 else f"{name}-{seen[key]}")
    return out
