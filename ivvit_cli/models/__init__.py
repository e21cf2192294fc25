"""One Vision Transformer for images and clips, with a head per dataset.

The pieces, from the input to the logits: `backbone` has timm build the ViT, `encoder` runs it frame
by frame, `temporal` holds the ways in which frames meet (one paper idea per file), `heads` turns
features into logits, `weights` brings in what others have trained.
"""

from ivvit_cli.models.backbone import InputSpec
from ivvit_cli.models.joint import JointModel, build_model
from ivvit_cli.models.weights import LoadReport, load_weights

__all__ = ["InputSpec", "JointModel", "LoadReport", "build_model", "load_weights"]
