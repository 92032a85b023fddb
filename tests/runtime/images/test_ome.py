import tracemalloc

import pytest

from cartcls.runtime.errors import ImageError, IncompleteError
from cartcls.runtime.images.ome import LONGEST, is_ome, ome_microns_per_pixel, ome_planes

HEAD = '<?xml version="1.0" encoding="UTF-8"?>'
OME = '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="urn:uuid:1">'


def xml(planes: str = "", channels: str = "<Channel/>", inside: str = "", **sizes: object) -> str:
    said = {"DimensionOrder": "XYCZT", "SizeC": 1, "SizeZ": 1, "SizeT": 1} | sizes
    attributes = " ".join(f'{name}="{value}"' for name, value in said.items())
    return f"{HEAD}{OME}<Image><Pixels {attributes}>{channels}{planes}</Pixels></Image>{inside}</OME>"


def test_planes_lie_where_the_xml_says():
    assert ome_planes(xml(SizeZ=3), 3) == [(0,), (1,), (2,)]
    assert ome_planes(xml("<TiffData/>", SizeZ=3), 3) == [(0,), (1,), (2,)]
    assert ome_planes(xml('<TiffData IFD="2" FirstZ="0"/><TiffData IFD="0" FirstZ="1"/>', SizeZ=2), 3) == [(2,), (0,)]
    assert ome_planes(xml('<TiffData IFD="1" PlaneCount="2"/>', SizeZ=2), 3) == [(1,), (2,)]


@pytest.mark.parametrize(("order", "planes"), [("XYCZT", [(2, 1, 0), (5, 4, 3)]), ("XYZCT", [(4, 2, 0), (5, 3, 1)])])
def test_channels_are_put_in_the_order_red_green_blue(order: str, planes: list[tuple[int, ...]]):
    channels = '<Channel Name="B"/><Channel Name="Green"/><Channel Name="red"/>'
    assert ome_planes(xml(channels=channels, SizeC=3, SizeZ=2, DimensionOrder=order), 6) == planes


def test_comments_and_annotations_do_no_harm():
    text = xml(inside="<StructuredAnnotations><XMLAnnotation><Value/></XMLAnnotation></StructuredAnnotations>")
    text = text.replace(OME, "<!-- Warning: this comment is an OME-XML metadata block. -->" + OME)
    assert is_ome(text + "\n")
    assert ome_planes(text, 1) == [(0,)]
    assert not is_ome("OME, sweet OME>")


EXPANDED = "".join(f'<!ENTITY x{n} "{f"&x{n - 1};" * 10 if n else "x" * 100}">' for n in range(9))


@pytest.mark.parametrize(
    "text",
    [
        f'{HEAD}<!DOCTYPE OME [{EXPANDED}]>{OME}<Image Name="&x8;"/></OME>',
        f'{HEAD}<!DOCTYPE OME [<!ENTITY x SYSTEM "file:///etc/passwd">]>{OME}<Image Name="&x;"/></OME>',
        f'{HEAD}<!DOCTYPE OME SYSTEM "http://localhost/x.dtd">{OME}</OME>',
        xml(inside="<a/>" * (LONGEST // 4)),
    ],
)
def test_xml_that_may_grow_is_not_read(text: str):
    tracemalloc.start()
    with pytest.raises(ImageError, match="has OME-XML"):
        ome_planes(text, 1)
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


def test_xml_that_is_cut_is_incomplete():
    with pytest.raises(IncompleteError, match="its OME-XML"):
        ome_planes(xml()[:-20] + "<OME>", 1)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (f'{OME}<BinaryOnly MetadataFile="x.companion.ome" UUID="urn:uuid:2"/></OME>', "described by another file"),
        (xml('<TiffData><UUID FileName="z1.tif">urn:uuid:2</UUID></TiffData>'), "lies in several files"),
        (xml(SizeT=5), "holds 5 times"),
        (xml(SizeZ=0), "says nothing of its planes"),
        (xml(SizeZ=99999999), "holds 99999999 planes"),
        (xml(SizeZ="-1"), "says SizeZ='-1'"),
        (xml(SizeZ="9" * 6000), "says SizeZ='99999999999999999999'"),
        (xml(DimensionOrder="XYZ"), "says nothing of its planes"),
        (xml(channels="", SizeC=4), "holds 4 channels that are not said"),
        (xml(channels='<Channel SamplesPerPixel="3"/><Channel/>', SizeC=4), "holds 4 channels"),
        (f"{OME}<Image/></OME>", "says nothing of its pixels"),
        (xml('<TiffData FirstZ="-99999999999" PlaneCount="99999999999"/>'), "says FirstZ="),
    ],
)
def test_what_the_xml_says_is_named(text: str, reason: str):
    with pytest.raises(ImageError, match=reason) as caught:
        ome_planes(text, 1)
    assert not isinstance(caught.value, IncompleteError)


@pytest.mark.parametrize("planes", ['<TiffData IFD="7"/>', '<TiffData FirstZ="5" PlaneCount="900000000"/>'])
def test_planes_that_the_file_does_not_hold_are_missing(planes: str):
    with pytest.raises(IncompleteError, match="2 of its 2 planes are missing"):
        ome_planes(xml(planes, SizeZ=2), 2)


def test_a_size_that_is_no_number_is_none():
    assert ome_microns_per_pixel(xml(PhysicalSizeX="0.25")) == 0.25
    assert ome_microns_per_pixel(xml(PhysicalSizeX="tiny")) is None
    assert ome_microns_per_pixel(xml()) is None
