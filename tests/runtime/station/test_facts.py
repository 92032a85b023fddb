"""Facts of a slide that are typed at the station."""

from pathlib import Path

import pytest
from asking import Browser, revision, see, sign, tell
from reviewer import classify

from cartcls.runtime.bundle.bundle import Bundle
from cartcls.runtime.ledger.folder import review_ledger
from cartcls.runtime.ledger.slide_info import SlideInfo


def test_facts_are_typed_and_void_a_signature(browser: Browser, out: Path):
    see(browser.client)
    assert sign(browser.client).status_code == 200
    info = {"sample": "26-0815", "mpp": 0.1, "white_count": 7, "white_count_corrected": True, "platelets": "no clumps"}
    assert tell(browser.client, info).status_code == 200
    with review_ledger(out) as (ledger, _):
        assert ledger.slides()[0].info() == SlideInfo("26-0815", "", "", "", 0.1, "", 7.0, True, "", "no clumps")
    page = browser.client.get("/slides/1/").text
    assert "<dd>26-0815</dd>" in page and "Typed by Anna" in page and "Signature void" in page
    assert "signature void" in browser.client.get("/").text
    before = revision(browser.client)
    assert tell(browser.client, info, by="Ben").status_code == 200  # the same again
    assert revision(browser.client) == before
    assert tell(browser.client, {"stain": "Wright"}).status_code == 200
    page = browser.client.get("/slides/1/").text
    assert "26-0815" not in page and "no clumps" not in page and "<dd>Wright</dd>" in page


def test_facts_that_were_typed_can_be_removed(browser: Browser, out: Path, tmp_path: Path, bundle: Bundle):
    def found() -> tuple[SlideInfo | None, bool]:
        with review_ledger(out) as (ledger, _):
            (slide,) = ledger.slides()
            return slide.info(), "Typed by" in browser.client.get("/slides/1/").text

    assert tell(browser.client, {}).status_code == 200
    assert tell(browser.client, {"sample": "typed"}).status_code == 200
    see(browser.client)
    assert sign(browser.client).status_code == 200
    assert found() == (SlideInfo("typed"), True)
    for info in ({}, {"sample": "typed"}):
        assert tell(browser.client, info).status_code == 200
        assert "Signature void" in browser.client.get("/slides/1/").text
        assert found() == ((SlideInfo("typed"), True) if info else (None, False))
    (tmp_path / "slide" / "slide.toml").write_text("sample = 'file'", encoding="utf-8")
    classify(tmp_path / "slide", bundle)
    assert found() == (SlideInfo("typed"), True)
    assert tell(browser.client, {}).status_code == 200
    assert found() == (SlideInfo("file"), False)
    answer = tell(browser.client, {})
    assert (answer.status_code, "slide.toml in the slide's folder says this" in answer.text) == (422, True)


@pytest.mark.parametrize(
    ("info", "said"),
    [
        ({"sample": "x" * 201}, "sample is one printable line of at most 200 letters, with no space around it"),
        ({"red_cells": "x" * 2001}, "red_cells is one printable line of at most 2000"),
        *(({"stain": text}, "stain is one printable line") for text in ("a\nb", " a", "\u202eabc", "\x00")),
        ({"mpp": 7}, "mpp is µm per pixel, from 0.01 to 2"),
        ({"mpp": "0.1"}, "Expected `float | null`, got `str`"),
        ({"white_count": -1}, "white_count is in 10⁹ per litre"),
        ({"white_count_corrected": True}, "white_count_corrected needs white_count"),
        ({"patient": "x"}, "unknown field `patient`"),
        *((wrong, "Expected `object`") for wrong in (None, [], "x", 1)),
    ],
)
def test_what_cannot_be_a_fact_is_refused(browser: Browser, info: object, said: str):
    before = revision(browser.client)
    answer = tell(browser.client, info)
    assert (answer.status_code, said in answer.text) == (422, True)
    assert "\n" not in answer.text and revision(browser.client) == before


def test_facts_are_typed_by_somebody_for_the_slide_that_was_seen(browser: Browser):
    before = revision(browser.client)
    assert tell(browser.client, {"sample": "1"}, by="").status_code == 422
    assert tell(browser.client, {"sample": "1"}, more=1).status_code == 400
    assert browser.client.post("/slides/9/facts", json={"by": "A", "revision": "", "info": {}}).status_code == 404
    assert tell(browser.client, {"sample": "1"}).status_code == 200
    answer = tell(browser.client, {"sample": "2"}, revision=before)
    assert (answer.status_code, "has changed since" in answer.text) == (409, True)
    assert "<dd>1</dd>" in browser.client.get("/slides/1/").text
