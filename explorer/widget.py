"""The attention explorer: drag through a caption, see where the model looks, click another word and hear what follows.

Comes in: one captioner or several by name, and pictures. Goes out: a widget for JupyterLab and Voilà, whose page side
is explorer/widget.js and explorer/widget.css. All that a caption needs is prepared once and sent as images, so that
moving the slider asks nothing of Python. What it does not know: how a caption is made (decoding/trace.py).
"""

from __future__ import annotations

import base64
import io
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import anywidget
import numpy as np
import traitlets
from PIL import Image, ImageFilter

from dataset.pictures import open_image
from dataset.records import Record
from decoding.trace import CaptionTrace, Choice, Exploration, grounded_objects
from figures.attention import color_scale, overlay
from figures.pictures import Picture, as_array, data_url, listed
from models.checkpoint import Checkpoint

SIDE, SMALL, KEPT = 384, 112, 1024  # longest side in pixels: of the picture shown, a thumbnail, a picture brought along
MOST = 8_000_000  # bytes of a picture brought along: Jupyter closes the connection at messages over 10 MB
# of what a person may set: the least, the most, the step of the field on the page
LIMITS = {"num_beams": (1, 10, 1), "length_penalty": (0.0, 2.0, 0.1), "temperature": (0.0, 2.0, 0.1)}
FIELDS = {  # of each event that the page may send; "settings" brings any of the settings
    "choose": {"number"},
    "again": set(),
    "what_if": {"pane", "place", "word"},
    "close": {"pane"},
    "upload": {"name"},
    "settings": None,
}
START_WITH: dict[str, Any] = {
    "num_beams": 5,
    "length_penalty": 0.7,
    "temperature": 0.0,
    "seed": 0,
    "smooth": True,
}
NO_ATTENTION = (
    "This model has no attention: it sees the picture once, as a whole. The colours show instead how much the word's "
    "probability falls when that patch of the picture is greyed (occlusion)."
)


class Shown(NamedTuple):
    """One caption on the page: which captioner says it, what else it might have said, where a what-if begins."""

    name: str
    trace: CaptionTrace
    choices: list[list[Choice]]  # at each place
    place: int | None  # of the word that a person chose; None: the model's own caption


class Scene(NamedTuple):
    """The picture on the page, its number among all, and the captioners that have been asked about it."""

    picture: Image.Image
    number: int
    explorations: dict[str, Exploration]  # by the captioner's name, made when it is first asked


def explore(
    captioner: Checkpoint | Mapping[str, Checkpoint],
    images: Sequence[Record | Picture | str | Path],
    beside: str | None = None,
) -> Explorer:
    """The explorer of a captioner, or of several by name, over some pictures.

    Comes in: what `checkpoint.load` gives; images as records (their masks can be shown), PIL pictures, uint8 arrays or
    paths, or one of these; `beside`, the name of a second captioner, shown beside the first. Raises ValueError if there
    is no picture or no such captioner, and as `open_image` for a picture that cannot be read.
    """
    captioners = captioner if isinstance(captioner, Mapping) else {"model": captioner}
    for one in captioners.values():
        if not isinstance(one, Checkpoint):
            raise ValueError(f"explore takes what checkpoint.load(folder) gives, not {type(one).__name__}")
    return Explorer(captioners, [images] if isinstance(images, Record) else listed(images), beside)


class Explorer(anywidget.AnyWidget):
    """The widget. Traits tell the page what to show; what a person does comes back as events, see `receive`."""

    _esm = Path(__file__).with_name("widget.js")
    _css = Path(__file__).with_name("widget.css")
    names: traitlets.List = traitlets.List().tag(sync=True)  # of the captioners
    limits = traitlets.Dict(LIMITS).tag(sync=True)  # of the settings that are numbers: (least, most, step)
    thumbnails: traitlets.List = traitlets.List().tag(sync=True)  # {src, alt}
    picture = traitlets.Dict().tag(sync=True)  # {number, src, alt, said, annotated}
    panes: traitlets.List = traitlets.List().tag(sync=True)  # a dict for each caption, see `_pane`
    settings = traitlets.Dict().tag(sync=True)
    message = traitlets.Unicode().tag(sync=True)  # a sentence to the person
    answered = traitlets.Int().tag(sync=True)  # events so far: the page learns that its last one is done
    position = traitlets.Int().tag(sync=True)  # the word, 0 is the first

    def __init__(self, captioners: Mapping[str, Checkpoint], images: Sequence, beside: str | None = None) -> None:
        if not len(images) or not captioners:
            raise ValueError("there is nothing to explore: give at least one captioner and one picture")
        super().__init__()
        self._captioners, self._images, self._given = dict(captioners), list(images), len(images)
        self._scene, self._shown = Scene(self._open(images[0]), 0, {}), list[Shown]()
        self.names = list(captioners)
        self.thumbnails = [self._thumbnail(number) for number in range(len(images))]
        self._settings = START_WITH | {"name": self.names[0]} | self._checked({"beside": beside})
        self._on_choose(number=0)
        self.on_msg(lambda _, content, buffers: self.receive(content, buffers))

    # ----------------------------------------------------------------- what comes up from the page: nothing is trusted

    def receive(self, content: Any, buffers: Sequence[bytes] = ()) -> None:
        """Answers an event {"event": …}; what cannot be answered becomes a sentence in `message`, and nothing changes.

        choose {number}: another picture. settings {name, beside, num_beams, length_penalty, temperature, smooth}: any
        of them. again: draw anew. what_if {pane, place, word}: decode on from there. close {pane}: without that
        what-if. upload {name}, and the bytes of a file: a picture of one's own.
        """
        with self.hold_sync():  # one message to the page
            try:
                event, given = _checked_event(content, buffers)
                getattr(self, f"_on_{event}")(**given)
                self.message = ""
            except (ValueError, OSError, RuntimeError) as error:
                self.message = str(error)
            except Exception as error:  # a mistake in this program: whoever serves the page finds it in the log
                self.message = f"the explorer itself has failed ({type(error).__name__}); its log says where"
                raise
            finally:
                self.answered += 1

    def _on_choose(self, *, number: int) -> None:
        number = _within(number, 0, len(self._images) - 1, "the picture", whole=True)
        self._look_at(self._open(self._images[number]), number)

    def _on_upload(self, *, name: str, data: bytes) -> None:
        name = "".join(c for c in str(name) if c.isprintable())[-60:] or "the file"
        if len(data) > MOST:
            raise ValueError(f"{name} has more than {MOST // 10**6} MB: make it smaller")
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "picture"
            path.write_bytes(data)
            try:
                picture = open_image(path)
            except ValueError as error:
                raise ValueError(str(error).replace(str(path), name)) from None
        picture.thumbnail((KEPT, KEPT))
        images, self._images = self._images, [*self._images[: self._given], picture]  # the last one brought along
        try:
            self._look_at(picture, self._given)
        except Exception:
            self._images = images
            raise
        self.thumbnails = [*self.thumbnails[: self._given], self._thumbnail(self._given) | {"alt": name}]
        self.picture = self.picture | {"alt": name}

    def _on_settings(self, **given: Any) -> None:
        before, self._settings = self._settings, self._settings | self._checked(given)
        try:
            if set(given) <= {"smooth"}:
                self._show(self._shown, self.position)
            else:
                self._tell()
        except Exception:
            self._settings = before
            raise

    def _on_again(self) -> None:
        self._settings["seed"] += 1
        self._tell()

    def _on_what_if(self, *, pane: int, place: int, word: int) -> None:
        pane = _within(pane, 0, len(self._shown) - 1, "the caption", whole=True)
        name, trace, choices, led = self._shown[pane]
        place = _within(place, 0, len(trace.ids) - 1, "the place", whole=True)
        if isinstance(word, bool | float) or word not in [choice.id for choice in choices[place]]:
            raise ValueError(f"{str(word)[:40]!r} is none of the words that can be chosen there")
        other = self._with_choices(name, self._exploration(name).what_if(trace, place, word, **self._how()), place)
        first = pane if led is not None else pane + 1
        last = next((i for i in range(first, len(self._shown)) if self._shown[i].place is None), len(self._shown))
        self._show([*self._shown[:first], other, *self._shown[last:]], place)

    def _on_close(self, *, pane: int) -> None:
        pane = _within(pane, 0, len(self._shown) - 1, "the caption", whole=True)
        self._show([shown for i, shown in enumerate(self._shown) if i != pane or shown.place is None], self.position)

    def _checked(self, given: Mapping[str, Any]) -> dict[str, Any]:
        names = list(self._captioners)
        known: dict[str, list] = {
            "smooth": [True, False],
            "name": names,
            "beside": [None, *names],
        }
        checked: dict[str, Any] = {}
        for key, value in given.items():
            if key in LIMITS:
                low, high, _ = LIMITS[key]
                checked[key] = _within(value, low, high, key.replace("_", " "), whole=key == "num_beams")
            elif value not in known.get(key, ()):
                raise ValueError(f"{str(value)[:40]!r} is no {key[:40].replace('_', ' ')} that the explorer knows")
            else:
                checked[key] = value
        return checked

    # --------------------------------------------------------------------------------------- what goes down to the page

    def _open(self, image: Any) -> Image.Image:
        if isinstance(image, Record | str | Path):
            return open_image(image.path if isinstance(image, Record) else image)
        return Image.fromarray(as_array(image))

    def _thumbnail(self, number: int) -> dict[str, str]:
        image = self._images[number]
        alt = f"picture {number + 1}" + (f": {image.captions[0]}" if isinstance(image, Record) else "")
        return {"src": data_url(as_array(self._open(image), SMALL)), "alt": alt}

    def _look_at(self, picture: Image.Image, number: int) -> None:
        before, self._scene = self._scene, Scene(picture, number, {})
        try:
            self._tell()
        except Exception:
            self._scene = before
            raise
        image, src = self._images[number], data_url(as_array(picture, SIDE))
        said, annotated = (image.captions[0], bool(image.instances)) if isinstance(image, Record) else ("", False)
        alt = self.thumbnails[number]["alt"] if number < len(self.thumbnails) else ""
        self.picture = {"number": number, "src": src, "alt": alt, "said": said, "annotated": annotated}

    def _exploration(self, name: str) -> Exploration:
        explorations = self._scene.explorations
        if name not in explorations:
            explorations[name] = Exploration(self._captioners[name], self._scene.picture)
        return explorations[name]

    def _with_choices(self, name: str, trace: CaptionTrace, place: int | None = None) -> Shown:
        return Shown(name, trace, self._exploration(name).choices(trace), place)

    def _how(self) -> dict[str, Any]:
        return {key: self._settings[key] for key in ("num_beams", "length_penalty", "temperature", "seed")}

    def _tell(self) -> None:
        names = dict.fromkeys(name for name in (self._settings["name"], self._settings["beside"]) if name)
        self._show([self._with_choices(name, self._exploration(name).caption(**self._how())) for name in names], 0)

    def _show(self, shown: list[Shown], position: int) -> None:
        panes = [self._pane(one) for one in shown]
        self._shown, self.panes, self.settings, self.position = shown, panes, dict(self._settings), position

    def _pane(self, shown: Shown) -> dict[str, Any]:
        picture, number, _ = self._scene
        trace, array = shown.trace, as_array(picture, SIDE)
        # where no patch matters there is nothing to see, instead of noise
        maps = [np.zeros_like(row) if trace.occlusion and row.max() < 0.005 else row for row in trace.maps]
        look = {"smooth": self._settings["smooth"], "top": color_scale(trace.maps)}
        record = self._images[number]
        seen = (
            grounded_objects(trace, record)
            if isinstance(record, Record) and record.instances
            else [None] * len(trace.ids)
        )
        return {
            "name": shown.name,
            "place": shown.place,
            "note": NO_ATTENTION if trace.occlusion else "",
            "words": trace.words,
            "probabilities": trace.probabilities,
            "choices": [[choice._asdict() for choice in choices] for choices in shown.choices],
            "frames": [data_url(overlay(array, row, **look)) for row in maps],
            "falls": trace.maps.max(1).tolist() if trace.occlusion else None,
            "grounded_objects": [
                s and {"category": s.category, "inside": s.inside, "src": _outline(s.mask, array)} for s in seen
            ],
        }


def _checked_event(content: Any, buffers: Sequence[bytes]) -> tuple[str, dict[str, Any]]:
    """An event's name, and what it brings, if these are the fields of that event; a file's bytes are its `data`."""
    event = content.get("event") if isinstance(content, dict) else None
    if not isinstance(event, str) or event not in FIELDS:
        raise ValueError(f"the page asked for {str(event)[:40]!r}, which the explorer does not know")
    given = {str(key): value for key, value in content.items() if key != "event"}
    fields = FIELDS[event]
    if fields is not None and set(given) != fields:
        asked = " and ".join(sorted(fields)) or "nothing"
        raise ValueError(f"the page's question is not complete: {event!r} takes {asked}, not {str(given)[:80]}")
    if event == "upload":
        if len(buffers) != 1:
            raise ValueError("the page's question is not complete: 'upload' takes the bytes of one file")
        given["data"] = buffers[0]
    return event, given


def _within(value: Any, low: float, high: float, what: str, whole: bool = False) -> Any:
    """A number from the page, if it is one (no bool, no NaN) and within its limits."""
    if isinstance(value, bool) or not isinstance(value, int if whole else int | float) or not low <= value <= high:
        raise ValueError(f"{what} must be {'a whole number' if whole else 'a number'} from {low} to {high}")
    return value


def _outline(mask: np.ndarray, picture: np.ndarray) -> str:
    """The border of a mask as a transparent PNG in the size of the picture: dark, with a white seam."""
    inside = Image.fromarray(mask).convert("L").resize(picture.shape[1::-1], Image.Resampling.BICUBIC)
    inside = inside.point(lambda level: 255 * (level > 127))
    seam, line, core = (np.asarray(inside.filter(f(s))) for f, s in _RINGS)
    border = np.zeros((*seam.shape, 4), np.uint8)
    border[(seam > 0) & (core == 0)] = 255
    border[(line > 0) & (core == 0)] = DARK
    file = io.BytesIO()
    Image.fromarray(border).save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


DARK = (0x22, 0x22, 0x22, 255)  # as the outlines of the figures, style.INK
_RINGS = ((ImageFilter.MaxFilter, 7), (ImageFilter.MaxFilter, 5), (ImageFilter.MinFilter, 1))
