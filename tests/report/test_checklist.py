"""The checklists as data: complete, in our own words, and each item answerable."""

from __future__ import annotations

from pathlib import Path

import pytest

from phenolens.report import facts
from phenolens.report.checklist import Checklist, checklists, keys_table, prompts
from phenolens.report.conditions import CONDITIONS
from phenolens.report.statements import said

ROOT = Path(__file__).parents[2]
LISTS = {one.name: one for one in checklists()}
ITEMS = [(one.title, item) for one in LISTS.values() for item in one.items]
FILLER = (
    *(
        "",
        "   ",
        "\n\t",
        "TODO",
        "todo: ask Anna",
        "n/a",
        "N/A.",
        "NA",
        "-",
        "…",
        "?",
        "TBD",
        "tbc by May",
        "none",
        "xxx",
    ),
    *(
        "<committee and number>",
        "[to be written]",
        "To be added",
        "not applicable",
        "see paper",
        "fill in",
        "FIXME",
        "—",
    ),
)
HUMAN = ("ethics", "consent", "funding", "conflicts", "protocol", "registration", "patient_involvement", "intended_use")


SECTIONS = {  # as published: how many items each section has
    "model_card": (9, 3, 2, 3, 3, 1, 2, 5, 1),
    "datasheet": (3, 15, 11, 3, 5, 6, 7),
    "tripod_ai": (1, 1, 4, 14, 12, 6, 1, 8, 5),
    "claim": (1, 1, 2, 2, 7, 5, 2, 1, 3, 3, 7, 2, 3, 2, 3),
    "metrics": (3, 4, 3, 3, 4, 2, 6, 2, 3),
    "future_ai": (3, 4, 6, 5, 3, 2, 7),
}


def _published(one: Checklist) -> list[tuple[str, str]]:
    """Section and number of every item; the letters of a model card are our parts of one prompt."""
    ours = one.name == "model_card"
    return list(dict.fromkeys((i.section, i.id.rstrip("abcde") if ours else i.id) for i in one.items))


@pytest.mark.parametrize(
    ("name", "number", "first", "last"),
    [
        ("model_card", 29, "1.1", "9.1"),
        ("datasheet", 50, "1.1", "7.7"),
        ("tripod_ai", 52, "1", "27c"),
        ("claim", 44, "1", "44"),
        ("metrics", 30, "1", "30"),
        ("future_ai", 30, "F1", "G7"),
    ],
)
def test_a_list_has_every_published_item_once(name: str, number: int, first: str, last: str) -> None:
    ids = [number for _, number in _published(LISTS[name])]
    assert (len(ids), ids[0], ids[-1]) == (number, first, last)
    assert len(set(ids)) == number
    assert len({item.id for item in LISTS[name].items}) == len(LISTS[name].items)


@pytest.mark.parametrize("name", SECTIONS)
def test_the_sections_of_a_list_hold_as_many_items_as_published(name: str) -> None:
    counts: dict[str, int] = {}
    for section, _ in _published(LISTS[name]):
        counts[section] = counts.get(section, 0) + 1
    assert tuple(counts.values()) == SECTIONS[name]


@pytest.mark.parametrize("name", ["model_card", "datasheet"])
def test_the_numbers_of_card_and_datasheet_count_sections_and_their_questions(name: str) -> None:
    wanted = [f"{s}.{i}" for s, n in enumerate(SECTIONS[name], start=1) for i in range(1, n + 1)]
    assert [number for _, number in _published(LISTS[name])] == wanted


def test_the_items_of_tripod_ai_are_twenty_seven_with_their_parts() -> None:
    numbers = [int("".join(c for c in item.id if c.isdigit())) for item in LISTS["tripod_ai"].items]
    assert numbers == sorted(numbers)
    assert sorted(set(numbers)) == list(range(1, 28))


def test_the_weights_of_metrics_sum_to_one_and_weigh_its_categories_as_published() -> None:
    items = LISTS["metrics"].items
    assert sum(i.weight for i in items) == pytest.approx(1, abs=1e-9)
    sums = [sum(i.weight for i in items[a:b]) for a, b in ((0, 3), (3, 7), (7, 10), (10, 13), (13, 17), (17, 19))]
    assert sums == pytest.approx([0.2022, 0.1460, 0.0674, 0.1348, 0.0900, 0.0899])
    assert [i.weight for i in items[25:27]] == [0.0375, 0.0749]


@pytest.mark.parametrize("one", LISTS.values(), ids=str)
def test_a_list_names_where_it_was_published_and_the_copy_it_was_compared_with(one: Checklist) -> None:
    assert "doi:10." in one.citation
    assert " against " in one.checked


def test_every_item_has_a_known_fact_or_needs_a_person() -> None:
    known = facts.known()
    for title, item in ITEMS:
        assert item.kind in ("run", "human", "both"), (title, item)
        assert (item.source in known) == (item.kind != "human"), (title, item)
        assert item.key, (title, item)
        assert item.only in ("", *CONDITIONS), (title, item)


def test_every_fact_is_asked_for() -> None:
    assert facts.known() - {item.source for _, item in ITEMS} == frozenset()


def test_what_only_a_person_can_say_is_never_left_to_the_run() -> None:
    kinds = {key: {item.kind for _, item in ITEMS if item.key == key} for key in HUMAN}
    assert kinds == {key: {"human"} for key in HUMAN}


def test_every_statement_says_what_to_write() -> None:
    asked = prompts()
    for title, item in ITEMS:
        assert len(asked[item.key]) > 4, (title, item)
    human = {item.key for _, item in ITEMS if item.kind != "run"}
    assert {key for key in human if asked[key] in {item.topic for _, item in ITEMS}} == set()


def test_topics_are_short_paraphrases() -> None:
    assert max(len(item.topic) for _, item in ITEMS) <= 90


def test_the_table_of_keys_in_the_guide_is_the_one_of_the_lists() -> None:
    assert keys_table() in (ROOT / "docs" / "evidence.md").read_text("utf-8")


@pytest.mark.parametrize("filler", FILLER)
def test_filler_is_no_statement(filler: str) -> None:
    assert said(filler) == ""


@pytest.mark.parametrize(
    "text",
    [
        "Approved by the ethics committee of the canton (2021-01234); consent was waived.",
        "NCT01234567",
        "retrospective",
        "The authors declare none.",
        "No patient took part in the design.",
        "Not applicable: no treatment was given before imaging.",
        "https://example.org/protocol",
    ],
)
def test_a_statement_is_kept_as_it_is_written(text: str) -> None:
    assert said(f"  {text}\n") == text
