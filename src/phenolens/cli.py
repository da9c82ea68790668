"""The commands. Each loads what it needs when it runs, so that help is quick; errors are one readable block."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from phenolens import __version__
from phenolens.cli_audit import audit, validate
from phenolens.cli_options import Folder, Pseudonyms, Quiet, Workers, progress_of
from phenolens.core.errors import PhenolensError, StudyError, nearest

if TYPE_CHECKING:
    from phenolens.run import Checked, Done

_INTERRUPTED = 130
"""Exit code after Ctrl-C, which typer turns into SystemExit."""

app = typer.Typer(
    name="phenolens",
    help="From raw tumour images to a phenotype model you can trust: one study file, one command, one report.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    epilog="Exit code 0: done. 2: you must act, the message says how. Add --debug to see the traceback of an error.",
)


def main() -> None:
    """Run the command line; turn errors into one block and an exit code."""
    from phenolens.core.compute import mind_interrupts

    mind_interrupts()
    debug = "--debug" in sys.argv
    arguments = [a for a in sys.argv[1:] if a != "--debug"]
    try:
        app(args=arguments)
    except SystemExit as end:
        if end.code == _INTERRUPTED:
            import multiprocessing

            for worker in multiprocessing.active_children():
                worker.terminate()
            sys.stderr.write("stopped; what is finished is stored, and the same command goes on from there\n")
        raise
    except PhenolensError as error:
        if debug:
            raise
        sys.stderr.write(block(error))
        sys.exit(2)
    except Exception as error:  # the outermost door: a bug must also end in one readable block
        if debug:
            raise
        sys.stderr.write(
            f"phenolens met an error of its own: {type(error).__name__}: {error}\n"
            "  what is finished is stored; run again with --debug and report the traceback\n"
        )
        sys.exit(1)


def block(error: PhenolensError) -> str:
    """An error as a block of lines: where, found, expected, to do."""
    lines = [("where", error.where), ("found", error.found), ("expected", error.expected), ("to do", error.todo)]
    shown = "".join(f"  {name + ':':<10}{text.rstrip()}\n" for name, text in lines if text)
    return f"phenolens cannot go on ({type(error).__name__})\n{shown}"


@app.callback(invoke_without_command=True)
def _options(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,  # noqa: ARG001 - read by main
) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit


@app.command()
def demo(
    recipe: Annotated[str, typer.Argument(help="A recipe; see phenolens list recipes.")] = "sts-subtypes",
    out: Annotated[Path | None, typer.Option(help="Folder to make; default: phenolens-demo-RECIPE.")] = None,
    patients: Annotated[int | None, typer.Option(min=2, help="Patients a class; default: the recipe's.")] = None,
    signal: Annotated[float, typer.Option(min=0, max=1, help="Strength of the planted signal; 0: none.")] = 1.0,
    seed: Annotated[int | None, typer.Option(help="Another cohort of the same design.")] = None,
    full: Annotated[bool, typer.Option("--full", help="All phases of sts-subtypes, in a quarter of an hour.")] = False,
    workers: Workers = None,
    quiet: Quiet = False,
) -> None:
    """Make a synthetic cohort for a recipe and run it to its report."""
    from phenolens.core.compute import kept_workers
    from phenolens.demo import make_demo

    with kept_workers():
        folder = make_demo(
            recipe,
            out or Path(f"phenolens-demo-{recipe}"),
            patients=patients,
            signal=signal,
            seed=seed,
            full=full,
            workers=workers,
            progress=progress_of(quiet),
        )
        _run_to_report(folder, workers, quiet)


@app.command()
def new(
    recipe: Annotated[str, typer.Argument(help="A recipe; see phenolens list recipes.")],
    folder: Annotated[Path, typer.Argument(help="Folder to make.")],
    full: Annotated[bool, typer.Option("--full", help="The recipe with all its experiments (sts-subtypes).")] = False,
    scans: Annotated[
        Path | None, typer.Option("--from", help="A folder of scans (DICOM, NIfTI): images.csv is drafted from it.")
    ] = None,
) -> None:
    """Make a study to fill in: study.yaml, table templates and the schema for your editor."""
    from phenolens.recipes import write_draft, write_template

    for path in write_template(recipe, folder, full=full):
        typer.echo(f"wrote {path}")
    for line in write_draft(folder, scans) if scans is not None else ():
        typer.echo(line)
    typer.echo(f"fill in the tables, then: phenolens check {folder}")


@app.command()
def check(folder: Folder, workers: Workers = None, quiet: Quiet = False) -> None:
    """Look for faults before any pixel is read; of slides, estimate hours and disk."""
    from phenolens.experiments import experiments
    from phenolens.run import check as check_study

    failed = False
    made = experiments(folder)
    for one in made:
        typer.echo(f"experiment {one.name}")
        failed |= _shown(check_study(one.write(), workers=workers, progress=progress_of(quiet)))
    if not made:
        failed = _shown(check_study(folder, workers=workers, progress=progress_of(quiet)))
    if failed:
        raise typer.Exit(2)


def _shown(result: Checked) -> bool:
    """Print what a check found; whether any of it is an error."""
    for finding in result.findings:
        who = f" [{', '.join(finding.who[:8])}{', …' if len(finding.who) > 8 else ''}]" if finding.who else ""
        typer.echo(f"{finding.severity}: {finding.what}{who} ({finding.rule})\n    to do: {finding.todo}")
        told = (("where", finding.where), ("could fake", finding.inflates), ("signed off", finding.signed_off))
        for name, text in told:
            if text:
                typer.echo(f"    {name}: {text}")
    for line in result.summary:
        typer.echo(line)
    return any(f.severity == "error" for f in result.findings)


@app.command()
def run(
    folder: Folder,
    workers: Workers = None,
    until: Annotated[str | None, typer.Option(help="Stop after this step: tiles, features, splits or models.")] = None,
    extend: Annotated[bool, typer.Option("--extend", help="The cohort grew: old patients keep their folds.")] = False,
    new_splits: Annotated[bool, typer.Option("--new-splits", help="Archive the results and split anew.")] = False,
    only: Annotated[str | None, typer.Option("--only", help="Run this experiment of the study file alone.")] = None,
    pseudonyms: Pseudonyms = False,
    quiet: Quiet = False,
) -> None:
    """Run the study, or every experiment of its file; resumes by itself after an interruption."""
    how = {"until": until, "extend": extend, "new_splits": new_splits}
    _run_to_report(folder, workers, quiet, pseudonyms=pseudonyms, only=only, **how)


@app.command()
def report(
    folder: Folder,
    pseudonyms: Pseudonyms = False,
) -> None:
    """Write the report of a finished run again; of several experiments that of each and the one over all."""
    from phenolens.experiments import experiments
    from phenolens.report.build import build

    made = experiments(folder)
    for one in made:
        if (one.folder / "results" / "manifest.json").exists():
            typer.echo(f"report: {build(one.folder, pseudonyms=pseudonyms)}")
    typer.echo(f"report: {_overview(folder, pseudonyms) if made else build(folder, pseudonyms=pseudonyms)}")


app.command()(audit)


@app.command()
def predict(
    model: Annotated[Path, typer.Argument(help="Folder of a stored model: results/models/NAME/final.")],
    images: Annotated[list[Path], typer.Argument(help="Slides; for a model of scans one table like images.csv.")],
    out: Annotated[Path, typer.Option(help="Folder for predictions and maps.")],
    mpp: Annotated[float | None, typer.Option(help="Micrometres per px, where the file does not say.")] = None,
    annotation: Annotated[Path | None, typer.Option(help="QuPath GeoJSON, when the study used one.")] = None,
    workers: Workers = None,
    quiet: Quiet = False,
) -> None:
    """Predict new images with a stored model: slides, each one case, or the scans that a table lists by patient."""
    from phenolens.predict import predict_images

    rows = predict_images(
        model, images, out, mpp=mpp, annotation=annotation, workers=workers, progress=progress_of(quiet)
    )
    for line in rows.lines:
        typer.echo(line)
    if rows.refused:
        raise typer.Exit(2)


app.command()(validate)


@app.command("list")
def list_(
    kind: Annotated[
        str, typer.Argument(help="encoders, models, tasks, metrics, formats, scan_formats, explainers, recipes.")
    ] = "",
) -> None:
    """List what can be named in study.yaml."""
    from phenolens.core.registry import DOORS
    from phenolens.recipes import recipes

    if kind == "recipes":
        rows = recipes()
    elif kind in DOORS:
        rows = {name: DOORS[kind].describe(name) for name in DOORS[kind].names()}
    else:
        kinds = [*DOORS, "recipes"]
        found = f"'{kind}'" if kind else "no kind"
        todo = f"name one{nearest(kind, kinds)}, such as: phenolens list models"
        raise StudyError(found, expected=f"one of {', '.join(kinds)}", todo=todo)
    for name, about in rows.items():
        typer.echo(f"{name:<22}{about['summary']}")
        for line in _details(about):
            typer.echo(" " * 22 + line)


def _details(about: dict[str, Any]) -> list[str]:
    """Licence and made-for resolution of an encoder, and the parameters of any plug-in."""
    lines = []
    if "licence" in about:
        access = "; ask its publisher for access first" if about.get("gated") else ""
        tiles = f"; tiles of {about['size_px']} px" if about.get("size_px") else ""
        mpp = f" at {about['mpp']} um/px" if about.get("mpp") else ""
        lines.append(f"licence: {about['licence']}{access}{tiles}{mpp}")
    if about.get("parameters"):
        lines.append("parameters: " + ", ".join(f"{k}: {v}" for k, v in about["parameters"].items()))
    return lines


@app.command()
def doctor() -> None:
    """Say what this machine has: versions, processors, memory, disk, devices, and what is missing."""
    from phenolens.doctor import examine

    for line in examine():
        typer.echo(line)


def _run_to_report(
    folder: Path,
    workers: int | None,
    quiet: bool,
    *,
    pseudonyms: bool = False,
    only: str | None = None,
    **how: Any,
) -> None:
    from phenolens.run import run_experiments, run_study

    how |= {"workers": workers, "progress": progress_of(quiet)}
    several = False
    for one, done in run_experiments(folder, name=only, **how):
        several = True
        _told(one.folder, done, pseudonyms)
    if not several:
        _told(folder, run_study(folder, **how), pseudonyms)
    elif how.get("until") is None:
        typer.echo(f"report: {_overview(folder, pseudonyms)}")


def _overview(folder: Path, pseudonyms: bool) -> Path:
    from phenolens.report.overview import build_overview

    return build_overview(folder, pseudonyms=pseudonyms)


def _told(folder: Path, done: Done, pseudonyms: bool) -> None:
    if not done.finished:
        typer.echo(done.said)
        return
    from phenolens.report.build import build

    typer.echo(f"report: {build(folder, pseudonyms=pseudonyms)}")


if __name__ == "__main__":
    main()
