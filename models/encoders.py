"""The networks that look: a small CNN of our own, and torchvision's classifiers without their heads.

Comes in: a name, weights, a picture size. Goes out: a `Trunk`, the blocks before the pooling. What it does not
know: how its grid becomes regions (model.EncoderCNN); timm's models, which have a page of their own.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.networks import INTERPOLATIONS, Network, check_file, encoder_of, read_weights


class Trunk(nn.Module, ABC):
    """A network's blocks, its normalisation, and how much of it learns.

    `name` is "small" (learns the drawn sample from scratch), any torchvision classifier, or "timm/" and any model of
    timm; `weights` the name of torchvision's own ("IMAGENET1K_V1") or timm's ("DEFAULT", or a tag), a path to a state
    dict, a checkpoint's folder for the encoder that is in it, or None. Only the last `finetune` blocks that have
    weights learn, None: all of them. `grid` is the number of regions a side; None: the network's own. `interpolation`
    says how pictures are resized for it; None: as they were when it was trained.
    Raises ValueError for an unknown name or weights that do not fit, FileNotFoundError for a missing file, OSError if
    weights cannot be fetched or timm is not installed.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        name: str = "small",
        weights: str | Path | None = None,
        image_size: int | None = None,
        grid: int | None = None,
        finetune: int | None = 0,
        interpolation: str | None = None,
    ):
        super().__init__()
        learned = encoder_of(Path(weights)) if weights is not None and Path(weights).is_dir() else None
        network = network_by_name(name, None if learned else weights, image_size)
        self.name, self.grid, self.finetune = name, grid, finetune
        self.image_size = image_size or network.image_size
        self.interpolation = interpolation or network.interpolation
        if self.interpolation not in INTERPOLATIONS:
            raise ValueError(f"interpolation must be {', '.join(INTERPOLATIONS)}, not {self.interpolation!r}")
        self.blocks = network.blocks.to(memory_format=torch.channels_last)
        self.register_buffer("mean", torch.tensor(network.mean).expand(3).reshape(3, 1, 1).clone())
        self.register_buffer("std", torch.tensor(network.std).expand(3).reshape(3, 1, 1).clone())
        if learned:
            try:
                self.load_state_dict(learned)
            except RuntimeError:
                raise ValueError(f"{weights}: its encoder is not {name}") from None
        parts = network.parts or [part for block in network.blocks if (part := list(block.parameters()))]
        if finetune is not None and not 0 <= finetune <= len(parts):
            most = len(parts)
            raise ValueError(f"{name} has {most} blocks with weights: finetune must be 0 to {most}, not {finetune}")
        for part in parts[: 0 if finetune is None else len(parts) - finetune]:
            for parameter in part:
                parameter.requires_grad_(False)
        self.feature_regions, self.feature_size = self._measure()  # R', before `resize_grid`, and E
        self.regions = self.feature_regions if grid is None else grid**2  # R
        self.train()

    @abstractmethod
    def forward_features(self, images: Tensor) -> Tensor:
        """Pictures (N, 3, H, W) uint8 -> what is worth keeping on disk (N, R', E)."""

    def _measure(self) -> torch.Size:
        """R' and E, told by one picture; ValueError if the network cannot look at pictures of this size."""
        grey = torch.full((1, 3, self.image_size, self.image_size), 128, dtype=torch.uint8)
        try:
            with torch.no_grad():
                return self.eval().forward_features(grey).shape[1:]
        except (RuntimeError, AssertionError, ValueError) as error:
            # a sketch without memory: some networks reckon with their numbers; or there is too little of it
            if grey.is_meta or "memory" in str(error):
                raise
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise ValueError(f"{self.name} cannot look at pictures of {self.image_size} pixels: {reason}") from None

    @property
    def config(self) -> dict[str, Any]:
        """What builds the same network again, without its weights."""
        config = {"name": self.name, "image_size": self.image_size, "grid": self.grid, "finetune": self.finetune}
        return config | ({} if self.interpolation == "bilinear" else {"interpolation": self.interpolation})

    @property
    def cache_key(self) -> dict[str, Any]:
        """What kept features depend on, beside the weights: not on a finer grid, which is made when they are read."""
        return self.config | ({"grid": None} if self.regions != self.feature_regions else {})

    @property
    def frozen_modules(self) -> list[nn.Module]:
        """The modules that have weights, none of which learns."""
        learning = [(m, [p.requires_grad for p in m.parameters()]) for m in self.blocks.modules()]
        return [module for module, learns in learning if learns and not any(learns)]

    @property
    def frozen(self) -> bool:
        """True if nothing learns, so that features can be computed once and kept."""
        return not any(p.requires_grad for p in self.parameters())

    def train(self, mode: bool = True) -> Self:
        """As nn.Module's, but what is frozen stays in eval mode; so do all batch-norms unless everything learns.

        What these know of ImageNet is worth more than a batch's mean, and in some published files it is part of the
        weights already: there a batch's own statistics would make nonsense of them.
        """
        super().train(mode)
        for module in self.frozen_modules:
            module.eval()
        for module in self.modules() if self.finetune is not None else ():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self

    def normalise(self, images: Tensor) -> Tensor:
        """Pictures (N, 3, H, W) uint8 -> numbers as the network was trained on."""
        if images.dtype != torch.uint8:
            raise ValueError(
                f"the encoder takes pictures as uint8 (0 to 255) and normalises them itself, not {images.dtype}"
            )
        x = (images.float() / 255 - self.mean) / self.std
        return x.contiguous(memory_format=torch.channels_last)

    def resize_grid(self, features: Tensor) -> Tensor:
        """Features (N, R', E) -> regions (N, R, E); each of a finer grid is the mean of those that it overlaps."""
        if self.grid is None or self.grid**2 == features.shape[1]:
            return features
        side = round(features.shape[1] ** 0.5)
        x = features.transpose(1, 2).unflatten(2, (side, side))  # (N, E, side, side)
        return F.adaptive_avg_pool2d(x, self.grid).flatten(2).transpose(1, 2)


def network_by_name(name: str, weights: str | Path | None, image_size: int | None) -> Network:
    """The network that an encoder is called by; errors as `Trunk`'s."""
    if name == "small":
        return small(weights)
    if str(name).startswith("timm/"):
        from models.timm_encoders import timm_model  # as torchvision: slow to import, and not always there

        return timm_model(name, weights, image_size)
    return torchvision_classifier(name, weights, image_size)


def check_network(name: str, weights: str | Path | None) -> None:
    """ValueError for a network that nobody has, FileNotFoundError for weights that are not there: said at the start, in
    the sentence that would come when the network is built; nothing is built or fetched."""
    if weights is not None and Path(weights).is_dir():
        check_file(Path(weights) / "model.safetensors", name)
        weights = None
    if str(name).startswith("timm/"):
        from models.timm_encoders import check_timm

        check_timm(name, weights)
    else:
        members = [] if name == "small" else list(_published(name).__members__)
        if weights is not None and str(weights) not in members:
            check_file(Path(weights), name, _known(members))


def small(weights: str | Path | None) -> Network:
    """The course's own CNN."""
    blocks = small_cnn()
    if weights is not None:
        load_weights(blocks, "small", Path(weights))
    return Network(blocks, (0.5,), (0.5,), 128)


def small_cnn(width: int = 32) -> nn.Sequential:
    """A CNN for the drawn sample: stride 8, so 128 px give 16 x 16 regions of 8 px; learns from scratch in minutes."""

    def block(inputs: int, outputs: int, stride: int) -> nn.Sequential:
        return nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(outputs, momentum=0.05),
            nn.ReLU(inplace=True),
        )

    return nn.Sequential(
        block(3, width, 2),
        block(width, 2 * width, 2),
        block(2 * width, 4 * width, 2),
        block(4 * width, 4 * width, 1),
        Coordinates(),
        block(4 * width + 2, 8 * width, 1),
    )


class Coordinates(nn.Module):
    """Two more channels that say where each region is, -1..1 (Liu et al. 2018): convolution alone cannot tell left."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, height, width) -> (N, C + 2, height, width)."""
        rows, columns = (torch.linspace(-1, 1, side, dtype=x.dtype, device=x.device) for side in x.shape[2:])
        y, x_ = torch.meshgrid(rows, columns, indexing="ij")
        return torch.cat([x, torch.stack([y, x_]).expand(len(x), -1, -1, -1)], dim=1)


POOLING = {"avgpool", "classifier", "fc"}  # the first of these ends the grid
AUXILIARY = {"AuxLogits", "aux1", "aux2"}  # Inception's and GoogLeNet's side exits
HEADS = POOLING | AUXILIARY | {"head", "heads"}  # their weights may be missing from a file
CONTAINERS = {"features", "trunk_output", "layers", "blocks"}  # opened, so that single blocks can be fine-tuned


def torchvision_classifier(name: str, weights: str | Path | None, image_size: int | None) -> Network:
    """A torchvision classifier's blocks before its pooling.

    A closing max-pool (VGG, AlexNet) is left out: it only coarsens the grid. Inception and GoogLeNet were trained on
    pictures scaled to -1..1, which torchvision hides in `transform_input`; here it is their normalisation.
    """
    import torchvision  # not at the top: it takes as long as torch itself, and the small encoder does without

    published = _published(name)
    members = published.__members__  # "DEFAULT" among them
    preprocessing = (members.get(str(weights)) or next(iter(published))).transforms()
    mean, std = tuple(preprocessing.mean), tuple(preprocessing.std)
    options: dict[str, Any] = {}
    if name in ("inception_v3", "googlenet"):
        mean, std, options = (0.5,), (0.5,), {"init_weights": False}
    if name.startswith("vit_"):  # its embedding of places is made for one size
        options["image_size"] = image_size or preprocessing.crop_size[0]
    known = members.get(str(weights))
    try:
        network = torchvision.models.get_model(name, weights=known, **options)
    except (OSError, RuntimeError) as error:  # urllib's errors; a file that is not what it should be
        if known is None:
            raise
        raise OSError(
            f"the weights {weights} of {name} cannot be fetched from {known.url} ({error}): check the network, or "
            "fetch that file elsewhere and give it with weights=; the encoder 'small' needs none"
        ) from None
    if weights is not None and str(weights) not in members:
        load_weights(network, name, Path(weights), _known(list(members)))
    if isinstance(network, torchvision.models.VisionTransformer):
        blocks: list[nn.Module] = [PatchGrid(network)]
    else:
        blocks = blocks_before_pooling(network)
    if name.startswith("densenet"):
        blocks.append(nn.ReLU())  # a function in torchvision's forward
    return Network(nn.Sequential(*blocks), mean, std, preprocessing.crop_size[0])


def _published(name: str) -> Any:
    """The weights that torchvision has for a classifier of its own, as an enumeration."""
    import torchvision

    names = torchvision.models.list_models(module=torchvision.models)
    if name not in names:
        close = get_close_matches(str(name), names, n=1)
        raise ValueError(f"unknown encoder {name!r}: take 'small', one of torchvision's classifiers or timm/NAME" + (
            f"; did you mean {close[0]!r}?" if close else " (torchvision.models.list_models())"))  # fmt: skip
    return torchvision.models.get_model_weights(name)


def _known(members: list[str]) -> str:
    return f"; torchvision knows only {', '.join(members)}" if members else ""


def blocks_before_pooling(network: nn.Module) -> list[nn.Module]:
    """A classifier's blocks one after the other, up to its pooling."""
    blocks: list[nn.Module] = []
    for name, child in network.named_children():
        if name in POOLING:
            break
        if name not in AUXILIARY:
            blocks.extend(child.children() if name in CONTAINERS else [child])
    return blocks[:-1] if isinstance(blocks[-1], nn.MaxPool2d) else blocks


def load_weights(network: nn.Module, name: str, path: Path, known: str = "") -> None:
    """Load a torchvision state dict from a file as torchvision's own loading does; the head alone may be missing.

    `known` ends the message for a missing file.
    """
    state = read_weights(path, name, known)
    for key in list(state):  # in place: a state dict carries the versions of its modules as an attribute
        # DenseNet's published files spell norm1 as norm.1
        state[re.sub(r"(denselayer\d+\.(?:norm|relu|conv))\.(\d)", r"\1\2", key)] = state.pop(key)
    try:
        missing, unexpected = network.load_state_dict(state, strict=False)
    except (RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[-1].strip()
        raise ValueError(f"{path}: these weights do not fit {name}: {reason}") from None
    missing = [key for key in missing if key.split(".")[0] not in HEADS]
    if missing or unexpected:
        strange = f"lacks {missing[0]}" if missing else f"has {unexpected[0]}, which {name} does not know"
        raise ValueError(f"{path}: these weights do not fit {name}: the file {strange}")


class PatchGrid(nn.Module):
    """A vision transformer's patches as a grid; its class token is dropped."""

    def __init__(self, network: Any):
        super().__init__()
        self.network: Any = network
        self.network.heads = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, E, height, width)."""
        side = x.shape[-1] // self.network.patch_size
        x = self.network._process_input(x)
        x = torch.cat([self.network.class_token.expand(len(x), -1, -1), x], dim=1)
        return self.network.encoder(x)[:, 1:].transpose(1, 2).unflatten(2, (side, side))
