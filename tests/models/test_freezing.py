"""What is frozen has no gradient and drops nothing out; names tell the backbone from the rest."""

import pytest
import torch
from small_models import images, small_model
from torch import nn

from ivvit_cli.errors import UsageError
from ivvit_cli.models.freezing import is_backbone
from ivvit_cli.models.heads import Head

DROPPING = {"drop_path_rate": 0.5, "proj_drop_rate": 0.5, "attn_drop_rate": 0.5}


def test_a_frozen_backbone_with_a_linear_head() -> None:
    model = small_model(heads={"a": 5, "b": 3}, model={"freeze": ["backbone"]}, **DROPPING)
    model.train()
    x = images(2, 4, 3, 16, 16)
    assert not model.encoder(x, "a")[0].requires_grad
    assert torch.equal(model(x, "a"), model(x, "a"))
    model(x, "a").sum().backward()
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None) == name.startswith("heads.a.")
    free = small_model(**DROPPING).train()
    assert not torch.equal(free(x, "a"), free(x, "a"))


def test_freezing_by_name() -> None:
    patterns = ["encoder.vit.blocks.0.*", "*.norm1.bias", "heads.a.*"]
    model = small_model(heads={"a": 5, "b": 3}, model={"freeze": patterns}, **DROPPING).train()
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    assert frozen == {
        name
        for name, _ in model.named_parameters()
        if ".blocks.0." in name or name.endswith("norm1.bias") or name.startswith("heads.a.")
    }
    assert [block.training for block in model.encoder.vit.blocks] == [False, True]
    assert not any(module.training for module in model.encoder.vit.blocks[0].modules())
    assert model.encoder.vit.blocks[1].drop_path1.training
    assert not model.eval().training


@pytest.mark.parametrize(
    ("patterns", "message"),
    [
        (["encoder.vit.blocks.9.*"], "no parameter is named encoder.vit.blocks.9"),
        (["backbone", "heads.*"], "backbone, heads.\\* leaves nothing to train"),
    ],
)
def test_patterns_that_make_no_sense(patterns: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        small_model(model={"freeze": patterns})


@pytest.mark.parametrize("kind", ["none", "am_flow", "st_adapter", "adaptformer"])
def test_the_backbones_names_are_timms(kind: str) -> None:
    model = small_model(temporal={"kind": kind})
    names = [name for name in model.state_dict() if is_backbone(name)]
    plain = small_model().encoder.vit.state_dict()
    assert [name.removeprefix("encoder.vit.") for name in names] == [*plain]


def test_votes() -> None:
    features = (images(2, 3), images(2, 5), images(2, 4))
    head = Head((3, 5, 4), 6, "learned")
    assert isinstance(head.vote, nn.Linear)
    logits = torch.stack([linear(x) for linear, x in zip(head.linears, features, strict=True)], -1)
    wanted = logits @ head.vote.weight[0] + head.vote.bias
    torch.testing.assert_close(head(features), wanted)
    assert all(parameter.requires_grad for parameter in head.parameters())
    frozen = Head((3, 5, 4), 6, "frozen_random")
    assert isinstance(frozen.vote, nn.Linear)
    assert {n for n, p in frozen.named_parameters() if not p.requires_grad} == {
        "vote.weight",
        "vote.bias",
    }
    assert frozen.vote.weight.std() > 0.1
    assert frozen.state_dict().keys() == head.state_dict().keys()
    assert Head((3, 5, 4), 6).state_dict().keys() < head.state_dict().keys()


@pytest.mark.parametrize("vote", ["mean", "learned", "frozen_random"])
def test_a_model_votes_as_its_kind_says(vote: str) -> None:
    model = small_model(temporal={"kind": "am_flow", "vote": vote})
    assert (model.heads["a"].vote is None) == (vote == "mean")
    assert model(images(1, 2, 3, 16, 16), "a").shape == (1, 5)


def test_gradients_pass_through_a_frozen_lstm_as_cudnn_wants_it() -> None:
    """cuDNN keeps what a backward pass needs in training mode alone."""
    temporal = {"kind": "am_flow", "unit": {"kind": "lstm"}}
    model = small_model(temporal=temporal, model={"freeze": ["backbone", "*.lstm.*"]}).train()
    units = [module for module in model.modules() if isinstance(module, nn.LSTM)]
    assert units
    assert all(unit.training for unit in units)
    model.eval()
    assert not any(module.training for module in model.modules())
