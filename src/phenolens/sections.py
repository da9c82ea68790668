"""The sections of study.yaml: keys, types, ranges and what each means."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from phenolens.core.signoff import LEAST

SEGMENTATION, SURVIVAL = "segmentation", "survival"
Share = Annotated[float, Field(ge=0, le=1)]
Reason = Annotated[str, StringConstraints(strip_whitespace=True, min_length=LEAST)]
"""Why the author goes on in spite of a finding, in a sentence."""


class Section(BaseModel):
    """A part of the study file; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class RegionSection(Section):
    """Which part of a slide is used."""

    tissue: Literal["otsu", "none"] = Field("otsu", description="How tissue is found; none takes the whole image.")
    annotation: str | None = Field(None, description="Class of the QuPath annotation to stay inside, e.g. Tumor.")
    annotation_origin: Literal["qupath", "slide"] = Field(
        "qupath", description="Where coordinates start: the scanned area, as QuPath counts, or the slide's corner."
    )
    min_overlap: Share = Field(0.6, description="Least share of a tile inside the region.")
    min_annotation_share: Share | None = Field(None, description="Slides with less tissue annotated are left out.")
    masks: Path | None = Field(
        None, description="Folder of a finished segmentation study: its masks are read in place of an annotation."
    )


class TilesSection(Section):
    """How the region is cut into tiles."""

    size_px: int = Field(224, ge=16, le=4096, description="Side of a tile in px.")
    mpp: float | None = Field(None, ge=0.05, le=20, description="Micrometres per px of the tiles; 0.5 when not given.")
    magnification: float | None = Field(None, gt=0, le=100, description="Instead of mpp; mpp = 10 / magnification.")
    step_px: int | None = Field(None, ge=1, description="Distance between tiles; the side when not given.")
    max_per_patient: int | None = Field(
        2000, ge=1, description="Most tiles of a patient, or of an image that is predicted."
    )
    seed: int = 0
    stain: Literal["none", "macenko", "reinhard"] = Field(
        "none", description="Colours of each slide brought to those of a fixed reference before features are made."
    )

    @property
    def spacing(self) -> float:
        """Micrometres per px."""
        if self.mpp is not None:
            return self.mpp
        return 0.5 if self.magnification is None else 10 / self.magnification


class ScanSection(Section):
    """Which scans make a unit, and how each is read before its features are computed."""

    sequences: tuple[str, ...] = Field((), description="The sequences a model is given, in order; default: all there.")
    missing: Literal["allowed", "left_out"] = Field(
        "allowed", description="Units without one of the sequences: kept, for models that accept that, or left out."
    )
    timepoint: str | None = Field(None, description="Which timepoint is predicted from; default: baseline.")
    mask_from: str | None = Field(
        None, description="Sequence whose mask serves the patient's images without their own."
    )
    align: Literal["position", "rigid"] = Field(
        "position", description="How such a mask is brought over: by position in the scanner, or after registration."
    )
    masks: Path | None = Field(
        None, description="Folder of a finished segmentation study: its masks are read in place of drawn ones."
    )
    component: Literal["all", "largest"] = Field("all", description="Which connected parts of a mask are used.")
    intensity: dict[str, Any] = Field({}, description="Window, N4, scale and over; see phenolens.scans.intensity.")
    intensity_of: dict[str, dict[str, Any]] = Field(
        {}, description="The same for single sequences, in place of intensity: a window for CT, n4 for T1."
    )


class FeaturesSection(BaseModel):
    """Which features: an encoder with its parameters, a folder of ready-made feature files, or a table of them."""

    model_config = ConfigDict(extra="allow", frozen=True)
    encoder: str | None = Field(None, description="Name of an encoder; see phenolens list encoders.")
    folder: Path | None = Field(None, description="Folder of TRIDENT, CLAM or STAMP feature files, read in place.")

    table: Path | None = Field(None, description="Your own features, one row a patient, image or lesion.")
    repeated: Path | None = Field(
        None, description="Beside table: the same features measured again, for the setting stable of table models."
    )
    perturb: tuple[str | dict[str, float], ...] = Field(
        (),
        description="Beside an encoder of scans: how each is disturbed to be measured again, for stable; with a dose: "
        "{rotation: 6}. One of contour, rotation, translation, noise, bias, spacing.",
    )

    @property
    def params(self) -> dict[str, Any]:
        return dict(self.model_extra or {})

    @property
    def perturbations(self) -> tuple[tuple[str, float | None], ...]:
        """Each kind of `perturb` with its dose, None for the usual one."""
        named: list[dict[str, Any]] = [{p: None} if isinstance(p, str) else p for p in self.perturb]
        return tuple((kind, dose) for one in named for kind, dose in one.items())


class TaskSection(Section):
    """What is predicted."""

    kind: str = "classification"
    target: str = Field(
        description="Column with the label, in the patients table (or the images table); of a survival, a name for the "
        "end point; of a segmentation, the name of what is outlined (default: lesion), on slides the annotation class."
    )
    unit: Literal["patient", "image", "lesion"] = Field("patient", description="What one prediction is about.")
    classes: tuple[str, ...] = Field((), description="The classes in the order of the report; default: all.")
    tolerance_mm: float = Field(2.0, ge=0, description="Segmentation: how far apart two surfaces may lie and agree.")
    tolerance_um: float = Field(100.0, ge=0, description="The same on slides: of two outlines.")
    time: str | None = Field(None, description="Survival: column with the follow-up, in one unit, above 0.")
    event: str | None = Field(None, description="Survival: column with 1 where the event was seen, 0 where censored.")
    horizons: tuple[float, ...] = Field((), description="Survival: times, in the unit of the follow-up, to report at.")
    tau: float | None = Field(None, gt=0, description="Survival: time up to which C looks; default: the last horizon.")
    positive: str | None = Field(None, description="The class that a decision is about; default: the last of two.")
    threshold: float | None = Field(
        None, gt=0, lt=1, description="Probability of the positive class from which one would act, fixed beforehand."
    )

    @property
    def outcome(self) -> tuple[str, ...]:
        """The columns of the tables that hold the truth: none may be an input."""
        return tuple(c for c in (self.time, self.event) if c) if self.kind == SURVIVAL else (self.target,)

    @model_validator(mode="before")
    @classmethod
    def _of_masks(cls, given: Any) -> Any:
        """A segmentation needs no column with a label, and predicts image by image."""
        if isinstance(given, dict) and given.get("kind") == SEGMENTATION:
            return {"target": "lesion", "unit": "image", **given}
        return given


class ValidationSection(Section):
    """How patients are partitioned; see phenolens.cohort.split."""

    scheme: Literal["patient_kfold", "leave_one_site_out", "site_preserved", "one_patient_per_class", "file"] = (
        "patient_kfold"
    )
    folds: int = Field(5, ge=2)
    repeats: int = Field(1, ge=1)
    also: tuple[Literal["patient_kfold", "leave_one_site_out", "site_preserved", "one_patient_per_class"], ...] = ()
    holdout: str | None = Field(None, description="Condition on patients who are predicted once, at the end.")
    tune: float = Field(0.2, gt=0, lt=0.5, description="Share of the training patients kept for stopping and choosing.")
    seed: int = 0
    file: Path | None = Field(None, description="Your own splits, for scheme: file.")


class ExplainSection(Section):
    """Which maps are drawn."""

    methods: tuple[str, ...] = ("attention", "occlusion")
    slides: int = Field(12, ge=0, description="Most slides with a map.")
    tiles: int = Field(6, ge=1, description="Top tiles shown a map.")


class AuditSection(Section):
    """How the null is drawn by phenolens audit, and which columns say how an image was made."""

    permutations: int = Field(199, ge=199)
    acquisition: tuple[str, ...] = Field(
        (), description="Columns of the patients or images table that say how an image was made, such as scanner."
    )


class GuardSection(Section):
    """What is fitted beside each model, in its fold: recalibration, conformal sets, and who is unlike the training."""

    calibrate: Literal["none", "intercept", "slope"] = Field(
        "intercept", description="How probabilities are recalibrated on the tune patients."
    )
    conformal: Literal["none", "split", "class", "cross"] = Field(
        "split",
        description="Sets of classes from the tune patients, over all of them or class by class, or from all patients "
        "that are fitted on, by fitting the model again without each of several groups of them (cross).",
    )
    groups: int = Field(5, ge=3, le=20, description="How many groups, and so more trainings, conformal: cross takes.")
    out_of_distribution: bool = Field(True, description="Whether patients unlike the training patients are flagged.")


class TransferSection(Section):
    """What a model takes over from another study; both must have been made with the same patients in training."""

    start: Path | None = Field(
        None, description="A finished study, or experiment: each fold's model starts from the weights of its model."
    )
    teacher: Path | None = Field(
        None, description="A finished study of tiles: what its model says of the tiles in the same place is learnt too."
    )


class TimingSection(Section):
    """When things were known: nothing later than t0 may be an input."""

    t0: str | None = Field(None, description="Column of the patients table with the date of the prediction.")
    event_date: str | None = Field(None, description="Column with the date of the outcome; it must lie after t0.")
    known_at: dict[str, str] = Field(
        {}, description="Column used as input -> the column with the date it was known, or 'before' or 'after' t0."
    )
