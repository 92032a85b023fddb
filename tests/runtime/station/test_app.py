"""What the station answers, and what it refuses."""

import hashlib
import io
import os
import re
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from asking import BASE, Browser, label, revision, rows, see, tell
from reviewer import classify
from starlette.testclient import httpx

from cartcls.runtime.bundle.bundle import Bundle, load_bundle
from cartcls.runtime.ledger.folder import LEDGER, existing_ledger, review_ledger
from cartcls.runtime.station.access import MAX_BODY, Hosts
from cartcls.runtime.station.desk import Desk

MARKUP = "<img src=x onerror=alert(1)>"


# who is let in


def test_nothing_is_shown_without_the_token(browser: Browser):
    stranger = browser.another()
    for page in ("/", "/?xtoken=1", "/?token", "/?a=token=", "/slides/1/", "/slides/1/?token=1"):
        assert (stranger.get(page).status_code, stranger.get(page).headers["location"]) == (303, "/enter")
    assert 'content="0; url=/enter?ask"' in stranger.get("/enter").text
    assert "token" in stranger.get("/enter?ask").text
    for path in ("/slides/1/state", "/slides/1/rows/0", "/slides/1/thumbnails/1.jpg", "/slides/1/originals/1.png"):
        assert stranger.get(path).status_code == 401
    for path in ("corrections", "bulk", "facts", "shown", "signatures"):
        assert stranger.post(f"/slides/1/{path}", json={}).status_code == 401


def test_a_token_that_is_guessed_lets_nobody_in_and_the_right_one_becomes_a_cookie(browser: Browser):
    stranger, token = browser.another(), browser.sessions.token
    assert len(token) >= 22  # 128 bits in base64
    for guess in ("", "x", token[:-1], token + "x", token.swapcase(), "\u00e9"):
        assert stranger.get("/", params={"token": guess}).headers["location"] == "/enter"
        assert stranger.post("/enter", data={"token": guess}).status_code == 401
    assert stranger.get("/slides/1/state").status_code == 401
    answer = stranger.post("/enter", data={"token": token})
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=strict" in cookie and token not in cookie
    assert stranger.get("/slides/1/state").status_code == 200


def test_what_another_site_opens_is_asked_for_again_by_a_page_of_the_station(browser: Browser):
    came = browser.another().get("/", headers={"Sec-Fetch-Site": "cross-site"})  # the cookie is not sent
    assert came.headers["location"] == "/enter"
    for page in ("/enter", "/enter?ask"):
        assert browser.client.get(page).headers["location"] == "/"
    for page in ("/enter?ask=//evil.example", "/enter?//evil.example"):
        assert "evil" not in browser.another().get(page).text


def test_a_cookie_that_is_made_up_is_none(browser: Browser):
    for value in ("", "x", browser.sessions.token, '"', "a;b=c"):
        headers = {"Cookie": f"{browser.sessions.cookie}={value}"}
        assert browser.another().get("/slides/1/state", headers=headers).status_code == 401


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8765", "127.0.0.1", "127.0.0.1:80", "127.0.0.1.evil.example:8765", "", "[::1"],
)
def test_another_host_is_refused(browser: Browser, host: str):
    assert browser.client.get("/", headers={"Host": host}).status_code == 403


@pytest.mark.parametrize(
    ("at", "port", "host", "is_allowed"),
    [
        ("127.0.0.1", 80, "127.0.0.1", True),
        ("127.0.0.1", 80, "evil.example", False),
        ("::1", 8765, "[::1]:8765", True),
        ("192.0.2.7", 8765, "192.0.2.7:8765", True),
        ("192.0.2.7", 8765, "192.0.2.8:8765", False),
        ("0.0.0.0", 8765, "192.0.2.7:8765", True),
        ("::", 8765, "[2001:db8::1]:8765", True),
        ("0.0.0.0", 8765, "evil.example:8765", False),
    ],
)
def test_a_station_has_its_addresses_and_no_other_name(at: str, port: int, host: str, is_allowed: bool):
    assert Hosts(at, port).allow(host) == is_allowed


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:80", f"{BASE}.evil.example", ""])
def test_another_origin_changes_nothing(browser: Browser, origin: str):
    browser.client.headers["Origin"] = origin
    assert label(browser.client, 1, "monocyte").status_code == 403
    del browser.client.headers["Origin"]
    assert label(browser.client, 1, "monocyte").status_code == 403
    browser.client.headers.update({"Origin": BASE, "Sec-Fetch-Site": "cross-site"})
    assert label(browser.client, 1, "monocyte").status_code == 403
    assert tell(browser.client, {"sample": "1"}).status_code == 403
    assert rows(browser.client)[1][12] is None and "Typed by" not in browser.client.get("/slides/1/").text


def test_a_page_that_changes_something_is_never_got(browser: Browser):
    for path in ("corrections", "bulk", "facts", "shown", "signatures"):
        assert browser.client.get(f"/slides/1/{path}").status_code == 405


def test_a_large_request_is_refused_before_it_is_read(browser: Browser):
    whole = browser.client.post("/slides/1/corrections", content=b"x" * 10_000_000)
    assert whole.status_code == 413

    def in_pieces():  # type: ignore[no-untyped-def]
        for _ in range(200):
            yield b"x" * 50_000

    assert browser.client.post("/slides/1/corrections", content=in_pieces()).status_code == 413
    assert browser.client.post("/slides/1/corrections", content=b"x" * MAX_BODY).status_code == 400


@pytest.mark.parametrize("body", [b"", b"null", b"{}", b'{"seq": "1"}', b"\xff", b"[" * 5000])
def test_a_request_that_makes_no_sense_is_told_so(browser: Browser, body: bytes):
    for path in ("corrections", "bulk", "facts", "shown", "signatures"):
        assert browser.client.post(f"/slides/1/{path}", content=body).status_code == 400


def test_each_answer_forbids_what_a_page_does_not_need(browser: Browser):
    for path in ("/", "/slides/1/", "/enter", "/slides/1/state", "/slides/1/thumbnails/1.jpg", "/nothing"):
        headers = browser.client.get(path).headers
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"
        assert headers["referrer-policy"] == "same-origin"
    for path in ("/", "/slides/1/", "/enter", "/enter?ask"):
        page = (browser.another() if "enter" in path else browser.client).get(path).text
        policy = re.findall(r'Content-Security-Policy" content="([^"]*)"', page)[0]
        assert "default-src &#39;none&#39;" in policy and "unsafe" not in policy
        assert re.search(r"\son\w+=|style=|<script src", page) is None


# what is served


@pytest.mark.parametrize(
    "path",
    [
        *("/ledger.sqlite", f"/slides/1/{LEDGER}", f"/slides/1/../{LEDGER}", "/slides/1/%2e%2e/ledger.sqlite"),
        *("/slides/1/thumbnails/../../ledger.sqlite", "/slides/1/thumbnails/..%2f..%2fledger.sqlite"),
        *("/slides/1/originals/..%2f1.png", "/slides/../ledger.sqlite", "/slides/1/thumbnails/%00.jpg", "//etc/passwd"),
        *("/slides/99/", "/slides/99/state", "/slides/1/originals/99.png", "/slides/1/cells/other-0000.js"),
        *("/slides/-1/", "/slides/1/thumbnails/99.jpg", "/slides/99999999999999999999/", "/slides/1/fields/1.jpg"),
    ],
)
def test_there_is_nothing_but_slides_and_their_cells(browser: Browser, path: str):
    answer = browser.client.get(path)
    assert answer.status_code == 404
    assert b"SQLite" not in answer.content


def test_an_original_is_its_pixels_written_anew(browser: Browser, slide: Path):
    answer = browser.client.get("/slides/1/originals/1.png")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
    shown = np.asarray(PIL.Image.open(io.BytesIO(answer.content)).convert("RGB"))
    assert (shown == np.asarray(PIL.Image.open(slide / "cell-01.jpg").convert("RGB"))).mean() > 0.99


def test_an_original_that_is_a_link_or_has_changed_is_not_shown(browser: Browser, out: Path, tmp_path: Path):
    file, secret = tmp_path / "slide" / "cell-01.jpg", tmp_path / "secret.jpg"
    secret.write_bytes(file.read_bytes())
    file.unlink()
    assert "has vanished" in browser.client.get("/slides/1/originals/1.png").text
    file.symlink_to(secret)
    assert "symbolic link" in browser.client.get("/slides/1/originals/1.png").text
    file.unlink()
    file.write_bytes((tmp_path / "slide" / "cell-02.jpg").read_bytes())
    assert "has changed" in browser.client.get("/slides/1/originals/1.png").text
    file.unlink()
    os.mkfifo(file)
    assert browser.client.get("/slides/1/originals/1.png").status_code == 404


def test_a_thumbnail_is_not_taken_through_a_link(browser: Browser, out: Path, tmp_path: Path):
    def get() -> int:
        return browser.client.get("/slides/1/thumbnails/1.jpg").status_code

    for place in (out / "slide" / "thumbnails" / "000001.jpg", out / "slide" / "thumbnails", out / "slide"):
        assert get() == 200
        elsewhere = place.rename(tmp_path / "elsewhere")
        place.symlink_to(elsewhere)
        assert get() == 404
        place.unlink()
        elsewhere.rename(place)
    linked = tmp_path / "linked"
    linked.symlink_to(out)  # as whoever started the station named it
    browser.desk.out = linked
    assert get() == 200


def test_markup_in_names_is_text(slide: Path, tmp_path: Path, bundle: Bundle):
    folder = tmp_path / MARKUP
    folder.mkdir()
    (folder / f"{MARKUP}.jpg").write_bytes((slide / "cell-01.jpg").read_bytes())
    out = classify(folder, bundle)
    with review_ledger(out) as (ledger, found):
        browser = Browser(Desk(out, ledger, found))
        browser.enter()
        assert label(browser.client, 1, f"other: {MARKUP}", by=MARKUP).status_code == 200
        texts = ("sample", "second_id", "stain", "objective", "operator", "red_cells", "platelets")
        assert tell(browser.client, dict.fromkeys(texts, f"{MARKUP}</script>"), by=MARKUP).status_code == 200
        for page in ("/", "/slides/1/"):
            text = browser.client.get(page).text
            assert "<img src=x" not in text and text.count("</script>") == text.count("<script")
        assert "&lt;img src=x" in browser.client.get("/slides/1/").text


# what reviewers do


def test_a_label_is_in_the_ledger_when_it_is_answered(browser: Browser, out: Path):
    answer = label(browser.client, 1, "monocyte")
    assert (answer.status_code, answer.json()["row"][12:14]) == (200, ["monocyte", "Anna"])
    with existing_ledger(out) as (ledger, _):
        (cell,) = [cell for cell in ledger.slides()[0].cells() if cell.seq == 1]
        assert (cell.corrected_label, cell.corrected_by) == ("monocyte", "Anna")


def test_a_label_that_is_sent_again_is_kept_once(browser: Browser, out: Path):
    for to in ("monocyte", None):
        base = rows(browser.client)[1][-1]
        for _ in range(3):
            assert label(browser.client, 1, to, base=base).status_code == 200
    with existing_ledger(out) as (ledger, _):
        assert [made.to_label for made in ledger.slides()[0].corrections()] == ["monocyte", ""]


def test_the_later_of_two_is_told_of_the_earlier_label(browser: Browser):
    assert label(browser.client, 1, "monocyte", base=0).status_code == 200
    answer = label(browser.client, 1, "basophil", by="Ben", base=0)
    assert (answer.status_code, answer.json()["said"]) == (409, "Anna has labelled it monocyte since")
    assert answer.json()["row"][12:14] == ["monocyte", "Anna"]
    assert label(browser.client, 1, "basophil", by="Ben").status_code == 200


def test_a_label_has_a_comment(browser: Browser, out: Path):
    assert label(browser.client, 1, "monocyte", comment=MARKUP).status_code == 200
    assert rows(browser.client)[1][-2] == MARKUP
    assert label(browser.client, 1, "monocyte", comment="surely").status_code == 200
    assert rows(browser.client)[1][-2] == "surely"
    for wrong in ("x" * 501, "a\nb"):
        answer = label(browser.client, 1, "basophil", comment=wrong)
        assert (answer.status_code, answer.text) == (422, "its comment has up to 500 letters on one line")
    assert label(browser.client, 1, None).status_code == 200
    assert (rows(browser.client)[1][12], rows(browser.client)[1][-2]) == (None, "")
    with review_ledger(out) as (ledger, _):
        assert [made.comment for made in ledger.slides()[0].corrections()] == [MARKUP, "surely", ""]


def test_labels_are_taken_back_one_by_one(browser: Browser):
    for to in ("monocyte", "basophil", "unsure"):
        label(browser.client, 1, to)
    seen = []
    for _ in range(4):
        label(browser.client, 1, None)
        seen.append(rows(browser.client)[1][12])
    assert seen == ["basophil", "monocyte", None, None]


def test_a_label_is_taken_back_by_who_gave_it_alone(browser: Browser):
    def back(by: str) -> str:
        answer = label(browser.client, 1, None, by=by)
        assert answer.status_code in (200, 422)
        return answer.text if answer.status_code == 422 else ""

    said = "{} labelled it {}, which nobody else takes back: give it your own label"
    label(browser.client, 1, "monocyte", by="Ben")
    assert back("Anna") == said.format("Ben", "monocyte")
    label(browser.client, 1, "basophil", by="Anna")
    assert back("Ben") == said.format("Anna", "basophil")
    assert back("Anna") == ""
    assert rows(browser.client)[1][12:14] == ["monocyte", "Anna"]  # which is Ben's still
    assert back("Anna") == said.format("Ben", "monocyte")
    label(browser.client, 1, "monocyte", by="Cleo")  # agrees
    assert back("Ben") == said.format("Cleo", "monocyte")
    assert back("Anna") == said.format("Ben and Cleo", "monocyte")
    label(browser.client, 2, "monocyte", by="Ben")
    assert label(browser.client, 2, None, by="Ben").status_code == 200
    assert label(browser.client, 2, None, by="Anna").status_code == 200  # nothing is left to take back
    assert [rows(browser.client)[seq][12] for seq in (1, 2)] == ["monocyte", None]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"to": "nonsense"}, "is not a label"),
        ({"to": ""}, "is not a label"),
        ({"to": "other: "}, "is not a label"),
        ({"by": ""}, "is not a name"),
        ({"by": "=cmd"}, "is not a name"),
        ({"by": "x" * 61}, "is not a name"),
        ({"by": "a\nb"}, "is not a name"),
        ({"seq": 99}, "there is no such cell"),
        ({"seq": 9}, "not counted"),
        ({"sha256": "0" * 64}, "its image has changed since"),
    ],
)
def test_what_cannot_be_a_label_is_refused(browser: Browser, change: dict[str, object], said: str):
    found = rows(browser.client)
    row = found.get(int(str(change.get("seq", 1))), found[1])
    wish = {"seq": 1, "sha256": row[8], "base": 0, "to": "monocyte", "by": "Anna"} | change
    answer = browser.client.post("/slides/1/corrections", json=wish)
    assert answer.status_code in (409, 422)
    assert said in answer.text
    assert all(found[12] is None for found in rows(browser.client).values())


def test_ok_cells_are_confirmed_at_once_when_they_were_shown(browser: Browser, out: Path):
    def confirm(name: str = "eosinophil") -> httpx.Response:
        wish = {"label": name, "by": "Anna", "revision": revision(browser.client)}
        return browser.client.post("/slides/1/bulk", json=wish)

    assert confirm().json() == {"confirmed": 0}
    see(browser.client, "Ben")
    assert confirm().json() == {"confirmed": 0}
    label(browser.client, 1, "monocyte")
    see(browser.client)
    assert confirm().json() == {"confirmed": 7}
    browser.desk.bundle = load_bundle()
    assert confirm("ig").text == "ig: a person looks at each of these cells"
    with existing_ledger(out) as (ledger, _):
        made = ledger.slides()[0].corrections()
    assert [correction.in_bulk for correction in made] == [False] + [True] * 7


def test_the_station_writes_nothing_but_reviews(browser: Browser, out: Path):
    before = {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in (out / "slide").rglob("*.*")}
    with browser.desk.slide(1) as slide:
        assert slide is not None
        for statement in (
            "DELETE FROM corrections",
            "UPDATE slides SET alarm = 'x'",
            "INSERT INTO runs (slide) VALUES (1)",
        ):
            with pytest.raises(Exception, match=r"not authorized|prohibited"):
                slide.database.execute(statement)
    label(browser.client, 1, "monocyte")
    tell(browser.client, {"sample": "1"})
    assert before == {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in before}
