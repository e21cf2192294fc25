"""The layouts of the larger datasets, on stand-ins: listing does not look into the videos."""

import json
from pathlib import Path

import pytest
from media import make_frames, write_image

from shards.convert.items import Listing
from shards.convert.sources import list_source, mini_kinetics
from shards.errors import InputError, UsageError


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"listing does not look inside")


def write(root: Path, files: dict[str, str]) -> None:
    root.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (root / name).write_text(text)


def rows(listing: Listing) -> set[tuple[str, str, str]]:
    return {(item.split, listing.classes[item.label], item.source) for item in listing.items}


HEADER = "label,youtube_id,time_start,time_end,split\n"


@pytest.fixture
def kinetics(tmp_path: Path) -> Path:
    """A Kinetics of 4 classes: 400 labels in its map, 2 of 4 videos, one row twice."""
    root = tmp_path / "k"
    names = sorted(["yoga", "arm wrestling", *(f"class {n:03d}" for n in range(398))])
    (root / "annotations").mkdir(parents=True)
    (root / "annotations/label_map_k400.txt").write_text("\n".join(names) + "\n")
    lines = [
        "yoga,aaaaaaaaaaa,0,10,val",
        "arm wrestling,bbbbbbbbbbb,7,17,val",
        "class 007,ccccccccccc,1,11,val",
        "yoga,aaaaaaaaaaa,0,10,val",
    ]
    (root / "annotations/kinetics-400_val.csv").write_text(HEADER + "\n".join(lines))
    (root / "annotations/kinetics-400_val_8videos.csv").write_text(HEADER + lines[0])
    touch(root, "val/yoga/aaaaaaaaaaa_000000_000010.mp4", "bbbbbbbbbbb_000007_000017.mp4")
    return root


def test_kinetics400_has_all_its_classes_in_the_order_of_the_label_map(kinetics: Path) -> None:
    listing = list_source("kinetics400", kinetics)
    assert (listing.name, len(listing.classes)) == ("kinetics400", 400)
    assert listing.classes[0] == "arm wrestling"
    assert listing.classes[399] == "yoga"
    assert listing.class_source == "annotations/label_map_k400.txt"
    assert [item.label for item in listing.items] == [399, 0]
    assert [item.source for item in listing.missing] == ["class 007/ccccccccccc_000001_000011"]
    assert listing.duplicates == {"val": 1}


def test_kinetics400_in_class_folders_with_underscores(kinetics: Path) -> None:
    (kinetics / "annotations/kinetics-400_val.csv").unlink()
    touch(kinetics, "val/arm_wrestling/bbbbbbbbbbb_000007_000017.mp4")
    listing = list_source("kinetics400", kinetics)
    assert {(listing.classes[item.label], item.path.name[0]) for item in listing.items} == {
        ("arm wrestling", "b"),
        ("yoga", "a"),
    }


@pytest.mark.parametrize(("source", "count"), [("kinetics400", 3), ("kinetics600", 400)])
def test_a_kinetics_without_all_its_classes_is_refused(kinetics, source, count) -> None:
    label_map = kinetics / "annotations/label_map_k400.txt"
    label_map.rename(label_map.with_name("label_map_k600.txt"))
    if source == "kinetics400":
        label_map.with_name("label_map_k600.txt").unlink()
    with pytest.raises(InputError, match=f"has {count} classes, not {source[-3:]}") as caught:
        list_source(source, kinetics)
    assert f"label_map_k{source[-3:]}.txt" in caught.value.hint


def test_a_label_that_no_label_map_has_is_refused(kinetics: Path) -> None:
    path = kinetics / "annotations/label_map_k400.txt"
    path.write_text(path.read_text().replace("yoga", "hot yoga"))
    with pytest.raises(InputError, match="yoga is not a label of annotations/label_map_k400"):
        list_source("kinetics400", kinetics)


def test_kinetics_without_a_map_sorts_the_labels_of_its_csv(kinetics: Path) -> None:
    label_map = kinetics / "annotations/label_map_k400.txt"
    names = label_map.read_text().splitlines()
    label_map.unlink()
    lines = [f"{name},id,{place},10,val" for place, name in enumerate(reversed(names))]
    (kinetics / "annotations/validate.csv").write_text(HEADER + "\n".join(lines))
    listing = list_source("kinetics400", kinetics)
    assert listing.classes == tuple(names)
    assert listing.class_source == "labels of the csv, sorted"


def test_mini_kinetics_is_what_its_two_lists_name(kinetics: Path, monkeypatch) -> None:
    monkeypatch.setattr(mini_kinetics, "CLASSES", 2)
    write(
        kinetics / "mini-kinetics-200",
        {
            "train_ytid_list.txt": "ccccccccccc\nnot-in-a-csv\n",
            "val_ytid_list.txt": "aaaaaaaaaaa\n",
        },
    )
    listing = list_source("mini-kinetics", kinetics)
    assert listing.classes == ("class 007", "yoga")
    assert rows(listing) == {("val", "yoga", "val/yoga/aaaaaaaaaaa_000000_000010.mp4")}
    assert [(row.source, row.split) for row in listing.missing] == [
        ("class 007/ccccccccccc_000001_000011", "train"),
        ("not-in-a-csv", "train"),
    ]


def test_mini_kinetics_needs_both_lists_and_200_classes(kinetics: Path) -> None:
    with pytest.raises(InputError, match=r"has no train_ytid_list\.txt"):
        list_source("mini-kinetics", kinetics)
    for name in ("train", "val"):
        (kinetics / f"annotations/{name}_ytid_list.txt").write_text("aaaaaaaaaaa\n")
    with pytest.raises(InputError, match="have 1 classes, not 200"):
        list_source("mini-kinetics", kinetics)


@pytest.fixture
def hmdb51(tmp_path: Path) -> Path:
    """HMDB51 in its official layout: 2 classes, one video in no list of split 1, one absent."""
    root = tmp_path / "h"
    lists = root / "testTrainMulti_7030_splits"
    lists.mkdir(parents=True)
    (lists / "golf_test_split1.txt").write_text("a b_golf_1.avi 1 \nc_golf_2.avi 2 \n")
    (lists / "wave_test_split1.txt").write_text("d_wave.avi 1 \ne_wave.avi 0 \ngone.avi 2 \n")
    (lists / "wave_test_split2.txt").write_text("d_wave.avi 2 \n")
    (lists / "golf_test_split2.txt").write_text("c_golf_2.avi 1 \n")
    touch(root, "golf/a b_golf_1.avi", "golf/c_golf_2.avi", "wave/d_wave.avi", "wave/e_wave.avi")
    return root


def test_hmdb51_follows_the_official_lists_of_a_fold(hmdb51: Path) -> None:
    listing = list_source("hmdb51", hmdb51)
    assert listing.classes == ("golf", "wave")
    assert rows(listing) == {
        ("train", "golf", "golf/a b_golf_1.avi"),
        ("train", "wave", "wave/d_wave.avi"),
        ("test", "golf", "golf/c_golf_2.avi"),
    }
    assert [item.source for item in listing.missing] == ["wave/gone.avi"]
    assert listing.notes == ("fold 1 of 3",)
    second = list_source("hmdb51", hmdb51, fold=2)
    assert {(item.split, item.key) for item in second.items} == {
        ("train", "c_golf_2"),
        ("test", "d_wave"),
    }
    with pytest.raises(UsageError, match="fold 4"):
        list_source("hmdb51", hmdb51, fold=4)


def test_hmdb51_with_two_lists_counts_its_labels_from_one(hmdb51: Path) -> None:
    lists = hmdb51 / "splits"
    (hmdb51 / "testTrainMulti_7030_splits").rename(hmdb51 / "unused")
    write(lists, {"trainlist01.txt": "d_wave 2\n", "testlist01.txt": "c_golf_2 1\n"})
    (hmdb51 / "label_map.txt").write_text("golf\nwave\n")
    listing = list_source("hmdb51", hmdb51)
    assert rows(listing) == {
        ("train", "wave", "wave/d_wave.avi"),
        ("test", "golf", "golf/c_golf_2.avi"),
    }
    (lists / "testlist01.txt").write_text("c_golf_2 0\n")
    with pytest.raises(InputError, match=r"testlist01.txt:1: expected `NAME 1…2`"):
        list_source("hmdb51", hmdb51)


def test_a_damaged_hmdb51_list_is_refused_with_its_line(hmdb51: Path) -> None:
    path = hmdb51 / "testTrainMulti_7030_splits/wave_test_split1.txt"
    for line in ("d_wave.avi 3", "../d_wave.avi 1", "d_wave.avi"):
        path.write_text(f"d_wave.avi 1\n{line}\n")
        with pytest.raises(InputError, match=r"wave_test_split1.txt:2: expected"):
            list_source("hmdb51", hmdb51)


@pytest.fixture
def ssv2(tmp_path: Path) -> Path:
    root = tmp_path / "s"
    (root / "labels").mkdir(parents=True)
    templates = {"Spinning [something] fast": "1", "Moving [something] from left to right": "0"}
    labels = {name.replace("[", "").replace("]", ""): n for name, n in templates.items()}
    first, second = templates
    lists = {
        "labels": labels,
        "train": [{"id": "7", "template": first}, {"id": "8", "template": second}],
        "validation": [{"id": "9", "template": second, "label": "moving a cup"}],
        "test": [{"id": "10"}, {"id": "11"}],
    }
    for name, document in lists.items():
        (root / f"labels/{name}.json").write_text(json.dumps(document))
    touch(root, "20bn-something-something-v2/7.webm", "20bn-something-something-v2/9.webm")
    return root


def test_ssv2_takes_the_class_from_the_template(ssv2: Path) -> None:
    listing = list_source("ssv2", ssv2)
    assert listing.classes == (
        "Moving something from left to right",
        "Spinning something fast",
    )
    assert rows(listing) == {
        ("train", "Spinning something fast", "20bn-something-something-v2/7.webm"),
        ("val", "Moving something from left to right", "20bn-something-something-v2/9.webm"),
    }
    assert [item.source for item in listing.missing] == ["20bn-something-something-v2/8.webm"]
    assert listing.flip_unsafe == ("Moving something from left to right",)
    assert listing.notes == ("test: 2 videos without labels, not sharded",)


def test_ssv2_with_its_long_names_beside_the_videos_and_without_train(ssv2: Path) -> None:
    for name in ("labels", "validation"):
        path = ssv2 / f"labels/{name}.json"
        path.rename(ssv2 / f"something-something-v2-{name}.json")
    for path in (ssv2 / "labels").iterdir():
        path.unlink()
    (ssv2 / "labels").rmdir()
    (ssv2 / "20bn-something-something-v2").rename(ssv2 / "old")
    (ssv2 / "old/9.webm").rename(ssv2 / "9.webm")
    listing = list_source("ssv2", ssv2)
    assert [item.source for item in listing.items] == ["9.webm"]
    assert listing.notes == ("train.json is not there",)


@pytest.mark.parametrize(
    ("file", "document", "message"),
    [
        ("train", [{"id": "7"}], "train.json: entry 1 has no id and template"),
        ("train", [{"id": "7", "template": "Eating"}], "`Eating`, is not in labels.json"),
        ("train", [{"id": "../7", "template": "Spinning [something] fast"}], "entry 1"),
        ("train", {}, "does not hold a list"),
        ("labels", {"a": "1"}, "from 0 without gaps"),
        ("labels", {"a": "x"}, "does not number its templates"),
    ],
)
def test_a_damaged_ssv2_list_is_refused(ssv2: Path, file, document, message) -> None:
    (ssv2 / f"labels/{file}.json").write_text(json.dumps(document))
    with pytest.raises(InputError, match=message):
        list_source("ssv2", ssv2)


@pytest.fixture
def moments(tmp_path: Path) -> Path:
    root = tmp_path / "m"
    root.mkdir()
    (root / "moments_categories.txt").write_text("clapping,1\nblocking,0\n")
    (root / "trainingSet.csv").write_text(
        "blocking/getty-karate_4.mp4,blocking,3,0\nclapping/a,b_1.mp4,clapping,2,1\n"
    )
    (root / "validationSet.csv").write_text("vine_3.mp4,clapping,3,0\ngone.mp4,clapping,3,0\n")
    touch(root, "training/blocking/getty-karate_4.mp4", "training/clapping/a,b_1.mp4")
    touch(root, "validation/clapping/vine_3.mp4")
    return root


def test_moments_numbers_its_classes_by_its_categories(moments: Path) -> None:
    listing = list_source("moments", moments)
    assert listing.classes == ("blocking", "clapping")
    assert rows(listing) == {
        ("train", "blocking", "training/blocking/getty-karate_4.mp4"),
        ("train", "clapping", "training/clapping/a,b_1.mp4"),
        ("val", "clapping", "validation/clapping/vine_3.mp4"),
    }
    assert [item.source for item in listing.missing] == ["validation/clapping/gone.mp4"]


def test_a_damaged_moments_list_is_refused(moments: Path) -> None:
    (moments / "trainingSet.csv").write_text("a.mp4,clapping,3,0\na.mp4,praying,3,0\n")
    with pytest.raises(InputError, match=r"trainingSet.csv:2: `praying` is not in"):
        list_source("moments", moments)
    (moments / "moments_categories.txt").write_text("clapping,1\nblocking,2\n")
    with pytest.raises(InputError, match="count from 0 without gaps"):
        list_source("moments", moments)


SMARTHOME = {  # subject and camera of each clip decide its split
    "Walk_p03_r00_v02_c01": ("train", "train", "train"),
    "Walk_p02_r01_v02_c02": ("test", "test", "test"),
    "Enter_p25_r00_v01_c03": ("train", None, "train"),
    "Enter_p20_r00_v01_c05": ("test", "val", "val"),
    "Cook.Cut_p04_r00_v00_c01": ("train", None, None),
    "Pour.Fromcup_p03_r00_v02_c01": (None, None, None),
}


@pytest.mark.parametrize(("place", "protocol"), [(0, "cs"), (1, "cv1"), (2, "cv2")])
def test_smarthome_splits_by_subject_or_camera(tmp_path: Path, place, protocol) -> None:
    touch(tmp_path, *(f"mp4/{name}.mp4" for name in SMARTHOME), "mp4/readme.txt")
    listing = list_source("smarthome", tmp_path, protocol=protocol)
    assert {item.path.stem: item.split for item in listing.items} == {
        name: splits[place] for name, splits in SMARTHOME.items() if splits[place]
    }
    assert all(listing.classes[i.label] == i.path.name.split("_")[0] for i in listing.items)
    assert len(listing.classes) == (31 if protocol == "cs" else 19)
    assert list(listing.classes) == sorted(listing.classes, key=str.lower)
    assert "not sharded: 1 files without a name of the dataset" in listing.notes
    assert any("Pour.Fromcup" in note for note in listing.notes)


def test_smarthome_protocols(tmp_path: Path) -> None:
    touch(tmp_path, "Walk_p03_r00_v02_c01.mp4")
    assert len(list_source("smarthome", tmp_path).classes) == 31
    with pytest.raises(UsageError, match="protocol cv3: use one of cs, cv1, cv2"):
        list_source("smarthome", tmp_path, protocol="cv3")
    with pytest.raises(UsageError, match="only smarthome has protocols"):
        list_source("ssv2", tmp_path, protocol="cs")


def test_jester_pairs_ids_and_labels_and_knows_its_rate(tmp_path: Path) -> None:
    names = "Swiping Left\nTurning Hand Counterclockwise\nThumb Up\n"
    (tmp_path / "jester-v1-labels.csv").write_text(names)
    (tmp_path / "jester-v1-train.csv").write_text("34;Thumb Up\n35;Swiping Left\n")
    (tmp_path / "jester-v1-test.csv").write_text("36\n37\n")
    touch(tmp_path, *(f"20bn-jester-v1/34/{n:05d}.jpg" for n in (1, 2, 3)))
    listing = list_source("jester", tmp_path)
    (item,) = listing.items
    assert (item.key, item.split, listing.classes[item.label]) == ("34", "train", "Thumb Up")
    assert (item.frames.count, item.frames.fps) == (3, 12.0)
    assert item.size == 3 * len(b"listing does not look inside")
    assert [row.source for row in listing.missing] == ["20bn-jester-v1/35"]
    assert listing.flip_unsafe == ("Swiping Left", "Turning Hand Counterclockwise")
    assert listing.notes == (
        "jester-v1-validation.csv is not there",
        "test: 2 videos without labels, not sharded",
        "12 frames per second",
    )
    (tmp_path / "jester-v1-train.csv").write_text("34;Thumb Up\n35;Waving\n")
    with pytest.raises(InputError, match=r"train.csv:2: expected `ID;LABEL`, found `35;Waving`"):
        list_source("jester", tmp_path)


@pytest.fixture
def imagenet(tmp_path: Path) -> Path:
    root = tmp_path / "i"
    mapping = "n00000001 crane, bird\nn00000003 cup\nn00000002 crane, machine\n"
    root.mkdir()
    (root / "LOC_synset_mapping.txt").write_text(mapping)
    top = root / "ILSVRC/Data/CLS-LOC"
    write_image(top / "train/n00000002/n00000002_1.JPEG", make_frames(1)[0])
    write_image(top / "val/ILSVRC2012_val_00000001.JPEG", make_frames(1)[0])
    (root / "LOC_val_solution.csv").write_text(
        "ImageId,PredictionString\n"
        "ILSVRC2012_val_00000001,n00000003 1 2 3 4 n00000003 5 6 7 8\n"
        "ILSVRC2012_val_00000002,n00000001 1 2 3 4 \n"
    )
    return root


VAL = ("val", "cup", "ILSVRC/Data/CLS-LOC/val/ILSVRC2012_val_00000001.JPEG")


def test_imagenet_in_its_kaggle_layout(imagenet: Path) -> None:
    listing = list_source("imagenet", imagenet)
    assert listing.classes == ("crane, bird", "crane, machine", "cup")
    assert rows(listing) == {
        ("train", "crane, machine", "ILSVRC/Data/CLS-LOC/train/n00000002/n00000002_1.JPEG"),
        VAL,
    }
    assert [Path(row.source).name for row in listing.missing] == ["ILSVRC2012_val_00000002.JPEG"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("val.txt", "ILSVRC2012_val_00000001.JPEG 2\n"),
        ("val.txt", "ILSVRC2012_val_00000001.JPEG n00000003\n"),
        ("imagenet_2012_validation_synset_labels.txt", "n00000003\nn00000001\n"),
    ],
)
def test_imagenet_with_another_list_of_val(imagenet: Path, name: str, text: str) -> None:
    (imagenet / "LOC_val_solution.csv").unlink()
    (imagenet / name).write_text(text)
    assert VAL in rows(list_source("imagenet", imagenet))


def test_imagenet_in_synset_folders_alone(imagenet: Path) -> None:
    top = imagenet / "ILSVRC/Data/CLS-LOC"
    (top / "val/n00000002").mkdir()
    (top / "val/ILSVRC2012_val_00000001.JPEG").rename(top / "val/n00000002/v1.JPEG")
    listing = list_source("imagenet", top)
    assert listing.classes == ("n00000002",)
    assert [item.key for item in listing.items] == ["n00000002_1", "v1"]
    (imagenet / "val.txt").write_text("x.JPEG n99999999\n")
    (imagenet / "LOC_val_solution.csv").write_text("ILSVRC2012_val_00000001,n99999999 1\n")
    (top / "val/n00000002/v1.JPEG").rename(top / "val/v1.JPEG")
    (top / "val/n00000002").rmdir()
    with pytest.raises(InputError, match="is not an image and its synset"):
        list_source("imagenet", imagenet)
