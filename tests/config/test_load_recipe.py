"""Recipes: inheritance, overrides, and the words for what is wrong."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from ivvit_cli.config import dump_recipe, load_recipe, resolve_shards
from ivvit_cli.errors import RecipeError

BASE = """\
model:
  backbone: vit_tiny_patch16_224
  temporal: {kind: token_shift, fold_div: 8}
data:
  photos: {shards: data/photos, batch: 4}
  my.clips-2:
    shards: data/clips
    batch: 2
    clip: {sample: uniform, frames: 8}
schedule: {iterations: 10}
optim: {lr: 1e-5}
"""


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return write(tmp_path / "base.yaml", BASE)


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def faults(path: Path, overrides: Sequence[str] = ()) -> list[str]:
    with pytest.raises(RecipeError) as caught:
        load_recipe(str(path), overrides)
    return [fault.replace(f"{path.parent}/", "") for fault in caught.value.faults]


def test_a_file_is_read_with_the_defaults(base: Path) -> None:
    recipe = load_recipe(str(base))
    assert recipe.optim.lr == 1e-5
    assert recipe.optim.name == "adamw"
    assert list(recipe.data) == ["photos", "my.clips-2"]


def test_a_dumped_recipe_reads_back_as_equal(base: Path, tmp_path: Path) -> None:
    recipe = load_recipe(str(base), ["description='1e-5: yes'", "optim.betas=[0.9, 0.95]"])
    assert load_recipe(str(write(tmp_path / "dump.yaml", dump_recipe(recipe)))) == recipe


def test_a_recipe_extends_another_by_path_and_by_name(base: Path, tmp_path: Path) -> None:
    child = write(
        tmp_path / "child.yaml",
        "extends: base.yaml\noptim: {weight_decay: 0.1}\ndata:\n  photos: {batch: 8}\n"
        "  new: {shards: data/new, batch: 1}\n",
    )
    recipe = load_recipe(str(child))
    assert (recipe.optim.lr, recipe.optim.weight_decay) == (1e-5, 0.1)
    assert recipe.data["photos"].shards == "data/photos"
    assert [(name, data.batch) for name, data in recipe.data.items()] == [
        ("photos", 8),
        ("my.clips-2", 2),
        ("new", 1),
    ]
    grandchild = write(tmp_path / "grandchild.yaml", "extends: iv-vit\noptim: {lr: 0.5}\n")
    assert load_recipe(str(grandchild)).optim.lr == 0.5


def test_null_takes_an_inherited_dataset_out(base: Path, tmp_path: Path) -> None:
    child = write(tmp_path / "child.yaml", "extends: base.yaml\ndata: {photos: null}\n")
    assert list(load_recipe(str(child)).data) == ["my.clips-2"]
    assert list(load_recipe(str(base), ["data.my.clips-2=null"]).data) == ["photos"]
    assert load_recipe(str(base), ["data.my.clips-2.clip=null"]).data["my.clips-2"].clip is None


def test_null_for_a_dataset_that_is_not_inherited_is_a_fault(base: Path, tmp_path: Path) -> None:
    child = write(tmp_path / "child.yaml", "extends: base.yaml\ndata:\n  phots: null\n")
    (fault,) = faults(child)
    assert fault.startswith("child.yaml:3: data.phots: must be a section")


def test_another_temporal_kind_starts_afresh(base: Path) -> None:
    assert load_recipe(str(base), ["model.temporal.kind=none"]).model.temporal.kind == "none"
    kept = load_recipe(str(base), ["model.temporal.layout=paper"]).model.temporal
    assert kept.model_dump() == {"kind": "token_shift", "fold_div": 8, "layout": "paper"}


def test_circles_are_found(tmp_path: Path) -> None:
    a = write(tmp_path / "a.yaml", "extends: b.yaml\n")
    write(tmp_path / "b.yaml", "\nextends: a.yaml\n")
    assert faults(a) == ["b.yaml:2: extends: goes round in a circle: a -> b -> a"]


def test_a_missing_parent_is_named_where_it_was_asked_for(tmp_path: Path) -> None:
    (fault,) = faults(write(tmp_path / "a.yaml", "\nextends: iv-vti\n"))
    assert fault.startswith("a.yaml:2: extends: no recipe 'iv-vti' — did you mean 'iv-vit'?")


def test_a_fault_is_placed_in_the_file_that_holds_it(base: Path, tmp_path: Path) -> None:
    child = write(tmp_path / "child.yaml", "extends: base.yaml\noptim: {weight_decay: -1}\n")
    write(base, BASE.replace("batch: 4", "batch: 4.5"))
    assert faults(child) == [
        "base.yaml:5: data.photos.batch: must be a whole number, not 4.5",
        "child.yaml:2: optim.weight_decay: must be at least 0.0, not -1",
    ]


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("lr: 1e-5", "lrr: 1e-5, lr: 1", "f.yaml:11: optim.lrr: unknown key — did you mean 'lr'? "),
        ("lr: 1e-5", "lr: '1e-5'", "f.yaml:11: optim.lr: must be a number, not '1e-5'"),
        ("lr: 1e-5", "lr: 0", "f.yaml:11: optim.lr: must be greater than 0.0, not 0"),
        ("lr: 1e-5", "lr: 1, nesterov: yes", "f.yaml:11: optim.nesterov: must be true or false"),
        ("lr: 1e-5", "lr: 1, betas: [0.9]", "f.yaml:11: optim.betas.1: the list is too short"),
        ("lr: 1e-5", "name: sgd", "f.yaml:11: optim.lr: is missing"),
        ("lr: 1e-5", "lr: 1, warmup: 3epp", "f.yaml:11: optim.warmup: must be iterations, or ep"),
        (
            "uniform",
            "unifrm",
            "f.yaml:9: data.my.clips-2.clip.sample: unknown value 'unifrm' — did",
        ),
        ("uniform", "dense", "f.yaml:9: data.my.clips-2.clip: a `dense` clip needs `stride`"),
        ("token_shift", "tokenshift", "f.yaml:3: model.temporal.kind: unknown value 'tokenshift'"),
        ("fold_div", "fold_dvi", "f.yaml:3: model.temporal.fold_dvi: unknown key — did you mean"),
        ("schedule:", "eval: {views: 10}\nschedule:", "f.yaml:10: eval.views: must be CLIPSxCROPS"),
        ("schedule:", "shcedule: 3\nschedule:", "f.yaml:10: shcedule: unknown key — did you mean"),
        (
            "schedule:",
            "lr: 3\nschedule:",
            "f.yaml:10: lr: unknown key here — did you mean optim.lr?",
        ),
        (
            "schedule:",
            "batch: 3\nschedule:",
            "f.yaml:10: batch: unknown key here — did you mean data.NAME.batch or schedule.batch",
        ),
        ("iterations: 10", "kind: sequential", "f.yaml:10: schedule: give either `iterations` or"),
        ("data:", "data: {}\nextra:", "f.yaml:4: data: must not be empty"),
    ],
)
def test_a_fault_has_its_line_its_key_and_plain_words(
    tmp_path: Path, old: str, new: str, fault: str
) -> None:
    assert old in BASE
    path = write(tmp_path / "f.yaml", BASE.replace(old, new))
    assert any(line.startswith(fault) for line in faults(path)), faults(path)


@pytest.mark.parametrize(
    ("override", "fault"),
    [
        ("optim.betas=[0.9, 1.0]", "optim.betas.1: must be less than 1.0, not 1.0"),
        ("optim.momentum=1.0", "optim.momentum: must be less than 1.0"),
        ("optim={nesterov: true, momentum: 0}", "optim: `nesterov` needs `momentum`"),
        ("data.photos.augment.area=[1.0, 0.5]", "data.photos.augment.area: must be the lower"),
        ("data.photos.augment.area=[0, 1]", "data.photos.augment.area.0: must be greater than"),
        ("data.photos.augment.ratio=[-1, 1]", "data.photos.augment.ratio.0: must be greater"),
        ("data.photos.augment.ratio=[2, 1]", "data.photos.augment.ratio: must be the lower"),
        ("data.photos.augment.short_side=[9, 3]", "data.photos.augment.short_side: must be the"),
        ("input.std=[0.5, 0, 0.5]", "input.std.1: must be greater than 0.0, not 0"),
        ("train.seed=-1", "train.seed: must be at least 0, not -1"),
        ("model.temporal={kind: am_flow, blocks: [0]}", "model.temporal.blocks.0: must be greater"),
        ("schedule.sampling={photos: 0}", "schedule.sampling.photos: must be greater than 0.0"),
        ("checkpoint.every=0.0ep", "checkpoint.every: must be iterations, or epochs"),
    ],
)
def test_values_that_would_fail_in_training_are_faults(
    base: Path, override: str, fault: str
) -> None:
    (line,) = faults(base, [override])
    assert line.startswith(f"override `{override}`: {fault}")


def test_the_least_values_that_can_train_are_good(base: Path) -> None:
    recipe = load_recipe(
        str(base),
        [
            "optim={betas: [0, 0], momentum: 0, warmup: 0ep}",
            "data.photos.augment={area: [1, 1], ratio: [1, 1], short_side: [9, 9]}",
            "eval.every=0.05ep",
            "checkpoint.every=10ep",
        ],
    )
    assert recipe.data["photos"].augment.area == (1, 1)


@pytest.mark.parametrize("name", ["a/b", "a@b", "''", "' a'", "-a", "..", "é", "a" * 101])
def test_a_name_that_no_link_can_have_is_a_fault(tmp_path: Path, name: str) -> None:
    (fault,) = faults(write(tmp_path / "f.yaml", BASE.replace("photos:", f"{name}:")))
    assert fault.startswith("f.yaml:5: data.")
    assert "a dataset's name starts with a letter or digit" in fault


def test_faults_come_in_the_order_of_their_lines(tmp_path: Path) -> None:
    text = BASE.replace("batch: 4", "bacth: 4").replace("fold_div: 8", "fold_div: 0")
    text = text.replace("iterations: 10", "iterations: 0").replace("batch: 2", "batch: x")
    lines = faults(write(tmp_path / "f.yaml", text))
    assert [line.split(":")[1] for line in lines] == ["3", "5", "8", "10"]


def test_a_misspelt_key_is_not_missing_too(base: Path, tmp_path: Path) -> None:
    (fault,) = faults(write(tmp_path / "f.yaml", BASE.replace("batch: 4", "bacth: 4")))
    assert fault.startswith("f.yaml:5: data.photos.bacth: unknown key — did you mean 'batch'?")
    text = BASE.replace("shards: data/photos", "flip: 1")
    missing, unknown = faults(write(tmp_path / "g.yaml", text))
    assert missing.startswith("g.yaml:5: data.photos.shards: is missing")
    assert unknown.startswith("g.yaml:5: data.photos.flip: unknown key")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (["data.photos.batch=null"], "`data.photos` needs a `batch`"),
        (["schedule.kind=weighted"], "`batch` belongs to `weighted`, and `weighted` needs it"),
        (["schedule.batch=8"], "`batch` belongs to `weighted`"),
        (["schedule.sampling={photos: 1}"], "names other datasets than `data`: my.clips-2"),
    ],
)
def test_the_keys_of_a_schedule_fit_one_another(base: Path, changes, words: str) -> None:
    (fault,) = faults(base, changes)
    assert words in fault


def test_a_mixture_needs_no_batch_of_its_own(base: Path) -> None:
    changes = ["schedule.kind=weighted", "schedule.batch=8", "data.photos.batch=null"]
    assert load_recipe(str(base), changes).schedule.sampling == "size"
    by_batch = [*changes, "schedule.sampling=batch"]
    assert "`data.photos` needs a `batch`" in faults(base, by_batch)[0]


@pytest.mark.parametrize("name", ["tinyy.yaml", "tiny.yml", "nowhere/tiny"])
def test_a_file_that_is_not_there_is_called_a_file(name: str) -> None:
    with pytest.raises(RecipeError, match=f"^{name}: no such file$"):
        load_recipe(name)


def test_allowed_keys_and_values_are_listed(base: Path) -> None:
    (fault,) = faults(base, ["optim.name=adam"])
    assert fault.endswith("unknown value 'adam' — did you mean 'adamw'? (values: adamw, sgd)")
    (fault,) = faults(base, ["data.photos.bach=3"])
    assert "did you mean 'batch'? (keys: shards, batch, weight, split" in fault


@pytest.mark.parametrize(
    ("override", "fault"),
    [
        ("optim.lrr=3", "override `optim.lrr=3`: optim.lrr: unknown key — did you mean 'lr'?"),
        ("optim.lr=a", "override `optim.lr=a`: optim.lr: must be a number, not 'a'"),
        ("optim.lr", "override `optim.lr`: not of the form key=value"),
        ("=3", "override `=3`: not of the form key=value"),
        ("optim..lr=3", "override `optim..lr=3`: not of the form key=value"),
        ("optim.lr=[", "override `optim.lr=[`:1: not valid YAML"),
        (
            "data.phots.batch=3",
            "override `data.phots.batch=3`: no dataset of that name — did you m",
        ),
        ("data.phots=null", "override `data.phots=null`: no dataset of that name — did you mean '"),
        ("optim=3", "override `optim=3`: optim: must be a section of its own"),
        ("extends=iv-vit", "override `extends=iv-vit`: extends: unknown key"),
    ],
)
def test_a_wrong_override_is_named(base: Path, override: str, fault: str) -> None:
    (line,) = faults(base, [override])
    assert line.startswith(fault)


def test_overrides_are_yaml_and_the_last_wins(base: Path) -> None:
    recipe = load_recipe(
        str(base),
        [
            "optim.lr=3e-5",
            "optim.lr=5e-5",
            "optim.milestones=[5, 7]",
            "data.my.clips-2.batch=8",
            "data.my.clips-2.clip={frames: 4}",
            "data.a.b={shards: data/ab, batch: 1}",
            "model.backbone_args.depth=3",
            "model.weights=hf:owner/model",
        ],
    )
    assert recipe.optim.lr == 5e-5
    assert recipe.optim.milestones == (5, 7)
    clips = recipe.data["my.clips-2"]
    assert clips.batch == 8
    assert clips.clip is not None
    assert (clips.clip.sample, clips.clip.frames) == ("uniform", 4)
    assert list(recipe.data) == ["photos", "my.clips-2", "a.b"]
    assert recipe.model.backbone_args == {"depth": 3}
    assert recipe.model.weights == "hf:owner/model"


@pytest.mark.parametrize("content", [b"\xff\xfe", b"- a\n- b\n", b"5\n", b""])
def test_a_file_that_is_no_recipe(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "f.yaml"
    path.write_bytes(content)
    (fault,) = faults(path)
    assert fault.startswith("f.yaml:1: ")


def test_shards_lie_where_the_variable_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("IVVIT_DATA", raising=False)
    assert resolve_shards("data/ucf101") == Path("data/ucf101")
    monkeypatch.setenv("IVVIT_DATA", "/disk/shards")
    assert resolve_shards("data/ucf101") == Path("/disk/shards/ucf101")
    assert resolve_shards("./data/ucf101") == Path("/disk/shards/ucf101")
    assert resolve_shards("other/ucf101") == Path("other/ucf101")
    assert resolve_shards("/abs/data/ucf101") == Path("/abs/data/ucf101")
