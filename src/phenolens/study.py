"""study.yaml: what is asked of a cohort, checked before anything is read.

An unknown key, a wrong type or an impossible combination is refused with its line in the file, the nearest valid name
and what to do; all faults are named at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, PrivateAttr

from phenolens.core.errors import PhenolensError, StudyError, nearest
from phenolens.core.registry import ENCODERS, EXPLAINERS, MODELS, TASKS, Choice
from phenolens.sections import (
    SEGMENTATION,
    SURVIVAL,
    AuditSection,
    ExplainSection,
    FeaturesSection,
    GuardSection,
    Reason,
    RegionSection,
    ScanSection,
    Section,
    TaskSection,
    TilesSection,
    TimingSection,
    TransferSection,
    ValidationSection,
)
from phenolens.study_guard import guard_faults
from phenolens.study_masks import mask_faults
from phenolens.study_readings import reading_faults
from phenolens.study_settings import setting_faults
from phenolens.study_survival import survival_faults
from phenolens.study_transfer import transfer_faults
from phenolens.studyfile import Fault, Place, completed, faults_of, parse, refusal

FILE = "study.yaml"
SCHEMA = "study.schema.json"
EXPERIMENTS = "experiments"
"""The key under which a study file holds several studies, and the folder they lie in."""


class Study(Section):
    """One study: its tables, region, tiles, features, task, models and validation."""

    study: str = Field(min_length=1, pattern=r"^[\w.-]+$", description="Name of the study.")
    recipe: str | None = None
    patients: Path = Path("patients.csv")
    images: Path = Path("images.csv")
    lesions: Path | None = Field(None, description="One row a lesion, for task.unit: lesion.")
    where: str | None = Field(None, description="Condition on the patients table, e.g. histology != 'other'.")
    region: RegionSection = RegionSection()
    tiles: TilesSection = TilesSection()
    scan: ScanSection = ScanSection()
    quality: dict[str, float | None] = Field({}, description="Thresholds of image quality; null switches one off.")
    features: FeaturesSection
    task: TaskSection
    models: tuple[str | dict[str, dict[str, Any] | None], ...] = Field(min_length=1)
    validation: ValidationSection = ValidationSection()
    explain: ExplainSection = ExplainSection()
    guard: GuardSection = GuardSection()
    audit: AuditSection = AuditSection()
    timing: TimingSection = TimingSection()
    transfer: TransferSection = TransferSection()
    subgroups: tuple[str | dict[str, tuple[float, ...]], ...] = Field(
        (), description="Columns of the patients table to report by; of numbers with their cuts: {age: [50, 70]}."
    )
    readers: tuple[str, ...] = Field((), description="Columns of patients with a reader's call of the target.")
    sign_offs: dict[str, Reason] = Field({}, description="Rule of a finding -> the reason for going on all the same.")
    statements: dict[str, str] = Field({}, description="The author's own words for items of the evidence record.")
    seed: int = 0
    part_of: Path | None = Field(
        None, description="The study of which this is an experiment: its tables and artefacts are used. Written by run."
    )
    _folder: Path = PrivateAttr(default=Path())

    @property
    def folder(self) -> Path:
        """The folder of the study file, where its results lie."""
        return self._folder

    @property
    def base(self) -> Path:
        """Where every relative path starts and artefacts lie: the folder, or that of the study this is part of."""
        return self._folder if self.part_of is None else (self._folder / self.part_of).resolve()

    def path(self, relative: Path) -> Path:
        return (self.base / relative).resolve()

    @property
    def segments(self) -> bool:
        """Whether masks are predicted."""
        return self.task.kind == SEGMENTATION

    @property
    def lends(self) -> Path | None:
        """The folder of the segmentation study whose masks are read in place of drawn ones."""
        return self.scan.masks if self.reads == "scan" else self.region.masks

    @property
    def survives(self) -> bool:
        """Whether the time to an event is predicted."""
        return self.task.kind == SURVIVAL

    @property
    def reads(self) -> Literal["slide", "scan", "folder", "table"]:
        """What the features are made from: slides or scans by an encoder, or made elsewhere."""
        if self.features.table is not None:
            return "table"
        encoder = self.encoder()
        if encoder is None:
            return "folder"
        return "scan" if ENCODERS.plugin(encoder.name, base=self.base)[0].reads == "scan" else "slide"

    def encoder(self) -> Choice | None:
        """The encoder asked for; None when features are read from a folder or a table."""
        if self.features.encoder is None:
            return None
        return Choice("encoder", self.features.encoder, self._placed(self.features.params), self.base)

    def model_choices(self) -> list[Choice]:
        """The models asked for, in the order of the file."""
        made = [Choice("model", *_named(entry), self.base) for entry in self.models]
        return [replace(c, params=self._placed(c.params)) for c in made]

    def _placed(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Parameters with the file of their weights, if they name one, found from the study's folder."""
        file = params.get("weights")
        there = isinstance(file, str) and file != "none"
        return {**params, "weights": str(self.path(Path(str(file))))} if there else dict(params)

    @classmethod
    def load(cls, folder: Path | str, *, given: Mapping[str, Any] | None = None) -> Study:
        """Read and check `study.yaml` of a folder (or the file itself); raises StudyError with all faults.

        `given` are sections that stand fast: what the file leaves out is taken from them, and what it says otherwise is
        a fault.
        """
        path = study_file(folder)
        lines, raw = parse(path.read_text("utf-8-sig"), path)
        if EXPERIMENTS in raw:
            names = ", ".join(map(str, raw[EXPERIMENTS] or ()))
            raise StudyError(
                f"a study of several experiments ({names})",
                expected="one of them",
                todo=f"name its folder, such as {path.parent}/{EXPERIMENTS}/NAME",
                where=str(path),
            )
        whole, faults = completed(raw, given or {})
        study, more = cls.judged(whole, path.parent.resolve())
        if study is None or faults:
            raise refusal(path, [*faults, *more], lines)
        return study

    @classmethod
    def judged(cls, content: Mapping[str, Any], folder: Path) -> tuple[Study | None, list[Fault]]:
        """The study of a content that lies in `folder`, or None and all that is wrong with it."""
        faults = faults_of(cls, content)
        if faults:
            return None, faults
        study = cls.model_validate(content)
        study._folder = folder
        faults = _impossible(study)
        return (None, faults) if faults else (study, [])


def study_file(folder: Path | str) -> Path:
    """The study file of a folder, or the file itself; raises StudyError where there is none."""
    path = Path(folder)
    path = path if path.suffix in (".yaml", ".yml") else path / FILE
    if not path.exists():
        there = path.parent.is_dir()
        raise StudyError(
            f"no {path.name} in {path.parent}" if there else f"no folder {path.parent}",
            expected="a study folder",
            todo="make one with: phenolens new RECIPE DIR",
        )
    return path


def schema() -> dict[str, Any]:
    """JSON Schema of the study file, with the names behind the doors, so that editors complete it."""
    made = Study.model_json_schema()
    sections = made["$defs"]
    one: dict[str, Any] = {"anyOf": [{"enum": ENCODERS.names()}, {"type": "string"}]}
    several = {"type": "array", "items": {"anyOf": [*one["anyOf"], {"type": "object"}]}}
    sections["FeaturesSection"]["properties"]["encoder"] = {"anyOf": [*one["anyOf"], several, {"type": "object"}]}
    made["properties"][EXPERIMENTS] = {"type": "object", "additionalProperties": {"type": "object"}}
    made["if"], made["else"] = {"required": [EXPERIMENTS]}, {"required": made.pop("required")}
    made["required"] = ["study"]
    task = sections["TaskSection"]
    task["properties"]["kind"] = {"enum": TASKS.names()}
    task["if"] = {"properties": {"kind": {"const": SEGMENTATION}}, "required": ["kind"]}
    task["else"] = {"required": task.pop("required")}
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
    if region.min_annotation_share is not None and region.annotation is None and region.masks is None:
        place = ("region", "min_annotation_share")
        faults.append((place, "a least annotated share without an annotation", "region.annotation", "name the class"))
    given = [name for name in ("encoder", "folder", "table") if getattr(features, name) is not None]
    if len(given) != 1:
        what = f"both {' and '.join(given)}" if given else "neither encoder nor folder nor table"
        faults.append((("features",), what, "one of them", "name an encoder, or the files of features made elsewhere"))
    faults += reading_faults(study)
    if (study.task.unit == "lesion") != (study.lesions is not None):
        what = f"task.unit {study.task.unit} with lesions {study.lesions}"
        faults.append((("task", "unit"), what, "unit: lesion and lesions: lesions.csv", "give both, or neither"))
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
    if study.task.unit == "image" and study.scan.missing == "left_out":
        what = "units of one image with scan.missing left_out"
        faults.append((("scan", "missing"), what, "allowed", "remove it: an image has one sequence"))
    faults += survival_faults(study) + guard_faults(study)
    wrong = _wrong_plugins(study)
    if wrong or len(given) != 1:
        return faults + wrong
    return faults + setting_faults(study) + mask_faults(study) + transfer_faults(study)


def _wrong_plugins(study: Study) -> list[Fault]:
    """Names and parameters that the registry refuses."""
    faults: list[Fault] = []
    makes = "bag"
    for i, entry in enumerate(study.models):
        if not isinstance(entry, str) and len(entry) != 1:
            todo = "begin each model with its own '-', its parameters as {abmil: {epochs: 30}} or indented deeper"
            faults.append((("models", i), f"{', '.join(entry)} in one entry", "one model an entry", todo))
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
        if choice.kind == "encoder":
            makes = made.makes
    for place, choice in choices:
        if choice.kind == "model" and not faults and choice.create().reads not in (makes, "any"):
            reads = choice.create().reads.removesuffix("s")
            todo = f"choose an encoder that makes {reads}s, or another model; see phenolens list"
            made = makes.removesuffix("s")
            faults.append((place, f"model '{choice.name}', which reads {reads}s", f"a model that reads {made}s", todo))
    if study.task.kind not in TASKS.names():
        todo = f"correct it{nearest(study.task.kind, TASKS.names())}"
        faults.append((("task", "kind"), f"task '{study.task.kind}'", f"one of {', '.join(TASKS.names())}", todo))
    return faults
