"""Entries of the cache on disk: whole or not at all, damage noticed, the least recently used go first."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tflite_ptq.cache.file_hashes import FileHashes
from tflite_ptq.cache.key import Key
from tflite_ptq.cache.place import Place, place
from tflite_ptq.cache.session import Cache
from tflite_ptq.cache.store import Damaged, Store
from tflite_ptq.cache.upkeep import clear, holdings, make_room
from tflite_ptq.errors import UsageError
from tflite_ptq.result import Frozen

KEY = Key("variant", "ab" * 32)


class Answer(Frozen):
    text: str


@pytest.fixture
def entry(cache: Path, tmp_path: Path) -> Path:
    """An entry with an answer, a file and a folder."""
    (tmp_path / "model").write_bytes(bytes(range(256)) * 8)
    (tmp_path / "tree" / "deep").mkdir(parents=True)
    (tmp_path / "tree" / "deep" / "größe").write_text("x", encoding="utf-8")
    Store(cache).keep(KEY, Answer(text="é"), {"model.tflite": tmp_path / "model", "saved": tmp_path / "tree"})
    return Store(cache).path(KEY)


def test_what_was_kept_is_found(cache: Path, entry: Path, tmp_path: Path) -> None:
    targets = {"model.tflite": tmp_path / "a" / "copy", "saved": tmp_path / "copy of it", "other": tmp_path / "other"}
    assert Store(cache).look(KEY, Answer, targets) == Answer(text="é")
    assert (tmp_path / "a" / "copy").read_bytes() == (tmp_path / "model").read_bytes()
    assert (tmp_path / "copy of it" / "deep" / "größe").read_text(encoding="utf-8") == "x"
    assert not (tmp_path / "other").exists()
    assert Store(cache).look(Key("variant", "cd" * 32), Answer, {}) is None


def edit(name: str, change: Callable[[str], str]) -> Callable[[Path], None]:
    def damage(entry: Path) -> None:
        text = (entry / name).read_text(encoding="utf-8")
        changed = change(text)
        assert changed != text
        (entry / name).write_text(changed, encoding="utf-8")

    return damage


def flip(entry: Path) -> None:
    data = bytearray((entry / "model.tflite").read_bytes())
    data[1000] ^= 1
    (entry / "model.tflite").write_bytes(data)


DAMAGE: dict[str, tuple[Callable[[Path], None], str]] = {
    "a bit of a file": (flip, "model.tflite is not as it was written"),
    "a truncated file": (lambda e: os.truncate(e / "model.tflite", 100), "model.tflite is not as it was written"),
    "a missing file": (lambda e: (e / "model.tflite").unlink(), "model.tflite cannot be read (No such file"),
    "a file of a folder": (lambda e: (e / "saved/deep/größe").write_text("y"), "größe is not as it was written"),
    "an edited answer": (edit("answer.json", lambda t: t.replace("é", "e")), "answer.json is not as it was written"),
    "a missing answer": (lambda e: (e / "answer.json").unlink(), "answer.json cannot be read (No such file"),
    "no contents": (lambda e: (e / "entry.json").unlink(), "entry.json cannot be read (No such file"),
    "truncated contents": (edit("entry.json", lambda t: t[:-9]), "entry.json is truncated or was edited"),
    "empty contents": (edit("entry.json", lambda t: ""), "entry.json is truncated or was edited"),
    "another format": (edit("entry.json", lambda t: t.replace("cache/1", "cache/2")), "entry.json is truncated or was"),
    "another entry": (edit("entry.json", lambda t: t.replace("abab", "cdcd", 1)), "entry.json is another entry's"),
    "a way out": (
        edit("entry.json", lambda t: t.replace("saved/deep", "saved/../../../deep")),
        "entry.json names a file outside of the entry",
    ),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_noticed_told_and_removed(name: str, cache: Path, entry: Path, tmp_path: Path) -> None:
    damage, message = DAMAGE[name]
    damage(entry)
    targets = {"model.tflite": tmp_path / "copy", "saved": tmp_path / "tree copy"}
    with pytest.raises(Damaged) as raised:
        Store(cache).look(KEY, Answer, targets)
    assert str(raised.value).startswith(message)
    told: list[str] = []
    session = Cache(Place(cache, 1 << 30), lambda step: pytest.fail(f"{step} was found"), told.append)
    assert session.look(KEY, Answer, "int8", targets) is None
    assert told == [f"cache: the entry of int8 was damaged ({raised.value}): it was removed and the step done again"]
    assert not entry.exists()
    assert {path.name for path in tmp_path.iterdir()} <= {"copy", "model", "tree", "tree copy"}
    assert not list(tmp_path.glob(".*"))
    if (tmp_path / "copy").exists():  # what was whole may have been put
        assert (tmp_path / "copy").read_bytes() == (tmp_path / "model").read_bytes()


def test_an_answer_of_another_form_is_damage(cache: Path, entry: Path) -> None:
    class Other(Frozen):
        number: int

    with pytest.raises(Damaged, match="of another form"):
        Store(cache).look(KEY, Other, {})


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_no_byte_can_change_unnoticed(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A bit anywhere in the answer or the file; in the contents a changed bit gives damage or the same result."""
    root = tmp_path_factory.mktemp("bits")
    (root / "model").write_bytes(b"0123456789")
    store = Store(root / "cache")
    store.keep(KEY, Answer(text="abc"), {"model.tflite": root / "model"})
    name = data.draw(st.sampled_from(["answer.json", "model.tflite", "entry.json"]))
    content = bytearray((store.path(KEY) / name).read_bytes())
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] ^= 1 << data.draw(st.integers(0, 7))
    (store.path(KEY) / name).write_bytes(content)
    try:
        found = store.look(KEY, Answer, {"model.tflite": root / "copy"})
    except Damaged:
        return
    assert name == "entry.json" and found == Answer(text="abc")
    assert not (root / "copy").exists() or (root / "copy").read_bytes() == b"0123456789"


WRITER = """
import sys
from pathlib import Path
from tflite_ptq.cache.key import Key
from tflite_ptq.cache.store import Store
from tflite_ptq.result import Frozen
class Answer(Frozen):
    text: str
cache, model, seed = sys.argv[1:]
print("ready", flush=True)
number = 0
while True:
    store = Store(Path(cache))
    store.keep(Key("variant", f"{number:064d}"), Answer(text=str(number)), {"model.tflite": Path(model)})
    number += 1
"""


def test_killed_while_writing_and_two_at_once(cache: Path, tmp_path: Path) -> None:
    """Two processes make the same entries; both are killed at random moments. What is there is whole."""
    content = random.Random(0).randbytes(3 << 20)
    (tmp_path / "model").write_bytes(content)
    moments = random.Random(1)
    for seed in range(4):
        command = [sys.executable, "-c", WRITER, str(cache), str(tmp_path / "model"), str(seed)]
        writers = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(2)]
        for writer in writers:
            assert writer.stdout is not None
            writer.stdout.readline()
        time.sleep(moments.uniform(0.02, 0.3))
        for writer in writers:
            assert writer.poll() is None
            writer.send_signal(signal.SIGKILL)
            writer.communicate()
    store = Store(cache)
    held = holdings(cache)
    assert held
    for one in held:
        key = Key("variant", one.path.name)
        assert store.look(key, Answer, {"model.tflite": tmp_path / "copy"}) == Answer(text=str(int(one.path.name)))
        assert (tmp_path / "copy").read_bytes() == content
    for part in (cache / "parts").iterdir():
        os.utime(part, (0, 0))
    make_room(cache, 1 << 40)
    assert not list((cache / "parts").iterdir())


def test_the_least_recently_used_go_first(cache: Path, tmp_path: Path) -> None:
    (tmp_path / "model").write_bytes(bytes(10_000))
    store = Store(cache)
    keys = [Key("variant", f"{number}" * 64) for number in range(4)]
    for age, key in enumerate(keys):
        store.keep(key, Answer(text=""), {"model.tflite": tmp_path / "model"})
        os.utime(store.path(key) / "entry.json", (1_000_000 + age, 1_000_000 + age))
    store.look(keys[0], Answer, {})  # used: now the youngest
    assert make_room(cache, 10**9) == 0
    assert make_room(cache, 25_000) == 2
    assert [store.has(key) for key in keys] == [True, False, False, True]
    assert make_room(cache, 0) == 2
    assert not holdings(cache)


def test_clear_removes_only_what_is_the_caches(cache: Path, entry: Path) -> None:
    (cache / "mine.txt").write_text("x")
    (cache / "hashes").mkdir()
    clear(cache)
    assert [path.name for path in cache.iterdir()] == ["mine.txt"]
    clear(cache)
    clear(cache / "nowhere")


def test_a_folder_that_cannot_be_costs_a_warning(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    told: list[str] = []
    session = Cache(Place(tmp_path / "file" / "cache", 1), lambda step: None, told.append)
    for _ in range(2):
        assert session.through(KEY, Answer, "int8", lambda: Answer(text="done")) == Answer(text="done")
    session.close()
    assert told == [
        f"cache: {tmp_path}/file/cache cannot be written (Not a directory), so nothing more was kept; name another "
        "folder with --cache-dir, or use --no-cache"
    ]


def test_an_answer_that_names_the_place_is_of_the_place(cache: Path) -> None:
    session = Cache(Place(cache, 1 << 30), lambda step: None, pytest.fail)
    here, there = (Key("calibration", "ab" * 32, (f'/data/{name} "é"',)) for name in "ab")
    session.keep(here, Answer(text='unreadable: /data/a "é"/1.png'))
    assert session.look(here, Answer, "calibration") is not None
    assert session.look(there, Answer, "calibration") is None
    session.keep(here, Answer(text="no place"))
    assert session.look(there, Answer, "calibration") == Answer(text="no place")


@pytest.mark.parametrize(
    ("size", "expected"), [(None, 5120 << 20), ("", 5120 << 20), ("1", 1 << 20), ("0", 0), ("0.5", 1 << 19)]
)
def test_size_cap(size: str | None, expected: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("TFLITE_PTQ_CACHE_MAX_MIB", raising=False)
    if size is not None:
        monkeypatch.setenv("TFLITE_PTQ_CACHE_MAX_MIB", size)
    assert place(tmp_path) == Place(tmp_path, expected)


@pytest.mark.parametrize("size", ["many", "-1", "inf", "nan", "1 GB"])
def test_a_size_that_is_none(size: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TFLITE_PTQ_CACHE_MAX_MIB", size)
    with pytest.raises(UsageError) as raised:
        place()
    assert str(raised.value) == f"TFLITE_PTQ_CACHE_MAX_MIB={size}: expected MiB, 0 or more (5,120 where it is not set)"


def test_where_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TFLITE_PTQ_CACHE", str(tmp_path / "a"))
    assert place().folder == tmp_path / "a"
    assert place(tmp_path / "b").folder == tmp_path / "b"
    monkeypatch.delenv("TFLITE_PTQ_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    if sys.platform == "linux":
        assert place().folder == tmp_path / "xdg" / "tflite-ptq"


def settle(file: Path) -> os.stat_result:
    """Waits until the file is old enough to be remembered."""
    while time.time() - max(file.stat().st_mtime, file.stat().st_ctime) < 2.05:
        time.sleep(0.05)
    return file.stat()


def test_hashes_are_remembered_until_the_file_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Path] = []
    from tflite_ptq.cache import file_hashes
    from tflite_ptq.fingerprint import sha256_of

    monkeypatch.setattr(file_hashes, "sha256_of", lambda path: calls.append(path) or sha256_of(path))
    file = tmp_path / "x"

    def ask() -> str:
        hashes = FileHashes(tmp_path / "memory", "x")
        digest = hashes.of(file)
        assert hashes.of(file) == digest
        hashes.save()
        return digest

    file.write_text("one")
    first = ask()
    assert ask() == first and len(calls) == 2  # just written: it might change again within a tick of the clock
    before = settle(file)
    ask()
    assert ask() == first and len(calls) == 3
    file.write_text("two")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))  # same size, same mtime
    assert ask() != first and len(calls) == 4
    (memory,) = (tmp_path / "memory").iterdir()
    settle(file)
    ask()
    for damage in (b"", b"{}", memory.read_bytes()[:-5], memory.read_bytes().replace(b"0", b"1")):
        memory.write_bytes(damage)
        assert ask() == sha256_of(file)


def test_entry_json_is_readable(entry: Path, tmp_path: Path) -> None:
    found = json.loads((entry / "entry.json").read_text(encoding="utf-8"))
    assert found["kind"] == "variant" and set(found["files"]) == {"answer.json", "model.tflite", "saved/deep/größe"}
