"""With pseudonyms nothing in the page leads back to a person, an image, a file or a site."""

from __future__ import annotations

import base64
import re
import shutil
from pathlib import Path
from urllib.parse import unquote

import pandas as pd
import pytest

from phenolens.core.errors import StudyError
from phenolens.report.build import build
from phenolens.report.names import make
from phenolens.report.pictures import STRIP_PX, Album
from phenolens.report.record import read
from phenolens.slides.contour import _LEGEND_PX
from tests.report.reportdata import write_study


@pytest.fixture(scope="module")
def hidden(study: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    copy = tmp_path_factory.mktemp("hidden") / "study"
    shutil.copytree(study, copy, ignore=shutil.ignore_patterns("report.html"))
    return build(copy, pseudonyms=True).read_text("utf-8")


def test_no_name_of_a_patient_image_site_or_file_is_left(study: Path, hidden: str) -> None:
    images = pd.read_csv(study / "results" / "images.csv")
    for name in {*images["patient"], *images["image"], *images["site"]}:
        assert name not in hidden
        assert f"Roe-{name}" not in hidden
    assert "/data" not in hidden
    assert "Jane Roe" not in hidden
    assert not re.search(r"rows? \d", hidden)


def test_figures_hold_no_name_either(study: Path, hidden: str) -> None:
    drawings = [unquote(d) for d in re.findall(r"data:image/svg\+xml;base64,([^\"]+)", hidden)]
    whole = "".join(base64.b64decode(d).decode() for d in drawings)
    assert "mean_pool" in whole
    images = pd.read_csv(study / "results" / "images.csv")
    assert not [n for n in {*images["patient"], *images["image"], *images["site"]} if n in whole]


def test_pseudonyms_are_numbered_and_told(hidden: str) -> None:
    assert "with pseudonyms" in hidden
    assert "P-001" in hidden
    assert "site A" in hidden
    assert re.search(r"Image-\d\d\d\b", hidden)


def test_pseudonyms_do_not_follow_the_order_of_the_names(study: Path) -> None:
    names = make(read(study), pseudonyms=True)
    shown = [names.patient(p) for p in sorted(names.patients)]
    assert shown != sorted(shown)
    assert len(set(shown)) == len(shown)


def test_without_pseudonyms_names_are_shown(page: str) -> None:
    assert "HOSP0001" in page
    assert "Northtown" in page


def test_a_real_name_that_looks_like_a_pseudonym_is_not_used_as_one(tmp_path: Path) -> None:
    folder = write_study(tmp_path / "study", ids="P-{:03d}", patients=40, models=("m",), maps=False)
    page = build(folder, pseudonyms=True).read_text("utf-8")
    assert "Patient-001" in page
    assert not re.search(r"P-\d\d\d", page)


def test_short_numbers_as_ids_are_withheld_from_texts_about_them(tmp_path: Path) -> None:
    folder = write_study(tmp_path / "study", ids="{}", patients=40, models=("m",), maps=False)
    page = build(folder, pseudonyms=True).read_text("utf-8")
    assert "withheld" in page
    assert "the patients 1 and 2 share" not in page
    assert "P-001" in page


def test_a_name_that_cannot_be_hidden_stops_the_page(study: Path, tmp_path: Path) -> None:
    copy = tmp_path / "study"
    shutil.copytree(study, copy, ignore=shutil.ignore_patterns("report.html"))
    manifest = copy / "results" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"target": "kind"', '"target": "kind of HOSP0003"'))
    with pytest.raises(StudyError, match="names of patients, images, files or sites left"):
        build(copy, pseudonyms=True)
    assert not (copy / "report.html").exists()


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("no file /data/Jane Roe/x 1.svs; expected a file", "no file (path); expected a file"),
        ("the file C:\\scans\\x.svs", "the file (path)"),
        ("in slides/Jane Roe/x.svs and more", "in (path) and more"),
        ("HOSP0001-A of HOSP0001_b", "P-1-A of P-1_b"),
        ("0.5 um/px and 3 of 4 patients", "0.5 um/px and 3 of 4 patients"),
        ("row 17 of the table", "a row of the table"),
    ],
)
def test_texts_lose_paths_rows_and_names_but_not_numbers(text: str, kept: str) -> None:
    from phenolens.report.names import Names

    names = Names(hidden=True, patients={"HOSP0001": "P-1"})
    assert names.text(text) == kept


def test_a_name_spelt_by_chance_in_a_picture_is_escaped_and_the_picture_kept(tmp_path: Path) -> None:
    plain = Album(tmp_path).figure(b"<svg>anything</svg>")
    secret = plain[-10:-4]
    told = Album(tmp_path, [secret]).figure(b"<svg>anything</svg>")
    assert secret not in told
    assert unquote(told) == plain


def test_the_legend_cut_off_contours_is_as_high_as_the_one_drawn() -> None:
    assert STRIP_PX == _LEGEND_PX
