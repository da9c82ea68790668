"""All tests of the audit on the evidence of a study, in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from phenolens.audit import metadata, shortcuts, site
from phenolens.audit.evidence import Evidence
from phenolens.audit.findings import Test
from phenolens.audit.look import look
from phenolens.evaluate.folds import LEAVE_ONE_SITE_OUT


def run(
    evidence: Evidence,
    *,
    patients: pd.DataFrame,
    images: pd.DataFrame,
    declared: Sequence[str] = (),
    within: Mapping[str, float | None] | None = None,
) -> tuple[list[Test], dict[str, Any]]:
    """Shortcuts, missing parts, size and site; the tests, and the figures of sites as JSON.

    patients, images and declared are as in `metadata.acquisition`, within as in `site.confounding`. Raises StudyError
    for a declared column that is not there.
    """
    looked = look(evidence.examples)
    known = metadata.acquisition(evidence.examples, looked.image, patients, images, declared)
    known = pd.concat([known, looked.size.filter(like="number of")], axis=1)
    confounded, facts = site.confounding(evidence, looked.pooled, within or {})
    tests = [
        shortcuts.acquisition(evidence, known),
        shortcuts.missingness(evidence, looked.present),
        shortcuts.size(evidence, looked.size),
        confounded,
    ]
    figures = {
        **asdict(facts),
        "within_site_auc": {} if facts.why_not else site.within_sites(evidence),
        "gap": _gap(evidence),
        "robustness": site.robustness(evidence, looked.pooled) if len(evidence.outcome) == 1 else {},
    }
    return tests, figures


def _gap(evidence: Evidence) -> dict[str, dict[str, float | None]]:
    """Model -> its fold-mean score in the main scheme and with each site left out, where both were done."""
    main = evidence.folds[0].scheme
    found: dict[str, dict[str, float | None]] = {}
    for model, scheme, value in evidence.by_scheme((main, LEAVE_ONE_SITE_OUT)):
        found.setdefault(model, {})[scheme] = value if np.isfinite(value) else None
    return {
        model: {"cross_validation": own[main], LEAVE_ONE_SITE_OUT: own[LEAVE_ONE_SITE_OUT]}
        for model, own in found.items()
        if main in own and LEAVE_ONE_SITE_OUT in own and main != LEAVE_ONE_SITE_OUT
    }
