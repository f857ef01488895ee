"""The benchmark of methods: every variant is a recipe that loads, and a cell is run once and shown."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

import combine
import methods
from methods_variants import CHANGES, GENERATORS, JUDGES, Photos, about
from semples.core.files import read_json
from semples.data.dataset import open_dataset


def variants() -> list[str]:
    return [*GENERATORS, *(f"weaktr@{judge}" for judge in JUDGES), *(f"weaktr+{change}" for change in CHANGES)]


def test_every_variant_is_a_recipe_that_loads(tmp_path: Path) -> None:
    recipes = {variant: Photos(6, 3).run(tmp_path, variant).recipe for variant in variants()}
    assert recipes["weaktr+classes-prompts"].cams.affinity.prompts
    assert recipes["weaktr+two-scales"].matching.mask_scales == (1, 1.5)
    assert recipes["weaktr@web"].generator.start == "shipped:demo_vit_web"
    assert recipes["reproduction"].warmup.kind == "reproduction"
    same = [name for name in variants() if recipes[name] == recipes["weaktr"]]
    assert same == ["weaktr", "weaktr@clip", "weaktr+regions"], "others that change nothing"
    assert len({about(variant) for variant in variants()}) == len(variants()) - 1


@pytest.fixture
def real(tmp_path: Path) -> Path:
    folder, lines = tmp_path / "real", ["image,tags"]
    for index in range(12):
        for part, mode, end in (("photos", "RGB", "jpg"), ("masks", "P", "png")):
            path = folder / part / f"{index}.{end}"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new(mode, (24, 16), 1 + index % 2 if mode == "P" else (9 * index, 80, 99)).save(path)
        lines.append(f"photos/{index}.jpg,{('red car', 'tree')[index % 2]}")
    (folder / "tags.csv").write_text("\n".join(lines), encoding="utf-8")
    (folder / "classes.txt").write_text("red car\ntree\n", encoding="utf-8")
    return folder


def test_photos_of_a_split_are_those_of_the_other_programs(real: Path, tmp_path: Path) -> None:
    folder = Photos(3, 0, real, "report").folder(tmp_path / "work")
    items = open_dataset(folder).items
    assert len(items) == 3
    whole = {item.id.rpartition("/")[2]: item for item in open_dataset(real).items}
    for item in items:
        assert item.mask is not None
        assert item.tags == whole[item.id.rpartition("/")[2]].tags
    assert not {item.id for item in items} & {item.id for item in open_dataset(_other(real, tmp_path)).items}


def _other(real: Path, tmp_path: Path) -> Path:
    return Photos(3, 0, real, "develop").folder(tmp_path / "work")


def test_a_cell_without_training_is_run_once_and_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(methods, "RESULTS", tmp_path / "results")
    for _ in range(2):
        methods.run(tmp_path, Photos(6, 3), ["clip-kk"], labels=False)
    (path,) = (tmp_path / "results").iterdir()
    stored = read_json(path)
    assert 0 < stored["cams"]["untrained"]["miou"] < 100
    assert capsys.readouterr().out.count("clip-kk-s3-n6-cams.json") == 1
    methods.show()
    assert f"| s3-n6 |  |  |  | {stored['cams']['untrained']['miou']:.1f} |" in capsys.readouterr().out


def test_label_maps_of_two_variants_are_combined(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(methods, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(combine, "RESULTS", tmp_path / "combined")
    photos = Photos(6, 3)
    methods.run(tmp_path, photos, ["clip-kk", "clip-gradient"], labels=True)
    combine.run(tmp_path, photos.name, ["clip-kk", "clip-gradient"])
    cell = read_json(tmp_path / "combined" / "s3-n6-clip-kk-clip-gradient.json")
    measured = [read_json(tmp_path / "results" / f"{name}-s3-n6.json")["labels"]["miou"] for name in cell["sources"]]
    assert cell["alone"] == pytest.approx(measured, abs=0.01)
    assert cell["agree"]["miou"] > max(cell["alone"]), "pixels on which two agree are the surer ones"
    assert 0 < cell["agree"]["share"] < 1
    combine.show()
    assert "clip-kk + clip-gradient" in capsys.readouterr().out
