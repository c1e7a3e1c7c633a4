"""The report as files: every number is the store's, nothing a model wrote is markup, nothing else is touched."""

import dataclasses
import json
import math
import re
import subprocess
import sys
from html.parser import HTMLParser

import pytest
from report.html_support import NASTY, N, fill

from harness.evaluation.cells import CellName
from harness.evaluation.store import Store
from harness.report import build_table
from harness.report.__main__ import main
from harness.report.html import write_report
from harness.report.html.source import Source
from harness.report.markdown import interval, percent, points


def write(folder, target=None, **options):
    store = Store(folder, keep=True)
    table = build_table(folder, store=store, strict=False)
    return table, write_report(
        Source(table, store, options.pop("claims", None)), target or folder / "report", **options
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = fill(tmp_path_factory.mktemp("html") / "a <b> & c")
    (folder / "levels.md").write_text(f"# Levels\n\n| a | b |\n| --- | --- |\n| 1<br>2 | {NASTY} |\n")
    (folder / "delta" / "m").mkdir(parents=True)
    (folder / "delta" / "m" / "delta.md").write_text("# Delta\n\n![map](heat map.png)\n\n[json](delta.json)\n")
    (folder / "delta" / "m" / "heat map.png").write_bytes(b"png")
    (folder / "delta" / "m" / "more.png").write_bytes(b"png")
    (folder / "delta" / "m" / "delta.json").write_text("{}")
    table, page = write(folder)
    return folder, table, page.parent


class Cells(HTMLParser):
    """The comparison table's cells with their attributes and text."""

    def __init__(self):
        super().__init__()
        self.inside, self.rows, self.text = False, [], ""

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        if tag == "table":
            self.inside = found.get("id") == "grid"
        if self.inside and tag == "tr":
            self.rows.append([])
        if self.inside and tag in ("td", "th"):
            self.rows[-1].append([found, ""])

    def handle_data(self, data):
        if self.inside and self.rows and self.rows[-1]:
            self.rows[-1][-1][1] += data


def call(path, function):
    """What a data file calls the page back with."""
    text = path.read_text(encoding="ascii")
    assert text.startswith(f"report.{function}(")
    assert text.endswith(");\n")
    return json.loads(f"[{text[len(function) + 8 : -3]}]")


def test_every_number_of_the_table_is_the_stores(made):
    folder, table, root = made
    parser = Cells()
    parser.feed((root / "index.html").read_text())
    rows = {row[0][1]: row[1:-1] for row in parser.rows[1:]}
    assert set(rows) == {row.variant for row in table.rows}
    for row in table.rows:
        for task, (attributes, text) in zip(table.tasks, rows[row.variant], strict=True):
            entry, stored = row.entries[task], Store(folder).get(row.entries[task].result.name)
            outcomes = Store(folder).outcomes(stored.name)
            assert float(attributes["data-v"]) == stored.score == sum(o.metrics["acc"] for o in outcomes) / N
            assert f"{percent(stored.score)} {interval(entry.score)}" in text
            if row.variant == "base":
                assert attributes["data-d"] == ""
                continue
            base = {o.document: o for o in Store(folder).outcomes(table.rows[0].entries[task].result.name)}
            d = sum(o.metrics["acc"] - base[o.document].metrics["acc"] for o in outcomes) / N
            assert float(attributes["data-d"]) == pytest.approx(d)
            comparison = entry.pairing.comparison
            assert f"{points(d)} {interval(comparison.difference, points)}" in text
            assert attributes["class"] == entry.verdict


def test_every_answer_of_the_browser_is_the_stores(made):
    folder, table, root = made
    for task in table.tasks:
        (index,) = call(root / "data" / task / "index.js", "index")
        assert [c["variant"] for c in index["cells"]] == [r.variant for r in table.rows]
        assert [c["base"] for c in index["cells"]] == [None, 0, 0, 0]
        chunks = [call(p, "chunk") for p in sorted((root / "data" / task).glob("[0-9]*.js"))]
        documents = [d for _, chunk in sorted(chunks) for d in chunk]
        assert len(documents) == len(index["documents"]) == N
        for c, row in enumerate(table.rows):
            outcomes = {o.doc_id: o for o in Store(folder).outcomes(row.entries[task].result.name)}
            for i, (subtask, number, group) in enumerate(index["documents"]):
                o, answer = outcomes[number], documents[i]["answers"][c]
                assert (subtask, group) == (o.subtask, o.cluster)
                assert float(index["values"][c][i]) == o.metrics["acc"]
                if task == "words":
                    assert answer["text"] == o.response[0][0]
                    assert answer["tokens"] == 7
                    assert documents[i]["target"] == f"right {number}"
                else:
                    assert answer["likelihoods"] == [p[0] for p in o.prediction]
                    assert documents[i]["choices"] == [" yes", " no"]
                assert documents[i]["prompts"] == [f"Question {number}: {NASTY}"]


def test_nothing_that_a_model_wrote_is_markup(made):
    _, _, root = made
    for path in [*root.rglob("*.html"), *root.rglob("data/**/*.js")]:
        text = path.read_text()
        assert "<img src=x" not in text
        assert "</script><img" not in text
        assert "\u2028" not in text or path.suffix == ".html"
    assert "<h1>a &lt;b&gt; &amp; c</h1>" in (root / "index.html").read_text()


def test_nothing_is_asked_of_a_network(made):
    _, _, root = made
    for path in root.rglob("*"):
        if path.suffix in (".html", ".css", ".js") and "data" not in path.relative_to(root).parts:
            assert not re.findall(r'(?:src|href)="(?:https?:)?//', path.read_text())
            assert "url(http" not in path.read_text()


def test_links_lead_somewhere(made):
    _, _, root = made
    for path in root.rglob("*.html"):
        for address in re.findall(r'(?:src|href)="([^"#:]+)"', path.read_text()):
            assert (path.parent / address.replace("%20", " ")).is_file(), (path.name, address)


def test_pages_of_methods_come_along(made):
    _, _, root = made
    page = (root / "methods" / "delta-m-delta" / "index.html").read_text()
    assert "heat%20map.png" in page
    assert "More figures" in page
    assert "more.png" in page
    levels = (root / "methods" / "levels" / "index.html").read_text()
    assert "1<br>2" in levels
    assert 'role="region"' in levels


def test_one_command_writes_it_again_over_itself(made, capsys):
    folder, _, root = made
    before = {p.relative_to(root): p.read_bytes() for p in root.rglob("*") if p.is_file()}
    assert main([str(folder), "--html"]) == 0
    assert f"written: {root / 'index.html'}" in capsys.readouterr().out
    assert {p.relative_to(root): p.read_bytes() for p in root.rglob("*") if p.is_file()} == before


def test_what_is_no_report_is_left_alone(made, tmp_path, capsys):
    folder, _, _ = made
    (tmp_path / "mine.txt").write_text("mine")
    assert main([str(folder), "--html", "--out", str(tmp_path)]) == 2
    assert "is not a report: give another folder" in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]
    assert main([str(folder), "--html", "--out", str(tmp_path / "x"), "--figures", str(tmp_path / "no")]) == 2
    assert "to take figures from" in capsys.readouterr().err


def test_what_others_put_into_a_report_stays(made, tmp_path, capsys):
    folder, _, _ = made
    target = tmp_path / "report"
    again = [str(folder), "--html", "--out", str(target)]
    assert main(again) == 0
    (target / "notes").mkdir()
    (target / "notes" / "mine.md").write_text("mine")
    (target / "task" / "link").symlink_to("../notes/mine.md")
    (target / "task" / "gone.html").write_text("of an earlier report")
    mark = target / ".harness-report"
    mark.write_text(f"{mark.read_text()}task/gone.html\n")
    assert main(again) == 0
    assert (target / "notes" / "mine.md").read_text() == "mine"
    assert (target / "task" / "link").is_symlink()
    assert not (target / "task" / "gone.html").exists()
    assert "notes/mine.md" not in mark.read_text()
    # What is of nobody has the name of a page.
    mark.write_text("\n".join(line for line in mark.read_text().splitlines() if line != "index.html"))
    before = (target / "index.html").read_text()
    capsys.readouterr()
    assert main(again) == 2
    assert "index.html is not of the report there, which now has a file of that name" in capsys.readouterr().err
    assert (target / "index.html").read_text() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["report"]


def test_a_report_that_fails_leaves_the_earlier_one(made, monkeypatch):
    folder, _, root = made
    from harness.report.html import build

    def fail(*_):
        raise OSError("no space left")

    monkeypatch.setattr(build, "task_page", fail)
    with pytest.raises(OSError, match="no space"):
        write(folder)
    assert (root / "index.html").is_file()
    assert [p.name for p in folder.iterdir() if p.name.startswith(".report")] == []


def test_several_models_seeds_and_failures(tmp_path):
    folder = fill(tmp_path / "r", ("base", "par~0", "par~1"), ("words",), ("m", "n"))
    Store(folder).put_failure(Store(folder).get(next(iter(Store(folder))).name).name, "it <broke>", "c")
    _, page = write(folder)
    text = page.read_text()
    assert 'data-v="m"' in text
    assert 'data-v="n"' in text
    assert "2 seeds" in text
    assert "it &lt;broke&gt;" in text
    (index,) = call(page.parent / "data" / "words" / "index.js", "index")
    assert {c["name"] for c in index["cells"]} >= {"m / par~0", "n / par~1"}


def test_cells_without_words_say_so(tmp_path):
    folder = fill(tmp_path / "r", ("base", "better"), ("words",))
    (folder / "asked" / "words.jsonl.gz").unlink()
    _, page = write(folder)
    (index,) = call(page.parent / "data" / "words" / "index.js", "index")
    assert "did not keep prompts" in index["why"]
    _, chunk = call(page.parent / "data" / "words" / "0.js", "chunk")
    assert chunk[0]["prompts"] == [None]


def test_what_is_not_finite_is_shown_as_such_and_spoils_nothing(tmp_path):
    folder = fill(tmp_path / "r")
    store, name = Store(folder), CellName("m", "worse", "choice")
    outcomes = store.outcomes(name)
    before = {r.variant: r.entries["words"].verdict for r in build_table(folder).rows}
    outcomes[3] = dataclasses.replace(
        outcomes[3], metrics={"acc": math.nan}, prediction=[[math.nan, True], [-math.inf, False]]
    )
    store.put(dataclasses.replace(store.get(name), score=math.nan), outcomes)
    slow = store.get(CellName("m", "same", "choice"))
    store.put(dataclasses.replace(slow, seconds=0.0), store.outcomes(slow.name))
    table, page = write(folder)
    assert "outcomes that are not finite" in page.read_text()
    assert {r.variant: r.entries["words"].verdict for r in table.rows} == before
    (index,) = call(page.parent / "data" / "choice" / "index.js", "index")
    assert index["values"][[c["variant"] for c in index["cells"]].index("worse")][3] is None


def test_reading_results_needs_no_torch(made):
    folder, _, _ = made
    code = "import sys; from harness.report.__main__ import main; main(sys.argv[1:]); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, str(folder), "--html"], capture_output=True, text=True)
    assert done.stdout.strip().endswith("False"), done.stdout[-300:] + done.stderr[-300:]
