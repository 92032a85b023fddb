import errno
import json
import os
import shutil
from pathlib import Path

import pytest
from reviewer import classify, make_slide
from scene import Scene, put

from cartcls.runtime.bundle.bundle import Bundle
from cartcls.runtime.ledger.folder import existing_ledger
from cartcls.runtime.ledger.slide_info import SlideInfo
from cartcls.runtime.reports.rebuild import rebuild_reports
from cartcls.runtime.slides.slide_info_file import SlideInfoError, SlideInfoFile, read_slide_info

WHOLE = """
sample = "26-0815"
second_id = "O-4711"
stain = "May Grünwald-Giemsa"
objective = "100x oil"
mpp = 0.1
operator = "A. Technician"
white_count = 7.4
red_cells = "some target cells"
platelets = "no clumps"
"""


def summary_of(out: Path, slide: str = "slide") -> dict[str, object]:
    return json.loads((out / slide / "summary.json").read_text(encoding="utf-8"))


def page_of(out: Path, slide: str = "slide") -> str:
    return (out / slide / "report.html").read_text(encoding="utf-8")


def test_every_key_is_read(tmp_path: Path):
    file = tmp_path / "slide.toml"
    file.write_text(WHOLE, encoding="utf-8")
    found = read_slide_info(file)
    assert (found.sample, found.second_id, found.mpp, found.white_count) == ("26-0815", "O-4711", 0.1, 7.4)
    assert (found.stain, found.operator, found.platelets) == ("May Grünwald-Giemsa", "A. Technician", "no clumps")
    file.write_bytes(b'\xef\xbb\xbfsample = "with a byte order mark"\nwhite_count = 7\n')
    assert read_slide_info(file) == SlideInfo(sample="with a byte order mark", white_count=7.0)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"sample = ", "Invalid value"),
        (b'sampel = "x"', "unknown key 'sampel': the keys are sample, second_id"),
        (b"sample = 815", "Expected `str`, got `int`"),
        (b'white_count = "7.4"', "Expected `float | null`, got `str`"),
        (b"white_count = nan", "white_count is in"),
        (b"white_count = -1", "white_count is in"),
        (b"white_count_corrected = true", "needs white_count"),
        (b"mpp = 100", "mpp is"),
        (b'sample = "a\\u0007b"', "one printable line"),
        (b'operator = "\\u202Eevil"', "one printable line"),
        (b'sample = " 1"', "one printable line"),
        (b'red_cells = """two\nlines"""', "red_cells is one printable line"),
        (b'stain = "' + b"x" * 201 + b'"', "at most 200"),
        (b'sample = "\xff"', "not UTF-8"),
        (b"#" * 70_000, "larger than 64 KiB"),
    ],
)
def test_what_is_not_as_it_should_be_is_told(content: bytes, problem: str, tmp_path: Path):
    (tmp_path / "slide.toml").write_bytes(content)
    with pytest.raises(SlideInfoError, match=problem.replace("|", r"\|")):
        read_slide_info(tmp_path / "slide.toml")


def test_only_a_regular_file_is_read(tmp_path: Path):
    (tmp_path / "secret.toml").write_text(WHOLE, encoding="utf-8")
    (tmp_path / "link").symlink_to(tmp_path / "secret.toml")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SlideInfoError, match="cannot be read"):
        read_slide_info(tmp_path / "link")
    with pytest.raises(SlideInfoError, match="no regular file"):
        read_slide_info(tmp_path / "pipe")


def test_page_and_summary_have_it_and_a_rebuild_without_the_folder(slide: Path, tmp_path: Path, bundle: Bundle):
    folder, told = make_slide(slide, tmp_path / "slide"), list[str]()
    (folder / "slide.toml").write_text(WHOLE, encoding="utf-8")
    out = classify(folder, bundle, told)
    assert not any("slide.toml" in line or ".toml" in line for line in told)  # neither an image, nor left out
    summary = summary_of(out)
    info = summary["info"]
    assert isinstance(info, dict) and info["sample"] == "26-0815"
    assert summary["absolute_counts"] == {
        "white_count": 7.4,
        "corrected": 7.4,
        "rows": [
            {"name": name, "title": title, "per_litre": 7.4 if name == "eosinophil" else 0.0}
            for name, title in [(entry.name, entry.title) for entry in bundle.manifest.classes_as_read]
            if name != "platelet"
        ],
    }
    page = page_of(out)
    for text in ("26-0815", "O-4711", "100x oil", "0.1 µm per pixel", "7.4 × 10⁹/l", "some target cells", "no clumps"):
        assert text in page
    shutil.rmtree(folder)
    rebuild_reports(out)
    assert page_of(out) == page
    assert summary_of(out) == summary


def test_a_slide_without_the_file_says_nothing_of_it(slide: Path, tmp_path: Path, bundle: Bundle):
    out = classify(make_slide(slide, tmp_path / "slide"), bundle)
    assert not {"info", "absolute_counts"} & summary_of(out).keys()
    assert "Absolute counts" not in page_of(out) and "What the laboratory says" not in page_of(out)


def test_a_broken_file_is_a_warning_and_loses_nothing(slide: Path, tmp_path: Path, bundle: Bundle):
    folder, told = make_slide(slide, tmp_path / "slide"), list[str]()
    file = folder / "slide.toml"
    file.write_text(WHOLE, encoding="utf-8")
    classify(folder, bundle)
    file.write_text('<script>alert(1)</script> = "x', encoding="utf-8")
    out = classify(folder, bundle, told)
    assert [line for line in told if "slide.toml cannot be used" in line]
    assert "slide.toml cannot be used" in page_of(out) and "what it said before is kept" in page_of(out)
    assert "<script>alert" not in page_of(out)
    assert summary_of(out)["info"] is not None and "26-0815" in page_of(out)
    file.unlink()
    classify(folder, bundle)
    assert "slide.toml" not in page_of(out) and "26-0815" in page_of(out)


def test_markup_in_it_is_never_markup(slide: Path, tmp_path: Path, bundle: Bundle):
    folder = make_slide(slide, tmp_path / "slide")
    evil = "<img src=x onerror=alert(1)>"
    keys = ("sample", "second_id", "stain", "objective", "operator", "red_cells", "platelets")
    (folder / "slide.toml").write_text("\n".join(f'{key} = "{evil}"' for key in keys), encoding="utf-8")
    page = page_of(classify(folder, bundle))
    assert evil not in page
    assert page.count("&lt;img src=x onerror=alert(1)&gt;") == len(keys)


def test_a_watch_takes_it_when_it_comes_and_when_it_changes(scene: Scene, cells: list[bytes]):
    put(scene.captures / "s", "1.jpg", cells[0])
    scene.wait(10)
    assert "info" not in summary_of(scene.out, "s")
    put(scene.captures / "s", "slide.toml", b'sample = "26-1"')
    scene.wait(130)  # files are checked each minute
    assert summary_of(scene.out, "s")["info"] == {"sample": "26-1"}
    put(scene.captures / "s", "slide.toml", b'sample = "26-')
    scene.wait(130)
    assert summary_of(scene.out, "s")["info"] == {"sample": "26-1"}
    assert "slide.toml cannot be used" in page_of(scene.out, "s")
    assert len([line for line in scene.said if "slide.toml" in line]) == 1
    put(scene.captures / "s", "slide.toml", b'sample = "26-2"')
    scene.wait(130)
    assert summary_of(scene.out, "s")["info"] == {"sample": "26-2"}
    assert "cannot be used" not in page_of(scene.out, "s")


def test_what_else_is_settled_stays(slide: Path, tmp_path: Path, bundle: Bundle):
    folder = make_slide(slide, tmp_path / "slide")
    out = classify(folder, bundle)
    with existing_ledger(out) as (ledger, _):
        before = ledger.slides()[0].facts()
    (folder / "slide.toml").write_text('sample = "1"', encoding="utf-8")
    classify(folder, bundle)
    with existing_ledger(out) as (ledger, _):
        after = ledger.slides()[0].facts()
    assert after.info == SlideInfo(sample="1")
    assert (after.levels, after.deep, after.fields) == (before.levels, before.deep, before.fields)


def test_a_share_that_does_not_answer_changes_nothing_and_shows_no_life(
    slide: Path, tmp_path: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
):
    folder = make_slide(slide, tmp_path / "slide")
    (folder / "slide.toml").write_text("sample = 1", encoding="utf-8")
    with existing_ledger(classify(folder, bundle)) as (ledger, _):
        (known,) = ledger.slides()
        file, lived = SlideInfoFile(folder, known, lambda line: None), list[int]()
        assert known.facts().info_problem
        file.note(lambda: lived.append(1))
        assert lived == [1]
        monkeypatch.setattr(os, "lstat", away)
        assert not file.note(lambda: lived.append(2))
        assert known.facts().info_problem and lived == [1]


def away(path: object) -> None:
    raise OSError(errno.EHOSTDOWN, os.strerror(errno.EHOSTDOWN))
