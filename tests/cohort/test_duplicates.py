from __future__ import annotations

from phenolens.cohort.duplicates import Link, by_mark, one_person


def link(*who: str) -> Link:
    return Link(who=frozenset(who), said="+".join(who))


def test_links_that_touch_make_one_group_and_others_their_own() -> None:
    found = one_person([link("A", "B"), link("X", "Y"), link("C", "D"), link("B", "C")])
    assert [f.who for f in found] == [("A", "B", "C", "D"), ("X", "Y")]
    assert found[0].what.startswith("4 patient ids that look like one person, A, B, C, D: A+B; C+D; B+C")


def test_a_group_of_many_links_says_how_many_more_there_are() -> None:
    (found,) = one_person([link("A", other) for other in "BCDEF"])
    assert found.what.endswith("; and 2 more")


def test_only_marks_of_two_patients_are_links() -> None:
    (made,) = by_mark({"A": ["1", "2"], "B": ["2", "3"], "C": []}, "the DICOM UID")
    assert made.who == frozenset("AB")
    assert made.said == "the DICOM UID 2 is of A, B"
