"""Reference values of AUGRC, from the paper's closed form and in exact fractions; writes augrc.json beside itself.

Traub et al., Overcoming common flaws in the evaluation of selective classification systems, 2024: for 0/1 losses
AUGRC = (1 - AUROC_f) acc (1 - acc) + (1 - acc)^2 / 2, where AUROC_f is the chance that a right prediction is more
confident than a wrong one (a tie counts half). No curve is drawn here: pairs are counted. Standard library only.
"""

from __future__ import annotations

import json
import platform
import random
from fractions import Fraction
from pathlib import Path


def augrc(confidence: list[float], wrong: list[bool]) -> Fraction:
    right = [c for c, w in zip(confidence, wrong, strict=True) if not w]
    bad = [c for c, w in zip(confidence, wrong, strict=True) if w]
    n = len(confidence)
    accuracy, error = Fraction(len(right), n), Fraction(len(bad), n)
    if not right or not bad:
        return error**2 / 2
    pairs = sum(Fraction(1) if r > b else Fraction(1, 2) if r == b else Fraction(0) for r in right for b in bad)
    auroc = pairs / (len(right) * len(bad))
    return (1 - auroc) * accuracy * error + error**2 / 2


def cases() -> list[dict[str, object]]:
    draw = random.Random(7)
    made = []
    for n, digits, share in ((5, 3, 0.4), (20, 1, 0.3), (60, 6, 0.2), (200, 2, 0.5), (30, 6, 0.0), (30, 1, 1.0)):
        wrong = [draw.random() < share for _ in range(n)]
        confidence = [round(draw.uniform(0.5, 1) - 0.15 * w, digits) for w in wrong]
        made.append({"confidence": confidence, "wrong": wrong, "augrc": float(augrc(confidence, wrong))})
    return made


if __name__ == "__main__":
    content = {
        "source": "closed form of Traub et al. 2024 in exact fractions, tests/evaluate/reference/augrc.py",
        "version": f"Python {platform.python_version()}",
        "cases": cases(),
    }
    Path(__file__).with_suffix(".json").write_text(json.dumps(content, indent=1) + "\n")
