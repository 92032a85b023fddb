import csv
import io
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from fakes import giving_findings
from fhir.resources.R4B.bundle import Bundle as FhirBundle
from reviewer import classify, corrections, make_slide

from cartcls.runtime.bundle.bundle import Bundle
from cartcls.runtime.errors import OutputError
from cartcls.runtime.ledger.folder import existing_ledger, review_ledger
from cartcls.runtime.ledger.hand_over_table import HandOver
from cartcls.runtime.ledger.signatures import digest_of, save_signature
from cartcls.runtime.ledger.slide_info import SlideInfo
from cartcls.runtime.ledger.typed_facts import TypedFacts, save_typed_facts
from cartcls.runtime.reports import loinc
from cartcls.runtime.reports.corrections import correct
from cartcls.runtime.reports.hand_over import hand_over
from cartcls.runtime.reports.told import RESEARCH_ONLY, status_of

Resource = dict[str, Any]
INFO = """
sample = "26-0815"
second_id = "O-4711"
stain = "May Grünwald-Giemsa"
objective = "100x oil"
mpp = 0.1
operator = "A. Technician"
white_count = 10.0
red_cells = "some <b>target</b> cells"
platelets = "no clumps"
"""


@pytest.fixture
def out(slide: Path, tmp_path: Path, bundle: Bundle) -> Path:
    """Reports of a slide of eight cells: five eosinophils, an erythroblast, a `blast`, and a monocyte, of a person."""
    folder = make_slide(slide, tmp_path / "slide")
    (folder / "slide.toml").write_text(INFO, encoding="utf-8")
    out = classify(folder, bundle)
    correct(out, corrections(out, (1, "erythroblast"), (2, "other: blast"), (3, "monocyte")), "A. Reader")
    return out


def sign(out: Path, signer: str = "B. Haematologist", signed_at: str = "2026-01-02T03:04:05Z") -> None:
    with existing_ledger(out) as (ledger, _):
        (slide,) = ledger.slides()
        with slide.database.transaction():
            save_signature(slide, signer, signed_at, digest_of(slide))


def fhir(out: Path, is_test: bool = True) -> dict[str, list[Resource]]:
    """Resources by type, after they were validated."""
    content = hand_over(out, "slide", "fhir", is_test)
    FhirBundle.model_validate_json(content)
    found: dict[str, list[Resource]] = {}
    for entry in json.loads(content)["entry"]:
        assert entry["fullUrl"] == f"urn:uuid:{entry['resource']['id']}"
        found.setdefault(entry["resource"]["resourceType"], []).append(entry["resource"])
    return found


def row(out: Path) -> dict[str, str]:
    text = hand_over(out, "slide", "csv").decode("utf-8-sig")
    (found,) = csv.DictReader(io.StringIO(text))
    return found


def by_text(observations: list[Resource]) -> dict[str, Resource]:
    return {found["code"]["text"]: found for found in observations}


def test_fhir_has_a_report_and_an_observation_for_each_class(out: Path):
    found = fhir(out)
    (report,), (specimen,), (device,) = (found[name] for name in ("DiagnosticReport", "Specimen", "Device"))
    observations = by_text(found["Observation"])
    assert report["status"] == "partial"
    assert {item["reference"] for item in report["result"]} == {
        f"urn:uuid:{item['id']}" for item in found["Observation"]
    }
    eosinophil = observations["eosinophil, of leukocytes"]
    assert eosinophil["code"]["coding"] == [
        {"system": "http://loinc.org", "code": "26450-7", "display": "Eosinophils/Leukocytes in Blood"}
    ]
    assert eosinophil["status"] == "preliminary"
    assert eosinophil["valueQuantity"] == {
        "value": 83.33,
        "unit": "%",
        "system": "http://unitsofmeasure.org",
        "code": "%",
    }
    parts = {part["code"]["text"]: part for part in eosinophil["component"]}
    assert parts["Cells counted"]["valueInteger"] == 5
    assert parts["Leukocytes counted"]["valueInteger"] == 6
    assert parts["95 % interval"]["valueRange"]["low"]["value"] < 83.33
    assert eosinophil["device"] == {"reference": f"urn:uuid:{device['id']}"}
    assert eosinophil["specimen"] == {"reference": f"urn:uuid:{specimen['id']}"}
    assert "classified by a model; a person labelled 3 cells" in eosinophil["method"]["text"]
    nucleated = observations["erythroblast, of leukocytes"]["valueQuantity"]
    assert nucleated["code"] == "/100{WBCs}" and nucleated["value"] == 16.67
    assert observations["blast: cells, in no percentage"]["valueInteger"] == 1
    assert observations["neutrophil, of leukocytes"]["valueQuantity"]["value"] == 0
    assert [item["value"] for item in specimen["identifier"]] == ["26-0815", "O-4711"]
    assert "May Grünwald-Giemsa" in json.dumps(specimen, ensure_ascii=False)


def test_fhir_has_absolute_counts_and_comments_but_no_platelet_figure_and_no_flag(out: Path):
    found = fhir(out)
    observations = by_text(found["Observation"])
    corrected = observations["White count without nucleated red cells"]
    assert corrected["valueQuantity"]["value"] == pytest.approx(10 * 100 / (100 + 100 / 6), abs=0.01)
    assert corrected["code"]["coding"][0]["code"] == "12227-5"
    absolute = observations["eosinophil, absolute"]
    assert absolute["valueQuantity"]["value"] == pytest.approx(7.143, abs=0.001)
    assert absolute["code"]["coding"][0]["code"] == "26449-9"
    assert "coding" not in observations["erythroblast, absolute"]["code"]
    assert observations["Comment on the platelets"]["valueString"] == "no clumps"
    assert not [text for text in observations if "platelet" in text and not text.startswith("Comment")]
    text = json.dumps(found)
    assert '"interpretation"' not in text and '"referenceRange"' not in text


def test_it_is_test_data_and_for_research_unless_told(out: Path):
    found = fhir(out)
    for resources in found.values():
        for resource in resources:
            assert resource["meta"]["security"][0]["code"] == "HTEST"
            assert RESEARCH_ONLY in json.dumps(resource) or resource["resourceType"] == "Specimen"
    (report,) = found["DiagnosticReport"]
    assert "LOINC is copyright" in report["text"]["div"]
    real = fhir(out, is_test=False)
    assert "HTEST" not in json.dumps(real) and RESEARCH_ONLY in json.dumps(real)


def test_nothing_in_it_is_markup(slide: Path, tmp_path: Path, bundle: Bundle):
    folder = make_slide(slide, tmp_path / "slide")
    (folder / "slide.toml").write_text('sample = "<script>alert(1)</script>"', encoding="utf-8")
    out = classify(folder, bundle)
    sign(out, "<img src=x>")
    (report,) = fhir(out)["DiagnosticReport"]
    assert "<script>" not in report["text"]["div"] and "<img" not in report["text"]["div"]


def test_no_code_says_automated_and_none_is_the_discouraged_panel():
    codes = [loinc.PANEL, loinc.WHITE_COUNT, loinc.CORRECTED, *loinc.SHARES.values(), *loinc.ABSOLUTE.values()]
    assert not [code for code in codes if "utomated" in code.name or "anual" in code.name]
    assert "24318-8" not in [code.code for code in codes]
    assert len({code.code for code in codes}) == len(codes)
    for code in codes:  # LOINC's check digit: modulus 10, double-add-double
        digits, check = code.code.split("-")
        doubled = [int(digit) for digit in str(int(digits[::-1][::2][::-1]) * 2)]
        total = sum(doubled) + sum(int(digit) for digit in digits[::-1][1::2])
        assert int(check) == -total % 10, code


def test_final_only_where_signed_and_amended_after_a_signed_one_left(out: Path):
    def status() -> tuple[object, set[object]]:
        found = fhir(out)
        return found["DiagnosticReport"][0]["status"], {item["status"] for item in found["Observation"]}

    assert status() == ("partial", {"preliminary"})
    sign(out)
    assert status() == ("final", {"final"})
    assert status() == ("final", {"final"})  # the same again
    correct(out, corrections(out, (4, "lymphocyte")), "A. Reader")
    assert status() == ("amended", {"amended"})
    sign(out, "C. Second", "2026-01-03T03:04:05Z")
    assert status() == ("amended", {"amended"})
    (report,) = fhir(out)["DiagnosticReport"]
    assert report["issued"] == "2026-01-03T03:04:05Z"
    assert report["resultsInterpreter"] == [{"display": "C. Second"}]
    assert "This replaces a signed report" in report["conclusion"]
    assert "Not signed" not in report["conclusion"]


def test_what_was_amended_stays_so_when_files_and_facts_come_back(out: Path, bundle: Bundle):
    folder, kept = out.parent / "slide", out.parent / "kept.jpg"
    sign(out)
    assert row(out)["status"] == "final"
    file = folder / "cell-08.jpg"
    file.rename(kept)
    classify(folder, bundle)
    assert row(out)["status"] == "amended"
    kept.rename(file)
    for info in (INFO.replace("26-0815", "26-0816"), INFO):
        classify(folder, bundle)
        found = row(out)
        assert (found["status"], found["signed_by"]) == ("amended", "")
        (folder / "slide.toml").write_text(info, encoding="utf-8")
    classify(folder, bundle)
    sign(out)
    assert row(out)["status"] == "amended"


@pytest.mark.parametrize(("left", "status"), [(True, "amended"), (False, "partial")])
def test_a_late_image_that_still_waits_voids_the_signature(out: Path, left: bool, status: str):
    sign(out)
    if left:
        assert row(out)["status"] == "final"
    with existing_ledger(out) as (ledger, _):
        (slide,) = ledger.slides()
        slide.discover([b"late.jpg"])
    found = row(out)
    assert (found["status"], found["signed_by"]) == (status, "")
    assert "Images that wait to be classified: 1." in found["remarks"]


def test_one_cell_is_no_cells(slide: Path, tmp_path: Path, bundle: Bundle):
    folder = make_slide(slide, tmp_path / "slide")
    (folder / "slide.toml").write_text(INFO, encoding="utf-8")
    out = classify(folder, bundle)
    correct(out, corrections(out, (1, "monocyte"), (2, "unsure")), "A. Reader")
    found = fhir(out)
    assert "; a person labelled 1 cell" in str(found["Observation"]) and "1 cells" not in str(found)
    said = found["DiagnosticReport"][0]["conclusion"]
    assert "The label of 1 cell is a model's proposal, which awaits review." in said
    correct(out, corrections(out, (3, "unsure"), (4, "monocyte")), "A. Reader")
    found = fhir(out)
    assert "; a person labelled 2 cells" in str(found["Observation"])
    assert "Labels of 2 cells are a model's proposals" in found["DiagnosticReport"][0]["conclusion"]


def test_what_follows_an_amended_report_is_never_final():
    made = [HandOver("csv", status, digest, "") for status, digest in (("final", "a"), ("amended", ""))]
    assert status_of("a", made[:1]) == "final"
    assert status_of("a", made) == "amended"


def test_a_void_signature_that_never_left_is_none(out: Path):
    sign(out)
    correct(out, corrections(out, (4, "lymphocyte")), "A. Reader")
    assert fhir(out)["DiagnosticReport"][0]["status"] == "partial"


def test_another_sample_identifier_corrects_what_left(out: Path, bundle: Bundle):
    sign(out)
    assert row(out)["status"] == "final"
    (out.parent / "slide" / "slide.toml").write_text(INFO.replace("26-0815", "26-0816"), encoding="utf-8")
    classify(out.parent / "slide", bundle)
    found = row(out)
    assert (found["sample"], found["status"]) == ("26-0816", "amended")


def test_typed_facts_are_handed_on_in_place_of_the_file(out: Path, bundle: Bundle):
    sign(out)
    assert row(out)["status"] == "final"
    with review_ledger(out) as (ledger, _):
        (slide,) = ledger.slides()
        with slide.database.transaction():
            typed = TypedFacts(SlideInfo(sample="26-0817", white_count=20.0), "Anna", "2026-01-04T03:04:05Z")
            save_typed_facts(slide.database, slide.slide.id, typed)
    found = row(out)
    assert (found["sample"], found["status"], found["stain"]) == ("26-0817", "amended", "")
    assert (found["white_count"], found["absolute_eosinophil"]) == ("20.0", "14.286")
    (specimen,) = fhir(out)["Specimen"]
    assert [item["value"] for item in specimen["identifier"]] == ["26-0817"]
    (out.parent / "slide" / "slide.toml").write_text(INFO.replace("26-0815", "26-0816"), encoding="utf-8")
    classify(out.parent / "slide", bundle)
    assert row(out)["sample"] == "26-0817"


def test_two_signers_of_the_same_rows(out: Path):
    sign(out)
    sign(out, "C. Second", "2026-01-03T03:04:05Z")
    (report,) = fhir(out)["DiagnosticReport"]
    assert report["status"] == "final" and report["issued"] == "2026-01-03T03:04:05Z"
    assert [item["display"] for item in report["resultsInterpreter"]] == [
        "B. Haematologist",
        "C. Second",
    ]


def test_ids_are_the_same_each_time(out: Path):
    sign(out)
    first, second = (fhir(out) for _ in range(2))
    assert first == second


def test_one_wide_row(out: Path):
    sign(out)
    found = row(out)
    assert (found["sample"], found["second_id"], found["slide"], found["status"]) == (
        "26-0815",
        "O-4711",
        "slide",
        "final",
    )
    assert (found["signed_by"], found["signed_at"]) == ("B. Haematologist", "2026-01-02T03:04:05Z")
    assert (found["n_eosinophil"], found["percent_eosinophil"], found["absolute_eosinophil"]) == ("5", "83.33", "7.143")
    assert (found["n_erythroblast"], found["per_100_leukocytes_erythroblast"]) == ("1", "16.67")
    assert (found["white_count"], found["corrected_white_count"]) == ("10.0", "8.571")
    assert (found["others"], found["test_data"], found["notice"]) == ("other: blast (1)", "1", RESEARCH_ONLY)
    assert not [name for name in found if "platelet" in name and not name.startswith("comment_")]
    correct(out, corrections(out, (4, "lymphocyte")), "A. Reader")
    assert row(out)["status"] == "amended"


def test_no_cell_of_the_row_starts_a_formula(slide: Path, tmp_path: Path, bundle: Bundle):
    folder = make_slide(slide, tmp_path / "slide")
    (folder / "slide.toml").write_text('sample = "=1+1"\noperator = "@x"', encoding="utf-8")
    found = row(classify(folder, bundle))
    assert (found["sample"], found["operator"]) == ("%3D1+1", "%40x")


def test_without_a_sample_identifier_there_is_one_clear_error(slide: Path, tmp_path: Path, bundle: Bundle):
    folder = make_slide(slide, tmp_path / "slide")
    out = classify(folder, bundle)
    with pytest.raises(OutputError, match="slide has no sample identifier, and the name of its folder is none"):
        hand_over(out, "slide", "fhir")
    (folder / "slide.toml").write_text('stain = "Wright"', encoding="utf-8")
    classify(folder, bundle)
    with pytest.raises(OutputError, match="no sample identifier"):
        hand_over(out, "slide", "csv")
    with pytest.raises(OutputError, match="has no slide 'x': give --slide one of those there: slide"):
        hand_over(out, "x", "csv")


def test_it_works_while_a_run_holds_the_ledger(out: Path):
    sign(out)
    with existing_ledger(out) as (ledger, _):
        assert row(out)["status"] == "final"
        (slide,) = ledger.slides()
        (made,) = ledger.hand_overs(slide.slide)
        assert (made.format, made.status, len(made.digest)) == ("csv", "final", 64)


def test_a_finding_has_counts_without_percentages(slide: Path, tmp_path: Path, bundle: Bundle):
    folder = Path(shutil.copytree(slide, tmp_path / "slide"))
    (folder / "slide.toml").write_text(INFO, encoding="utf-8")
    found = fhir(classify(folder, giving_findings(bundle)))
    (report,) = found["DiagnosticReport"]
    assert report["code"] == {"text": "Cells by label"}
    observations = by_text(found["Observation"])
    assert observations["eosinophil: cells"]["valueInteger"] == 32
    assert not [text for text in observations if "of leukocytes" in text or "absolute" in text]
