"""One head per dataset, whatever the dataset is called."""

import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

import pytest
import torch
from safetensors.torch import save_file
from small_models import images, small_model
from torch import nn

from ivvit_cli.errors import UsageError
from ivvit_cli.models import load_weights
from ivvit_cli.models.heads import Head, head_key

NAMES = ["ucf101", "tiny-imagenet", "a.b", "a%2Eb", "a%b", "train", "items", "type", "keys", "é ü"]


def test_every_name_is_a_head_of_its_own() -> None:
    model = small_model(heads={name: i + 2 for i, name in enumerate(NAMES)})
    for i, name in enumerate(NAMES):
        assert model(images(2, 3, 16, 16), name).shape == (2, i + 2)
    assert [unquote(key) for key in model.heads] == NAMES
    assert len({head_key(name) for name in NAMES}) == len(NAMES)


def test_names_survive_a_state_dict() -> None:
    heads = dict.fromkeys(NAMES, 3)
    one, other = small_model(heads=heads, seed=1), small_model(heads=heads, seed=2)
    other.load_state_dict(one.state_dict())
    x = images(1, 3, 16, 16)
    assert all(torch.equal(one(x, name), other(x, name)) for name in NAMES)


@pytest.mark.parametrize("kind", ["none", "token_shift"])
def test_the_head_of_the_mean_is_the_mean_of_the_heads(kind: str) -> None:
    """TokenShift averages the frames' logits, IV-ViT (Eq. 5, 6) their features: it is the same."""
    model = small_model(temporal={"kind": kind}).double()
    clips = images(2, 4, 3, 16, 16).double()
    tokens = model.encoder.embed(clips)
    for block in model.encoder.vit.blocks:
        tokens = model.encoder.run_block(block, tokens, 4)
    each = model.heads["a"]([model.encoder.vit.norm(tokens)[:, 0]])
    torch.testing.assert_close(model(clips, "a"), each.view(2, 4, -1).mean(1))


def test_several_features_vote_with_their_logits() -> None:
    head = Head((3, 5), 4)
    features = (images(2, 3), images(2, 5))
    linears = [linear for linear in head.linears if isinstance(linear, nn.Linear)]
    votes = [x @ linear.weight.T + linear.bias for x, linear in zip(features, linears, strict=True)]
    torch.testing.assert_close(head(features), (votes[0] + votes[1]) / 2)


def test_a_fresh_head_is_timms() -> None:
    torch.manual_seed(0)
    (linear,) = Head((400,), 300).linears
    assert isinstance(linear, nn.Linear)
    assert linear.weight.std().item() == pytest.approx(0.02, rel=0.02)
    assert not linear.bias.any()


def test_heads_that_are_not_asked_get_no_gradient() -> None:
    model = small_model(heads={"a": 2, "b": 3})
    model(images(2, 3, 16, 16), "a").sum().backward()
    assert all(p.grad is None for p in model.heads["b"].parameters())
    assert all(p.grad is not None for p in model.heads["a"].parameters())


def test_models_stand_alone() -> None:
    code = (
        "import sys, ivvit_cli.models;"
        "print([m for m in sys.modules if m.startswith(('ivvit_cli.config', 'ivvit_cli.commands',"
        "'shards.stream', 'shards.convert', 'shards.index', 'shards.manifest'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_batch_norm_has_no_parameters_and_statistics_of_its_own() -> None:
    head = Head((3,), 4, batch_norm=True).train()
    x = images(6, 3) * 5 + 2
    (linear,) = head.linears
    expected = (x - x.mean(0)) / (x.var(0, unbiased=False) + 1e-6).sqrt()
    torch.testing.assert_close(head([x]), linear(expected))
    seen = 0.1 * x.mean(0)  # torch's momentum, from 0
    scale = (0.9 + 0.1 * x.var(0) + 1e-6).sqrt()
    torch.testing.assert_close(head.eval()([x]), linear((x - seen) / scale))
    assert [name for name, _ in head.named_parameters()] == ["linears.0.weight", "linears.0.bias"]
    with pytest.raises(UsageError, match="needs 2 samples"):
        head.train()([x[:1]])


def test_adaptformer_s_head_has_one_and_other_heads_none() -> None:
    assert len(small_model(temporal={"kind": "adaptformer"}).heads["a"].norms) == 1
    plain = small_model(temporal={"kind": "adaptformer", "batch_norm": False})
    assert not any("norms" in name for name in plain.heads["a"].state_dict())


def test_a_classifier_moves_with_its_statistics(tmp_path: Path) -> None:
    classes = {"a": [f"class {number}" for number in range(24)]}  # as many as features
    first, second = (
        small_model(heads={"a": 24}, temporal={"kind": "adaptformer"}, seed=seed) for seed in (1, 2)
    )
    first.train()(images(6, 3, 16, 16), "a")
    path = tmp_path / "adapted.safetensors"
    save_file(first.state_dict(), path)
    report = load_weights(second, str(path), head="a", classes=classes)
    assert report.heads == ("a",)
    x = images(2, 3, 16, 16, seed=4)
    assert torch.equal(first.eval()(x, "a"), second.eval()(x, "a"))
