"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from phenolens.core.progress import Progress

Folder = Annotated[Path, typer.Argument(help="Folder of the study (with study.yaml).")]
Workers = Annotated[int | None, typer.Option(min=1, help="Worker processes; default: every processor.")]
Pseudonyms = Annotated[bool, typer.Option("--pseudonyms", help="No patient, image or site names in the report.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]


def progress_of(quiet: bool) -> Progress:
    """Progress on the terminal, or none."""
    from phenolens.core.progress import Progress

    return Progress("quiet" if quiet else "auto")
