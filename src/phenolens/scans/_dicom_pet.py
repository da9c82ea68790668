"""PET to standardised uptake values by body weight.

SUVbw = activity concentration (Bq/ml) x weight (g) / dose (Bq) at the reference time of the decay correction. Source:
QIBA, "Computing SUVbw from DICOM images: vendor-neutral pseudo-code" (qibawiki.rsna.org, SUV calculation).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Any

from phenolens.core.errors import ImageError
from phenolens.scans._tags import number, text

_LONGEST = timedelta(hours=24)


def suv_factor(headers: Sequence[Any], where: str) -> tuple[float, tuple[str, ...]]:
    """What rescaled values of a PET series are multiplied by to give SUVbw (g/ml), and notes.

    headers are those of all its slices. Raises ImageError naming every tag that is missing or cannot be used.
    """
    first = headers[0]
    units = text(first.get("Units")).upper()
    if "PerFrameFunctionalGroupsSequence" in first:
        raise _refused("enhanced multi-frame PET, whose uptake values are not computed here", "a file a slice", where)
    if units == "GML":
        return 1.0, ("values are SUV (g/ml) as the file states them",)
    if units == "CNTS":
        return _philips(first, where)
    if units != "BQML":
        raise _refused(f"PET in the unit '{units or 'none stated'}'", "Units BQML, GML, or Philips counts", where)
    dose_info = (first.get("RadiopharmaceuticalInformationSequence") or [{}])[0]
    dose = number(dose_info.get("RadionuclideTotalDose"))
    half = number(dose_info.get("RadionuclideHalfLife"))
    weight = number(first.get("PatientWeight"))
    correction = text(first.get("DecayCorrection")).upper()
    missing = [
        name
        for name, value in (
            ("RadionuclideTotalDose", dose),
            ("RadionuclideHalfLife", half),
            ("PatientWeight", weight),
            ("DecayCorrection", correction),
        )
        if not value
    ]
    if missing or dose is None or half is None or weight is None:
        raise _missing(missing, where)
    _check_corrected(first, where)
    if correction == "ADMIN":
        return weight * 1000 / dose, ()
    if correction != "START":
        raise _refused(f"PET with decay correction '{correction}'", "START or ADMIN", where)
    waited, notes = _waited(headers, dose_info, where)
    return weight * 1000 / (dose * 2 ** (-waited.total_seconds() / half)), notes


def _check_corrected(header: Any, where: str) -> None:
    done = [v.upper() for v in header.get("CorrectedImage") or ()]
    lacking = [v for v in ("ATTN", "DECY") if v not in done]
    if lacking:
        raise _refused(
            f"PET that is not corrected for {' and '.join(lacking)} (CorrectedImage: {', '.join(done) or 'none'})",
            "CorrectedImage with ATTN and DECY",
            where,
        )


def _waited(headers: Sequence[Any], dose_info: Any, where: str) -> tuple[timedelta, tuple[str, ...]]:
    """Time from injection to the start of the scan, to which the values are decay-corrected."""
    first = headers[0]
    acquired = min((t for t in (_acquired(h) for h in headers) if t is not None), default=None)
    series = _moment(first.get("SeriesDate"), first.get("SeriesTime"))
    notes: tuple[str, ...] = ()
    start = series
    if series is None or (acquired is not None and series > acquired):
        start = _ge_start(first) or acquired
        notes = ("the series was written after the scan; its earliest acquisition is taken as the start",)
    full = text(dose_info.get("RadiopharmaceuticalStartDateTime"))
    clock = text(dose_info.get("RadiopharmaceuticalStartTime"))
    lacking = [] if start is not None else ["SeriesDate and SeriesTime, or AcquisitionDate and AcquisitionTime"]
    if not full and not clock:
        lacking.append("RadiopharmaceuticalStartDateTime or RadiopharmaceuticalStartTime")
    if lacking or start is None:
        raise _missing(lacking, where)
    injected = _moment(full[:8], full[8:]) if full else _moment(start.strftime("%Y%m%d"), clock)
    if injected is None:
        raise _refused("a time of injection that is no time", "RadiopharmaceuticalStartTime as HHMMSS", where)
    if not full and injected > start:
        injected -= timedelta(days=1)  # injected before midnight
    waited = start - injected
    if not timedelta(0) <= waited <= _LONGEST:
        raise _refused(
            f"PET that starts {waited.total_seconds() / 3600:.2f} h after the injection",
            "a scan within 24 h after it; were dates shifted when names were removed?",
            where,
        )
    return waited, notes


def _acquired(header: Any) -> datetime | None:
    full = text(header.get("AcquisitionDateTime"))
    return _moment(full[:8], full[8:]) or _moment(header.get("AcquisitionDate"), header.get("AcquisitionTime"))


def _ge_start(header: Any) -> datetime | None:
    owner, held = header.get((0x0009, 0x0010)), header.get((0x0009, 0x100D))
    if owner is None or held is None or not text(owner.value).startswith("GEMS_PETD"):
        return None
    value = held.value.decode("ascii", "ignore") if isinstance(held.value, bytes) else text(held.value)
    return _moment(value[:8], value[8:])


def _philips(header: Any, where: str) -> tuple[float, tuple[str, ...]]:
    """Counts to SUV by Philips' own factor (7053,1000)."""
    held = header.get((0x7053, 0x1000))
    value = None if held is None else held.value
    factor = number(value.decode("ascii", "ignore").strip("\0 ") if isinstance(value, bytes) else value)
    if not factor:
        raise _missing(["the private SUV factor (7053,1000) of Philips"], where)
    return factor, ("values are SUV by the scanner's own factor",)


def _moment(day: Any, clock: Any) -> datetime | None:
    """A DICOM date and time; None where one is missing or none. A zone after the time is left out."""
    days, digits = text(day).replace(".", ""), text(clock).replace(":", "").split("+")[0].split("-")[0]
    if len(days) != 8 or not days.isdigit() or not digits.replace(".", "", 1).isdigit():
        return None
    whole, _, fraction = digits.partition(".")
    whole = whole.ljust(6, "0")[:6]
    try:
        at = date(int(days[:4]), int(days[4:6]), int(days[6:]))
    except ValueError:
        return None
    seconds = int(whole[:2]) * 3600 + int(whole[2:4]) * 60 + int(whole[4:])
    return datetime(at.year, at.month, at.day) + timedelta(seconds=seconds + float(f"0.{fraction or 0}"))


def _missing(names: Sequence[str], where: str) -> ImageError:
    return _refused(
        f"PET without {', '.join(names)}, from which SUV are computed (or with the value 0)",
        "dose, half-life, weight and times as the scanner wrote them",
        where,
    )


def _refused(found: str, expected: str, where: str) -> ImageError:
    return ImageError(
        found,
        expected=expected,
        todo="export the series again with these tags kept, or convert it to SUV elsewhere and name that NIfTI file",
        where=where,
    )
