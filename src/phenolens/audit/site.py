"""Could a model have learnt the hospital in place of the tumour?

That takes two things at once: the outcome differs between sites, and the site can be read from the features. Each has a
permutation test of its own, and the p of the finding is the larger of the two, so that neither alone is a finding
(an intersection-union test; Berger 1982). The second test moves sites only between patients of one label: features that
tell the label must not pass for features that tell the site.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from phenolens.audit.evidence import UNKNOWN, Evidence, mixing_folds
from phenolens.audit.findings import ALPHA, Test
from phenolens.audit.ridge import Codes, Matrix, Place, fold_mean_auc, p_of, places_of, refit, standard
from phenolens.core.store import key_of

SITE_CONFOUNDING = "site-confounding"
LEAST = 5
"""Patients of a site that takes part in reading the site from the features."""
_FEWEST_MOVES = 20


@dataclass(frozen=True, kw_only=True)
class SiteFacts:
    """What was measured of sites, for the report; `why_not` says why nothing was.

    `shares` has a row a site: site, n and the share of each class. `site_only` is the AUC of the label from the site
    alone. `readable` is the AUC and the balanced accuracy of the site from the features, with p and how many sites.
    """

    why_not: str = ""
    shares: Sequence[Mapping[str, Any]] = ()
    label_p: float | None = None
    site_only: float | None = None
    readable: Mapping[str, Any] = field(default_factory=dict)
    folds_drawn: bool = False


def confounding(
    evidence: Evidence, pooled: Matrix | None, within: Mapping[str, float | None]
) -> tuple[Test, SiteFacts]:
    """The test of site confounding and its figures.

    `pooled` (n, d) are mean features of the units, NaN where a part is absent, or None; then the finding rests on the
    label alone and says so. `within` is model -> p of its refits on labels permuted within site (None: not done). The
    finding is an error where models were tested within sites and none is below 0.05; else a warning, since then
    something beside the site was learnt, or nothing is known. Where the study's folds keep sites whole, folds that mix
    them are drawn: the site alone cannot inflate such a study, and the finding is a warning.
    """
    known = sorted(set(evidence.sites) - {UNKNOWN})
    if len(known) < 2:
        why = "one site" if known else "no site is known"
        return Test(name=SITE_CONFOUNDING, statistic=None, p=None, what=f"not tested: {why}"), SiteFacts(why_not=why)
    folds, drawn = mixing_folds(evidence)
    mixed = evidence.on(folds) if drawn else evidence
    label_p = _label_by_site(mixed)
    fitted, only, _ = mixed.test(pd.DataFrame({"site": mixed.sites}))
    readable = _readable(mixed, pooled)
    facts = SiteFacts(
        shares=_shares(mixed),
        label_p=label_p,
        site_only=float(only[0]) if np.isfinite(only[0]) else None,
        readable=readable,
        folds_drawn=drawn,
    )
    p = max(label_p, readable.get("p", 0.0))
    told = _words(evidence, facts)
    if p >= ALPHA:
        return Test(name=SITE_CONFOUNDING, statistic=facts.site_only, p=p, what=told), facts
    tested = [model for model, own in within.items() if own is not None]
    beyond = [model for model in tested if (within[model] or 0.0) < ALPHA]
    return Test(
        name=SITE_CONFOUNDING,
        statistic=facts.site_only,
        p=p,
        what=f"{told}; {_beyond(tested, beyond)}",
        who=mixed.right(fitted),
        inflates=f"{evidence.the} up to {only[0]:.2f}, which the site alone gives",
        todo=f"report the {evidence.short} within sites and with each site left out (validation: also: "
        "[leave_one_site_out]), and match patients on site or harmonise it inside the fold",
        severity="error" if tested and not beyond and not drawn else "warning",
    ), facts


def _words(evidence: Evidence, facts: SiteFacts) -> str:
    score = "cannot be had" if facts.site_only is None else f"is {facts.site_only:.2f}"
    said = f"{evidence.in_words([s['shares'] for s in facts.shares])}, {evidence.the} of the site alone {score}"
    if "auc" in facts.readable:
        return f"{said}, and the features tell the site with an AUC of {facts.readable['auc']:.2f}"
    return f"{said}; whether the features tell the site was not tested: {facts.readable['why_not']}"


def _beyond(tested: Sequence[str], beyond: Sequence[str]) -> str:
    if beyond:
        return f"refitted on labels shuffled within sites, {', '.join(beyond)} still beat chance"
    return "no model is shown to beat chance within sites" if tested else "no model was tested within sites"


def _shares(evidence: Evidence) -> list[dict[str, Any]]:
    """Units of each site and the share of each class among them."""
    sites, named = np.array(evidence.sites), np.array(evidence.named)
    found = []
    for site in sorted(set(evidence.sites)):
        own = named[sites == site]
        found.append({"site": site, "n": len(own), "shares": {c: float((own == c).mean()) for c in evidence.classes}})
    return found


def _label_by_site(evidence: Evidence) -> float:
    """p of how far the outcomes differ between sites, from the exchanges."""
    names = np.array(evidence.sites)
    at = np.stack([names == s for s in sorted(set(evidence.sites))], axis=1).astype(np.float64)
    return p_of(evidence.by_site(at))


def _readable(evidence: Evidence, pooled: Matrix | None) -> dict[str, Any]:
    """The site from the features, patient by patient, in the fold; the null moves sites within a label (or
    a quarter of the outcome)."""
    if pooled is None:
        return {"why_not": "the features are volumes, or differ in number from unit to unit"}
    patients, rows = _by_patient(evidence, pooled)
    site = dict(zip(evidence.patients, evidence.sites, strict=True))
    label = dict(zip(evidence.patients, evidence.strata.tolist(), strict=True))
    counts = Counter(site[p] for p in patients)
    kept = [s for s, count in sorted(counts.items()) if count >= LEAST and s != UNKNOWN]
    if len(kept) < 2:
        return {"why_not": f"fewer than two sites with {LEAST} patients"}
    inside = np.array([site[p] in kept for p in patients])
    who, x = [p for p in patients if site[p] in kept], rows[inside]
    codes = np.array([kept.index(site[p]) for p in who], dtype=np.int64)
    strata = np.array([label[p] for p in who], dtype=np.int64)
    within = _moves(codes, strata) >= np.log10(_FEWEST_MOVES)
    draws = _moved(codes, strata if within else np.zeros_like(strata), evidence.draws, evidence.seed)
    places = places_of(who, evidence.folds)
    fitted = [refit(*standard(_filled(x, place), place), place) for place in places]
    values = fold_mean_auc(fitted, draws, len(kept))
    if not np.isfinite(values[0]):
        return {"why_not": "no test fold holds patients of two sites"}
    drawn = values[1:][np.isfinite(values[1:])]
    return {
        "auc": float(values[0]),
        "null": float(np.median(drawn)) if len(drawn) else None,
        "balanced_accuracy": _balanced(fitted, codes, len(kept)),
        "p": p_of(values),
        "sites": len(kept),
        "patients": len(who),
        "moved": f"within {evidence.alike}"
        if within
        else f"between all patients, since each site holds one {evidence.alike}",
    }


def _by_patient(evidence: Evidence, pooled: Matrix) -> tuple[list[str], Matrix]:
    """Mean features of each patient's units."""
    patients = sorted(set(evidence.patients))
    rows = {p: [i for i, q in enumerate(evidence.patients) if q == p] for p in patients}
    means = []
    for patient in patients:
        own = pooled[rows[patient]]
        there = np.isfinite(own)
        total = np.where(there, own, 0.0).sum(0)
        means.append(np.where(there.any(0), total / np.maximum(there.sum(0), 1), np.nan))
    return patients, np.stack(means)


def _filled(x: Matrix, place: Place) -> Matrix:
    """Holes filled with the mean of the training rows."""
    train = x[place.train]
    there = np.isfinite(train)
    mean = np.where(there, train, 0.0).sum(0) / np.maximum(there.sum(0), 1)
    filled: Matrix = np.where(np.isfinite(x), x, mean)
    return filled


def _moves(codes: Codes, strata: Codes) -> float:
    """log10 of how many ways there are to deal the sites to the patients of each label."""
    total = 0.0
    for s in np.unique(strata):
        own = codes[strata == s]
        total += math.lgamma(len(own) + 1) - sum(math.lgamma(n + 1) for n in np.bincount(own))
    return total / math.log(10)


def _moved(codes: Codes, strata: Codes, draws: int, seed: int) -> Codes:
    """(1 + draws, n): the codes, and draws in which they move within strata."""
    rng = np.random.default_rng(int(key_of(["site", seed, codes.tolist()]), 16) % 2**63)
    made = np.repeat(codes[None], draws + 1, axis=0)
    for s in np.unique(strata):
        rows = np.flatnonzero(strata == s)
        made[1:, rows] = rng.permuted(made[1:, rows], axis=1)
    return made


def _balanced(fitted: Sequence[Any], codes: Codes, sites: int) -> float:
    """Mean over sites of the share of their test patients whose site is named: the highest score above its share."""
    hits: list[npt.NDArray[np.bool_]] = []
    tested: list[Codes] = []
    for one in fitted:
        above = []
        for s in range(sites):
            own = (codes == s).astype(np.float64)[None]
            above.append(one.scores(own)[0] - own[0, one.place.train].mean())
        own_site = codes[one.place.test]
        hits.append(np.stack(above).argmax(0) == own_site)
        tested.append(own_site)
    right, site = np.concatenate(hits), np.concatenate(tested)
    return float(np.mean([right[site == s].mean() for s in np.unique(site)]))


def within_sites(evidence: Evidence) -> dict[str, float | None]:
    """Model -> AUC (of survival: C) of its test predictions among patients of one site and fold; no pairs of two sites.

    The mean over classes of the pairs put in order over all pairs of one repeat of the main scheme.
    """
    table = evidence.predictions.table
    first = evidence.folds[0]
    rows = table[(table["scheme"] == first.scheme) & (table["repeat"] == first.repeat) & (table["part"] == "test")]
    found: dict[str, float | None] = {}
    for model, own in rows.groupby("model"):
        good, pairs = defaultdict[str, float](float), defaultdict[str, float](float)
        for _, group in own.groupby(["fold", "site"]):
            for part, right, count in evidence.ordered(group):
                good[part] += right
                pairs[part] += count
        areas = [good[part] / count for part, count in pairs.items()]
        found[str(model)] = float(np.mean(areas)) if areas else None
    return found


def robustness(evidence: Evidence, pooled: Matrix | None, neighbours: int = 10) -> dict[str, Any]:
    """Do neighbours in feature space share the label or the site? A figure, and no test.

    `index` is the share of the nearest other patients (cosine of standardised features) that have the patient's label
    over the share that have the patient's site: above 1 the label leads (de Jong, Marcus and Teuwen, Current pathology
    foundation models are unrobust to medical center differences, 2025). `by_chance` is that index when neighbours are
    anyone. Empty without two sites or without features.
    """
    if pooled is None or len(set(evidence.sites) - {UNKNOWN}) < 2:
        return {}
    patients, x = _by_patient(evidence, pooled)
    everyone = Place(train=np.arange(len(x)), test=np.arange(0))
    z = standard(_filled(x, everyone), everyone)[0]
    length = np.linalg.norm(z, axis=1, keepdims=True)
    cosine = (z / np.maximum(length, 1e-12)) @ (z / np.maximum(length, 1e-12)).T
    np.fill_diagonal(cosine, -np.inf)
    k = min(neighbours, len(x) - 1)
    near = np.argsort(-cosine, axis=1, kind="stable")[:, :k]
    site = dict(zip(evidence.patients, evidence.sites, strict=True))
    label = dict(zip(evidence.patients, evidence.strata.tolist(), strict=True))
    shares = {}
    for name, of in (("label", label), ("site", site)):
        codes = np.unique([str(of[p]) for p in patients], return_inverse=True)[1]
        same = codes[near] == codes[:, None]
        other = (codes[:, None] == codes[None]).sum(1) - 1
        shares[name] = (float(same.mean()), float(other.mean() / (len(codes) - 1)))
    (same_label, any_label), (same_site, any_site) = shares["label"], shares["site"]
    return {
        "index": same_label / same_site if same_site else None,
        "by_chance": any_label / any_site if any_site else None,
        "same_label": same_label,
        "same_site": same_site,
        "neighbours": k,
    }
