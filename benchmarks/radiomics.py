"""CPU seconds and peak memory of the encoder `radiomics` a region, side by side with PyRadiomics where it is installed.

    python benchmarks/radiomics.py                                  # drawn cases
    python benchmarks/radiomics.py --data FOLDER                    # and brain1 of PyRadiomics' test cases
    python benchmarks/radiomics.py --data FOLDER --pyradiomics PYTHON

FOLDER holds brain1_image.nrrd and brain1_label.nrrd; PYTHON is an interpreter that can import radiomics and SimpleITK
(PyRadiomics 3.0.1 builds with numpy < 2, without build isolation). Both sides get image and mask in memory and one
thread; bins of 25 from multiples of 25, the voxels of the scan, all families each side has. Goals: 4 times less CPU
time on brain1 and on the large region, 50 times on a small one in a large CT, 8 times with LoG and wavelets.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

QUIET = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": "1"}
SIGMAS = (1.0, 2.0, 3.0)
CASES = {
    "brain1": ("brain1", False),
    "region of 523,305 voxels": ("large", False),
    "2,109 voxels in 512 x 512 x 48": ("small", False),
    "brain1, LoG + wavelets": ("brain1", True),
    "33,401 voxels in 256 x 256 x 64, LoG + wavelets": ("middle", True),
    "2,109 voxels in 512 x 512 x 48, LoG + wavelets": ("small", True),
}
DRAWN = {"large": ((120, 120, 120), 50), "small": ((512, 512, 48), 8), "middle": ((256, 256, 64), 20)}
PYRADIOMICS = """
import json, logging, resource, sys, time
import SimpleITK as sitk
from radiomics import featureextractor
logging.disable(logging.CRITICAL)
sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
image, mask = sitk.ReadImage(sys.argv[1]), sitk.ReadImage(sys.argv[2])
maker = featureextractor.RadiomicsFeatureExtractor(binWidth=25)
maker.enableAllFeatures()
if sys.argv[3] == "1":
    maker.enableImageTypes(Original={}, LoG={"sigma": %s}, Wavelet={"wavelet": "coif1"})
base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
spent = []
for _ in range(int(sys.argv[4])):
    start = time.process_time()
    found = maker.execute(image, mask)
    spent.append(time.process_time() - start)
count = sum(not name.startswith("diagnostics") for name in found)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps({"spent": spent, "features": count, "base": base, "peak": peak}))
""" % (list(SIGMAS),)  # noqa: UP031


def drawn(kind: str) -> tuple[Any, Any]:
    """A ball of correlated noise in a volume of noise, as SimpleITK images with voxels of 1 mm."""
    import SimpleITK as sitk  # noqa: N813
    from scipy import ndimage

    (width, height, depth), radius = DRAWN[kind]
    rng = np.random.default_rng(0)
    x = rng.normal(0, 20, (depth, height, width)).astype(np.float32)
    z, y, w = np.ogrid[:depth, :height, :width]
    mask = (z - depth // 2) ** 2 + (y - height // 2) ** 2 + (w - width // 2) ** 2 <= radius**2
    x += 60 + 300 * ndimage.gaussian_filter(rng.normal(size=x.shape).astype(np.float32), 2)
    return sitk.GetImageFromArray(np.round(x).astype(np.int16)), sitk.GetImageFromArray(mask.astype(np.uint8))


def ours(image_path: str, mask_path: str, filtered: bool, rounds: int) -> dict[str, Any]:
    """Seconds a round, the number of features and memory in KiB, of this process."""
    import SimpleITK as sitk  # noqa: N813

    from phenolens.core.types import Frame
    from phenolens.features.encoders.radiomics import Radiomics
    from phenolens.scans.geometry import Crop, cropped, roi_of

    image, mask = sitk.ReadImage(image_path), sitk.ReadImage(mask_path)
    x, inside = sitk.GetArrayViewFromImage(image), sitk.GetArrayViewFromImage(mask)
    frame = Frame(shape=image.GetSize(), spacing=image.GetSpacing(), origin=image.GetOrigin(), unit="mm")
    filters = (*(f"log_sigma_{s:g}_mm" for s in SIGMAS), "wavelet_coif1") if filtered else ()
    encoder = Radiomics(spacing_mm=None, bin_width=25, bin_origin=0, aggregation="3d_average", filters=filters)
    encode = encoder.load("cpu")
    base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    spent = []
    for _ in range(rounds):
        start = time.process_time()
        roi = roi_of(inside, frame)
        assert roi is not None
        lo, shape = roi.box(encoder.margin_mm)
        box = tuple(slice(a, a + n) for a, n in zip(reversed(lo), reversed(shape), strict=True))
        crop = Crop(x=x[box].astype(np.float32), inside=roi.within(lo, shape), frame=cropped(frame, lo, shape))
        found = encode(crop)
        spent.append(time.process_time() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"spent": spent, "features": found.shape[1], "base": base, "peak": peak}


def measured(command: list[str]) -> dict[str, Any]:
    """What a fresh process prints; raises where it fails."""
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **QUIET}, check=False)
    if done.returncode:
        raise SystemExit(f"{command[:2]} ended with {done.returncode}: {done.stderr[-500:]}")
    made: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return made


def files(kind: str, data: Path | None, folder: Path) -> tuple[Path, Path] | None:
    """Image and mask of a case; None where its data are not at hand."""
    import SimpleITK as sitk  # noqa: N813

    if kind == "brain1":
        return None if data is None else (data / "brain1_image.nrrd", data / "brain1_label.nrrd")
    paths = folder / f"{kind}.nrrd", folder / f"{kind}_mask.nrrd"
    if not paths[0].exists():
        for made, path in zip(drawn(kind), paths, strict=True):
            sitk.WriteImage(made, str(path))
    return paths


def line(name: str, mine: dict[str, Any], theirs: dict[str, Any] | None) -> str:
    """One row of the table."""
    own = min(mine["spent"][1:] or mine["spent"])
    cells = [name, f"{own:.3f}", f"{mine['features']}", f"{(mine['peak'] - mine['base']) / 1024:.0f}"]
    if theirs is not None:
        other = min(theirs["spent"])
        cells += [f"{other:.2f}", f"{theirs['features']}", f"{(theirs['peak'] - theirs['base']) / 1024:.0f}"]
        cells.append(f"{other / own:.1f}x")
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--data", type=Path, help="folder of brain1_image.nrrd and brain1_label.nrrd")
    parser.add_argument("--pyradiomics", help="an interpreter that can import radiomics")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        image, mask, filtered = given.one
        print(json.dumps(ours(image, mask, filtered == "1", 4)))
        return
    head = "| case | CPU s | features | MiB more |"
    print(head + (" PyRadiomics: CPU s | features | MiB more | ratio |" if given.pyradiomics else ""))
    with tempfile.TemporaryDirectory() as folder:
        for name, (kind, filtered) in CASES.items():
            paths = files(kind, given.data, Path(folder))
            if paths is None:
                print(f"| {name} | no data |")
                continue
            said = [*map(str, paths), str(int(filtered))]
            mine = measured([sys.executable, __file__, "--one", *said])
            theirs = None
            if given.pyradiomics:
                theirs = measured([given.pyradiomics, "-c", PYRADIOMICS, *said, "1" if filtered else "2"])
            print(line(name, mine, theirs), flush=True)


if __name__ == "__main__":
    main()
