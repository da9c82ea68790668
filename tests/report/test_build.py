"""The page as a whole: its sections, that it is offline, safe, small and the same each time."""

from __future__ import annotations

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest

from phenolens.core.errors import StudyError
from phenolens.report import tables, views
from phenolens.report.build import build
from tests.report.reportdata import write_study

SECTIONS = ("answer", "cohort", "results", "figures", "maps", "slides", "audit", "settings", "limits", "card")


def words_of(page: str) -> str:
    """What a reader sees, in one line."""
    bare = re.sub(r"<style>.*?</style>|<[^>]+>", " ", page, flags=re.DOTALL)
    return re.sub(r"\s+", " ", bare)


class Tags(HTMLParser):
    """Every start tag with its attributes, and whether tags close as they open."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def tags_of(page: str) -> list[tuple[str, dict[str, str | None]]]:
    """The start tags of a page whose tags are balanced."""
    parser = Tags()
    parser.feed(page)
    parser.close()
    assert not parser.open
    return parser.tags


def test_every_section_is_there_in_order_and_in_the_contents(page: str) -> None:
    tags = tags_of(page)
    assert [a["id"] for t, a in tags if t == "section"] == list(SECTIONS)
    assert [a["href"] for t, a in tags if t == "a"] == [f"#{s}" for s in SECTIONS]


def test_nothing_is_fetched_from_anywhere(page: str) -> None:
    for tag, attributes in tags_of(page):
        assert tag not in ("script", "link", "iframe", "object")
        for name in ("src", "href", "srcset", "style"):
            value = attributes.get(name) or ""
            assert value.startswith(("data:", "#")) or not value
    assert "http://" not in re.sub(r"data:[^\"]+", "", page)
    assert "https://" not in page
    assert "url(" not in page


def test_two_builds_give_the_same_bytes(study: Path, page: str, tmp_path: Path) -> None:
    copy = tmp_path / "elsewhere"
    shutil.copytree(study, copy, ignore=shutil.ignore_patterns("report.html"))
    assert build(copy).read_text("utf-8") == page


def test_the_answer_tells_metric_interval_and_permutation_p(page: str) -> None:
    text = words_of(page)
    assert "The kind (A or B) was predicted from 88 images of 88 patients from 3 sites, with 2 models." in text
    assert re.search(r"mean_pool 0\.\d\d \(0\.\d\d to [01]\.\d\d; permutation p = 0\.010\)", text)
    assert "by a simpler stand-in" in text


def test_models_are_compared_with_a_p_for_primary_and_one_for_exploratory_claims(page: str) -> None:
    text = words_of(page)
    assert "difference p primary: p (Holm) exploratory: p (BH)" in text
    assert "For a comparison that was planned read p (Holm)" in text
    shown = tables.p_cells({"p": 0.01, "p_holm": 0.03, "p_bh": 0.02})
    assert [cell.text for cell in shown] == ["0.010", "0.030", "0.020"]


def test_errors_come_before_warnings_and_notes(page: str) -> None:
    severities = re.findall(r'<li class="(error|warning|note)">', page)
    assert severities == sorted(severities, key=("error", "warning", "note").index)
    assert severities[0] == "error"


def test_a_signed_off_finding_keeps_its_place_and_shows_the_reason(tmp_path: Path) -> None:
    folder = write_study(tmp_path / "study", patients=40, maps=False, audit=False)
    path = folder / "results" / "findings.json"
    found = json.loads(path.read_text())
    found[1] |= {"signed_off": "both were looked at by two readers", "inflates": "AUC 0.62 on noise"}
    path.write_text(json.dumps(found))
    page = build(folder).read_text("utf-8")
    caveats = page[page.index('class="caveats"') : page.index('id="cohort"')]
    assert "Signed off by the author: Both were looked at by two readers." in caveats
    assert "<strong>Signed off by the author:</strong> both were looked at by two readers" in page
    assert "Could fake: AUC 0.62 on noise." in page


def test_quarantine_and_exclusion_by_rule_are_told_apart(page: str) -> None:
    text = words_of(page)
    assert "Quarantined: cannot be read or fails a quality threshold (1)" in text
    assert "Left out by a rule of the study (1)" in text
    assert text.count("None of its images can be used.") == 2
    assert "No features." not in text


def test_further_schemes_and_the_holdout_have_their_own_tables(page: str) -> None:
    text = words_of(page)
    assert "Further scheme: leave one site out" in text
    assert "mean over sites" in text
    assert re.search(r"new site 0\.\d\d to [01]\.\d\d mean 0\.\d\d to [01]\.\d\d tau 0\.\d\d", text)
    assert "Models by metric: locked holdout" in text
    assert "abmil minus mean_pool" in text


def test_the_answer_tells_other_sites_and_the_holdout(page: str) -> None:
    text = words_of(page)
    assert "When each of the 3 sites is left out in turn, the mean macro AUC over sites is mean_pool 0." in text
    assert "On the locked holdout of 12 patients the balanced accuracy is mean_pool 0." in text


def test_a_result_close_to_perfect_asks_to_look_for_a_leak(tmp_path: Path) -> None:
    folder = write_study(tmp_path / "study", models=("m", "n", "o", "p", "q"), patients=60, maps=False)
    assert "is rare on real images: look for a leak" in words_of(build(folder).read_text("utf-8"))
    low = write_study(tmp_path / "low", models=("m",), patients=60, maps=False)
    assert "is rare on real images" not in words_of(build(low).read_text("utf-8"))


def test_leave_one_site_out_can_be_the_main_scheme(study: Path, tmp_path: Path) -> None:
    copy = tmp_path / "study"
    shutil.copytree(study, copy, ignore=shutil.ignore_patterns("report.html"))
    path = copy / "results" / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["study"]["validation"]["scheme"] = "leave_one_site_out"
    path.write_text(json.dumps(manifest))
    text = words_of(build(copy).read_text("utf-8"))
    assert "Main scheme: leave one site out." in text
    assert text.index("mean over sites") < text.index("Further scheme: 3-fold cross-validation by patient")


def test_the_real_coverage_of_intervals_is_told(page: str) -> None:
    assert "87–92% of the cases" in page


def test_maps_say_whether_they_beat_a_random_order(page: str) -> None:
    text = words_of(page)
    assert text.count("Better than random.") == 1
    assert text.count("Not better than random: do not read anything into it.") == 1
    assert "1 of the 2 maps below beat it" in text


@pytest.mark.parametrize(
    ("deletion", "insertion", "verdict"),
    [
        (0.3, 0.6, "Better than random."),
        (0.3, 0.501, "Better than random, in one of the two by less than 0.01."),
        (0.3, 0.5, "Not better than random: do not read anything into it."),
        (0.4, 0.6, "Not better than random: do not read anything into it."),
        (None, 0.6, "Fidelity was not measured: do not read anything into it."),
    ],
)
def test_a_map_is_judged_by_both_figures(deletion: float | None, insertion: float, verdict: str) -> None:
    figures = {"deletion": deletion, "deletion_random": 0.4, "insertion": insertion, "insertion_random": 0.5}
    assert views._fidelity(figures)["verdict"] == verdict


def test_a_flagged_null_run_is_an_error_and_an_open_p_a_warning(page: str) -> None:
    text = words_of(page)
    assert "The null run of abmil is flagged" in text
    assert "abmil is not told apart from chance (permutation p = 0.40)" in text


def test_not_estimable_is_said_with_its_reason(small: Path) -> None:
    text = words_of(build(small).read_text("utf-8"))
    assert "The area under the ROC curve is not estimable" in text
    assert "balanced accuracy is given instead" in text
    assert "Not estimable: 6 patients with A and 6 patients without A" in text
    assert "No curve: every class has fewer than 10 patients with or without it." in text


def test_one_site_is_no_external_evidence(small: Path) -> None:
    text = words_of(build(small).read_text("utf-8"))
    assert "No external evidence: 1 site." in text
    assert "Not audited: run phenolens audit" in text
    assert "No maps" in text


def test_missing_optional_files_leave_a_page(small: Path, tmp_path: Path) -> None:
    copy = tmp_path / "study"
    shutil.copytree(small, copy, ignore=shutil.ignore_patterns("report.html"))
    (copy / "results" / "findings.json").unlink()
    (copy / "results" / "cohort.json").unlink()
    shutil.rmtree(copy / "artefacts")
    for hidden in (False, True):
        text = words_of(build(copy, pseudonyms=hidden).read_text("utf-8"))
        assert "Not a medical device" in text
        assert text.count("no picture") == 14


@pytest.mark.parametrize("name", ["manifest.json", "predictions.csv", "estimates.csv", "images.csv"])
def test_a_missing_required_file_says_what_to_run(small: Path, tmp_path: Path, name: str) -> None:
    copy = tmp_path / "study"
    shutil.copytree(small, copy, ignore=shutil.ignore_patterns("report.html"))
    (copy / "results" / name).unlink()
    with pytest.raises(StudyError, match=rf"no {name}.*phenolens run"):
        build(copy)
    assert not (copy / "report.html").exists()


def test_a_damaged_results_file_is_named(small: Path, tmp_path: Path) -> None:
    copy = tmp_path / "study"
    shutil.copytree(small, copy, ignore=shutil.ignore_patterns("report.html"))
    (copy / "results" / "manifest.json").write_text('{"study": ')
    with pytest.raises(StudyError, match=r"manifest\.json that is not JSON"):
        build(copy)


def test_names_cannot_become_markup(tmp_path: Path) -> None:
    folder = write_study(
        tmp_path / "study",
        classes=("<script>alert(1)</script>", '"><img src=x>', "$\\frac{a$"),
        sites=("<b>north</b>", "a&b"),
        models=("<i>m</i>",),
        ids="<u>{}'\"",
        patients=40,
    )
    page = build(folder).read_text("utf-8")
    names = {t for t, _ in tags_of(page)}
    assert not names & {"script", "b", "u", "i"}
    assert all((a["src"] or "").startswith("data:image/") for t, a in tags_of(page) if t == "img")
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page


def test_a_picture_outside_the_study_or_of_another_kind_is_not_embedded(small: Path, tmp_path: Path) -> None:
    copy = tmp_path / "inner" / "study"
    shutil.copytree(small, copy, ignore=shutil.ignore_patterns("report.html"))
    source = copy / "artefacts" / "contour" / "0.jpg"
    shutil.copy(source, tmp_path / "inner" / "outside.jpg")
    shutil.copy(source, copy / "label.tif")
    table = (copy / "results" / "images.csv").read_text()
    table = table.replace("artefacts/contour/0.jpg", "../outside.jpg").replace("artefacts/contour/1.jpg", "label.tif")
    (copy / "results" / "images.csv").write_text(table)
    assert words_of(build(copy).read_text("utf-8")).count("no picture") == 1 + 2


def test_embedded_pictures_carry_no_metadata(page: str) -> None:
    import base64

    pictures = re.findall(r"data:image/jpeg;base64,([^\"]+)", page)
    assert pictures
    assert not any(b"Jane Roe" in base64.b64decode(p) for p in pictures)


def test_a_large_cohort_shows_some_slides_and_says_where_the_rest_lies(tmp_path: Path) -> None:
    folder = write_study(tmp_path / "study", patients=views.MOST_SLIDES + 30, models=("mean_pool",), maps=False)
    page = build(folder).read_text("utf-8")
    cards = re.findall(r'<figure class="card (\w+)">', page)
    assert len(cards) == views.MOST_SLIDES
    assert cards[:3] == ["quarantined", "excluded", "used"]
    assert "60 of 90 slides are shown" in words_of(page)
    assert "artefacts/contour" in page


def test_pictures_stop_at_their_budget(page: str, study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from phenolens.report import pictures

    monkeypatch.setattr(pictures, "BUDGET", 20_000)
    less = build(study).read_text("utf-8")
    assert len(less) < len(page)
    assert "pictures were left out so that this file stays small" in words_of(less)


@pytest.mark.parametrize("count", [3, 12])
def test_any_number_of_classes_can_be_shown(tmp_path: Path, count: int) -> None:
    classes = [f"class {i}" for i in range(count)]
    folder = write_study(tmp_path / "study", classes=classes, models=("m",), patients=20 * count, maps=False)
    text = words_of(build(folder).read_text("utf-8"))
    assert all(f"class {i}" in text for i in range(count))
    assert "Models compared" not in text


def test_with_images_as_units_images_and_patients_are_both_counted(tmp_path: Path) -> None:
    folder = write_study(tmp_path / "study", unit="image", models=("m",), maps=False, audit=False)
    text = words_of(build(folder).read_text("utf-8"))
    assert "one prediction for each of 116 images" in text
    assert "One prediction an image; the images come from 58 patients." in text


def test_a_scheme_that_has_no_predictions_is_not_the_main_one(small: Path, tmp_path: Path) -> None:
    copy = tmp_path / "study"
    shutil.copytree(small, copy, ignore=shutil.ignore_patterns("report.html"))
    path = copy / "results" / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["study"]["validation"]["scheme"] = "site_preserved"
    path.write_text(json.dumps(manifest))
    assert "cross-validation by patient" in words_of(build(copy).read_text("utf-8"))


def test_an_audit_of_other_predictions_is_not_shown(tmp_path: Path) -> None:
    folder = write_study(tmp_path / "study", models=("m",), maps=False)
    table = folder / "results" / "predictions.csv"
    table.write_text(table.read_text("utf-8") + "\n", encoding="utf-8")
    assert "Not audited: run phenolens audit" in build(folder).read_text("utf-8")


def test_under_ten_patients_the_answer_gives_counts_and_claims_nothing(tmp_path: Path) -> None:
    study = write_study(tmp_path / "four", patients=8, maps=False, audit=False)
    text = words_of(build(study).read_text("utf-8"))
    opening = text.split("Read this first")[0]
    assert "no accuracy is claimed" in opening
    assert "of 6 patients" in opening
    assert "balanced accuracy" not in opening
    assert "too few for any claim" in text


def test_where_size_alone_does_as_well_the_report_says_so_first(study: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(study, tmp_path / "study"))
    for name in ("predictions.csv", "estimates.csv"):
        path = copy / "results" / name
        table = pd.read_csv(path)
        model = sorted(table["model"].unique())[0]
        pd.concat([table, table[table["model"] == model].assign(model="volume_only")]).to_csv(path, index=False)
    page = words_of(build(copy).read_text("utf-8"))
    assert "no model is shown to do better than volume_only" in page
