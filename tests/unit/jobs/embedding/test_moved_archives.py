"""An archive that lies at another place: its recordings keep ids, rows and dates, and are watched as before."""

from __future__ import annotations

import shutil
from datetime import date
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from detector.config import digest_of
from detector.errors import ConfigError
from jobs.erasure.erasing import erase
from jobs.erasure.request import ErasureRequest
from jobs.reports.nightly.redrawing import redraw_pages
from jobs.tables.id_rule import id_roots_of
from jobs.tables.moves import Moves
from jobs.tables.shared_ids import SharedIdError
from jobs.tables.verification import verify_tables
from tests.support.text_archives import BROKEN, FILES, TARS, Nights, walked


@pytest.fixture
def nights(tmp_path: Path) -> Nights:
    found = Nights(tmp_path)
    for name in (*FILES, *TARS):
        found.write("old", name)
    found.night("old")
    return found


def test_a_moved_archive_is_watched_on_where_a_run_is_told_so_once(nights: Nights) -> None:
    before = nights.rows()
    nights.move("old", "new")

    run = nights.night("new", moved="old=new", max_removed=0.0)

    assert (run.refused, run.unheard.n_sources, nights.read) == ("", 0, [])  # same size and time: as it was planned
    assert nights.current() == walked(nights.folder / "new")
    assert nights.rows() == {name: row | {"uri": row["uri"].replace("/old/", "/new/")} for name, row in before.items()}
    nights.write("new", "a.wav", "2", when=2)
    (nights.folder / "new" / "b.wav").unlink()
    nights.write("new", "e.wav", "3")
    nights.night("new")
    assert nights.current() == walked(nights.folder / "new")
    assert nights.rows()["b.wav"]["removed_at"] == nights.today
    assert nights.rows()["a.wav"]["first_seen"] == before["a.wav"]["first_seen"]
    assert nights.night("new").names == []
    assert verify_tables(str(nights.output)) == []


def test_without_a_word_an_archive_of_the_same_names_takes_no_id_and_every_run_says_so(nights: Nights) -> None:
    # the disk may not be mounted, and this be another archive
    before = nights.current()
    nights.move("old", "new")
    for _ in range(3):
        run = nights.night("new")

        assert (nights.current(), run.unheard.n_sources) == (before, 6)
        with pytest.raises(
            SharedIdError, match=rf"5 more files.* give --moved {nights.folder}/old/={nights.folder}/new/"
        ):
            run.unheard.raise_any()
        assert run.record()["unheard"]["count"] == 6

    assert nights.night("new", moved="old=new").unheard.n_sources == 0
    assert nights.current() == walked(nights.folder / "new")
    assert nights.rows("failures") == {}


def test_a_run_under_another_spelling_of_the_folder_is_undone_by_saying_where_it_was(nights: Nights) -> None:
    (nights.folder / "link").symlink_to(nights.folder / "old")
    assert nights.night("link").unheard.n_sources == 6
    assert nights.night("old").unheard.n_sources == 0
    assert len(nights.rows("failures")) == 6

    nights.night("old", moved="link=old")

    assert nights.rows("failures") == {}
    assert nights.current() == walked(nights.folder / "old")


def test_rows_of_sources_that_were_not_heard_go_when_these_are_gone_from_a_place_that_is_not_listed(
    nights: Nights,
) -> None:
    shutil.copytree(nights.folder / "old", nights.folder / "copy")
    nights.night("copy")
    shutil.rmtree(nights.folder / "copy")

    nights.night("old")

    assert nights.rows("failures") == {}


@pytest.mark.parametrize("prune", [False, True])
def test_what_is_gone_from_a_listed_place_has_no_id_any_more(nights: Nights, *, prune: bool) -> None:
    (nights.folder / "old" / "a.wav").unlink()
    nights.night("old", prune=prune)
    nights.write("new", "a.wav", "1")

    run = nights.night("old", "new")

    assert run.unheard.n_sources == 0
    assert nights.current()["a.wav"] == (f"{nights.folder}/new/a.wav", digest_of("1"))
    assert nights.read == [f"{nights.folder}/new/a.wav"]  # of another place: it is heard, whatever its size and time


def test_a_recording_that_goes_from_one_input_to_another_is_heard_there_in_the_same_run(nights: Nights) -> None:
    (nights.folder / "new").mkdir()
    nights.move("old/1.tar", "new/1.tar")

    assert nights.night("old", "new", max_removed=0.2).unheard.n_sources == 0

    assert nights.current()["1.tar#m.wav"][0] == f"{nights.folder}/new/1.tar"


def test_too_many_at_once_are_refused_until_a_run_is_told_of_the_move(nights: Nights) -> None:
    nights.move("old", "new")
    (nights.folder / "old").mkdir()
    before = nights.current()

    run = nights.night("old", "new", max_removed=0.2)

    assert "--moved OLD=NEW" in run.refused
    assert (nights.current(), run.unheard.n_sources) == (before, 6)
    assert nights.night("old", "new", moved="old=new", max_removed=0.2).refused == ""
    assert nights.current() == walked(nights.folder / "new")


def test_a_copy_that_is_not_complete_yet_loses_no_row_and_is_taken_as_it_comes(nights: Nights) -> None:
    before = nights.current()
    nights.move("old", "elsewhere")
    nights.write("new", "z.wav")
    assert "6 of the 6 stored objects" in nights.night("new", moved="old=new", max_removed=0.2).refused
    assert nights.current() == before | walked(nights.folder / "new")
    nights.move("elsewhere/a.wav", "new/a.wav")
    assert nights.night("new", moved="old=new").refused == ""
    assert nights.current() == walked(nights.folder / "new")

    shutil.copytree(nights.folder / "elsewhere", nights.folder / "new", dirs_exist_ok=True)
    assert nights.night("new").unheard.n_sources == 0

    assert nights.current() == walked(nights.folder / "new")
    assert {row["first_seen"] for name, row in nights.rows().items() if name in before} == {date(2026, 12, 2)}


def test_new_recordings_where_others_were_moved_away_have_slots_of_their_own(nights: Nights) -> None:
    nights.move("old", "new")
    nights.night("new", moved="old=new")
    for name in (*FILES, *TARS):
        nights.write("old", name, "3")

    nights.night(".")  # ids count from the folder above

    assert nights.current() == walked(nights.folder / "new") | {
        f"old/{name}": found for name, found in walked(nights.folder / "old").items()
    }
    assert nights.night(".").names == []
    nights.write("old", "a.wav", "4", when=4)
    nights.write("old", "1.tar", "4", when=4)
    nights.night(".")
    assert nights.current()["old/1.tar#m.wav"][1] == digest_of("4") == nights.current()["old/a.wav"][1]
    assert verify_tables(str(nights.output)) == []


@pytest.mark.parametrize(
    ("moved", "places", "message"),
    [
        ("old=new", ("old",), "no input names anything in"),
        ("old=new", ("old", "new"), "is still there, and this run's inputs name it"),
        ("old/sub=new/other", ("new",), "its id in this output is 'sub/.* would be '.*other/"),
    ],
)
def test_a_move_that_is_none_is_refused(nights: Nights, moved: str, places: tuple[str, ...], message: str) -> None:
    shutil.copytree(nights.folder / "old", nights.folder / "new")
    shutil.copytree(nights.folder / "old" / "sub", nights.folder / "new" / "other")
    before = nights.rows()

    with pytest.raises(ConfigError, match=message):
        nights.night(*places, moved=moved)

    assert nights.rows() == before


@pytest.mark.parametrize(("place", "new"), [("new", "new"), ("up", "up/new")], ids=["an input", "a folder below one"])
def test_an_erasure_finds_the_old_place_and_the_new_one(nights: Nights, place: str, new: str) -> None:
    (nights.folder / place).parent.mkdir(exist_ok=True)
    (nights.folder / "up").mkdir()
    nights.move("old", new)
    nights.night(place, moved=f"old={new}")
    for name in ("a.wav", "1.tar"):
        (nights.folder / new / name).unlink()
    assert f"{nights.folder}/{new}/" in id_roots_of(str(nights.output))

    request = ErasureRequest(["a.wav", "1.tar#m.wav"], id_roots_of(str(nights.output)))
    erase(str(nights.output), request, redraw_pages)

    texts = [path.read_text() for path in nights.output.rglob("*.json")]
    texts += [str(pq.read_table(path).to_pylist()) for path in nights.output.rglob("*.parquet")]
    assert not [text for text in texts if "/a.wav" in text or "1.tar#m" in text]
    assert {"b.wav", "1.tar#n.wav"} <= nights.current().keys()


def test_ids_that_a_list_states_are_kept_where_the_list_of_the_new_place_states_them(nights: Nights) -> None:
    for place in ("x", "y"):
        nights.write(place, "1.wav", "4")
        (nights.folder / place / "list.csv").write_text("uri,utterance_id\n1.wav,first call\n")
    nights.night("x/list.csv")
    shutil.rmtree(nights.folder / "x")

    with pytest.raises(ConfigError, match=rf"give --moved {nights.folder}/x/={nights.folder}/y/ once"):
        nights.night("y/list.csv")
    nights.night("y/list.csv", moved="x=y")

    assert nights.current()["first call"] == (f"{nights.folder}/y/1.wav", digest_of("4"))
    assert nights.night("y/list.csv").names == []


def test_what_a_move_says_again_does_nothing(nights: Nights, caplog: pytest.LogCaptureFixture) -> None:
    nights.move("old", "new")
    nights.night("new", moved="old=new")
    before = nights.current()

    assert nights.night("new", moved="old=new").names == []

    assert nights.current() == before
    assert "nothing that is planned lies in the old place any more" in caplog.text


def test_failures_are_read_again_at_the_new_place(nights: Nights) -> None:
    nights.write("old", "a.wav", BROKEN, when=2)
    nights.night("old")
    nights.move("old", "new")

    nights.night("new", moved="old=new")

    assert nights.read == [f"{nights.folder}/new/a.wav"]
    assert [row["uri"] for row in nights.rows("failures").values()] == nights.read


def test_a_move_into_a_folder_of_the_old_place_is_one(nights: Nights) -> None:
    nights.move("old", "moving")
    nights.move("moving", "old/in")

    for _ in range(2):
        nights.night("old/in", moved="old=old/in")

    assert nights.current() == walked(nights.folder / "old" / "in")


@pytest.mark.parametrize("told", ["a", "=b", "a=", "a=b=c", "/a=/b=/c", "/a=/a/"])
def test_a_move_that_says_no_two_places_is_refused(told: str) -> None:
    with pytest.raises(ConfigError, match=f"^--moved {told}: "):
        Moves.of([told])
