"""The digest of all photos at a glance: the same as by listing them, and never an old one."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semples.data.listing import stamp
from semples.recipe import DataSettings
from semples.run.photos import AT_A_GLANCE, Source, digest_at_a_glance, listed, photos_digest
from tests import tiny


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return tiny.draw_photos(tmp_path / "photos", count=4)


class Asked:
    """A run's folder that is asked for the digest, and how often photos had to be listed for it."""

    def __init__(self, photos: Path, out: Path, **source: Path) -> None:
        self.source, self.out, self.listings = Source(photos, **source), out, 0
        out.mkdir(exist_ok=True)

    def digest(self, **changes: object) -> str:
        data = DataSettings(**changes)  # type: ignore[arg-type]

        def listing():
            self.listings += 1
            return listed(self.source, data)

        now = digest_at_a_glance(self.source, data, self.out, listing=listing, save=True)
        assert now == photos_digest(listed(self.source, data), self.out / "other.json", save=False)
        return now


def other_photo(folder: Path) -> None:
    one, two, *_ = sorted(folder.glob("*.png"))
    one.write_bytes(two.read_bytes())


def other_tags(folder: Path) -> None:
    tags = folder / "tags.csv"
    header, _, *rest = tags.read_text(encoding="utf-8").splitlines()
    tags.write_text("\n".join([header, "p00.png,disc;square", *rest]) + "\n", encoding="utf-8")


def fewer_photos(folder: Path) -> None:
    (folder / "p01.png").unlink()


def a_list_of_classes(folder: Path) -> None:
    (folder / "classes.txt").write_text("square\ndisc\n", encoding="utf-8")


@pytest.mark.parametrize("change", [other_photo, other_tags, fewer_photos, a_list_of_classes])
def test_whatever_changes_is_seen_and_what_does_not_is_not_listed(
    photos: Path, tmp_path: Path, change: Callable[[Path], None]
) -> None:
    asked = Asked(photos, tmp_path / "run")
    before = asked.digest()
    assert asked.digest() == before
    assert asked.listings == 1
    change(photos)
    after = asked.digest()
    assert after != before
    assert asked.digest() == after
    assert asked.listings == 2


def test_files_beside_the_folder_and_settings_count(photos: Path, tmp_path: Path) -> None:
    tags = tmp_path / "mine.csv"
    tags.write_bytes((photos / "tags.csv").read_bytes())
    asked = Asked(photos, tmp_path / "run", tags=tags)
    before = asked.digest()
    assert asked.digest(bits=12) == before  # no digest depends on it, but a listing might
    assert asked.listings == 2
    asked.digest()
    lines = tags.read_text(encoding="utf-8").splitlines()
    tags.write_text("\n".join(lines[:-1]) + "\n", encoding="utf-8")
    assert asked.digest() != before


def test_a_photo_behind_a_link_is_followed(photos: Path, tmp_path: Path) -> None:
    asked = Asked(photos, tmp_path / "run")
    before = asked.digest()
    one = photos / "p00.png"
    kept = one.read_bytes()
    one.unlink()
    os.symlink(tmp_path / "later.bin", one)
    (tmp_path / "later.bin").write_bytes(kept)
    assert asked.digest() == before
    (tmp_path / "later.bin").write_bytes(b"other")
    assert asked.digest() != before


def test_a_damaged_note_is_made_again(photos: Path, tmp_path: Path) -> None:
    asked = Asked(photos, tmp_path / "run")
    before = asked.digest()
    for text in ("{", "[]", '{"stamp": 1}', '{"stamp": "x", "photos": 3}'):
        (asked.out / AT_A_GLANCE).write_text(text, encoding="utf-8")
        assert asked.digest() == before


@settings(max_examples=25, deadline=None)
@given(names=st.lists(st.sampled_from(["a", "b/c", "b/d", ".e", "f/.g"]), unique=True), size=st.integers(0, 3))
def test_a_stamp_is_of_all_files_but_hidden_ones(
    tmp_path_factory: pytest.TempPathFactory, names: list[str], size: int
) -> None:
    folder = tmp_path_factory.mktemp("files")
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"x" * size)
        os.utime(folder / name, ns=(5, 5))
    before = stamp(folder)
    assert stamp(folder) == before
    for name in names:
        os.utime(folder / name, ns=(5, 6))
        hidden = "." in name
        assert (stamp(folder) == before) == hidden
        os.utime(folder / name, ns=(5, 5))
