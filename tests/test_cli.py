"""The command line: cheap to start, and every mistake of a user is one line and exit status 2."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import yaml

from semples.cams.store import CamStore
from semples.data import VOC_CLASSES
from semples.recipe import load_recipe, recipe_names
from tests import tiny
from tests.data.builders import Sample, build_voc

pytestmark = pytest.mark.xdist_group("runs")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.draw_photos(tmp_path_factory.mktemp("cli") / "photos", count=4)


QUICK = [f"--set={stage}.epochs=0" for stage in ("warmup", "matching", "prompting", "refinement")]
SMALL = [
    f"--set=generator.{key}"
    for key in ("start=random", "width=16", "depth=1", "heads=2", "patch_size=8", "image_size=16")
]


@pytest.mark.parametrize(
    "code",
    [
        "import semples",
        "import sys; sys.argv = ['semples', '--help']\nfrom semples.cli import main\n"
        "try: main()\nexcept SystemExit: pass",
        "import sys; sys.argv = ['semples', 'recipes', 'show', 'voc']\nfrom semples.cli import main\n"
        "try: main()\nexcept SystemExit: pass",
        "import semples.data, semples.evaluation.curve, semples.cams.store, semples.recipe",
    ],
)
def test_nothing_heavy_is_imported(code: str) -> None:
    code += "\nimport sys\nheavy = {'torch', 'transformers', 'accelerate'} & set(sys.modules)\nassert not heavy, heavy"
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=tiny.environment(), check=False, timeout=60
    )
    assert ended.returncode == 0, ended.stderr


def test_help_names_every_command() -> None:
    text = tiny.invoke("--help").out
    for command in ("run", "train", "cams", "label", "score", "prompts", "status", "data", "recipes", "doctor"):
        assert f" {command} " in text
    assert tiny.invoke("--version").out.strip()


def test_recipes(tmp_path: Path) -> None:
    text = tiny.invoke("recipes", "list").out
    for name in ("voc", "coco", "folder"):
        assert name in text
    text = tiny.invoke("recipes", "show", "coco").out
    assert "matching.lambda_background" in text
    path = tmp_path / "mine.yaml"
    path.write_text(tiny.invoke("recipes", "show", "coco", "--yaml").out, encoding="utf-8")
    assert load_recipe(path) == load_recipe("coco")


def test_doctor() -> None:
    text = tiny.invoke("doctor").out
    for word in ("torch", "transformers", "openai/clip-vit-base-patch32", "model cache"):
        assert word in text


def test_data_check(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "more.csv").write_text("image,tags\np00.png,disc\nnone.png,disc\n", encoding="utf-8")
    tiny.invoke("data", "check", photos, "--tags", tmp_path / "more.csv", "--json", tmp_path / "check.json")
    assert json.loads((tmp_path / "check.json").read_text(encoding="utf-8"))["photos"] == 1


@pytest.mark.parametrize(("classes", "recipe"), [(VOC_CLASSES.names, "voc"), (("cat", "zebra"), "folder")])
def test_the_next_step_after_a_check_fits_the_photos(classes: tuple[str, ...], recipe: str, tmp_path: Path) -> None:
    build_voc(tmp_path / "d", classes, [Sample("a", (70, 70), (classes[0],))])
    if recipe == "voc":
        (tmp_path / "d/classes.txt").unlink()
    said = tiny.invoke("data", "check", tmp_path / "d").out
    assert f"next: semples plan {recipe} --data" in said  # as docs/your-photos.md goes: check, plan, run
    assert f"then: semples run {recipe} --data" in said


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["run", "vox", "--data", "{photos}", "--out", "{out}"], "no such recipe; shipped are"),
        (["run", "voc", "--data", "{photos}/none", "--out", "{out}"], "no such folder"),
        (["run", "voc", "--data", "{photos}/tags.csv", "--out", "{out}"], "not a folder"),
        (["run", "voc", "--data", "{photos}", "--out", "{photos}/tags.csv"], "cannot be written"),
        (["run", "voc", "--data", "{photos}", "--out", "{photos}/tags.csv/deeper"], "cannot be written"),
        (["run", "voc", "--data", "{photos}", "--out", "{out}", "--tags", "none.csv"], "no such tags file"),
        (["run", "voc", "--data", "{photos}", "--out", "{out}", "--until", "cam"], "no such step; the steps are"),
        (
            ["run", "voc", "--data", "{photos}", "--out", "{out}", "--set", "matching.epoch=1"],
            "did you mean matching.epochs?",
        ),
        (["run", "voc", "--data", "{photos}", "--out", "{out}", "--set", "matching"], "write key=value"),
        (
            ["run", "voc", "--data", "{photos}", "--out", "{out}", "--set", "generator.start=a/b/c"],
            "no such file or folder",
        ),
        (["status", "{out}"], "no run here"),
        (["train", "warmup", "--out", "{out}"], "name the photos with --data"),
        (["cams", "{out}"], "name the photos with --data"),
        (["label", "{out}", "--threshold", "2", "--data", "{photos}"], "out of range"),
        (
            ["label", "{out}", "--cams", "{photos}", "--data", "{photos}"],
            "no CAMs of the photo",
        ),
        (["score", "{out}", "--labels", "{photos}/none", "--data", "{photos}"], "no such label map"),
        (["prompts", "{out}"], "no run here"),
        (["recipes", "show", "none.yaml"], "no such recipe"),
        (["data", "check", "{photos}/none"], "no such folder"),
    ],
)
def test_mistakes_are_one_line(arguments: list[str], hint: str, photos: Path, tmp_path: Path) -> None:
    line = tiny.refused(*[word.format(photos=photos, out=tmp_path / "out") for word in arguments])
    assert hint in line


@pytest.mark.parametrize(
    ("setting", "hint"),
    [
        ("generator.kind=resnet", "there are weaktr"),
        ("generator.heads=3", "heads"),
        ("generator.image_size=8", "patch"),
        ("data.split=nope", "nope"),
        ("warmup.accumulate=9", "lower accumulate"),
        ("run.precision=fp16", "needs a GPU"),
    ],
)
def test_settings_that_do_not_go_together_are_one_line(setting: str, hint: str, photos: Path, tmp_path: Path) -> None:
    command = ["run", "folder", "--data", photos, "--out", tmp_path / "out", "--until", "warmup", *SMALL]
    change = ["--set=generator.patch_size=16"] if "image_size" in setting else []
    line = tiny.refused(*command, "--set=warmup.epochs=1", "--set=data.workers=0", *change, "--set", setting)
    assert hint in line


def test_models_that_are_not_there(photos: Path, tmp_path: Path) -> None:
    """Without network and with an empty cache one line says which file to put where (a process of its own, since the
    hub's library reads its settings once)."""
    environment = tiny.environment() | {"HF_HOME": str(tmp_path / "empty")}
    command = [
        sys.executable,
        "-m",
        "semples",
        "run",
        "folder",
        "--data",
        photos,
        "--out",
        tmp_path / "out",
        "--set=warmup.epochs=0",
    ]
    for more, repo in ((SMALL, "openai/clip-vit-base-patch32"), ([], "timm/deit_small_patch16_224.fb_in1k")):
        ended = subprocess.run(
            list(map(str, [*command, *more])), capture_output=True, text=True, env=environment, check=False, timeout=120
        )
        assert ended.returncode == 2
        line = ended.stderr.splitlines()[-1]
        assert line.startswith("semples: ")
        assert repo in line
        assert "local cache" in line
        assert "put them into a folder" in line
        assert "Traceback" not in ended.stderr
    (tmp_path / "folder").mkdir()
    line = tiny.refused(
        "run", "folder", "--data", photos, "--out", tmp_path / "o", f"--set=generator.start={tmp_path}/folder"
    )
    assert "model.safetensors" in line


class Bomb:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (str(self.path), "w")


def test_hostile_cams_run_nothing(photos: Path, tmp_path: Path) -> None:
    went_off, cams = tmp_path / "went off", tmp_path / "cams"
    cams.mkdir()
    for path in photos.glob("p*.png"):
        np.save(cams / f"{path.stem}.npy", np.array({0: Bomb(went_off)}, dtype=object), allow_pickle=True)
    for command in ("label", "score"):
        line = tiny.refused(command, tmp_path / "out", "--cams", cams, "--data", photos)
        assert str(cams) in line
    assert not went_off.exists()


@pytest.fixture
def wrecked(tmp_path: Path) -> Path:
    """Seven photos, and cams and labels of their masks; all but p00, p04 and p06 have something wrong."""
    photos = tiny.draw_photos(tmp_path / "photos", count=7)
    (tmp_path / "labels").mkdir()
    store = CamStore(tmp_path / "cams")
    for path in sorted((photos / "masks").iterdir()):
        mask = tiny.pixels(path)
        cams = {label - 1: (mask == label).astype(np.float32) for label in (1, 2) if (mask == label).any()}
        store.write(path.stem, {7: np.ones(mask.shape, np.float32)} if path.stem == "p03" else cams, mask.shape)
        tiny.save(tmp_path / "labels" / path.name, mask)
    (photos / "p01.png").write_text("no photo at all", encoding="utf-8")
    whole = (tmp_path / "cams/p02.npz").read_bytes()
    (tmp_path / "cams/p02.npz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "cams/p05.npz").unlink()
    (tmp_path / "labels/p02.png").write_text("no label map", encoding="utf-8")
    tiny.save(tmp_path / "labels/p03.png", np.zeros((3, 3), np.uint8))
    (tmp_path / "labels/p05.png").unlink()
    return tmp_path


WRONG = ("photos/p01.png: not a photo", "cams/p02.npz: broken", "p03: class index 7", "no CAMs of the photo p05")


def said_of(ended: tiny.Result, where: Path) -> None:
    """Status 1, one line each that names what failed, the first of them again as the last line, no traceback."""
    assert ended.code == 1, ended.err
    assert "4 set aside:" in ended.out
    for what in WRONG:
        assert len([line for line in ended.out.splitlines() if what in line]) == 1, what
    last = ended.err.splitlines()[-1]
    assert last.startswith(f"semples: {where}/photos/p01.png: not a photo")
    assert "(and 3 more, listed above)" in last
    assert "Traceback" not in ended.out + ended.err


@pytest.mark.parametrize("method", ["threshold", "crf", "regions"])
def test_labels_go_on_past_photos_and_cams_of_no_use(method: str, wrecked: Path) -> None:
    out = wrecked / "out"
    proposals = "--set=regions.proposals=slic"
    command = ["label", out, "--cams", wrecked / "cams", "--data", wrecked / "photos", "--method", method, proposals]
    ended = tiny.invoke(*command, check=False)
    said_of(ended, wrecked)
    assert {path.stem for path in out.glob("*.png")} == {"p00", "p04", "p06"}
    assert {path.stem for path in out.glob("confidence/*.png")} == {"p00", "p04", "p06"}
    if method == "threshold":
        for name in ("p00", "p04", "p06"):
            np.testing.assert_array_equal(tiny.pixels(out / f"{name}.png"), tiny.pixels(wrecked / f"labels/{name}.png"))


def test_scores_go_on_past_files_of_no_use(wrecked: Path) -> None:
    data = ["--data", wrecked / "photos"]
    ended = tiny.invoke("score", wrecked / "out", "--cams", wrecked / "cams", *data, check=False)
    said_of(ended, wrecked)
    assert "best mIoU 100.00" in ended.out  # of the three photos whose CAMs are their masks
    ended = tiny.invoke("score", wrecked / "out", "--labels", wrecked / "labels", *data, check=False)
    assert ended.code == 1
    for what in (
        "p01.png: not a photo",
        "p02.png: not a picture",
        "p03.png: ground truth is",
        "p05.png: no such label",
    ):
        assert len([line for line in ended.out.splitlines() if what in line]) == 1, what
    assert "100.00" in ended.out


def test_label_as_a_process_ends_with_status_1(wrecked: Path) -> None:
    command = ["label", wrecked / "out", "--cams", wrecked / "cams", "--data", wrecked / "photos"]
    ended = tiny.semples(*command, check=False)
    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("form", ["pickle", "torch", "zip"])
def test_hostile_weights_run_nothing(form: str, photos: Path, tmp_path: Path) -> None:
    import pickle

    import torch

    went_off, path = tmp_path / "went off", tmp_path / "weights.pth"
    content = {"model": {"head.weight": torch.zeros(1)}, "args": Bomb(went_off)}
    if form == "torch":
        torch.save(content, path)
    elif form == "pickle":
        path.write_bytes(pickle.dumps(content["args"]))
    else:
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as file:
            file.writestr("archive/data.pkl", pickle.dumps(Bomb(went_off)))
            file.writestr("archive/version", "3\n")
        path.write_bytes(packed.getvalue())
    command = ["--data", photos, "--out", tmp_path / "out", *SMALL, "--set", f"generator.start={path}"]
    assert str(path) in tiny.refused("run", "folder", *command, "--until", "warmup")
    assert str(path) in tiny.refused("cams", tmp_path / "two", "--weights", path, "--data", photos, *SMALL)
    assert not went_off.exists()


def test_a_recipe_that_is_not_one(photos: Path, tmp_path: Path) -> None:
    for text, hint in (
        ("- a\n- b\n", "key: value"),
        ("a: [1,", "not valid YAML"),
        ("matching: 3", "group of settings"),
        ("run: !!python/object/apply:os.system ['touch x']", "not valid YAML"),
    ):
        path = tmp_path / "recipe.yaml"
        path.write_text(text, encoding="utf-8")
        assert hint in tiny.refused("run", path, "--data", photos, "--out", tmp_path / "out")
    path.write_bytes(b"\xff\xfe\x00bad")
    assert "UTF-8" in tiny.refused("run", path, "--data", photos, "--out", tmp_path / "out")


def test_every_recipe_is_listed_as_it_is() -> None:
    for name in recipe_names():
        assert yaml.safe_load(tiny.invoke("recipes", "show", name, "--yaml").out)["name"] == name
