"""A dry run says what a night would do, writes nothing, and the night's record says the same as it was measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from detector.checkpoint import recipe_of
from detector.config import EmbedConfig, Recipe
from detector.errors import ConfigError
from detector.windows import Windows
from jobs.config import CostConfig, ModelConfig, OutputConfig, RunConfig
from jobs.embedding.config import EmbeddingConfig
from jobs.embedding.estimate import Estimate, StoredRates, estimate
from jobs.embedding.result import EmbeddingRun
from jobs.embedding.run import write_records
from jobs.embedding.speed import ASSUMED, speed_of
from jobs.inputs.config import InputConfig
from jobs.inputs.durations import LINEAR, LOSSLESS
from jobs.inputs.shards import Shard
from jobs.storage import Stored
from jobs.tables import run_records
from tests.support.archives import write_tar
from tests.support.audio import encoded, tone
from tests.support.embedding_runs import embed_archive
from tests.support.runner import InProcessRunner

RECIPE = recipe_of(EmbedConfig(backbone="melstats", segment_seconds=2.0), None)
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Three files and a tar of two."""
    folder = tmp_path / "archive"
    folder.mkdir()
    for number, seconds in enumerate((1.0, 2.0, 3.0)):
        (folder / f"{number}.wav").write_bytes(encoded(tone(seconds, seed=number), kind="WAV"))
    write_tar(folder / "0.tar", {f"{number}.wav": encoded(tone(2.0, seed=number), kind="WAV") for number in (3, 4)})
    return folder


def foreseen(archive: Path, day: int = 1, recipe: Recipe = RECIPE, **settings: object) -> Estimate:
    inputs, output = InputConfig(input=(str(archive),)), OutputConfig(output=str(archive.parent / "tables"))
    return estimate(inputs, (recipe,), output, RunConfig(run_date=f"2026-11-0{day}", max_removed=1.0, **settings))  # type: ignore[arg-type]


def night(archive: Path, day: int = 1) -> EmbeddingRun:
    inputs, output = InputConfig(input=(str(archive),)), OutputConfig(output=str(archive.parent / "tables"))
    config = RunConfig(run_date=f"2026-11-0{day}", max_removed=1.0)
    return embed_archive(InProcessRunner(), inputs, RECIPE, ModelConfig(), output, config)


def recorded(run: EmbeddingRun) -> dict[str, object]:
    settings = EmbeddingConfig(backbone="melstats", input=("archive",), output="tables", price_core_hour=3_600.0)
    return dict(write_records(run, "embed", run_records.now(), settings)[-1]["cost"])


def test_a_first_night_is_estimated_at_stated_rates_and_nothing_is_written(archive: Path) -> None:
    found = foreseen(archive)

    wav, tar = (sum(path.stat().st_size for path in archive.glob(f"*.{kind}")) for kind in ("wav", "tar"))
    assert (found.cost.changes, found.n_shards, found.n_containers) == ({"new": 3, "removed": 0}, 2, 1)
    assert (found.n_inside, found.cost.encoder_seconds) == (None, None)
    assert found.cost.n_bytes == wav + tar
    assert found.cost.audio_seconds == pytest.approx(wav / LINEAR + tar / LOSSLESS)
    assert not (archive.parent / "tables").exists()
    shown = list(found.lines(CostConfig(price_core_hour=0.04)))
    assert shown[1] == (
        "recordings: 3 new, 0 replaced, 0 removed, in 2 shards; besides, 1 containers with an unknown number of "
        "recordings"
    )
    assert "(estimated by a stated rate for each format)" in shown[2]
    assert shown[3:] == [
        "encoders: core-hours unknown: no earlier run of this output has kept its encoder on a core for 10 s, to "
        "measure it",
        "dollars: unknown, as the hours are",
    ]


def test_what_a_night_was_estimated_to_find_is_what_its_record_says(archive: Path) -> None:
    first = recorded(night(archive))
    (archive / "0.wav").write_bytes(encoded(tone(4.0, seed=9), kind="WAV"))
    (archive / "1.wav").unlink()
    (archive / "5.wav").write_bytes(encoded(tone(5.0, seed=5), kind="WAV"))
    write_tar(archive / "1.tar", {f"{number}.wav": encoded(tone(2.0, seed=number), kind="WAV") for number in (6, 7)})

    found, cost = foreseen(archive, day=2), recorded(night(archive, day=2))

    assert [first[name] for name in ("new", "replaced", "removed", "audio_seconds")] == [5, 0, 0, 10.0]
    # the tar's two recordings are not among those that are counted before anybody has read it
    assert found.cost.changes == {"new": 1, "replaced": 1, "removed": 1}
    assert (found.n_containers, round(found.n_inside or 0)) == (1, 2)
    assert [cost[name] for name in ("new", "replaced", "removed")] == [3, 1, 1]
    assert cost["bytes"] == found.cost.n_bytes
    assert found.cost.audio_seconds == pytest.approx(13.0, rel=0.05)
    assert cost["audio_seconds"] == 13.0
    assert cost["dollars"] == pytest.approx(3_600 * float(str(cost["core_hours"])), rel=0.02)
    nothing = list(foreseen(archive, day=3).lines(CostConfig()))
    assert nothing[1:] == ["recordings: 0 new, 0 replaced, 0 removed, in 0 shards"]


def test_hours_are_estimated_by_what_the_last_run_on_the_device_measured(archive: Path) -> None:
    run = night(archive)
    run.device, run.encoders = "cuda", {"audio_seconds_a_busy_second": 600.0, "busy_seconds": 30, "waited_seconds": 10}
    recorded(run)
    (archive / "5.wav").write_bytes(encoded(tone(9.0, seed=5), kind="WAV"))

    found, on_cpu = foreseen(archive, day=2), foreseen(archive, day=2, device="cpu")

    (measured_by,) = (plan.run_id for plan in run.history.plans)
    assert (found.speed.device, found.speed.measured, found.speed.run_id) == ("cuda", 450.0, measured_by)
    assert found.cost.encoder_seconds == pytest.approx(9.0 / 450.0, rel=0.05)
    assert found.cost.gpu_hours == pytest.approx(9.0 / 450.0 / 3_600, rel=0.05)
    assert (on_cpu.cost.encoder_seconds, on_cpu.speed.audio_seconds_a_second) == (None, ASSUMED["cpu"])
    (archive.parent / "tables" / "runs" / f"{measured_by}.json").write_text("{")  # damaged: it measures nothing
    assert speed_of(run.ledger, run.history, RunConfig(device="cuda")).measured is None


def test_what_is_to_be_embedded_again_is_estimated_by_the_rows_that_stand(archive: Path) -> None:
    night(archive)
    with_windows = replace(RECIPE, windows=Windows(2.0, 1.0))

    found = foreseen(archive, day=2, recipe=with_windows, redo="segments")

    assert found.cost.changes == {"replaced": 3, "removed": 0}
    assert (found.n_shards, found.n_containers, found.n_inside) == (2, 1, 2.0)
    assert (found.known_share, round(found.cost.audio_seconds, 1)) == (1.0, 10.0)


def test_groups_of_new_files_have_what_one_encoder_works_off_in_a_minute(tmp_path: Path) -> None:
    folder = tmp_path / "archive"
    folder.mkdir()
    for number in range(5):
        with (folder / f"{number}.wav").open("wb") as file:
            file.truncate(240 * LINEAR)  # 4 min at the stated rate

    assert foreseen(folder, device="cpu").n_shards == 3  # 10 min at 10 audio-seconds a second
    assert foreseen(folder, device="cuda").n_shards == 1


def test_rates_are_of_the_kind_of_a_source() -> None:
    sources = Stored("/a/0.wav", 64_000, "t"), Stored("/a/1.mp3", 4_000, "t"), Stored("/a/2.mp3", 9_000, "t")
    rates = StoredRates()

    rates.add(Shard("files", sources), ["/a/0.wav", "/a/1.mp3"], [2.0, 1.0])  # the last one failed

    assert rates.seconds_of(Stored("/b/x.WAV", 32_000, "")) == 1.0
    assert rates.seconds_of(Stored("/b/x.mp3", 8_000, "")) == 2.0
    assert not rates.knows(Stored("/b/x.flac", 17_000, ""))
    assert rates.seconds_of(Stored("/b/x.flac", 17_000, "")) == 1.0


def test_a_price_below_0_is_refused() -> None:
    with pytest.raises(ConfigError, match="price_put_1000 -1"):
        CostConfig(price_put_1000=-1.0)


def test_a_dry_run_of_a_night_writes_nothing_and_is_no_end_of_a_run(
    archive: Path, tmp_path: Path, bonafide: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends = tmp_path / "ends"
    ends.mkdir()
    monkeypatch.setenv("BONAFIDE_METRICS_FOLDER", str(ends))
    before = sorted(tmp_path.rglob("*"))

    code, out, _ = bonafide("nightly", "--input", archive, "--output", tmp_path / "tables", "--dry-run")

    assert code == 0
    assert "recordings: 3 new, 0 replaced, 0 removed, in 2 shards" in out
    assert "would judge 2 of 2 shards" in out
    assert sorted(tmp_path.rglob("*")) == before
