import errno
import os
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from scene import put

from cartcls.calibration.split import check_split, class_of, list_images, make_split, read_split
from cartcls.runtime.errors import DataError
from cartcls.runtime.images.discover import find_images

COMMITTED = Path(__file__).parents[2] / "splits" / "pbc.csv"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """200 file names of two classes, `b` with two kinds of leading letters."""
    for name in [*(f"a/A_{i}.jpg" for i in range(100)), *(f"b/{'XY'[i % 4 == 0]}_{i}.jpg" for i in range(100))]:
        (tmp_path / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / name).touch()
    return tmp_path / "data"


def test_the_committed_split_has_the_promised_parts():
    split = read_split(COMMITTED)
    assert Counter(split.parts.values()) == {"fit": 6206, "select": 392, "calibrate": 776, "report": 392}
    per_class = Counter((class_of(path), part) for path, part in split.parts.items())
    for name in {class_of(path) for path in split.parts}:
        fit = 774 if name == "basophil" else 776
        expected = {"fit": fit, "select": 49, "calibrate": 97, "report": 49}
        assert {part: per_class[name, part] for part in expected} == expected
    assert split.unit == "split by image"
    assert split.group_count("calibrate") is None


def test_leading_letters_are_spread_over_the_parts():
    split = read_split(COMMITTED)
    for part in ("select", "report"):
        bands = sum("/BNE_" in path for path in split.paths(part))
        assert abs(bands - 49 * 469 / 971) <= 1


def test_a_split_is_repeatable_and_another_seed_gives_another(folder: Path, tmp_path: Path):
    first, again, other = (make_split(folder, tmp_path / f"{i}.csv", seed=seed) for i, seed in enumerate((0, 0, 1)))
    assert first.sha256 == again.sha256 != other.sha256
    assert Counter(first.parts.values()) == {"fit": 160, "select": 10, "calibrate": 20, "report": 10}
    letters = Counter(path[2] for path in first.paths("calibrate"))
    assert letters["Y"] in (2, 3)


def test_groups_stay_on_one_side(folder: Path, tmp_path: Path):
    groups = {path: f"patient-{int(path.split('_')[1][:-4]) % 20}" for path in list_images(folder)}
    file = tmp_path / "groups.csv"
    file.write_text("path,patient\n" + "".join(f"{path},{group}\n" for path, group in groups.items()))
    split = make_split(folder, tmp_path / "split.csv", file)
    assert split.unit == "split by group"
    assert split.group_count("calibrate") == len({groups[path] for path in split.paths("calibrate")}) > 0
    assert len({(groups[path], part) for path, part in split.parts.items()}) == 20
    assert set(split.parts.values()) == {"fit", "select", "calibrate", "report"}
    assert 120 <= Counter(split.parts.values())["fit"] <= 170


def test_images_without_a_group_are_named(folder: Path, tmp_path: Path):
    (tmp_path / "groups.csv").write_text("path,patient\na/A_0.jpg,1\n")
    with pytest.raises(DataError, match=r"no group for 199 image\(s\): a/A_1\.jpg"):
        make_split(folder, tmp_path / "split.csv", tmp_path / "groups.csv")
    (tmp_path / "groups.csv").write_text("file,who\n")
    with pytest.raises(DataError, match="needs the columns path and patient"):
        make_split(folder, tmp_path / "split.csv", tmp_path / "groups.csv")


def test_a_split_that_does_not_fit_names_the_files(folder: Path, tmp_path: Path):
    split = make_split(folder, tmp_path / "split.csv")
    (folder / "a" / "A_7.jpg").rename(folder / "a" / "A_new.jpg")
    with pytest.raises(DataError, match=r"not there \(a/A_7\.jpg\).*not in the split \(a/A_new\.jpg\)"):
        check_split(split, folder)


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        (["a/1.jpg", "a/2.jpg"], "at least two classes"),
        (["a/1.jpg", "a/2.jpg", "b/1.jpg"], "fewer than 2 images in b"),
        (["a/1.jpg", "a/2.jpg", "b/notes.txt"], "fewer than 2 images in b"),
        (["a/1.jpg", "a/2.jpg", "=b/1.jpg", "=b/2.jpg"], "rename the class folder '=b'"),
        ([], "is not a folder"),
    ],
)
def test_folders_that_cannot_be_trained_on_are_refused(tmp_path: Path, names: list[str], problem: str):
    for name in names:
        (tmp_path / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / name).touch()
    with pytest.raises(DataError, match=problem):
        list_images(tmp_path / "data")


def test_small_classes_still_have_something_to_select_on(tmp_path: Path):
    for name in [f"{letter}/{i}.jpg" for letter in "ab" for i in range(2)]:
        (tmp_path / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / name).touch()
    split = make_split(tmp_path / "data", tmp_path / "split.csv")
    assert Counter(split.parts.values()) == {"fit": 2, "select": 2}
    check_split(split, tmp_path / "data")


def test_hidden_folders_are_no_data(folder: Path):
    before = list_images(folder)
    for name in (".cache/x.jpg", "a/.thumbnails/y.jpg", "a/._z.jpg"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()
    assert list_images(folder) == before


def test_what_systems_and_cartcls_leave_beside_class_folders_is_no_class(folder: Path):
    before = list_images(folder)
    for name in (
        "__MACOSX/a/._A_1.jpg",
        "@eaDir/x.jpg",
        "a/@eaDir/A_1.jpg/THUMB.jpg",
        "a/.A_1.jpg.AbC123",
        "loose.jpg",
    ):
        put((folder / name).parent, Path(name).name, b"\xff\xd8\xff")
    for name in (
        "figures/mistakes.html",
        "figures/metrics.json",
        "figures/thumbnails/1.jpg",
        "a/notes.pdf",
        "a/x.jpg~",
    ):
        put((folder / name).parent, Path(name).name, b"\xff\xd8\xff")
    said: list[str] = []
    assert list_images(folder, notify=said.append) == before
    assert said == [
        "left out: 1 file that is no image (.pdf), 2 hidden or temporary files, 1 image in no class folder,"
        " folders named @eaDir, __MACOSX, figures"
    ]


def test_batch_and_split_take_the_same_files_for_images(folder: Path, cells: list[bytes]):
    for name in ("x.jfif", "x.webp", "x.czi", "no-suffix", "12.5"):
        put(folder / "b", name, cells[0])
    put(folder / "b", "_SUCCESS", b"")
    in_split = [path.removeprefix("b/") for path in list_images(folder) if path.startswith("b/")]
    assert in_split == [os.fsdecode(path) for path in find_images(folder / "b", None)]
    assert {"x.jfif", "x.webp", "x.czi", "no-suffix", "12.5"} < set(in_split)


def test_no_class_has_the_name_of_a_label_of_reviewers(folder: Path):
    (folder / "b").rename(folder / "Not a cell")
    with pytest.raises(DataError, match="'Not a cell' is a label of reviewers and cannot be a class"):
        list_images(folder)


def test_letters_that_macos_writes_as_two_are_one_in_the_name_of_a_class(folder: Path):
    (folder / "b").rename(folder / "Zo\u0308lle")
    paths = list_images(folder)
    assert {class_of(path) for path in paths} == {"a", "Z\u00f6lle"}
    assert all((folder / path).is_file() for path in paths)


def test_a_class_folder_may_be_a_link(folder: Path, tmp_path: Path):
    (folder / "b").rename(tmp_path / "elsewhere")
    (folder / "b").symlink_to(tmp_path / "elsewhere")
    assert sum(path.startswith("b/") for path in list_images(folder)) == 100


def test_all_copies_of_an_image_are_in_one_part(folder: Path, tmp_path: Path, cells: list[bytes]):
    for number in range(40):
        (folder / "a" / f"A_{number}.jpg").write_bytes(cells[number % 2])
    said: list[str] = []
    split = make_split(folder, tmp_path / "split.csv", notify=said.append)
    for first in (0, 1):
        assert len({split.parts[f"a/A_{number}.jpg"] for number in range(first, 40, 2)}) == 1
    assert "38 images are copies of others" in said[-1]
    check_split(split, folder)
    moved = {**split.parts, "a/A_2.jpg": "report", "a/A_0.jpg": "fit"}
    with pytest.raises(
        DataError, match=r"a/A_0\.jpg and a/A_\d+\.jpg have the same bytes, and are in the parts fit and"
    ):
        check_split(replace(split, parts=moved), folder)


def test_groups_with_the_same_image_are_in_one_part(folder: Path, tmp_path: Path, cells: list[bytes]):
    for number in range(0, 60, 20):
        (folder / "a" / f"A_{number + number // 20}.jpg").write_bytes(cells[0])  # of patients 0, 1 and 2
    groups = {path: f"patient-{int(path.split('_')[1][:-4]) % 20}" for path in list_images(folder)}
    file = tmp_path / "groups.csv"
    file.write_text("path,patient\n" + "".join(f"{path},{group}\n" for path, group in groups.items()))
    split = make_split(folder, tmp_path / "split.csv", file)
    assert (
        len({part for path, part in split.parts.items() if groups[path] in ("patient-0", "patient-1", "patient-2")})
        == 1
    )
    assert set(split.parts.values()) == {"fit", "select", "calibrate", "report"}
    rows = (tmp_path / "split.csv").read_text().splitlines()
    assert f"a/A_1.jpg,{split.parts['a/A_1.jpg']},patient-1" in rows


def test_a_class_of_one_image_and_its_copies_cannot_be_trained_on(tmp_path: Path, cells: list[bytes]):
    for number in range(5):
        put(tmp_path / "data" / "a", f"{number}.jpg", cells[0])
        put(tmp_path / "data" / "b", f"{number}.jpg", cells[1 + number])
    with pytest.raises(DataError, match=r"fewer than 2 different images in a \(1\)"):
        make_split(tmp_path / "data", tmp_path / "split.csv")
    put(tmp_path / "data" / "a", "other.jpg", cells[9])
    said: list[str] = []
    check_split(make_split(tmp_path / "data", tmp_path / "split.csv", notify=said.append), tmp_path / "data")
    assert said == [
        "4 images are copies of others (a/1.jpg, a/2.jpg, a/3.jpg, a/4.jpg): each gets the part of the other"
    ]
    for number in (2, 3, 4):
        (tmp_path / "data" / "a" / f"{number}.jpg").unlink()
    make_split(tmp_path / "data", tmp_path / "split.csv", notify=said.append)
    assert said[1:] == ["1 image is a copy of another (a/1.jpg): each gets the part of the other"]


def test_a_class_of_one_patient_is_refused_before_a_split_is_written(folder: Path, tmp_path: Path):
    rows = [f"{path},{'x' if path[0] == 'a' else path[-5]}\n" for path in list_images(folder)]
    (tmp_path / "groups.csv").write_text("path,patient\n" + "".join(rows))
    with pytest.raises(DataError, match=r"no image of a: add images of them \(of other patients"):
        make_split(folder, tmp_path / "split.csv", tmp_path / "groups.csv")
    assert not (tmp_path / "split.csv").exists()


def test_a_split_that_cannot_be_written_says_so_and_leaves_an_older_one(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    before = list(tmp_path.iterdir())
    with pytest.raises(DataError, match=r"data cannot be written: Is a directory; name another file"):
        make_split(folder, folder)
    with pytest.raises(DataError, match=r"A_1\.jpg/split\.csv cannot be written: "):
        make_split(folder, folder / "a" / "A_1.jpg" / "split.csv")
    assert list(tmp_path.iterdir()) == before
    split = make_split(folder, tmp_path / "split.csv")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DataError, match="No space left on device"):
        make_split(folder, tmp_path / "split.csv", seed=1)
    assert read_split(tmp_path / "split.csv") == split


def test_groups_may_be_written_as_windows_writes_paths(folder: Path, tmp_path: Path):
    (folder / "a" / "A_0.jpg").rename(folder / "a" / "A\\0.jpg")
    rows = [path if "\\" in path else path.replace("/", "\\") for path in list_images(folder)]
    (tmp_path / "groups.csv").write_text("path,slide\n" + "".join(f"{row},{n % 9}\n" for n, row in enumerate(rows)))
    assert make_split(folder, tmp_path / "split.csv", tmp_path / "groups.csv").parts.keys() == set(list_images(folder))


def test_a_group_in_two_parts_is_refused(tmp_path: Path):
    (tmp_path / "s.csv").write_text("path,part,group\na/1.jpg,fit,p1\na/2.jpg,report,p1\n")
    with pytest.raises(DataError, match="the group 'p1' is in several parts"):
        read_split(tmp_path / "s.csv")


def test_tables_saved_by_excel_are_read(tmp_path: Path):
    (tmp_path / "s.csv").write_bytes(b"\xef\xbb\xbfpath,part\r\na/1.jpg,fit\r\n")
    assert read_split(tmp_path / "s.csv").parts == {"a/1.jpg": "fit"}
    (tmp_path / "s.csv").write_bytes(b"path,part\n\xff,fit\n")
    with pytest.raises(DataError, match="not a CSV file in UTF-8"):
        read_split(tmp_path / "s.csv")


def test_files_that_are_no_split_are_refused(tmp_path: Path):
    with pytest.raises(DataError, match="make a split"):
        read_split(tmp_path / "none.csv")
    (tmp_path / "s.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match="needs the columns path and part"):
        read_split(tmp_path / "s.csv")
    (tmp_path / "s.csv").write_text("path,part\na/1.jpg,train\n")
    with pytest.raises(DataError, match="unknown part"):
        read_split(tmp_path / "s.csv")


@pytest.mark.parametrize("line", ["a/A_1.jpg", "a/A_1.jpg,fit,more"])
def test_a_row_of_the_wrong_length_is_named(tmp_path: Path, line: str):
    file = tmp_path / "split.csv"
    file.write_text(f"path,part\na/A_0.jpg,fit\n{line}\n")
    with pytest.raises(DataError, match=r"split\.csv, line 3: give it 2 values"):
        read_split(file)
