"""What CI shows of a run."""

from report.html_support import fill

from harness.claims import keep_asked
from harness.report import build_table
from harness.report.against import compare_runs
from harness.report.summary import summary, write_summary


def test_the_table_is_appended_where_ci_says(tmp_path, monkeypatch):
    table = build_table(fill(tmp_path / "run"))
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    assert write_summary(table) is None
    (tmp_path / "summary.md").write_text("before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    write_summary(table)
    text = (tmp_path / "summary.md").read_text()
    assert text.startswith("before\n## Results")
    for row in table.rows:
        for entry in row.entries.values():
            assert f"**{100 * entry.score.value:.1f}**" in text
    assert "▲" in text
    assert "Every number" not in text


def test_what_regressed_stands_first(tmp_path):
    fill(tmp_path / "run")
    fill(tmp_path / "old", ("base",))
    keep_asked(tmp_path / "run", ["sfn_merge_longer"], ["m"])
    table = build_table(tmp_path / "run")
    text = summary(table, compare_runs(tmp_path / "run", tmp_path / "old"))
    assert text.startswith("## Against old")
    assert text.index("## Results") < text.index("## Claims")
    assert "not measured" in text


def test_what_is_too_long_is_left_out_and_named(tmp_path):
    fill(tmp_path / "run")
    keep_asked(tmp_path / "run", ["sfn_merge_longer"], ["m"])
    table = build_table(tmp_path / "run")
    whole = summary(table)
    short = summary(table, limit=len(whole.encode()) - 100)
    assert "Left out, being too long: claims; see table.md" in short
    assert "## Results" in short
    assert len(short.encode()) < len(whole.encode())
