"""Peak memory of `phenolens run` on whole-body CTs among small scans: python benchmarks/memory_scan.py [SLICES]

Two CTs of 512 x 512 x 1000 voxels with a small lesion, one as NIfTI (.nii.gz) and one as a DICOM series, join a small
synthetic cohort that is run to its report with the radiomics of the intensities and one filter. Printed: the largest
resident set of any process of the run and their largest sum, sampled ten times a second; the goal is a sum under 2 GiB.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
import SimpleITK as sitk  # noqa: N813
import yaml
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from memory import GOAL, watch
from phenolens.synth.cohort import design_for, make

SIDE = 512
SPACING = (0.8, 0.8, 1.0)
ROOT = "1.2.826.0.1.3680043.8.498.1"

STUDY = {
    "study": "huge",
    "features": {"encoder": "radiomics", "spacing_mm": 2.0, "filters": ["log_sigma_2_mm"]},
    "scan": {"intensity": {"window": [-160, 240]}},
    "task": {"target": "mutation"},
    "models": ["volume_only", "logistic"],
    "validation": {"folds": 2},
}


def main() -> None:
    slices = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        make(folder, design_for("gist-ct", patients_per_class=6, faults=False))
        write_huge(folder, slices)
        (folder / "study.yaml").write_text(yaml.safe_dump(STUDY))
        start = time.perf_counter()
        process = subprocess.Popen([sys.executable, "-m", "phenolens.cli", "run", "--workers", "2", str(folder)])
        largest, total = watch(process)
        spent = time.perf_counter() - start
        images = pd.read_csv(folder / "results" / "images.csv").set_index("patient")
        read = images.loc[["HUGE0", "HUGE1"], "status"].to_list() == ["used", "used"]
    said = "both used" if read else "NOT both used"
    print(f"CTs of {SIDE} x {SIDE} x {slices} voxels ({said}), run in {spent:.0f} s, exit code {process.returncode}")
    print(f"largest process {largest / 2**20:.0f} MiB, all processes together {total / 2**20:.0f} MiB (goal < 2048)")
    sys.exit(0 if process.returncode == 0 and read and total < GOAL else 1)


def write_huge(folder: Path, slices: int) -> None:
    """Two more patients, one of each class: a NIfTI and a DICOM series, each with a mask of its lesion."""
    patients, images = pd.read_csv(folder / "patients.csv"), pd.read_csv(folder / "images.csv")
    rng = np.random.default_rng(0)
    slab = rng.normal(40, 20, (64, SIDE, SIDE)).astype(np.int16)
    lesion = slice(slices // 2 - 10, slices // 2 + 10)
    mask = np.zeros((slices, SIDE, SIDE), np.uint8)
    mask[lesion, 250:270, 250:272] = 1
    drawn = sitk.GetImageFromArray(mask)
    drawn.SetSpacing(SPACING)
    scan = sitk.GetImageFromArray(np.resize(slab, (slices, SIDE, SIDE)))
    scan.SetSpacing(SPACING)
    sitk.WriteImage(scan, str(folder / "huge.nii.gz"))
    write_series(folder / "huge", slab, slices)
    for i, path in enumerate(("huge.nii.gz", "huge")):
        sitk.WriteImage(drawn, str(folder / f"mask{i}.nii.gz"))
        patients = add(patients, patient=f"HUGE{i}", mutation=sorted(set(patients["mutation"]))[i])
        images = add(images, patient=f"HUGE{i}", image=f"HUGE{i}", path=path, mask=f"mask{i}.nii.gz")
    patients.to_csv(folder / "patients.csv", index=False)
    images.to_csv(folder / "images.csv", index=False)


def add(table: pd.DataFrame, **cells: object) -> pd.DataFrame:
    """The table with one more row: the first, with other cells and without a series, value or name of a mask."""
    row = {c: v for c, v in table.iloc[0].to_dict().items() if c not in ("series", "mask_value", "mask_name")}
    return pd.concat([table, pd.DataFrame([row | cells])], ignore_index=True)


def write_series(folder: Path, slab: np.ndarray[tuple[int, ...], np.dtype[np.int16]], slices: int) -> None:
    """A CT series of one file a slice, with positions along z."""
    folder.mkdir()
    for i in range(slices):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = CTImageStorage, f"{ROOT}.3.{i + 1}"
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        made = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
        made.SOPClassUID, made.SOPInstanceUID = CTImageStorage, f"{ROOT}.3.{i + 1}"
        made.PatientID, made.Modality, made.SeriesInstanceUID = "HUGE1", "CT", f"{ROOT}.2"
        made.StudyInstanceUID, made.FrameOfReferenceUID = f"{ROOT}.1", f"{ROOT}.4"
        made.InstanceNumber, made.ImagePositionPatient = i + 1, [0, 0, i * SPACING[2]]
        made.ImageOrientationPatient, made.PixelSpacing = [1, 0, 0, 0, 1, 0], [SPACING[1], SPACING[0]]
        made.SliceThickness, made.RescaleSlope, made.RescaleIntercept = SPACING[2], 1, -1024
        made.Rows = made.Columns = SIDE
        made.SamplesPerPixel, made.PhotometricInterpretation, made.PixelRepresentation = 1, "MONOCHROME2", 0
        made.BitsAllocated, made.BitsStored, made.HighBit = 16, 16, 15
        made.PixelData = (slab[i % len(slab)] + 1024).astype("<u2").tobytes()
        pydicom.dcmwrite(folder / f"{i:04d}.dcm", made, enforce_file_format=True)


if __name__ == "__main__":
    main()
