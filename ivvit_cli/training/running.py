"""Running statistics of batch norms, which change in a forward pass and not in a step."""

from torch import distributed, nn

from ivvit_cli.training.distributed import Ranks


class RunningStatistics:
    """The statistics of a model's heads (`ivvit_cli.models.heads`); most models have none."""

    def __init__(self, model: nn.Module) -> None:
        norms = (module for module in model.modules() if isinstance(module, nn.BatchNorm1d))
        self._buffers = [buffer for norm in norms for buffer in norm.buffers()]
        self.note()

    def note(self) -> None:
        """Remember them as they are."""
        self._noted = [buffer.clone() for buffer in self._buffers]

    def take_back(self) -> None:
        """Make them what they were when they were noted."""
        for buffer, noted in zip(self._buffers, self._noted, strict=True):
            buffer.copy_(noted)

    def share(self, ranks: Ranks) -> None:
        """Have the leader's, which are those of checkpoints, in all processes."""
        if ranks.world > 1:
            for buffer in self._buffers:
                distributed.broadcast(buffer, src=0)
