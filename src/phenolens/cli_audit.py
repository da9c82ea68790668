"""The commands that put results to the test: audit and validate. `cli` registers them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from phenolens.cli_options import Pseudonyms, Quiet, Workers, progress_of
from phenolens.core.errors import StudyError


def audit(
    folder: Annotated[Path | None, typer.Argument(help="Folder of the study; none with --predictions.")] = None,
    permutations: Annotated[int | None, typer.Option(min=199, help="Label permutations; default: the study's.")] = None,
    refit_all: Annotated[bool, typer.Option("--refit-all", help="Refit slow models too, with no stand-in.")] = False,
    predictions: Annotated[
        Path | None, typer.Option(help="Results made elsewhere: patient, truth, a probability a class, fold, site …")
    ] = None,
    splits: Annotated[Path | None, typer.Option(help="Their splits: patient, fold, part (train, tune, test).")] = None,
    truth: Annotated[str | None, typer.Option(help="Column of --predictions with the label.")] = None,
    positive: Annotated[str | None, typer.Option(help="Class that a single score is of.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for audit.json and estimates.csv of --predictions.")] = None,
    robustness: Annotated[
        bool, typer.Option("--robustness", help="Slides: predict spoiled tiles in place of refitting (read again).")
    ] = False,
    pseudonyms: Pseudonyms = False,
    workers: Workers = None,
    quiet: Quiet = False,
) -> None:
    """Ask whether chance, a shortcut or a leak explains the result, of a study or of results made elsewhere.

    Exit code 2 where a finding is an error.
    """
    if predictions is not None:
        _audit_elsewhere(predictions, splits, truth, positive, out)
        return
    if folder is None:
        raise StudyError("no study", expected="the folder of a study, or --predictions", todo="phenolens audit --help")
    from phenolens.report.build import build

    failed = False
    if robustness:
        from phenolens.audit.robustness import audit_robustness

        lines: Sequence[str] = audit_robustness(folder, workers=workers, progress=progress_of(quiet))
    else:
        from phenolens.audit.study import audit_study

        audited = audit_study(
            folder, permutations=permutations, refit_all=refit_all, workers=workers, progress=progress_of(quiet)
        )
        lines, failed = audited.lines, audited.failed
    for line in lines:
        typer.echo(line)
    typer.echo(f"report: {build(folder, pseudonyms=pseudonyms)}")
    if failed:
        raise typer.Exit(2)


def validate(
    model: Annotated[Path, typer.Argument(help="Folder of a stored model: results/models/NAME/final.")],
    folder: Annotated[Path, typer.Argument(help="Folder of the external cohort: a study.yaml that names its tables.")],
    pseudonyms: Pseudonyms = False,
    workers: Workers = None,
    quiet: Quiet = False,
) -> None:
    """Measure a stored model on an external labelled cohort: the whole evaluation, and nothing refitted."""
    from phenolens.report.build import build
    from phenolens.validate import validate_model

    for line in validate_model(model, folder, workers=workers, progress=progress_of(quiet)):
        typer.echo(line)
    typer.echo(f"report: {build(folder, pseudonyms=pseudonyms)}")


def _audit_elsewhere(
    predictions: Path, splits: Path | None, truth: str | None, positive: str | None, out: Path | None
) -> None:
    from phenolens.audit.elsewhere import audit_elsewhere

    made = audit_elsewhere(predictions, splits, truth=truth, positive=positive, out=out)
    for line in made.lines:
        typer.echo(line)
    if made.failed:
        raise typer.Exit(2)
