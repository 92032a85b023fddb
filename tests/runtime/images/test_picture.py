import hashlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
import PIL.Image
import pytest
from tiffs import of_tifffile

from cartcls.runtime.errors import ImageError, IncompleteError
from cartcls.runtime.images import decode, tiff_large
from cartcls.runtime.images.decode import fingerprint
from cartcls.runtime.images.picture import WholePicture, open_picture

Pixels = npt.NDArray[np.uint8]


@pytest.mark.parametrize("whole", [1000, decode.MAX_PIXELS])
def test_pictures_of_any_size_are_used_alike(tmp_path: Path, pixels: Pixels, whole: int):
    path = tmp_path / "field.tif"
    path.write_bytes(of_tifffile(pixels, tile=(64, 64)))
    with open_picture(path, whole=whole) as picture:
        assert isinstance(picture, WholePicture) == (whole > 1000)
        assert (picture.width, picture.height, picture.doubt, picture.deep) == (360, 363, "", False)
        assert picture.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
        assert picture.fingerprint == fingerprint(path)
        assert (picture.region(20, 30, 100, 50) == pixels[30:80, 20:120]).all()
        for box in ((-1, 0, 5, 5), (0, 0, 0, 5), (355, 0, 6, 5), (0, 360, 5, 4)):
            with pytest.raises(ValueError, match="does not lie in"):
                picture.region(*box)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif"])
def test_other_large_pictures_keep_their_reason(
    tmp_path: Path, pixels: Pixels, suffix: str, monkeypatch: pytest.MonkeyPatch
):
    path = tmp_path / f"field{suffix}"
    if suffix == ".tif":
        path.write_bytes(of_tifffile(pixels))  # one strip
    else:
        PIL.Image.fromarray(pixels).save(path)
    monkeypatch.setattr(decode, "MAX_PIXELS", 100_000)
    monkeypatch.setattr(tiff_large, "PIECE_PIXELS", 100_000)
    with (
        pytest.raises(ImageError, match=r"has 360x363 pixels: more than 0 megapixels"),
        open_picture(path, whole=100_000),
    ):
        pass


def test_files_that_are_too_large_keep_their_reason(tmp_path: Path, pixels: Pixels, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "field.tif"
    path.write_bytes(of_tifffile(pixels, tile=(64, 64)))
    with path.open("ab") as file:
        file.truncate(65 << 20)
    with pytest.raises(ImageError, match="is larger than 64 MB"), open_picture(path):
        pass
    with open_picture(path, whole=1000) as picture:
        assert (picture.region(0, 0, 360, 363) == pixels).all()
    with path.open("ab") as file:
        file.truncate((1 << 30) + 1)
    with pytest.raises(ImageError, match="is larger than 1024 MB"), open_picture(path, whole=1000):
        pass


def test_what_is_no_picture_says_why(tmp_path: Path):
    with pytest.raises(IncompleteError, match="has vanished"), open_picture(tmp_path / "none.tif"):
        pass
    (tmp_path / "empty.tif").touch()
    with pytest.raises(IncompleteError, match="is empty"), open_picture(tmp_path / "empty.tif"):
        pass
    with pytest.raises(ImageError, match="is not a regular file"), open_picture(tmp_path):
        pass


def test_errors_of_the_user_of_a_picture_are_the_users(tmp_path: Path, pixels: Pixels):
    path = tmp_path / "field.tif"
    path.write_bytes(of_tifffile(pixels, tile=(64, 64)))
    with pytest.raises(OSError, match="disk full"), open_picture(path, whole=1000):
        raise OSError("disk full")
