"""A reviewer at the station while a watch runs, is killed, and goes on."""

import signal

import pytest
from browsing import shown
from field_trial import FieldTrial
from playwright.sync_api import Locator, Page, expect
from staging import see_all
from trial import Trial

from cartcls.runtime.reports.rebuild import verify_reports


def count(page: Page, label: str) -> Locator:
    return page.locator(f"table.differential tr:has(a[data-label='{label}']) td.number").first


def type_facts(page: Page) -> None:
    """Type what the laboratory says of the slide, twice wrongly."""
    page.click("#type-facts")
    page.fill("#info [name=sample]", "<b>26-0815</b>")
    page.fill("#info [name=white_count]", "7,4 or so")
    page.keyboard.press("Enter")
    expect(page.locator("#info-said")).to_have_text("Not kept: 7,4 or so is no number.")
    page.fill("#info [name=white_count]", "-7,4")
    page.click("#info button:text('Keep')")
    expect(page.locator("#info-said")).to_contain_text("Not kept: white_count is in 10⁹ per litre, above 0")
    page.fill("#info [name=white_count]", "7,4")
    page.keyboard.press("Enter")
    expect(page.locator("#info")).to_be_hidden()
    expect(page.locator("dl.info")).to_contain_text("<b>26-0815</b>")
    expect(page.locator("#summary")).to_contain_text("Typed by <b>Anna</b>")
    assert "7.4 × 10⁹/l" in page.locator("dl.info").inner_text()


def test_a_slide_is_reviewed_and_signed_beside_a_watch(page: Page, trial: Trial):
    page.evaluate("window.sameDocument = true")
    assert sorted(shown(page)) == [1, 2, 3]
    for number in range(3, 6):
        trial.put(number)
    expect(page.locator("#cells .cell")).to_have_count(6)
    expect(page.locator("#sign")).to_be_disabled()

    page.locator(".cell").first.focus()
    page.keyboard.press("3")  # monocyte; it asks who reviews first
    page.fill("#who-name", "<b>Anna</b>")
    page.keyboard.press("Enter")
    page.keyboard.press("3")
    page.keyboard.press("n")
    expect(page.locator(".cell:has-text('by <b>Anna</b>')")).to_have_count(3)
    expect(count(page, "monocyte")).to_have_text("2")
    expect(count(page, "eosinophil")).to_have_text("3")

    type_facts(page)

    trial.send(signal.SIGKILL)
    expect(page.locator("#banners")).to_contain_text("The watch has stopped")
    trial.start()
    expect(page.locator("#banners")).to_be_empty()
    trial.until(lambda: sum(row["corrected_by"] == "<b>Anna</b>" for row in trial.rows()) == 3, "labels are lost")

    see_all(page)
    page.click("#sign")
    expect(page.locator(".signed")).to_contain_text("Signed. <b>Anna</b>")
    trial.put(6)
    expect(page.locator(".signed")).to_contain_text("Signature void: the slide has changed since.")
    expect(page.locator("#cells .cell")).to_have_count(7)
    assert page.evaluate("window.sameDocument")
    page.reload()
    page.wait_for_selector("body[data-ready]")
    expect(page.locator("dl.info")).to_contain_text("<b>26-0815</b>")
    page.click("#type-facts")
    expect(page.locator("#info [name=white_count]")).to_have_value("7.4")
    assert trial.send(signal.SIGTERM) == 0
    (slide,) = verify_reports(trial.out)
    assert [(made.signer, made.is_void) for made in slide.signatures] == [("<b>Anna</b>", True)]
    assert slide.differences == [] and not slide.passes


def test_each_signer_has_to_look_at_the_cells(page: Page):
    page.set_viewport_size({"width": 1280, "height": 400})

    def be(name: str) -> None:
        page.evaluate("byId('reviewer').click()")  # without scrolling
        page.fill("#who-name", name)
        page.keyboard.press("Enter")

    missing = "not shown to you, so scroll through them: 3 eosinophil"
    expect(page.locator("#refusals")).to_contain_text("nobody has said who signs")
    be("Anna")
    expect(page.locator("#refusals")).to_have_text(missing)
    see_all(page)
    page.evaluate("byId('sign').click()")
    expect(page.locator(".signed")).to_contain_text("Signed. Anna")
    with page.expect_response(lambda answer: '"by":"Ben"' in (answer.request.post_data or "")):
        be("Ben")  # who has them in view
    page.click("#sign")
    expect(page.locator(".signed").last).to_contain_text("Signed by a second person. Ben")
    page.evaluate("window.scrollTo(0, 0)")
    be("Cleo")
    expect(page.locator("#refusals")).to_have_text(missing)


@pytest.mark.parametrize("trial", [FieldTrial], indirect=True, ids=["fields"])
def test_fields_come_while_they_are_watched_and_their_cells_are_relabelled_in_them(page: Page, trial: FieldTrial):
    assert page.locator("#field-list .field").count() == 3
    cells = page.locator("#cells .cell").count()
    trial.put(4)
    expect(page.locator("#field-list .field")).to_have_count(4)
    expect(page.locator("#cells .cell")).to_have_count(cells + trial.count_of("00004.jpg"))
    page.evaluate("station.reviewer = 'Anna'")
    page.locator("#field-list .field").last.click()
    page.wait_for_selector("#field[open] #sheet .box")
    page.evaluate("openCell(shownField.cells[0])")
    page.keyboard.press("3")
    expect(page.locator("#facts")).to_contain_text("monocyte, by Anna")
    page.click("#original summary")
    expect(page.locator("#original img")).to_have_js_property("complete", True)
    assert page.locator("#original img").evaluate("image => image.naturalWidth") > 50


def test_facts_are_removed_where_their_fields_are_emptied(page: Page):
    def keep() -> None:
        page.keyboard.press("Enter")
        expect(page.locator("#info")).to_be_hidden()

    page.evaluate("station.reviewer = 'Anna'")
    page.click("#type-facts")
    page.fill("#info [name=sample]", "26-0815")
    page.check("#info [name=white_count_corrected]")
    page.fill("#info [name=white_count]", "7.4")
    keep()
    expect(page.locator("dl.info")).to_contain_text("without nucleated red cells")
    page.click("#type-facts")
    page.fill("#info [name=white_count]", "")
    keep()
    expect(page.locator("dl.info")).not_to_contain_text("White count")
    page.click("#type-facts")
    page.fill("#info [name=sample]", "")
    keep()
    expect(page.locator("#summary")).not_to_contain_text("Typed by")
