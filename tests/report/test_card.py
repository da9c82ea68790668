"""The evidence record: three states and no fourth, filled from a run, and failed by an edited result."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from phenolens.core.errors import StudyError
from phenolens.core.store import fingerprint
from phenolens.report import names as naming
from phenolens.report.build import build
from phenolens.report.card import STATES, Card, answer, gather
from phenolens.report.checklist import Item
from phenolens.report.fact import Fact
from phenolens.report.record import read
from tests.report.reportdata import write_study

FILES = ("card.json", "checklists.csv", "card.md")
SAID = {
    "ethics": "Ethics committee of Northtown, 2021-17; consent was waived.",
    "funding": " \n ",
    "conflicts": "TODO",
    "protocol": "https://example.org/HOSP/protocol of HOSP0003",
    "ethcis": "a slip of the pen",
}


def change(folder: Path, **more: Any) -> None:
    """Keys of the study file as the manifest holds it."""
    path = folder / "results" / "manifest.json"
    manifest = json.loads(path.read_text("utf-8"))
    manifest["study"] |= more
    path.write_text(json.dumps(manifest), encoding="utf-8")


def seal(folder: Path, *names: str) -> None:
    """The fingerprints of some results into the manifest, as a run records them."""
    path = folder / "results" / "manifest.json"
    manifest = json.loads(path.read_text("utf-8"))
    manifest["fingerprints"] = {name: fingerprint(folder / "results" / name) for name in names}
    path.write_text(json.dumps(manifest), encoding="utf-8")


def card_of(folder: Path, *, pseudonyms: bool = False) -> Card:
    record = read(folder)
    return gather(record, naming.make(record, pseudonyms=pseudonyms))


def states(card: Card, key: str) -> set[str]:
    return {a.state for one in card.lists for a in one.answers if a.item.key == key and a.item.kind == "human"}


@pytest.fixture(scope="module")
def said(study: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The study with everything, sealed, with statements of which some say nothing."""
    folder = tmp_path_factory.mktemp("said") / "study"
    shutil.copytree(study, folder, ignore=shutil.ignore_patterns("report.html", *FILES))
    change(folder, statements=SAID, subgroups=["site"])
    seal(folder, "predictions.csv", "estimates.csv")
    return folder


@pytest.fixture(scope="module")
def card(said: Path) -> Card:
    return card_of(said)


def test_there_are_three_states_and_never_a_fourth(card: Card) -> None:
    answers = [a for one in card.lists for a in one.answers]
    assert {a.state for a in answers} == set(STATES) == {"evidence", "author statement", "missing"}
    for one in card.lists:
        assert sum(one.counts.values()) + sum(map(len, one.left_out.values())) == len(one.checklist.items)
    for a in answers:
        assert bool(a.text and a.where) == (a.state != "missing")
        assert bool(a.todo) == (a.state == "missing")


def test_a_blank_statement_and_filler_stay_missing(card: Card) -> None:
    assert states(card, "ethics") == {"author statement"}
    assert states(card, "funding") == states(card, "conflicts") == states(card, "consent") == {"missing"}


def test_ethics_stays_missing_in_a_run_without_statements(study: Path) -> None:
    card = card_of(study)
    for key in ("ethics", "consent", "funding", "conflicts", "intended_use", "outcome_assessors"):
        assert states(card, key) == {"missing"}
    assert {a.state for one in card.lists for a in one.answers if a.item.kind == "human"} == {"missing"}


def test_no_human_item_is_ever_evidence(card: Card) -> None:
    kinds = {a.item.kind for one in card.lists for a in one.answers if a.state == "evidence"}
    assert kinds == {"run"}


def test_what_run_and_author_must_answer_together_is_missing_until_the_author_does() -> None:
    item = Item(id="1", section="s", topic="t", kind="both", key="k", source="f")
    fact = Fact(text="58 patients.", where="results/predictions.csv")
    alone = answer(item, fact, "", "what")
    assert (alone.state, alone.text) == ("missing", "")
    assert "58 patients." in alone.beside
    both = answer(item, fact, "Words.", "what")
    assert (both.state, both.text, both.where) == ("author statement", "Words.", "study.yaml, statements.k")


def test_a_statement_beside_evidence_does_not_replace_it() -> None:
    item = Item(id="1", section="s", topic="t", kind="run", key="k", source="f")
    fact = Fact(text="58 patients.", where="results/predictions.csv")
    assert answer(item, fact, "Words.", "what").text == "58 patients."
    assert answer(item, None, "Words.", "what").state == "author statement"
    assert "statements.k" in answer(item, None, "", "what").todo


def test_a_missing_item_says_what_to_write_and_under_which_key(card: Card) -> None:
    (ethics,) = [
        a for one in card.lists for a in one.answers if one.checklist.name == "tripod_ai" and a.item.id == "18a"
    ]
    assert ethics.todo == "write under statements.funding: sources of funding, and the part of the funders"


def test_evidence_has_the_number_and_the_file(card: Card) -> None:
    facts = card.facts
    assert "88 patients" in facts["participants"].text
    assert "results/predictions.csv" in facts["participants"].where
    assert "1 excluded, 1 quarantined" in facts["flow"].text
    assert "patient != 'HOSP0001'" in facts["eligibility"].text
    assert "Holdout" in facts["splits"].text
    assert "Easttown" in facts["by_site"].text
    assert "permutation p 0.010 of 99 refits" in facts["uncertainty"].text


def test_performance_is_that_of_the_estimates(said: Path, card: Card) -> None:
    table = pd.read_csv(said / "results" / "estimates.csv").query("metric == 'macro_auc' and subgroup == 'all'")
    row = table[(table["scheme"] == "patient_kfold") & (table["model"] == "abmil")].iloc[0]
    assert f"abmil {row['value']:.2f} ({row['low']:.2f} to {row['high']:.2f})" in card.facts["performance"].text


def test_items_that_cannot_apply_are_left_out_with_their_reason(card: Card) -> None:
    (metrics,) = [one for one in card.lists if one.checklist.name == "metrics"]
    assert metrics.answers == []
    assert metrics.left_out == {
        "the list is about radiological images and this study reads slides": list(map(str, range(1, 31)))
    }
    assert metrics.score is None


def test_the_partial_score_counts_evidence_alone(said: Path, tmp_path: Path) -> None:
    scores = []
    for name, statements in (
        ("without", {}),
        ("with", {"outcome": "Histology after resection.", "guideline": "CLEAR."}),
    ):
        folder = tmp_path / name
        shutil.copytree(said, folder)
        path = folder / "results" / "manifest.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"images": "scan"}))
        change(folder, statements=statements)
        (metrics,) = [one for one in card_of(folder).lists if one.checklist.name == "metrics"]
        weights = {a.item.id: a.item.weight for a in metrics.answers if a.state == "evidence"}
        assert {"4", "18" if (folder / "results/splits.csv").exists() else "20"} <= set(weights)
        assert metrics.left_out["no region was outlined by a model"] == ["9"]
        assert metrics.left_out["this study uses no hand-crafted features"] == ["12"]
        assert metrics.score is not None
        assert metrics.score["applicable"] == pytest.approx(1 - 0.0225 - 0.0311 - 0.0200)
        assert metrics.score["evidence"] == pytest.approx(sum(weights.values()), abs=1e-4)
        scores.append(metrics.score)
    assert scores[0] == scores[1]


def test_a_holdout_with_sites_of_its_own_is_external_and_a_mixed_one_is_not(study: Path, tmp_path: Path) -> None:
    assert "external_test" not in card_of(study).facts
    folder = tmp_path / "study"
    shutil.copytree(study, folder)
    path = folder / "results" / "predictions.csv"
    table = pd.read_csv(path)
    table.loc[table["scheme"] == "holdout", "site"] = "Westtown"
    table.to_csv(path, index=False)
    told = card_of(folder).facts["external_test"].text
    assert "12 patients is of Westtown" in told


def test_a_key_that_nobody_asks_for_is_named_with_the_nearest(card: Card) -> None:
    assert card.unasked == ["ethcis (did you mean 'ethics'?)"]


@pytest.mark.parametrize("name", ["estimates.csv", "predictions.csv"])
def test_an_edited_result_fails_the_card(said: Path, tmp_path: Path, name: str) -> None:
    folder = tmp_path / "study"
    shutil.copytree(said, folder)
    path = folder / "results" / name
    before = fingerprint(path)
    text = path.read_text("utf-8")
    place = text.index("0.", len(text) // 2)
    path.write_text(f"{text[: place + 2]}{(int(text[place + 2]) + 1) % 10}{text[place + 3 :]}", encoding="utf-8")
    with pytest.raises(StudyError) as fault:
        build(folder)
    assert fault.value.where == str(path)
    assert name in fault.value.found
    assert fingerprint(path) in fault.value.found
    assert before in fault.value.expected
    assert "phenolens run" in fault.value.todo
    assert not (folder / "report.html").exists()


def test_edited_splits_are_not_made_again_but_put_back(said: Path, tmp_path: Path) -> None:
    folder = tmp_path / "study"
    shutil.copytree(said, folder)
    (folder / "results" / "splits.csv").write_text("scheme\n")
    seal(folder, "splits.csv")
    (folder / "results" / "splits.csv").unlink()
    with pytest.raises(StudyError, match="no such file") as fault:
        build(folder)
    assert "--new-splits" in fault.value.todo


def test_results_of_a_run_without_fingerprints_are_called_untraceable(page: str) -> None:
    assert "Not traceable." in page
    assert "recorded no fingerprints" in page


def test_equal_results_give_equal_bytes(tmp_path: Path) -> None:
    copies = [tmp_path / "one", tmp_path / "two" / "elsewhere"]
    for folder in copies:
        write_study(folder, patients=40, models=("m",), maps=False)
        change(folder, statements=SAID)
        build(folder)
    for name in (*(f"results/{f}" for f in FILES), "report.html"):
        one, two = ((folder / name).read_bytes() for folder in copies)
        assert one == two, name


def test_the_record_lies_as_json_table_and_markdown(said: Path, tmp_path: Path) -> None:
    folder = tmp_path / "study"
    shutil.copytree(said, folder)
    page = build(folder).read_text("utf-8")
    held = json.loads((folder / "results" / "card.json").read_text("utf-8"))
    assert held["study_id"] == "abcdef012345"
    assert held["fingerprints"]["estimates.csv"] == fingerprint(folder / "results" / "estimates.csv")
    table = pd.read_csv(folder / "results" / "checklists.csv", keep_default_na=False)
    assert list(table.columns[:5]) == ["checklist", "item", "section", "topic", "state"]
    assert len(table) == sum(len(one["items"]) for one in held["checklists"])
    assert set(table["state"]) == set(held["states"])
    text = (folder / "results" / "card.md").read_text("utf-8")
    assert "## Model card" in text
    assert "*missing*: write under statements.developers" in text
    assert "consent: &#34;&#34;  # whether patients were told" in page
    assert "ethics: &#34;" not in page


def test_with_pseudonyms_no_name_is_in_the_record(said: Path, tmp_path: Path) -> None:
    folder = tmp_path / "study"
    shutil.copytree(said, folder)
    build(folder, pseudonyms=True)
    images = pd.read_csv(folder / "results" / "images.csv")
    whole = "".join((folder / "results" / name).read_text("utf-8") for name in FILES)
    assert [n for n in {*images["patient"], *images["image"], *images["site"]} if n in whole] == []
    assert "Jane Roe" not in whole
    assert "https://example.org/HOSP/protocol of P-" in whole
    assert "Ethics committee of site " in whole


def test_a_study_too_small_for_anything_has_a_record_too(small: Path) -> None:
    card = card_of(small)
    assert "multi_centre" not in card.facts
    assert "simple_model" not in card.facts
    assert card.facts["missing_data"].text.startswith("12 of 14 images were used (1 quarantined, 1 excluded)")


def test_facts_that_the_files_do_not_hold_are_missing_and_no_error(tmp_path: Path) -> None:
    folder = write_study(tmp_path / "study", patients=40, models=("m",), maps=False, audit=False)
    path = folder / "results" / "manifest.json"
    kept = ("study_id", "classes", "target")
    manifest = {k: v for k, v in json.loads(path.read_text()).items() if k in kept}
    path.write_text(json.dumps(manifest | {"study": {"study": "bare", "validation": {"scheme": "patient_kfold"}}}))
    for name in ("findings.json", "cohort.json"):
        (folder / "results" / name).unlink()
    facts = card_of(folder).facts
    assert {"performance", "participants"} <= set(facts)
    assert not {"flow", "splits", "software", "checks", "characteristics", "training"} & set(facts)
