"""A scene: which objects there are and where, on which ground and under which sky. All else is made from it.

Comes in: names and boxes. Goes out: values that cannot be changed, that go into JSON and come back. It knows neither
words nor colours on a screen.
"""

from dataclasses import dataclass
from typing import Any

FLYING = ("bird", "airplane", "kite")  # kinds that are in the sky; all others stand on the ground or float

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Group:
    """One object, or two or three alike that stand together. Boxes (x, y, w, h) in scene units: a scene is 128 wide."""

    kind: str  # a key of NOUNS
    color: str
    size: str  # "small" or "large"
    boxes: tuple[Box, ...]

    @property
    def extent(self) -> Box:
        """The box (left, top, right, bottom) around the whole group."""
        return (
            min(x for x, _, _, _ in self.boxes),
            min(y for _, y, _, _ in self.boxes),
            max(x + w for x, _, w, _ in self.boxes),
            max(y + h for _, y, _, h in self.boxes),
        )


@dataclass(frozen=True)
class Scene:
    """All that a caption may speak of."""

    ground: str  # a key of PLACES
    sky: str  # a key of TIMES
    groups: tuple[Group, ...]

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> "Scene":
        """The scene back from its JSON (`dataclasses.asdict`)."""
        groups = tuple(
            Group(g["kind"], g["color"], g["size"], tuple((x, y, w, h) for x, y, w, h in g["boxes"]))
            for g in plain["groups"]
        )
        return cls(plain["ground"], plain["sky"], groups)
