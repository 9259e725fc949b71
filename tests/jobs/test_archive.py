"""jobs.archive and jobs.plan: inputs become shards, once each, and what is done is never planned again."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from detector.errors import ConfigError, SchemaError
from jobs import archive
from jobs.archive import MAX_SHARD_BYTES, MAX_SHARD_FILES, Archive, InputConfig, Shard
from jobs.plan import make_plan
from jobs.storage import Stored


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")
    return folder


def found(*inputs: object) -> Archive:
    return archive.find(InputConfig(input=tuple(map(str, inputs))))


def names_of(content: Archive) -> list[str]:
    return [Path(uri).name for uri in [*(shard.uri for shard in content.tars), *(each.uri for each in content.files)]]


def test_overlapping_inputs_name_each_object_once(tmp_path: Path) -> None:
    touch(tmp_path, "b.tar", "a.tar", "sub/c.flac", "sub/notes.txt", "d.mp3")

    content = found(tmp_path, tmp_path / "*.tar", tmp_path / "sub" / "c.flac", f"file://{tmp_path}/d.mp3")

    assert names_of(content) == ["a.tar", "b.tar", "d.mp3", "c.flac"]


def test_a_file_that_is_named_is_taken_whatever_its_suffix(tmp_path: Path) -> None:
    touch(tmp_path, "call.recording", "odd[1].flac")

    assert names_of(found(tmp_path / "call.recording")) == ["call.recording"]
    assert names_of(found(tmp_path / "odd[1].flac")) == ["odd[1].flac"]  # a name before it is a pattern


@pytest.mark.parametrize(("name", "cause"), [("empty", "no audio found"), ("gone", "no such file")])
def test_an_input_without_audio_is_refused_by_name(tmp_path: Path, name: str, cause: str) -> None:
    touch(tmp_path, "empty/notes.txt")

    with pytest.raises(ConfigError, match=cause) as refused:
        found(tmp_path / name)

    assert str(tmp_path / name) in str(refused.value)


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_a_list_gives_ids_and_members_and_is_relative_to_itself(tmp_path: Path, kind: str) -> None:
    touch(tmp_path, "0.tar", "a.flac")
    rows = [{"uri": "0.tar", "member": "m.wav", "utterance_id": "first"}, {"uri": "a.flac", "utterance_id": "second"}]
    if kind == "csv":
        lines = ["uri,member,utterance_id", "0.tar,m.wav,first", "a.flac,,second"]
    else:
        lines = [json.dumps(row) for row in rows]
    (tmp_path / f"list.{kind}").write_text("\n".join(lines) + "\n")

    content = found(tmp_path / f"list.{kind}")

    assert content.tars[0].names == (("m.wav", "first"),)
    assert content.ids == {str(tmp_path / "a.flac"): "second"}


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("uri,utterance_id\na.flac,x\nb.flac,x\n", "row 1 and in .* row 2"),
        ("uri\ngone.flac\n", "row 1: .*gone.flac does not exist"),
        ("path\na.flac\n", "no column `uri`"),
        ("uri,member\n,m.wav\n", "row 1 has no uri"),
    ],
)
def test_a_list_that_does_not_fit_is_refused_by_row(tmp_path: Path, text: str, cause: str) -> None:
    touch(tmp_path, "a.flac", "b.flac")
    (tmp_path / "list.csv").write_text(text)

    with pytest.raises((ConfigError, SchemaError), match=cause):
        found(tmp_path / "list.csv")


def stored(name: str, size: int = 10, etag: str = "e") -> Stored:
    return Stored(f"s3://bucket/{name}", size, etag)


def files(*names: str, **changes: str) -> Archive:
    return Archive((), tuple(sorted(stored(name, etag=changes.get(name, "e")) for name in names)), {})


def test_loose_files_share_shards_of_bounded_size() -> None:
    many = [stored(f"{number:04d}") for number in range(MAX_SHARD_FILES + 1)]
    large = [stored(f"{number}", MAX_SHARD_BYTES // 2 + 1) for number in range(3)]

    assert [len(shard.sources) for shard in archive.group(many, {})] == [MAX_SHARD_FILES, 1]
    assert [len(shard.sources) for shard in archive.group(large, {})] == [1, 1, 1]


def test_a_shard_s_id_is_its_content_s() -> None:
    shard = Shard("tar", (stored("a"),))
    others = [Shard("tar", (each,)) for each in (stored("b"), stored("a", 11), stored("a", etag="f"))]
    others.append(Shard("tar", (stored("a"),), (("m", "id"),)))

    assert len({shard.shard_id, *(each.shard_id for each in others)}) == 5
    assert all(Shard.from_json(each.to_json()) == each for each in (shard, *others))


def test_the_same_key_in_two_buckets_is_refused_with_both() -> None:
    with pytest.raises(ConfigError, match=r"s3://one/a\.flac and s3://two/a\.flac"):
        archive._refuse_shared_ids(["s3://one/a.flac", "s3://two/a.flac"], {})


def test_new_files_make_new_shards_and_leave_the_old_alone() -> None:
    first = make_plan(files("a", "b"), {}, set())
    known = {shard.shard_id: shard for shard in first.shards}

    second = make_plan(files("a", "b", "aa"), known, set(known))

    assert [[source.uri[-2:] for source in shard.sources] for shard in second.todo] == [["aa"]]
    assert make_plan(files("a", "b"), known, set(known)).todo == ()
    assert make_plan(files("a", "b"), known, set(known)).plan_id == first.plan_id


def test_a_shard_that_was_planned_and_not_done_is_planned_the_same_again() -> None:
    (planned,) = make_plan(files("a", "c"), {}, set()).shards

    again = make_plan(files("a", "b", "c"), {planned.shard_id: planned}, set())

    assert planned in again.todo
    assert len(again.todo) == 2


def test_a_file_that_is_gone_does_not_bring_its_neighbours_back() -> None:
    (done,) = make_plan(files("a", "b"), {}, set()).shards

    assert make_plan(files("a"), {done.shard_id: done}, {done.shard_id}).todo == ()


def test_a_source_that_changed_after_its_commit_is_refused_with_both_tags() -> None:
    (done,) = make_plan(files("a", "b"), {}, set()).shards
    tar = Shard("tar", (stored("t.tar"),))
    known = {done.shard_id: done, tar.shard_id: tar}

    with pytest.raises(ConfigError, match=r"s3://bucket/b: changed .* tag e, now 10 and f"):
        make_plan(files("a", "b", b="f"), known, {done.shard_id})
    with pytest.raises(ConfigError, match=tar.shard_id):
        make_plan(Archive((replace(tar, sources=(stored("t.tar", 11),)),), (), {}), known, {tar.shard_id})
    with pytest.raises(ConfigError, match="another state or selection"):
        make_plan(Archive((replace(tar, names=(("m", "id"),)),), (), {}), known, {tar.shard_id})
