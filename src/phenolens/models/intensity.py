"""The standard intensity scale of MR: fitted on the landmarks of the training images, applied to any image.

Nyúl, Udupa and Zhang, New variants of a method of MRI scale standardization, IEEE Transactions on Medical Imaging 19,
2000. The landmarks of one image are stored when it is prepared; which scale they are brought to is learnt across
patients, so it is fitted inside a fold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from phenolens.core.errors import ModelError
from phenolens.core.types import FloatArray

Landmarks = npt.NDArray[np.float64]
LEAST, MOST = 0.0, 100.0
"""Where the first and the last landmark of every image come to lie."""


@dataclass(frozen=True, kw_only=True)
class StandardScale:
    """The standard scale: (k,) landmarks, from LEAST to MOST, not falling."""

    landmarks: Landmarks

    @classmethod
    def fit(cls, images: Sequence[npt.ArrayLike]) -> StandardScale:
        """From the (k,) landmarks of each training image: each is brought linearly to LEAST … MOST, then averaged.

        The order of the images does not matter. Raises ModelError where there is none, where they differ in number,
        fall, are not finite or are all equal.
        """
        if not len(images):
            raise ModelError(
                "no landmarks to fit a standard scale on",
                expected="the landmarks of at least one training image",
                todo="prepare the scans with intensity: {scale: nyul_landmarks}",
            )
        known = [_checked(image, np.size(images[0])) for image in images]
        brought = np.stack([(k - k[0]) / (k[-1] - k[0]) for k in known])
        mean = np.sort(brought, axis=0).mean(0)
        return cls(landmarks=LEAST + (MOST - LEAST) * mean)

    def map(self, x: npt.NDArray[Any], landmarks: npt.ArrayLike) -> FloatArray:
        """Intensities x (any shape) of an image with these landmarks (k,), on the standard scale; float32.

        Linear between landmarks; beyond the first and the last it goes on with the slope of the nearest two that
        differ. Landmarks that coincide count as one, at the mean of their places on the scale.
        """
        own = _checked(landmarks, len(self.landmarks))
        at, place = np.unique(own, return_inverse=True)
        to = np.bincount(place, weights=self.landmarks) / np.bincount(place)
        slope = np.diff(to) / np.diff(at)
        value = np.asarray(x, dtype=np.float64)
        made = np.interp(value, at, to)
        made += np.minimum(value - at[0], 0) * slope[0] + np.maximum(value - at[-1], 0) * slope[-1]
        return made.astype(np.float32)

    def arrays(self) -> dict[str, Landmarks]:
        """What is stored with a fitted model."""
        return {"landmarks": self.landmarks}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> StandardScale:
        """What `arrays` gave."""
        return cls(landmarks=np.asarray(arrays["landmarks"], dtype=np.float64))


def _checked(landmarks: npt.ArrayLike, count: int) -> Landmarks:
    found = np.asarray(landmarks, dtype=np.float64)
    rises = found.ndim == 1 and found.size > 1 and bool(np.isfinite(found).all() and (np.diff(found) >= 0).all())
    if not rises or len(found) != count or not found[-1] > found[0]:
        raise ModelError(
            f"landmarks {np.array2string(found.ravel(), precision=4, threshold=12)}",
            expected=f"{count} finite intensities that rise",
            todo="prepare the scan again with intensity: {scale: nyul_landmarks}",
        )
    return found
