"""Sequences are told by their tags, in four languages and by several vendors; what is not known is said to be so."""

from __future__ import annotations

import re
from typing import Any

import pytest

from phenolens.scans._dicom_files import HEADER
from phenolens.scans.sequences import Guess, _table, identify, order_phases

NAMED = [
    # as scanners and radiographers write them
    ("t2_haste_tra_mbh", "T2"),
    ("T2W_TSE_tra", "T2"),
    ("T2_HASTE_fs_tra_p2", "T2-FS"),
    ("t2_tse_fettsuppr_tra", "T2-FS"),
    ("T2 TSE vetonderdrukking", "T2-FS"),
    ("Ax T2 fat sat", "T2-FS"),
    ("T2 TSE SPAIR", "T2-FS"),
    ("AX T2 FRFSE sat graisse", "T2-FS"),
    ("COR STIR", "T2-FS"),
    ("SSFSE ax", "T2"),
    ("t1_fl2d_tra_opp-in", "T1-opposed-phase"),
    ("T1 FFE in-phase", "T1-in-phase"),
    ("Ax LAVA out of phase", "T1-opposed-phase"),
    ("t1 en phase", "T1-in-phase"),
    ("T1 hors phase", "T1-opposed-phase"),
    ("T1 uit fase", "T1-opposed-phase"),
    ("t1 gegenphase tra", "T1-opposed-phase"),
    ("t1_vibe_fs_tra_nativ", "T1-pre"),
    ("T1 VIBE ohne KM", "T1-pre"),
    ("eTHRIVE blanco", "T1-pre"),
    ("T1 LAVA sans injection", "T1-pre"),
    ("T1 voor contrast", "T1-pre"),
    ("Ax LAVA Pre Contrast", "T1-pre"),
    ("t1_vibe_fs_tra_c-", "T1-pre"),
    ("t1_vibe_dixon_arteriell", "CE-T1-arterial"),
    ("eTHRIVE arterieel", "CE-T1-arterial"),
    ("LAVA temps artériel", "CE-T1-arterial"),
    ("AX LAVA ARTERIAL", "CE-T1-arterial"),
    ("t1_vibe_fs_portalvenös", "CE-T1-portal"),
    ("dyn portoveneus", "CE-T1-portal"),
    ("LAVA temps portal", "CE-T1-portal"),
    ("t1 vibe venös", "CE-T1-portal"),
    ("t1_vibe_fs_tra_spät", "CE-T1-delayed"),
    ("THRIVE late fase", "CE-T1-delayed"),
    ("LAVA tardif", "CE-T1-delayed"),
    ("t1_vibe_5min", "CE-T1-delayed"),
    ("t1_vibe_fs_tra_20 min", "CE-T1-hepatobiliary"),
    ("T1 VIBE leberspezifische Phase", "CE-T1-hepatobiliary"),
    ("LAVA HBP", "CE-T1-hepatobiliary"),
    ("t1_vibe_fs nach KM", "CE-T1"),
    ("T1 TSE na contrast", "CE-T1"),
    ("T1 SE après injection", "CE-T1"),
    ("t1 post gd", "CE-T1"),
    ("T1 +C", "CE-T1"),
    ("t1_tse_cor", "T1"),
    ("T1W", "T1"),
    ("vibe tra", "T1"),
    ("ep2d_diff_b50_400_800_tra", "DWI"),
    ("DWI b800", "DWI"),
    ("Diffusie", "DWI"),
    ("Diffusionsgewichtet", "DWI"),
    ("ep2d_diff_tra_ADC", "ADC"),
    ("dADC (10^-6 mm²/s)", "ADC"),
    ("carte ADC", "ADC"),
    ("3-Plane Localizer", "unknown"),
    ("repérage", "unknown"),
    ("T2* GRE", "unknown"),
    ("MRCP 3D", "unknown"),
    ("t1_vibe_SUB", "unknown"),
    ("something else", "unknown"),
]


@pytest.mark.parametrize(("description", "sequence"), NAMED)
def test_series_are_told_by_their_names_in_four_languages(description: str, sequence: str) -> None:
    guess = identify({"Modality": "MR", "SeriesDescription": description})
    assert guess.sequence == sequence, guess
    assert guess.why


@pytest.mark.parametrize(
    ("description", "sequence"),
    [
        ("Abdomen nativ 5.0", "CT-native"),
        ("ABD ARTERIAL 1.25mm", "CT-arterial"),
        ("Abdomen portalvenös", "CT-portal"),
        ("Thorax/abdomen veneuze fase", "CT-portal"),
        ("Abdomen Spätphase", "CT-delayed"),
        ("Abd sans IV", "CT-native"),
        ("Topogramm 0.6", "unknown"),
        ("CE abdomen 3mm", "CT"),
    ],
)
def test_phases_of_ct_are_told_by_name(description: str, sequence: str) -> None:
    tags = {"Modality": "CT", "SeriesDescription": description, "ContrastBolusAgent": "Ultravist"}
    assert identify(tags).sequence == sequence


PHYSICS: list[tuple[dict[str, Any], str]] = [
    ({"ScanningSequence": "SE", "EchoTime": 100, "RepetitionTime": 4000}, "T2"),
    ({"ScanningSequence": "SE", "EchoTime": 90, "RepetitionTime": 4000, "ScanOptions": "FS"}, "T2-FS"),
    ({"ScanningSequence": ["SE", "IR"], "EchoTime": 60, "RepetitionTime": 4000, "InversionTime": 160}, "T2-FS"),
    ({"ScanningSequence": "SE", "EchoTime": 12, "RepetitionTime": 550}, "T1"),
    ({"ScanningSequence": "GR", "SequenceVariant": ["SP", "OSP"], "EchoTime": 1.4, "RepetitionTime": 4}, "T1"),
    ({"ScanningSequence": "GR", "EchoTime": 1.4, "RepetitionTime": 4, "ContrastBolusAgent": "Gadovist"}, "CE-T1"),
    ({"ScanningSequence": "EP", "b_value": 800.0}, "DWI"),
    ({"ScanningSequence": "EP", "EchoTime": 70, "RepetitionTime": 6000}, "DWI"),
    ({"ImageType": ["DERIVED", "PRIMARY", "DIFFUSION", "ADC"]}, "ADC"),
    ({"ImageType": ["DERIVED", "PRIMARY", "M", "DIXON", "OPP_PHASE"]}, "T1-opposed-phase"),
]


@pytest.mark.parametrize(("tags", "sequence"), PHYSICS)
def test_series_without_a_name_are_told_by_their_times_less_surely(tags: dict[str, Any], sequence: str) -> None:
    guess = identify({"Modality": "MR", **tags})
    assert guess.sequence == sequence
    if "ImageType" not in tags and "b_value" not in tags:
        assert guess.confidence <= 0.6


def test_tags_that_agree_raise_the_confidence_and_others_lower_it() -> None:
    name = {"Modality": "MR", "SeriesDescription": "t2_tse_tra"}
    plain, agreeing = identify(name), identify({**name, "EchoTime": 100})
    against = identify({**name, "EchoTime": 9})
    assert against.confidence < plain.confidence < agreeing.confidence
    assert "EchoTime is 9 ms (50 to 400 expected)" in against.why


def test_the_b_value_is_taken_from_tags_or_name() -> None:
    assert identify({"Modality": "MR", "SeriesDescription": "dwi", "b_value": 50.0}).b_value == 50
    assert identify({"Modality": "MR", "SeriesDescription": "DWI_b1000"}).b_value == 1000
    assert identify({"Modality": "MR", "SeriesDescription": "t2_tse"}).b_value is None


def test_nothing_is_claimed_of_tags_that_say_nothing() -> None:
    assert identify({}) == Guess(sequence="unknown", why="no rule fits its tags")
    assert identify({"Modality": "US", "SeriesDescription": "T2"}).sequence == "unknown"


def test_a_file_name_alone_is_never_sure() -> None:
    for name, sequence in (("MR_T1_image", "T1"), ("CT_image", "CT"), ("PET_image", "PET"), ("ct portal", "CT-portal")):
        guess = identify({"SeriesDescription": name})
        assert guess.sequence == sequence
        assert guess.confidence <= 0.6


def dynamic(times: list[str], first: str = "T1", **more: Any) -> list[tuple[dict[str, Any], Guess]]:
    tags = [
        {"StudyInstanceUID": "1", "RepetitionTime": 4, "EchoTime": 1.4, "AcquisitionTime": t, **more} for t in times
    ]
    return [(t, Guess(sequence=first if i == 0 else "CE-T1", confidence=0.4)) for i, t in enumerate(tags)]


def test_dynamic_phases_are_ordered_by_time_after_the_injection() -> None:
    series = dynamic(["095900", "100025", "100110", "100400", "102000"], ContrastBolusStartTime="100000")
    found = [g.sequence for g in order_phases(series)]
    assert found == ["T1-pre", "CE-T1-arterial", "CE-T1-portal", "CE-T1-delayed", "CE-T1-hepatobiliary"]


def test_without_the_injection_the_order_alone_names_the_phases_less_surely() -> None:
    series = dynamic(["100400", "095900", "100025", "100110", "102000"])
    series[0], series[1] = (series[0][0], series[1][1]), (series[1][0], Guess(sequence="T1", confidence=0.4))
    found = order_phases(series)
    assert [g.sequence for g in found] == [
        "CE-T1-delayed",
        "T1-pre",
        "CE-T1-arterial",
        "CE-T1-portal",
        "CE-T1-hepatobiliary",
    ]
    assert all(g.confidence == 0.5 for g in found)


def test_two_runs_or_no_contrast_are_left_as_they_are() -> None:
    short = dynamic(["100000", "100100"])
    assert order_phases(short) == [g for _, g in short]
    bare = [(t, Guess(sequence="T1")) for t, _ in dynamic(["1000", "1001", "1002"])]
    assert order_phases(bare) == [g for _, g in bare]


def test_every_rule_is_sound() -> None:
    """Patterns compile, keys are known, confidences lie between 0 and 1, every tag that is asked for is read."""
    known = {"sequence", "confidence", "modality", "text", "without", "image_type", "contrast", "tags", "ranges", "why"}
    known |= {"words", "without_words", "stated", "unstated"}
    table = _table()
    for pattern in table["words"].values():
        re.compile(pattern)
    for rule in table["rule"]:
        assert set(rule) <= known, rule
        assert 0 < rule["confidence"] < 1
        for name in ("text", "without", "image_type"):
            re.compile(rule.get(name, ""))
        for tag in (*rule.get("tags", {}), *rule.get("ranges", {})):
            assert tag in HEADER or tag == "b_value", tag
        for name in ("words", "without_words"):
            assert rule.get(name, "pre") in table["words"]
