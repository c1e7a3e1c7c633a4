"""The report in headless Chromium, opened from the disk: it works by mouse and keyboard, on a phone, in the dark."""

import shutil

import pytest
from report.html_support import N, fill
from report.test_html import write

from harness.evaluation.store import Store

playwright = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium (apt-get install chromium)")
PAGES = ("index.html", "task/words.html", "task/choice.html", "methods/levels/index.html")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = fill(tmp_path_factory.mktemp("browser") / "run")
    (folder / "levels.md").write_text(
        "# Levels\n\n| a | b |\n| --- | --- |\n| 1 | 2 |\n\n| c | d |\n| --- | --- |\n| 1 | 2 |\n"
    )
    write(folder)
    return folder / "report"


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def opened(browser, root):
    """Opens pages; whatever the browser complains of fails the test."""
    contexts, said = [], []

    def open_page(name, width=1280, scheme="light"):
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("requestfailed", lambda request: said.append(request.url))
        page.on("request", lambda request: said.append(request.url) if request.url.startswith("http") else None)
        page.goto(f"file://{root}/{name}")
        return page

    open_page.said = said
    yield open_page
    for context in contexts:
        context.close()
    assert said == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("name", PAGES)
def test_pages_are_accessible_and_fit(opened, name, width, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    page = opened(name, width, scheme)
    if "task" in name:
        page.locator("#sample-list button").first.click()
        page.locator("#sample .answer").first.wait_for()
    assert opened.said == []
    found = axe.Axe().run(page)
    opened.said.clear()  # axe itself asks for style sheets, which a file may not read
    assert found.violations_count == 0, found.generate_report()
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_the_table_sorts_and_filters(opened):
    page = opened("index.html")
    names = page.locator("#grid tbody tr:visible th code")
    assert names.all_inner_texts() == ["base", "better", "same", "worse"]
    head = page.locator("#grid th", has_text="words")
    head.locator("button").click()
    assert head.get_attribute("aria-sort") == "descending"
    place = head.evaluate("cell => cell.cellIndex + 1")
    shown = page.locator(f"#grid tbody tr td:nth-child({place})").evaluate_all("c => c.map(x => x.dataset.v)")
    scores = [float(v) for v in shown]
    assert scores == sorted(scores, reverse=True)
    page.locator("#sort-by").select_option("d")
    assert names.all_inner_texts()[-1] == "base"  # it has no difference
    page.keyboard.press("Tab")
    head.locator("button").focus()
    page.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "ascending"
    assert names.all_inner_texts()[0] == "worse"
    page.locator("#filter-resolved").check()
    assert set(names.all_inner_texts()) == {"better", "worse"}
    assert page.locator("#filter-count").inner_text() == "2 of 4 rows"
    page.locator("#filter-name").fill("BETT")
    assert names.all_inner_texts() == ["better"]


def test_the_theme_is_the_systems_until_one_is_chosen(opened):
    page = opened("index.html", scheme="dark")
    ground = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(ground)
    page.locator("#theme").click()
    assert page.evaluate(ground) != dark
    page.locator("nav a", has_text="words").click()
    page.locator("#samples").wait_for()
    assert page.evaluate(ground) != dark


def test_base_right_variant_wrong_shows_exactly_those(opened, root):
    store = Store(root.parent)
    results = {r.name.variant: r for r in store if r.name.task == "words"}
    rights = {v: {o.doc_id: o.metrics["acc"] for o in store.outcomes(results[v].name)} for v in ("base", "worse")}
    lost = sorted(i for i in range(N) if rights["base"][i] > rights["worse"][i])
    page = opened("task/words.html")
    page.locator("#sample-cell").select_option(label="worse")
    page.locator("#sample-filter").select_option("lost")
    assert page.locator("#sample-count").inner_text() == f"{len(lost)} of {N} documents"
    shown = page.locator("#sample-list button").all_inner_texts()
    assert [int(t.split()[1]) for t in shown] == lost[:50]
    page.locator("#sample-list button").first.click()
    cards = page.locator("#sample .answer.chosen")
    cards.first.wait_for()
    assert cards.locator(".badge").all_inner_texts() == ["right", "wrong"]
    assert f"worse says {lost[0]} </script>" in page.locator("#sample").inner_text()
    assert f"Question {lost[0]}:" in page.locator("#sample").inner_text()


def test_documents_are_reached_by_keyboard_and_by_address(opened):
    page = opened("task/words.html#document=53")
    page.locator("#sample h3", has_text="t 53").wait_for()
    assert page.locator("#sample-page").inner_text() == "51 to 100"
    page.keyboard.press("j")
    page.locator("#sample h3", has_text="t 54").wait_for()
    for _ in range(5):
        page.keyboard.press("k")
    page.locator("#sample h3", has_text="t 49").wait_for()
    assert page.locator("#sample-page").inner_text() == "1 to 50"
    assert page.url.endswith("#document=49")


def test_flips_of_the_scatter_lead_to_their_documents(opened):
    page = opened("task/choice.html")
    page.locator("#pair-cell").select_option(label="better")
    table = page.locator("#quadrants tbody tr")
    counts = [int(row.split("\t")[-1]) for row in table.all_inner_texts()]
    assert sum(counts) == N
    page.locator("#quadrants button", has_text="got better").click()
    assert page.locator("#sample-count").inner_text() == f"{counts[1]} of {N} documents"
    page.locator("#pair-by").select_option("group")
    assert "12 groups" in page.locator("#scatter-text").inner_text()
    # Something is drawn, and by group something else.
    drawn = page.evaluate("document.getElementById('scatter').toDataURL()")
    page.locator("#pair-by").select_option("document")
    assert page.evaluate("document.getElementById('scatter').toDataURL()") != drawn
    page.locator("#sample-list button").first.click()
    page.locator("#sample .chosen-choice").first.wait_for()
    assert "← likeliest" in page.locator("#sample").inner_text()


def test_groups_and_numbers_narrow_the_list(opened):
    page = opened("task/words.html")
    page.locator("#sample-group").select_option("group 3")
    assert page.locator("#sample-count").inner_text() == f"{N // 12} of {N} documents"
    page.locator("#sample-number").fill("15")
    assert page.locator("#sample-count").inner_text() == f"1 of {N} documents"
