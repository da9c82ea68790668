"""All chosen features of one region, by name."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from phenolens.core.errors import FeatureError
from phenolens.features.radiomics import local_intensity as local
from phenolens.features.radiomics import morphology as shape
from phenolens.features.radiomics._grid import Levels
from phenolens.features.radiomics._zones import zones
from phenolens.features.radiomics.discretise import discretise
from phenolens.features.radiomics.filters import parse
from phenolens.features.radiomics.glcm import glcm
from phenolens.features.radiomics.gldzm import gldzm
from phenolens.features.radiomics.glrlm import glrlm
from phenolens.features.radiomics.glszm import glszm
from phenolens.features.radiomics.histogram import histogram
from phenolens.features.radiomics.ivh import ivh
from phenolens.features.radiomics.names import NAMES
from phenolens.features.radiomics.ngldm import ngldm
from phenolens.features.radiomics.ngtdm import ngtdm
from phenolens.features.radiomics.prepare import Anchor, Prepared, Values, prepare
from phenolens.features.radiomics.settings import FAMILIES, OF_REGION, RadiomicsSettings
from phenolens.features.radiomics.statistics import statistics
from phenolens.scans.geometry import Crop, Mask

_SHORT = {"statistics": "stat", "histogram": "ih"}
_MATRICES = ("glcm", "glrlm")
_LEVELLED = ("histogram", "glcm", "glrlm", "glszm", "gldzm", "ngtdm", "ngldm")
_RESPONSE_IVH_BINS = 1000


def names(settings: RadiomicsSettings) -> tuple[str, ...]:
    """The names of what `measure` returns, in its order: [FILTER_]FAMILY_feature_CODE[_aggregation]."""
    found: list[str] = []
    for image in ("", *responses(settings)):
        for family in FAMILIES:
            if family in settings.families and not (image and family in OF_REGION):
                found += [_full(image, name, family, settings) for name in _family_names(family)]
    return tuple(found)


def responses(settings: RadiomicsSettings) -> tuple[str, ...]:
    """The names of the filtered images."""
    return tuple(response for name in settings.filters for response in parse(name).responses)


def measure(crop: Crop, settings: RadiomicsSettings, *, anchor: Anchor = "region") -> dict[str, float]:
    """All chosen features of the region in a crop, by name, in the order of `names`; see `prepare` for `anchor`.

    Filtered images are held one filter at a time. Every value is finite: FeatureError names the feature that has none,
    or says why the region cannot be measured.
    """
    made = prepare(crop, settings, anchor=anchor)
    found = dict(_of_region(made, settings))
    found |= _of_intensities("", made.x[made.box], made, settings)
    for name in settings.filters:
        chosen = parse(name)
        for response, x in zip(chosen.responses, chosen.respond(made.x, made.margin, made.spacing), strict=True):
            found |= _of_intensities(response, x, made, settings)
    ordered = {name: found[name] for name in names(settings)}
    bad = [name for name, value in ordered.items() if not np.isfinite(value)]
    if bad:
        raise FeatureError(
            f"no finite value for {len(bad)} features of a region of {np.count_nonzero(made.inside)} voxels with "
            f"intensities from {made.x[made.box][made.inside].min():g} to {made.x[made.box][made.inside].max():g}: "
            f"{', '.join(bad[:3])}",
            expected="a region of several voxels and intensities",
            todo="exclude regions this small or even, or leave these families out",
        )
    return ordered


def levels_of(x: Values, made: Prepared, settings: RadiomicsSettings, *, response: bool = False) -> Levels:
    """Grey levels (z, y, x) of the region's box."""
    if settings.bins is not None:
        return discretise(x, made.inside, method="fbn", bins=settings.bins)
    assert settings.bin_width is not None
    lowest = None
    if settings.resegment is not None and settings.resegment[0] is not None and not response:
        lowest = settings.resegment[0]
    elif settings.bin_origin is not None:
        least = float(x[made.inside].min()) - settings.bin_origin
        lowest = settings.bin_origin + settings.bin_width * float(np.floor(least / settings.bin_width))
    return discretise(x, made.inside, method="fbs", width=settings.bin_width, lowest=lowest)


def textures(levels: Levels, mask: Mask, settings: RadiomicsSettings) -> Iterator[tuple[str, dict[str, float]]]:
    """(family, features) of every chosen family that reads grey levels; `mask` is the morphological mask."""
    chosen = [family for family in _LEVELLED if family in settings.families]
    both = zones(levels, settings.dims, shape=mask) if {"glszm", "gldzm"} & {*chosen} else None
    for family in chosen:
        if family == "histogram":
            yield family, histogram(levels)
        elif family == "glcm":
            yield family, glcm(levels, aggregation=settings.aggregation)
        elif family == "glrlm":
            yield family, glrlm(levels, aggregation=settings.aggregation)
        elif family == "glszm":
            yield family, glszm(levels, settings.dims, found=both)
        elif family == "gldzm":
            yield family, gldzm(levels, settings.dims, found=both)
        elif family == "ngtdm":
            yield family, ngtdm(levels, settings.dims)
        else:
            yield family, ngldm(levels, settings.dims)


def _of_region(made: Prepared, settings: RadiomicsSettings) -> Iterator[tuple[str, float]]:
    if "morphology" in settings.families:
        yield from shape.morphology(made.x[made.box], made.shape, made.inside, made.spacing).items()
    if "local_intensity" in settings.families:
        # only what the image holds: the mirrored margin is no neighbour
        inside = np.zeros(made.x.shape, dtype=np.bool_)
        inside[made.box] = made.inside
        yield from local.local_intensity(made.x[made.real], inside[made.real], made.spacing).items()


def _of_intensities(image: str, x: Values, made: Prepared, settings: RadiomicsSettings) -> dict[str, float]:
    """Intensity and texture features of the image or a response on the region's box, by full name."""
    found: list[tuple[str, dict[str, float]]] = []
    if "statistics" in settings.families:
        found.append(("statistics", statistics(x[made.inside])))
    if "ivh" in settings.families:
        found.append(("ivh", _ivh(x, made, settings, response=bool(image))))
    if {*_LEVELLED} & {*settings.families}:
        found += textures(levels_of(x, made, settings, response=bool(image)), made.shape, settings)
    return {_full(image, name, family, settings): v for family, part in found for name, v in part.items()}


def _ivh(x: Values, made: Prepared, settings: RadiomicsSettings, *, response: bool) -> dict[str, float]:
    """The intensity-volume histogram of intensities as they are, or in bins as the settings say."""
    low, high = (None, None) if response or settings.resegment is None else settings.resegment
    bins = settings.ivh_bins
    if bins is None and response:
        bins = _RESPONSE_IVH_BINS
    if bins is not None:
        levels = discretise(x, made.inside, method="fbn", bins=bins)[made.inside]
        return ivh(levels, lowest=1, highest=bins)
    values = x[made.inside]
    width = settings.ivh_width
    if width is None:
        return ivh(values, lowest=low, highest=high)
    start = float(values.min()) if low is None else low
    levels = discretise(x, made.inside, method="fbs", width=width, lowest=start)[made.inside]
    end = None if high is None else high - width / 2
    return ivh(start + (levels - 0.5) * width, lowest=start + width / 2, highest=end, step=width)


def _family_names(family: str) -> tuple[str, ...]:
    if family == "morphology":
        return shape.NAMES
    if family == "local_intensity":
        return local.NAMES
    return NAMES[_SHORT.get(family, family)]


def _full(image: str, name: str, family: str, settings: RadiomicsSettings) -> str:
    parts = [image] if image else []
    parts.append(name)
    if family in _MATRICES:
        parts.append(settings.aggregation)
    elif family in _LEVELLED and family != "histogram":
        parts.append(settings.dims)
    return "_".join(parts)
