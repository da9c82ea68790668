"""From prepared slides to feature files, in worker processes."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from featuredata import prepared_job, write_encoder, write_slide

from phenolens.core.errors import FeatureError, ImageError, WeightsMissingError
from phenolens.core.progress import Progress
from phenolens.core.registry import Choice
from phenolens.core.store import Store
from phenolens.core.types import Rgb
from phenolens.features import _chunks
from phenolens.features import extract as extraction
from phenolens.features.bagfile import BagFile
from phenolens.features.extract import ExtractJob, bag_file, encoder_identity, extract, features_key
from phenolens.slides.image import open_slide
from phenolens.slides.normalise import Method, Normaliser, normaliser
from phenolens.slides.prepare import load_prepared


@pytest.fixture
def choice(tmp_path: Path) -> Choice:
    return Choice("encoder", write_encoder(tmp_path), {}, tmp_path)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[ExtractJob]]:
    """Three slides of 64 tiles, prepared; of the second only ten tiles are asked for."""
    folder = tmp_path_factory.mktemp("prepared")
    paths = [write_slide(folder / f"s{i}.tif", seed=i) for i in range(3)]
    rows = (None, tuple(range(3, 63, 6)), None)
    return folder, [prepared_job(folder / "a", p, rows=r) for p, r in zip(paths, rows, strict=True)]


def copied(prepared: tuple[Path, list[ExtractJob]], folder: Path) -> list[ExtractJob]:
    """The prepared slides in another folder (store in its folder `a`), and their jobs."""
    shutil.copytree(prepared[0], folder, dirs_exist_ok=True)
    paths = [str(folder / Path(job.slide.path).name) for job in prepared[1]]
    return [replace(j, slide=replace(j.slide, path=p)) for j, p in zip(prepared[1], paths, strict=True)]


@pytest.fixture
def jobs(prepared: tuple[Path, list[ExtractJob]], tmp_path: Path) -> list[ExtractJob]:
    return copied(prepared, tmp_path)


def with_params(choice: Choice, **params: object) -> Choice:
    return Choice(choice.kind, choice.name, params, choice.base)


def files(root: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted((root / "features").rglob("*")) if p.is_file()}


def test_features_are_those_of_the_tiles_read_one_by_one(
    tmp_path: Path, choice: Choice, jobs: list[ExtractJob]
) -> None:
    outcomes = list(extract(jobs, choice, tmp_path / "a", workers=0))
    assert [o.item for o in outcomes] == jobs
    encode = choice.create().load("cpu")
    store = Store(tmp_path / "a")
    for job, outcome in zip(jobs, outcomes, strict=True):
        bag = bag_file(store, outcome.unwrap()).load()
        prepared = load_prepared(store, job.prepared)
        with open_slide(job.slide.path, mpp=0.5) as slide:
            tiles = slide.read_tiles(prepared.xy[list(job.rows)], prepared.side, 128)
        np.testing.assert_array_equal(bag.x, encode(tiles, 0.5))
        np.testing.assert_array_equal(bag.coords, prepared.xy[list(job.rows)] * 0.5)
        assert bag.extent == 64.0
        assert bag.names == ("red", "green", "blue", "mpp", "spread")
        assert bag.recipe == outcome.unwrap()
        assert bag_file(store, outcome.unwrap()).size() == (len(job.rows), 5)


def test_worker_count_and_place_do_not_change_a_byte(tmp_path: Path, prepared: tuple[Path, list[ExtractJob]]) -> None:
    for place, workers in (("cpu", 0), ("cpu", 2), ("device", 1)):
        folder = tmp_path / f"{place}{workers}"
        here = copied(prepared, folder)
        list(extract(here, Choice("encoder", write_encoder(folder, place), {}, folder), folder / "a", workers=workers))
    assert len(files(tmp_path / "cpu0" / "a")) == 6
    assert files(tmp_path / "cpu0" / "a") == files(tmp_path / "cpu2" / "a")
    cpu, device = (
        sorted((BagFile(p).load() for p in (tmp_path / n / "a").rglob("*.h5")), key=lambda b: b.x.tobytes())
        for n in ("cpu0", "device1")
    )
    for one, other in zip(cpu, device, strict=True):
        np.testing.assert_array_equal(one.x, other.x)
        np.testing.assert_array_equal(one.coords, other.coords)


def test_stored_features_are_yielded_without_work(tmp_path: Path, choice: Choice, jobs: list[ExtractJob]) -> None:
    first = {o.item: o.result for o in extract(jobs[:2], choice, tmp_path / "a", workers=0)}
    log = tmp_path / "log"
    logged = with_params(choice, log=str(log))
    again = list(extract(jobs, logged, tmp_path / "a", workers=0))
    assert {o.item: o.result for o in again[:2]} == first
    assert again[2].item == jobs[2]
    assert sum(int(line.split()[1]) for line in log.read_text().splitlines()) == len(jobs[2].rows)


def test_a_killed_extraction_leaves_whole_files_only_and_goes_on(
    tmp_path: Path, choice: Choice, jobs: list[ExtractJob], prepared: tuple[Path, list[ExtractJob]]
) -> None:
    root = tmp_path / "a"
    running = extract(jobs, choice, root, workers=0)
    next(running)
    running.close()  # type: ignore[attr-defined]
    assert len(list((root / "features").rglob("*.h5"))) == 1
    assert not list(root.rglob("*.part"))
    resumed = [o.unwrap() for o in extract(jobs, choice, root, workers=0)]
    other = tmp_path / "b"
    here = copied(prepared, other)
    assert [o.unwrap() for o in extract(here, choice, other / "a", workers=0)] == resumed
    assert files(root) == files(other / "a")


@pytest.mark.parametrize("place", ["cpu", "device"])
def test_a_slide_that_cannot_be_read_is_an_outcome_and_the_others_go_on(
    tmp_path: Path, jobs: list[ExtractJob], place: str
) -> None:
    broken = Path(jobs[1].slide.path)
    broken.write_bytes(b"no slide at all")
    choice = Choice("encoder", write_encoder(tmp_path, place), {}, tmp_path)
    outcomes = list(extract(jobs, choice, tmp_path / "a", workers=0))
    assert [o.error is None for o in outcomes] == [True, False, True]
    assert isinstance(outcomes[1].error, ImageError)
    key = features_key(encoder_identity(choice), jobs[1])
    assert not bag_file(Store(tmp_path / "a"), key).path.exists()
    assert not list(tmp_path.rglob("*.part"))


def test_an_encoder_that_cannot_be_loaded_ends_the_run_not_a_slide(
    tmp_path: Path, choice: Choice, jobs: list[ExtractJob]
) -> None:
    for place, workers in (("cpu", 0), ("device", 0)):
        write_encoder(tmp_path, place)
        with pytest.raises(FeatureError, match="weights that do not fit"):
            list(extract(jobs, with_params(choice, refuse=True), tmp_path / "a", workers=workers))


def test_missing_weights_are_said_before_any_slide_is_read(tmp_path: Path, jobs: list[ExtractJob]) -> None:
    for job in jobs:
        Path(job.slide.path).unlink()
    with pytest.raises(WeightsMissingError):
        extract(jobs, Choice("encoder", "uni", {"weights": str(tmp_path / "no")}), tmp_path / "a", workers=0)


def test_jobs_without_tiles_or_with_wrong_rows_are_refused(
    tmp_path: Path, choice: Choice, jobs: list[ExtractJob]
) -> None:
    empty = replace(jobs[0], rows=())
    beyond = replace(jobs[0], rows=(0, 64))
    outcomes = list(extract([empty, beyond, jobs[2]], choice, tmp_path / "a", workers=0))
    assert [type(o.error) for o in outcomes] == [FeatureError, FeatureError, type(None)]
    assert "rows up to 64" in str(outcomes[1].error)


def test_what_is_not_finite_is_refused(tmp_path: Path, choice: Choice, jobs: list[ExtractJob]) -> None:
    outcome = next(extract(jobs[:1], with_params(choice, scale=float("inf")), tmp_path / "a", workers=0))
    assert "not finite, the first is red" in str(outcome.error)
    assert not list((tmp_path / "a" / "features").rglob("*.h5"))


def test_keys_hold_parameters_weights_and_rows_but_no_path(
    tmp_path: Path, choice: Choice, jobs: list[ExtractJob]
) -> None:
    def key(job: ExtractJob = jobs[1], **params: object) -> str:
        return features_key(encoder_identity(with_params(choice, **params)), job)

    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    moved = Choice("encoder", write_encoder(elsewhere), {}, elsewhere)
    assert features_key(encoder_identity(moved), jobs[1]) == key()
    assert key(together=1, log="somewhere") == key()
    different = {key(), key(scale=2.0), key(weights="w2"), key(jobs[0]), key(jobs[2])}
    assert len(different) == 5
    assert str(tmp_path) not in json.dumps(encoder_identity(choice))
    assert len({key(), *(key(replace(jobs[1], stain=s)) for s in ("macenko", "reinhard"))}) == 3


@pytest.mark.parametrize("stain", ["macenko", "reinhard"])
def test_normalised_features_are_those_of_tiles_brought_to_the_reference_by_their_own_slide(
    tmp_path: Path, choice: Choice, jobs: list[ExtractJob], stain: Method
) -> None:
    asked = [replace(job, stain=stain) for job in jobs[:2]]
    outcomes = list(extract(asked, choice, tmp_path / "a", workers=0))
    encode = choice.create().load("cpu")
    store = Store(tmp_path / "a")
    for job, outcome in zip(asked, outcomes, strict=True):
        prepared = load_prepared(store, job.prepared)
        with open_slide(job.slide.path, mpp=0.5) as slide:
            every = slide.read_tiles(prepared.xy, prepared.side, 128)
        sample = every[np.linspace(0, len(every) - 1, 16).round().astype(int)]
        tiles = normaliser(stain, sample).apply(every[list(job.rows)])
        found = bag_file(store, outcome.unwrap()).load().x
        np.testing.assert_array_equal(found, encode(tiles, 0.5))
        assert np.abs(found - encode(every[list(job.rows)], 0.5)).max() > 0.01


def test_a_slide_without_stain_to_measure_is_an_outcome_and_the_others_go_on(
    tmp_path: Path, choice: Choice, jobs: list[ExtractJob], monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = extraction.normaliser
    calls: list[int] = []

    def bare_first(method: Method, tiles: Rgb) -> Normaliser:
        calls.append(1)
        return honest(method, np.full_like(tiles, 250) if len(calls) == 1 else tiles)

    monkeypatch.setattr(extraction, "normaliser", bare_first)
    asked = [replace(job, stain="macenko") for job in jobs]
    outcomes = list(extract(asked, choice, tmp_path / "a", workers=0))
    assert [o.error is None for o in outcomes] == [False, True, True]
    assert isinstance(outcomes[0].error, ImageError)
    assert "stained px" in str(outcomes[0].error)


def test_the_hub_identity_holds_the_hash_of_the_weights_not_their_path(tmp_path: Path) -> None:
    files = [tmp_path / "a.bin", tmp_path / "b.bin", tmp_path / "c.bin"]
    for file, content in zip(files, (b"one", b"one", b"two"), strict=True):
        file.write_bytes(content)
    one, same, other = (encoder_identity(Choice("encoder", "uni", {"weights": str(f)})) for f in files)
    assert one == same != other
    assert encoder_identity(Choice("encoder", "uni", {"weights": str(files[0]), "batch": 8})) == one


def test_provenance_beside_the_file_says_how_it_was_made(
    tmp_path: Path, choice: Choice, jobs: list[ExtractJob]
) -> None:
    key = next(extract(jobs[:1], choice, tmp_path / "a", workers=0)).unwrap()
    file = bag_file(Store(tmp_path / "a"), key)
    made = json.loads(file.path.with_suffix(".json").read_text())
    assert made["prepared"] == jobs[0].prepared
    assert made["notes"] == ["tiles of 128 px at 0.5 mpp"]
    assert made["encoder"]["weights"] == "w1"
    told = file.attributes()
    assert (told["image"], told["size_px"], told["mpp"]) == ("s0", 128, 0.5)
    assert str(tmp_path) not in file.path.with_suffix(".json").read_text()


def test_chunks_are_bounded_and_a_big_slide_is_spread_over_workers(
    tmp_path: Path, choice: Choice, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = prepared_job(tmp_path / "a", write_slide(tmp_path / "big.tif", side=1024), size_px=96)
    log = tmp_path / "log"
    list(extract([job], with_params(choice, log=str(log), together=2), tmp_path / "a", workers=2))
    lines = [line.split() for line in log.read_text().splitlines()]
    assert sorted(int(n) for _, n in lines) == [56, 64]
    assert len({pid for pid, _ in lines}) == 2
    monkeypatch.setattr(_chunks, "_BYTES", 10 * 3 * 96**2)
    log.unlink()
    other = with_params(choice, log=str(log), scale=2.0)
    list(extract([job], other, tmp_path / "a", workers=0))
    assert {int(line.split()[1]) for line in log.read_text().splitlines()} == {10}


def test_progress_counts_tiles(tmp_path: Path, choice: Choice, jobs: list[ExtractJob]) -> None:
    import io

    out = io.StringIO()
    list(extract(jobs, choice, tmp_path / "a", workers=0, progress=Progress("plain", out)))
    assert "138 tiles" in out.getvalue()
