"""study.yaml: what is asked of a cohort, checked before anything is read.

An unknown key, a wrong type or an impossible combination is refused with its line in the file, the nearest valid name
and what to do; all faults are named at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr

from phenolens.core.errors import PhenolensError, StudyError, nearest
from phenolens.core.registry import ENCODERS, EXPLAINERS, MODELS, TASKS, Choice
from phenolens.studyfile import Fault, Place, faults_of, parse, refusal

FILE = "study.yaml"
SCHEMA = "study.schema.json"
Share = Annotated[float, Field(ge=0, le=1)]


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

    @property
    def spacing(self) -> float:
        """Micrometres per px."""
        if self.mpp is not None:
            return self.mpp
        return 0.5 if self.magnification is None else 10 / self.magnification


class FeaturesSection(BaseModel):
    """Which features: an encoder with its parameters, or a folder of ready-made feature files."""

    model_config = ConfigDict(extra="allow", frozen=True)
    encoder: str | None = Field(None, description="Name of an encoder; see phenolens list encoders.")
    folder: Path | None = Field(None, description="Folder of TRIDENT, CLAM or STAMP feature files, read in place.")

    @property
    def params(self) -> dict[str, Any]:
        return dict(self.model_extra or {})


class TaskSection(Section):
    """What is predicted."""

    kind: str = "classification"
    target: str = Field(description="Column with the label, in the patients table (or the images table).")
    unit: Literal["patient", "image"] = Field("patient", description="What one prediction is about.")
    classes: tuple[str, ...] = Field((), description="The classes in the order of the report; default: all.")


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
    """How the null is drawn by phenolens audit."""

    permutations: int = Field(199, ge=199)


class Study(Section):
    """One study: its tables, region, tiles, features, task, models and validation."""

    study: str = Field(min_length=1, pattern=r"^[\w.-]+$", description="Name of the study.")
    recipe: str | None = None
    patients: Path = Path("patients.csv")
    images: Path = Path("images.csv")
    where: str | None = Field(None, description="Condition on the patients table, e.g. histology != 'other'.")
    region: RegionSection = RegionSection()
    tiles: TilesSection = TilesSection()
    quality: dict[str, float | None] = Field({}, description="Thresholds of slide quality; null switches one off.")
    features: FeaturesSection
    task: TaskSection
    models: tuple[str | dict[str, dict[str, Any] | None], ...] = Field(min_length=1)
    validation: ValidationSection = ValidationSection()
    explain: ExplainSection = ExplainSection()
    audit: AuditSection = AuditSection()
    seed: int = 0
    _folder: Path = PrivateAttr(default=Path())

    @property
    def folder(self) -> Path:
        """The folder of the study file; every relative path starts there."""
        return self._folder

    def path(self, relative: Path) -> Path:
        return (self._folder / relative).resolve()

    def encoder(self) -> Choice | None:
        """The encoder asked for; None when features are read from a folder."""
        if self.features.encoder is None:
            return None
        params = self.features.params
        if isinstance(params.get("weights"), str):
            params["weights"] = str(self.path(Path(params["weights"])))
        return Choice("encoder", self.features.encoder, params, self._folder)

    def model_choices(self) -> list[Choice]:
        """The models asked for, in the order of the file."""
        return [Choice("model", *_named(entry), self._folder) for entry in self.models]

    @classmethod
    def load(cls, folder: Path | str) -> Study:
        """Read and check `study.yaml` of a folder (or the file itself); raises StudyError with all faults."""
        path = Path(folder)
        path = path if path.suffix in (".yaml", ".yml") else path / FILE
        if not path.exists():
            there = path.parent.is_dir()
            raise StudyError(
                f"no {path.name} in {path.parent}" if there else f"no folder {path.parent}",
                expected="a study folder",
                todo="make one with: phenolens new RECIPE DIR",
            )
        text = path.read_text("utf-8-sig")
        lines, raw = parse(text, path)
        faults = faults_of(cls, raw)
        if not faults:
            study = cls.model_validate(raw)
            study._folder = path.parent.resolve()
            faults = _impossible(study)
            if not faults:
                return study
        raise refusal(path, faults, lines)


def schema() -> dict[str, Any]:
    """JSON Schema of the study file, with the names behind the doors, so that editors complete it."""
    made = Study.model_json_schema()
    sections = made["$defs"]
    sections["FeaturesSection"]["properties"]["encoder"] = {"anyOf": [{"enum": ENCODERS.names()}, {"type": "string"}]}
    sections["TaskSection"]["properties"]["kind"] = {"enum": TASKS.names()}
    sections["ExplainSection"]["properties"]["methods"]["items"] = {"enum": EXPLAINERS.names()}
    named = {"anyOf": [{"enum": MODELS.names()}, {"type": "string"}]}
    made["properties"]["models"]["items"]["anyOf"][0] = named
    return made


def _named(entry: str | Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    if isinstance(entry, str):
        return entry, {}
    name, params = next(iter(entry.items()))
    return name, dict(params or {})


def _impossible(study: Study) -> list[Fault]:
    """Combinations that cannot be run."""
    faults: list[Fault] = []
    tiles, region, checks, features = study.tiles, study.region, study.validation, study.features
    if tiles.mpp is not None and tiles.magnification is not None:
        faults.append((("tiles", "magnification"), "both mpp and magnification", "one of them", "remove magnification"))
    if region.min_annotation_share is not None and region.annotation is None:
        place = ("region", "min_annotation_share")
        faults.append((place, "a least annotated share without an annotation", "region.annotation", "name the class"))
    if (features.encoder is None) == (features.folder is None):
        what = "both encoder and folder" if features.encoder else "neither encoder nor folder"
        faults.append((("features",), what, "one of them", "name an encoder, or the folder of feature files"))
    if (checks.scheme == "file") != (checks.file is not None):
        place = ("validation", "scheme" if checks.scheme == "file" else "file")
        faults.append(
            (place, f"scheme {checks.scheme} with file {checks.file}", "scheme: file and file: splits.csv", "give both")
        )
    if checks.scheme in checks.also:
        faults.append(
            (("validation", "also"), f"{checks.scheme} twice", "other schemes than the main one", "remove it")
        )
    classes = study.task.classes
    if classes and len(set(classes)) < max(2, len(classes)):
        faults.append((("task", "classes"), f"classes {list(classes)}", "two or more, each once", "correct the list"))
    return faults + _made_elsewhere(study) + _wrong_plugins(study)


def _made_elsewhere(study: Study) -> list[Fault]:
    """What cannot stand beside a folder of features: what it asks of slides would be silently left undone."""
    if study.features.folder is None or study.features.encoder is not None:
        return []
    faults: list[Fault] = []
    for name in ("region", "tiles", "quality"):
        if name in study.model_fields_set:
            todo = f"remove {name}: it is settled where the features were made"
            faults.append(((name,), f"{name} beside features.folder", "tiles as the feature files hold them", todo))
    known = ("tile_um", "tile_px_level0")
    for key, value in study.features.params.items():
        place, found = ("features", key), f"features.{key}: {value!r}"
        if key not in known:
            todo = f"correct or remove it{nearest(key, known)}"
            faults.append((place, found, f"folder, {' or '.join(known)}", todo))
        elif isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
            faults.append((place, found, "the side of a tile, above 0", "correct the value"))
    return faults


def _wrong_plugins(study: Study) -> list[Fault]:
    """Names and parameters that the registry refuses."""
    from dataclasses import fields

    from phenolens.slides.quality import QualitySettings

    faults: list[Fault] = []
    for i, entry in enumerate(study.models):
        if not isinstance(entry, str) and len(entry) != 1:
            todo = "begin each model with its own '-', its parameters as {abmil: {epochs: 30}} or indented deeper"
            faults.append((("models", i), f"{', '.join(entry)} in one entry", "one model an entry", todo))
    known = [f.name for f in fields(QualitySettings)]
    for key in study.quality:
        if key not in known:
            todo = f"correct or remove it{nearest(key, known)}"
            faults.append((("quality", key), f"unknown key 'quality.{key}'", f"one of {', '.join(known)}", todo))
    choices: list[tuple[Place, Choice]] = [(("models", i), c) for i, c in enumerate(study.model_choices())]
    names = [c.name for _, c in choices]
    for i, (place, choice) in enumerate(list(choices)):
        if choice.name in names[:i]:
            faults.append((place, f"model '{choice.name}' twice", "every model once", "remove one"))
    if encoder := study.encoder():
        choices.append((("features", "encoder"), encoder))
    choices += [(("explain", "methods", i), Choice("explainer", m)) for i, m in enumerate(study.explain.methods)]
    for place, choice in choices:
        try:
            made = choice.create()
        except PhenolensError as error:
            faults.append((place, error.found, error.expected, error.todo))
            continue
        if choice.kind == "encoder" and made.reads != "slide":
            todo = "choose another; see phenolens list encoders"
            faults.append((place, f"encoder '{choice.name}' reads {made.reads}s", "an encoder for slides", todo))
    if study.task.kind not in TASKS.names():
        todo = f"correct it{nearest(study.task.kind, TASKS.names())}"
        faults.append((("task", "kind"), f"task '{study.task.kind}'", f"one of {', '.join(TASKS.names())}", todo))
    return faults
