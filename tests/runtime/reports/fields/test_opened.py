"""A field that is opened: by keys, zoomed, moved, on a phone, and for those who do not see it."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from browsing import IN_CI
from field_page import HOSTILE, sheet, wait_for_focus
from playwright.sync_api import Browser, Page

AXE = os.environ.get("AXE")  # axe.min.js of the npm package axe-core


def test_fields_can_be_used_by_keyboard_alone(page: Page):
    page.locator("#cells .cell[tabindex='0']").focus()
    page.keyboard.press("Tab")
    wait_for_focus(page, "list 1")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("3")  # is not for a cell of the gallery
    page.keyboard.press("End")
    wait_for_focus(page, "list 7")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Home")
    wait_for_focus(page, "list 1")
    assert page.locator("#unsaved").is_hidden()
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "field-view"
    page.keyboard.press("Tab")
    box = page.get_by_role("button", name="No. 1, eosinophil, 0.95, ok")
    assert box.evaluate("box => box === document.activeElement")
    assert page.get_by_role("button", name="No. 2, eosinophil, 0.95, review").count() == 1
    page.keyboard.press("Enter")
    assert page.locator("#cell-title").inner_text().endswith("no. 1")
    page.keyboard.press("Escape")
    page.keyboard.press("]")
    assert page.locator("#field-title").inner_text() == "b.png"
    page.keyboard.press("ArrowRight")
    assert page.locator("#field-title").inner_text() == "c.png"
    assert page.locator("#field-after").is_disabled()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Escape")
    wait_for_focus(page, "list 5")


def test_zoom_and_move_by_keys_and_buttons(page: Page):
    page.locator("#field-list .field").first.click()
    fitting = sheet(page)
    assert page.locator("#zoom-out").is_disabled()
    page.keyboard.press("+")
    page.click("#zoom-in")
    assert sheet(page)["width"] == pytest.approx(2.25 * fitting["width"], rel=0.01)
    before = sheet(page)
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    assert page.locator("#field-title").inner_text() == HOSTILE
    assert sheet(page)["left"] < before["left"]
    assert sheet(page)["top"] < before["top"]
    page.keyboard.press("-")
    assert sheet(page)["width"] == pytest.approx(1.5 * fitting["width"], rel=0.01)
    page.keyboard.press("0")
    assert sheet(page) == fitting
    for _ in range(30):
        page.keyboard.press("+")
    assert sheet(page)["width"] < 20 * fitting["width"]


def test_the_wheel_zooms_around_the_pointer(page: Page):
    page.locator("#field-list .field").first.click()
    for _ in range(3):
        page.keyboard.press("+")  # until the picture is larger than its frame
    view, before = page.locator("#field-view").bounding_box(), sheet(page)
    assert view is not None
    x, y = view["x"] + view["width"] / 3, view["y"] + view["height"] / 4
    page.mouse.move(x, y)
    page.mouse.wheel(0, -200)
    page.wait_for_function("width => document.getElementById('sheet').offsetWidth > width", arg=before["width"] + 1)
    after = sheet(page)
    assert (x - after["left"]) / after["width"] == pytest.approx((x - before["left"]) / before["width"], abs=2e-3)
    assert (y - after["top"]) / after["height"] == pytest.approx((y - before["top"]) / before["height"], abs=2e-3)
    page.mouse.wheel(0, 5000)
    page.wait_for_function("() => document.getElementById('zoom-out').disabled")


def test_a_drag_moves_the_picture_and_opens_nothing(page: Page):
    page.locator("#field-list .field").first.click()
    page.keyboard.press("+")
    page.keyboard.press("+")
    view, before = page.locator("#field-view").bounding_box(), sheet(page)
    assert view is not None
    boxes = [one.bounding_box() for one in page.locator("#sheet button").all()]
    box = next(one for one in boxes if one and one["y"] > view["y"] and one["x"] > view["x"])
    x, y = box["x"] + 5, box["y"] + 5
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x - 30, y - 40, steps=4)
    page.mouse.up()
    assert sheet(page)["left"] == pytest.approx(before["left"] - 30, abs=1)
    assert sheet(page)["top"] == pytest.approx(before["top"] - 40, abs=1)
    assert page.locator("dialog#cell").is_hidden()
    page.mouse.click(x - 30, y - 40)
    assert page.locator("dialog#cell").is_visible()


def test_a_drag_goes_on_beyond_the_frame(page: Page):
    page.locator("#field-list .field").first.click()
    page.keyboard.press("+")
    view, before = page.locator("#field-view").bounding_box(), sheet(page)
    assert view is not None
    x, y = view["x"] + view["width"] / 2, view["y"] + 10
    page.mouse.move(x, y)
    page.mouse.down()
    for up in (8, 20, 40):
        page.mouse.move(x, y - up)
    assert sheet(page)["top"] == pytest.approx(before["top"] - 40, abs=1)
    page.mouse.up()
    page.mouse.move(x, y + 100)  # let go: nothing moves any more
    assert sheet(page)["top"] == pytest.approx(before["top"] - 40, abs=1)


def test_two_fingers_zoom_and_one_moves(page: Page):
    page.locator("#field-list .field").first.click()
    view, before = page.locator("#field-view").bounding_box(), sheet(page)
    assert view is not None
    x, y = view["x"] + view["width"] / 2, view["y"] + view["height"] / 2
    session = page.context.new_cdp_session(page)

    def touch(kind: str, *places: tuple[float, float]) -> None:
        points = [{"x": x + right, "y": y + down, "id": number} for number, (right, down) in enumerate(places)]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    touch("touchStart", (-50, 0))
    touch("touchStart", (-50, 0), (50, 0))
    touch("touchMove", (-100, 0), (100, 0))
    touch("touchEnd")
    apart = sheet(page)
    assert apart["width"] == pytest.approx(2 * before["width"], rel=0.03)
    touch("touchStart", (0, 0))
    touch("touchMove", (0, -40))
    touch("touchMove", (0, -80))
    touch("touchEnd")
    assert sheet(page)["top"] == pytest.approx(apart["top"] - 80, abs=2)
    assert page.locator("dialog#cell").is_hidden()


def test_a_field_fits_a_phone(page: Page):
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.locator("#field-list .field").first.click()
    view, inside = page.locator("#field-view").bounding_box(), sheet(page)
    assert view is not None
    assert view["x"] + view["width"] <= 390
    assert inside["width"] <= view["width"]


@pytest.mark.skipif(not (AXE or IN_CI), reason="AXE does not name axe.min.js of the npm package axe-core")
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("opened", ["", "field", "cell"])
def test_axe_finds_no_serious_problem(browser: Browser, out: Path, scheme: Any, opened: str):
    context = browser.new_context(color_scheme=scheme, bypass_csp=True)
    page = context.new_page()
    page.goto((out / "slide" / "report.html").as_uri())
    page.wait_for_selector("body[data-ready]")
    if opened:
        page.locator("#field-list .field").first.click()
    if opened == "cell":
        page.locator("#sheet button").first.click()
    page.evaluate(Path(str(AXE)).read_text(encoding="utf-8"))
    found = page.evaluate("axe.run()")
    print(json.dumps({"rules passed": len(found["passes"]), "violations": [v["id"] for v in found["violations"]]}))
    assert [violation["id"] for violation in found["violations"]] == []
    context.close()
