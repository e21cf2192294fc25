"""Two small datasets of shards and a recipe that trains a tiny ViT on both."""

import pytest
from tiny_runs import make_shards, write_films, write_pictures

RECIPE = """\
model:
  backbone: vit_tiny_patch16_224
  backbone_args:
    {{img_size: 32, patch_size: 8, embed_dim: 32, depth: 2, num_heads: 2, drop_path_rate: 0.1}}
  temporal: {{kind: token_shift}}
data:
  pictures: {{shards: {root}/pictures, batch: 6}}
  films:
    {{shards: {root}/films, batch: 4, clip: {{sample: uniform, frames: 4}}, min_short_side: 8}}
schedule: {{kind: sequential, iterations: 8}}
optim: {{lr: 1e-3, weight_decay: 0.05, lr_schedule: cosine, warmup: 2, clip_norm: 1.0}}
train: {{log_every: 3}}
eval: {{every: 4}}
checkpoint: {{every: 2, keep: 2}}
loader: {{threads: 2}}
"""


@pytest.fixture(scope="session")
def shards(tmp_path_factory):
    """Return a folder with the shards `pictures` (3 classes) and `films` (2 classes)."""
    root = tmp_path_factory.mktemp("datasets")
    for split, count in (("train", 6), ("val", 2)):
        write_pictures(root / "raw-pictures", ["ant", "bee", "cat"], count, split=split)
        write_films(root / "raw-films", ["run", "sit"], count, split=split)
    make_shards("imagefolder", root / "raw-pictures", root / "pictures")
    make_shards("videofolder", root / "raw-films", root / "films")
    return root


@pytest.fixture(scope="session")
def recipe(shards):
    """Return the recipe's file."""
    path = shards / "tiny.yaml"
    path.write_text(RECIPE.format(root=shards))
    return path
