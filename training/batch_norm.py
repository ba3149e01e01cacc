"""Batch-norm over all processes' pictures: what one process would make of the whole batch.

Comes in: a model whose encoder learns as a whole. Goes out: the same model, its batch-norms asking all processes for
mean and variance. What it does not know: what the model is, losses.

On CUDA this is torch's `SyncBatchNorm`, which knows no other device; elsewhere `SharedBatchNorm`, the same by two sums.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist

from model import Captioner
from training import world
from training.losses import wide


class SumOverAll(torch.autograd.Function):
    """A tensor of each process -> their sum, in each; so the gradient of one is the sum of all of theirs."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, group: dist.ProcessGroup) -> Tensor:
        ctx.group, x = group, x.clone()
        dist.all_reduce(x, group=group)
        return x

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        gradient = gradient.clone()
        dist.all_reduce(gradient, group=ctx.group)
        return gradient, None


class SharedBatchNorm(nn.BatchNorm2d):
    """nn.BatchNorm2d, in training with mean and variance of all processes' pictures; of no picture, too."""

    group: Any  # of processes
    num_batches_tracked: Tensor
    running_mean: Tensor
    running_var: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, height, width) -> the same shape."""
        if not self.training:
            return super().forward(x)
        places, channels = x.numel() // x.shape[1], (1, -1, 1, 1)
        numbers = wide(x)
        sums = torch.cat([numbers.sum((0, 2, 3)), numbers.new_tensor([places])])
        sums = SumOverAll.apply(sums, self.group)
        mean, count = sums[:-1] / sums[-1], sums[-1].detach()
        centred = numbers - mean.view(channels)
        variance = SumOverAll.apply(centred.square().sum((0, 2, 3)), self.group) / count
        self._remember(mean.detach(), variance.detach() * count / (count - 1))
        y = centred * (variance + self.eps).rsqrt().view(channels)
        return (y * self.weight.view(channels) + self.bias.view(channels)).to(x.dtype)

    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        """A batch's statistics go into those that are used after training."""
        self.num_batches_tracked += 1
        share = 1 / self.num_batches_tracked if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean), share)
        self.running_var.lerp_(variance.to(self.running_var), share)


def share_statistics(model: Captioner, device: torch.device) -> None:
    """The model's batch-norms over all processes; alone, or where they keep what they know, nothing.

    They have a group of processes of their own, as gradients are on their way meanwhile. Raises ValueError for
    batch-norms of other kinds, as timm's with an activation inside.
    """
    norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    if world.size() == 1 or model.encoder.finetune is not None or not norms:
        return
    if strange := {type(m).__name__ for m in norms} - {"BatchNorm2d", "SharedBatchNorm", "SyncBatchNorm"}:
        raise ValueError(
            f"{model.encoder.name} has {strange.pop()}, whose statistics are a process's own: let only some blocks "
            "learn, as with --finetune 2, or train with one process"
        )
    group = dist.new_group()
    if device.type == "cuda":
        nn.SyncBatchNorm.convert_sync_batchnorm(model, group)
        return
    for module in norms:
        module.__class__, module.group = SharedBatchNorm, group  # type: ignore[assignment]


def of_no_picture(model: Captioner) -> Tensor:
    """Zero, as the loss of a process without a picture in a batch; its batch-norms answer the others all the same."""
    nothing = model.decoder.lm_head.weight.sum() * 0
    if any(isinstance(module, SharedBatchNorm | nn.SyncBatchNorm) for module in model.encoder.modules()):
        side, device = model.encoder.image_size, nothing.device
        nothing = nothing + model.encoder(torch.zeros(0, 3, side, side, dtype=torch.uint8, device=device)).sum() * 0
    return nothing
