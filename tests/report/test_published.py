import pytest
from statsmodels.stats.proportion import proportion_confint

from harness.config.compose import compose_run, known
from harness.config.experiments import Published, PublishedRow
from harness.report.published import claims, keep, kept


def merge_table():
    return next(iter(compose_run(["experiment=sfn_merge"]).published))


def test_six_of_thirty_against_two_is_no_resolved_difference():
    """The paper's headline, by the arithmetic that it does not do."""
    told = claims(merge_table())
    swap = told["oproj_merged", "aime24"]
    assert (swap.right, told["base", "aime24"].right) == (6, 2)
    assert swap.p == pytest.approx(0.2542, abs=1e-4)
    assert swap.adjusted_p > swap.p
    low, high = proportion_confint(6, 30, method="wilson")
    assert (swap.score.low, swap.score.high) == (pytest.approx(low), pytest.approx(high))
    assert told["base", "aime24"].p is None


def test_fisher_by_counting_tables():
    """Sum over all tables with these margins that are no more likely, by binomials."""
    from math import comb

    block = Published(
        "s", n={"t": 12}, rows=[PublishedRow("base", scores={"t": 0.25}), PublishedRow("x", scores={"t": 0.75})]
    )
    total, a, b = 12, 3, 9
    weights = {
        k: comb(total, k) * comb(total, a + b - k) for k in range(a + b + 1) if k <= total and a + b - k <= total
    }
    p = sum(w for w in weights.values() if w <= weights[b]) / sum(weights.values())
    assert claims(block)["x", "t"].p == pytest.approx(p)


def test_a_row_may_have_documents_of_its_own():
    """Few-shot of Transformer-Squared: 97 of 154, printed as 62.99, beside 100 of 164."""
    from scipy.stats import fisher_exact

    rows = [
        PublishedRow("base", scores={"t": 0.6098}),
        PublishedRow("few_shot", scores={"t": 0.6299}, n={"t": 154}),
    ]
    told = claims(Published("s", n={"t": 164}, rows=rows))
    assert (told["base", "t"].right, told["few_shot", "t"].right) == (100, 97)
    assert told["few_shot", "t"].printed == 0.6299
    assert told["few_shot", "t"].score.n == 154
    assert told["few_shot", "t"].p == pytest.approx(fisher_exact([[97, 57], [100, 64]]).pvalue)


def test_every_experiment_tells_whole_numbers_of_documents():
    """A score that no number of documents gives is a slip of the pen, or has a note."""
    for name in known("experiment"):
        for block in compose_run([f"experiment={name}"]).published:
            for row in block.rows:
                for task, score in row.scores.items():
                    n = row.n.get(task, block.n[task])
                    near = min(abs(k / n - score) for k in range(n + 1))
                    assert near < 0.00101 or "no whole number" in block.note, (name, row.variant, task, score)


@pytest.mark.parametrize("scores", [{"other": 0.5}, {"t": 50.0}])
def test_scores_without_n_or_in_percent_are_refused(scores):
    with pytest.raises(ValueError, match="a score from 0 to 1 and n"):
        claims(Published("s", n={"t": 12}, rows=[PublishedRow("base", scores=scores)]))


def test_numbers_are_kept_with_the_results(tmp_path):
    keep(tmp_path, [merge_table()])
    assert kept(tmp_path) == [merge_table()]
    (tmp_path / "published.json").write_text("{}")
    with pytest.raises(ValueError, match="holds no published numbers"):
        kept(tmp_path)
    assert kept(tmp_path / "nowhere") == []
