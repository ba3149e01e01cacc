"""Encoders from timm (Wightman 2019), more than a thousand image models: `EncoderCNN("timm/NAME", ...)`.

Comes in: "timm/" and a model's name, with the tag of its weights or without; weights; a picture size. Goes out: a
`Network` as encoders.py has others: the model's last grid, and the normalisation, size and interpolation that it was
trained with. As for all encoders the whole picture is seen, where timm's own transform cuts the edges off. timm is an
optional package. What it does not know: grids of another size, what is kept on disk.
"""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from models.hub import MissingPackage, asked
from models.networks import INTERPOLATIONS, Network, check_file, read_weights


def timm_model(name: str, weights: str | Path | None, image_size: int | None) -> Network:
    """The model `name`, "timm/NAME" or "timm/NAME.TAG", without its head; `weights`: a tag, "DEFAULT", a file or None.

    "DEFAULT" are the weights of the name's own tag, or the first that timm has. Raises ValueError for an unknown name,
    a model without a grid, or weights that do not fit; OSError if timm is missing or weights cannot be fetched.
    """
    timm, plain = _timm(name), name.removeprefix("timm/")
    _check_name(timm, plain)
    published = timm.get_pretrained_cfg(plain)
    options: dict[str, Any] = {"num_classes": 0}
    if image_size and published.fixed_input_size and image_size != published.input_size[-1]:
        options["img_size"] = image_size  # its embedding of places is made for one size
    tags = _tags(timm, plain)
    try:
        if weights is None:
            model = timm.create_model(plain, **options)
        elif str(weights) == "DEFAULT" or str(weights) in tags:
            model = _published(
                timm, plain if str(weights) == "DEFAULT" else f"{plain.partition('.')[0]}.{weights}", options
            )
        else:
            model = _from_file(timm, plain, Path(weights), options, _known(tags))
    except TypeError:
        if "img_size" not in options:
            raise
        raise ValueError(
            f"{name} is made for pictures of {published.input_size[-1]} pixels, not {image_size}"
        ) from None
    if not hasattr(model, "forward_intermediates"):
        other = _nearest(plain.partition(".")[0], [n for n in timm.list_models() if not n.startswith(plain[:4])])
        raise ValueError(f"{name} gives no grid (it has no forward_intermediates): take another model{other}")
    interpolation = published.interpolation if published.interpolation in INTERPOLATIONS else "bilinear"
    blocks, size = nn.Sequential(LastGrid(model)), published.input_size[-1]
    return Network(blocks, published.mean, published.std, size, interpolation, _parts(timm, model))


def check_timm(name: str, weights: str | Path | None) -> None:
    """Raises what `timm_model` would for a name that timm has not, or weights that are not there; builds nothing."""
    timm, plain = _timm(name), name.removeprefix("timm/")
    _check_name(timm, plain)
    tags = _tags(timm, plain)
    if weights is not None and str(weights) not in ("DEFAULT", *tags):
        check_file(Path(weights), name, _known(tags))


class LastGrid(nn.Module):
    """What timm's `forward_features` gives, always as a grid: class tokens dropped, channels before the sides."""

    def __init__(self, model: Any):
        super().__init__()
        self.model: Any = model

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, E, height, width)."""
        last, grids = self.model.forward_intermediates(x, indices=1, output_fmt="NCHW")
        if not isinstance(last, Tensor):  # several branches, each with its own
            return grids[-1]
        if last.ndim == 3:  # tokens (N, class tokens and patches, E)
            patches = last[:, getattr(self.model, "num_prefix_tokens", 0) :]
            return patches.transpose(1, 2).unflatten(2, grids[-1].shape[2:])
        return last.permute(0, 3, 1, 2) if getattr(self.model, "output_fmt", None) == "NHWC" else last


def _timm(name: str) -> Any:
    """The package; MissingPackage if it is not there."""
    try:
        import timm
    except ImportError:
        raise MissingPackage(f"the encoder {name!r} needs a package that is not installed: pip install timm") from None
    return timm


def _check_name(timm: Any, plain: str) -> None:
    """ValueError if timm itself has no such model: names that it would look up elsewhere are refused, too."""
    names = timm.list_models()
    architecture, _, tag = plain.partition(".")
    if architecture not in names:
        raise ValueError(f"unknown encoder 'timm/{plain}'{_nearest(architecture, names) or ': timm.list_models()'}")
    tags = timm.list_pretrained(f"{architecture}.*")
    if tag and plain not in tags:
        raise ValueError(f"unknown encoder 'timm/{plain}'{_nearest(plain, [*tags, architecture], 0.0)}")


def _tags(timm: Any, plain: str) -> list[str]:
    """The tags of the weights that timm has for a model."""
    return [tag.partition(".")[2] for tag in timm.list_pretrained(f"{plain.partition('.')[0]}.*")]


def _known(tags: list[str]) -> str:
    return f"; timm knows only {', '.join(['DEFAULT', *tags])}" if tags else "; timm itself has none"


def _nearest(name: str, names: list[str], cutoff: float = 0.6) -> str:
    close = get_close_matches(name, names, n=1, cutoff=cutoff)
    return f"; did you mean 'timm/{close[0]}'?" if close else ""


def _published(timm: Any, plain: str, options: dict[str, Any]) -> nn.Module:
    """With timm's own weights, from where they were kept or from the Hub."""
    if not timm.get_pretrained_cfg(plain).has_weights:
        raise ValueError(f"timm has no weights for {plain}: give a file with weights=, or None")
    with asked(f"timm's weights for {plain}", "check the network, or give a file of them with weights="):
        return timm.create_model(plain, pretrained=True, **options)


def _from_file(timm: Any, plain: str, path: Path, options: dict[str, Any], known: str) -> nn.Module:
    """With weights in timm's own keys from a file; those of the head may be other ones, or missing."""
    published = timm.get_pretrained_cfg(plain)
    heads = (published.classifier,) if isinstance(published.classifier, str) else tuple(published.classifier or ())
    state = read_weights(path, f"timm/{plain}", known)
    state = {key: value for key, value in state.items() if not key.startswith(tuple(f"{head}." for head in heads))}
    overlay = {"state_dict": state, "num_classes": 0, "custom_load": False}  # no head: then every key must fit
    try:
        if not state:
            raise ValueError("the file has none")
        return timm.create_model(plain, pretrained=True, pretrained_cfg_overlay=overlay, **options)
    except TypeError:
        raise
    except Exception as error:  # timm converts what it can and raises what it likes for the rest
        reason = " ".join(str(error).splitlines()[-1].split())
        raise ValueError(f"{path}: these weights do not fit timm/{plain}: {reason[:200]}") from None


def _parts(timm: Any, model: Any) -> list[list[nn.Parameter]]:
    """What may learn apart from the rest: stem and stages as timm groups them, else the model's children."""
    parameters = dict(model.named_parameters())
    try:
        groups = timm.models.group_parameters(model, model.group_matcher(coarse=True)).values()
        parts = [[parameters[key] for key in group] for group in groups]
    except (AttributeError, AssertionError):  # a model that timm has not grouped
        parts = [list(child.parameters()) for child in model.children()]
    grouped = {id(parameter) for part in parts for parameter in part}
    rest = [parameter for parameter in parameters.values() if id(parameter) not in grouped]
    return [part for part in [rest, *parts] if part]
