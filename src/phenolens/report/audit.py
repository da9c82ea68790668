"""The audit for a reader: the permutation test and the null run of each model, with a verdict."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from phenolens.report import figures, words
from phenolens.report.names import Names
from phenolens.report.pictures import Album
from phenolens.report.record import Record, model_name


def view(record: Record, names: Names, album: Album) -> dict[str, Any]:
    """Tests in words and as a figure; `tests` is empty where the study was not audited."""
    tests = list(record.tests)
    titles = [_title(test) for test in tests]
    drawable = [(test, title) for test, title in zip(tests, titles, strict=True) if _drawable(test)]
    picture = ""
    if drawable:
        picture = album.figure(figures.null([t for t, _ in drawable], [title for _, title in drawable]))
    return {"tests": [_test(test, names) for test in tests], "figure": picture}


def _title(test: Mapping[str, Any]) -> str:
    return ", ".join(model_name(str(m)) for m in test.get("models", [test.get("model", "")]))


def _drawable(test: Mapping[str, Any]) -> bool:
    values = [test["observed"], *(test["null"][k] for k in ("q025", "median", "q975"))]
    return all(isinstance(v, int | float) and math.isfinite(v) for v in values)


def _test(test: Mapping[str, Any], names: Names) -> dict[str, Any]:
    null, run = test["null"], test.get("null_run", {})
    refitted, title = str(test.get("refitted", "")), _title(test)
    return {
        "model": title,
        "stand_in": "" if model_name(refitted) == title else refitted,
        "observed": words.number(test["observed"]),
        "null": f"{words.number(null['median'])} ({words.limits(null['q025'], null['q975'])})",
        "p": words.p_value(test["p"]),
        "permutations": int(test["permutations"]),
        "scheme": " of ".join(words.count(int(test.get(f"{w}s", 0)), w) for w in ("fold", "patient")),
        "strata": str(test.get("strata", "")),
        "run_mean": words.number(run.get("mean")),
        "run_limit": words.number(0.5 + run["threshold"]) if "threshold" in run else "–",
        "runs": int(run.get("runs", 0)),
        "flagged": bool(run.get("flagged", False)),
        "verdict": verdict(test),
        "good": test["p"] < 0.05 and not run.get("flagged", False),
        "notes": [words.sentence(names.text(str(note))) for note in test.get("notes", [])],
    }


def verdict(test: Mapping[str, Any]) -> str:
    """The test and the null run in a sentence."""
    if test.get("null_run", {}).get("flagged"):
        return "The procedure finds signal in shuffled labels: its results cannot be trusted until that is explained."
    if test["p"] < 0.05:
        return "Chance is an unlikely explanation of this result, and the null run is clean."
    return "Chance can explain this result: no signal was shown."
