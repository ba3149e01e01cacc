"""The one style of all figures: colours, the `Figure` class, text that is measured before it is written, quiet axes.

Comes in: sizes in inches, strings. Goes out: a `Figure`, which Jupyter shows when it is the last line of a cell, and
which `figure.savefig("name.png")` keeps. Knows nothing of pictures, data or models.
"""

import base64
import contextlib
import html
import io
import warnings
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import count
from typing import Any, NamedTuple

import matplotlib.figure
import regex
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backend_bases import RendererBase
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from figures.fonts import families, from_the_right

# After Okabe and Ito, distinct for colour-blind readers too; some a little darker, so that text in them is readable.
INK, GREY, FAINT = "#222222", "#6f6f6f", "#d4d4d4"
BLUE, ORANGE, GREEN, PURPLE, SKY = "#0072b2", "#c8500a", "#00805e", "#a8558a", "#3f93c4"
DASHED = (0, (5, 4))
DPI = 100
JPEG = 65_500  # pixels: the longest side that such a file can have
FORMULA = "formula"  # the gid of a text in which $ means mathematics; in any other, such as a caption, a $ is a $
_ruler = RendererAgg(1, 1, DPI)  # measures text exactly as the figures will draw it


class Figure(matplotlib.figure.Figure):
    """A figure outside pyplot, so nothing has to be closed; Jupyter shows it, with `alt` for screen readers."""

    def __init__(self, width: float, height: float, alt: str) -> None:
        """Takes width and height in inches; `alt` says what somebody who cannot see the figure should know."""
        super().__init__(figsize=(width, height), dpi=DPI, facecolor="white")
        self.alt = alt

    def draw(self, renderer: RendererBase) -> None:
        """Draw everything, each text in fonts that have its letters; Matplotlib calls this."""
        for axis in (axis for axes in self.axes if axes.axison for axis in (axes.xaxis, axes.yaxis)):
            axis.get_ticklabels()  # writes them
        for text in self.findobj(Text):
            if isinstance(text, Text):
                text.set_parse_math(text.get_gid() == FORMULA)
                if not text.get_text().isascii():
                    text.set_fontfamily(families(text.get_text()))
        with _no_glyph_warnings():
            super().draw(renderer)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> tuple[dict, dict]:
        kind, data = "image/png", self.encoded(pil_kwargs={"optimize": True})
        longest = DPI * max(self.get_size_inches())
        if len(data) > 60_000 and longest <= JPEG:  # pictures in it: a notebook must stay small, to open everywhere
            how: dict[str, Any] = {"quality": 85, "subsampling": 0, "optimize": True}
            kind, data = "image/jpeg", self.encoded(format="jpeg", pil_kwargs=how)
        return {kind: base64.b64encode(data).decode()}, {kind: {"alt": self.alt}}

    def encoded(self, **how: Any) -> bytes:
        """The figure as the bytes of an image file, a PNG by default; `how` goes to `savefig`."""
        file = io.BytesIO()
        self.savefig(file, dpi=DPI, **how)
        return file.getvalue()

    def as_html(self) -> str:
        """The figure as an <img> that needs no file beside it: what a widget can show."""
        ((kind, data),) = self._repr_mimebundle_()[0].items()
        return f'<img alt="{html.escape(self.alt)}" src="data:{kind};base64,{data}" style="max-width:100%">'

    def inches(self, left: float, top: float, width: float, height: float) -> Axes:
        """Axes whose place is given in inches from the figure's top left corner."""
        across, down = self.get_size_inches()
        return self.add_axes((left / across, 1 - (top + height) / down, width / across, height / down))

    def below(self, axes: Axes) -> tuple[float, float]:
        """Where the first line of text below a picture starts: inches from the left, inches from the top."""
        box = axes.get_position(original=True)
        return box.x0 * self.get_figwidth(), (1 - box.y0) * self.get_figheight() + 0.17

    def write(self, left: float, top: float, text: str, **how: Any) -> None:
        """Text at a place given in inches from the left and from the top."""
        self.text(left / self.get_figwidth(), 1 - top / self.get_figheight(), text, **how)

    def line(self, start: tuple[float, float], end: tuple[float, float], color: str) -> None:
        """A thin line over all axes, between two places given in inches from the left and from the top."""
        across, down = self.get_size_inches()
        places = [start[0] / across, end[0] / across], [1 - start[1] / down, 1 - end[1] / down]
        self.add_artist(Line2D(*places, color=color, linewidth=0.9))

    def underline(self, left: float, top: float, width: float, color: str) -> None:
        """A line under a text written at the same place."""
        self.line((left, top + 0.035), (left + width, top + 0.035), color)

    def page(self) -> Axes:
        """Axes over the whole figure in inches, y pointing down: a sheet to draw on."""
        axes = self.inches(0, 0, *self.get_size_inches())
        axes.set(xlim=(0, self.get_figwidth()), ylim=(self.get_figheight(), 0))
        axes.axis("off")
        return axes


# Text, measured


def text_width(text: str, size: float, weight: str = "normal") -> float:
    """The width in inches of `text` at `size` points."""
    font = FontProperties(family=None if text.isascii() else families(text), size=size, weight=weight)
    with _no_glyph_warnings():
        return _ruler.get_text_width_height_descent(text, font, False)[0] / DPI


@contextlib.contextmanager
def _no_glyph_warnings() -> Iterator[None]:
    """Inside, Matplotlib does not warn of each letter that no font has: `families` has said it in a sentence."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing", UserWarning)
        yield


def shorten(text: str, width: float, size: float) -> str:
    """`text`, cut with an ellipsis where it would be wider than `width` inches."""
    if len(text) < 500 and text_width(text, size) <= width:  # measuring a long one takes long
        return text
    fits = bisect_right(range(1, min(len(text), 500)), width, key=lambda end: text_width(text[:end] + "…", size))
    return text[:fits] + "…"


class Placed(NamedTuple):
    """A word, or a piece of one, where `wrap` puts it."""

    text: str
    x: float  # inches
    line: int  # from 0
    word: int  # which of the words this is, or is a piece of, from 0


def wrap(text: str | Sequence[str], width: float, size: float) -> list[Placed]:
    """Break a text, or one that is split into words already, into lines of `width` inches.

    A paragraph in Arabic or Hebrew begins at the right. A long word is shortened; in another script than the Latin it
    may be a whole sentence, without spaces, and is broken.
    """
    placed: list[Placed] = []
    line, numbers = -1, count()
    for paragraph in [part.split() for part in text.split("\n")] if isinstance(text, str) else [text]:
        before, line, first = "", line + 1, len(placed)
        for whole, number in zip(paragraph, numbers, strict=False):
            for piece in _pieces(whole, width, size):
                if before and text_width(before + piece, size) > width:
                    before, line = "", line + 1
                x = text_width(before + piece, size) - text_width(piece, size)
                placed.append(Placed(piece, x, line, number))
                before += piece + " "
        if from_the_right(" ".join(paragraph)):
            placed[first:] = [p._replace(x=width - p.x - text_width(p.text, size)) for p in placed[first:]]
    return placed


def _pieces(word: str, width: float, size: float) -> list[str]:
    """A word as it fits into a line: itself, shortened, or in pieces."""
    if word.isascii():
        return [shorten(word, width, size)]
    pieces = [""]
    for letter in regex.findall(r"\X", word):  # with its marks
        if pieces[-1] and text_width(pieces[-1] + letter, size) > width:
            pieces.append("")
        pieces[-1] += letter
    return pieces


def line_count(words: Sequence[Placed]) -> int:
    """The number of lines that wrapped words fill; an empty text fills one."""
    return words[-1].line + 1 if words else 1


# Axes


def quiet(axes: Axes, xlabel: str = "", ylabel: str = "") -> None:
    """Two thin lines and small grey numbers: the frame steps back behind the data."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set(color=FAINT, linewidth=0.8)
    axes.tick_params(which="both", color=FAINT, labelcolor=GREY, labelsize=8, width=0.8, length=3)
    axes.set_xlabel(xlabel, size=8.5, color=GREY)
    axes.set_ylabel(ylabel, size=8.5, color=GREY)


def log_ticks(axis: Axis) -> None:
    """Few round numbers, written out, on a logarithmic axis, also on a short one."""
    low, high = axis.get_view_interval()
    decades = LogLocator(subs=(1,) if high / low > 300 else (1, 2, 5))
    axis.set_major_locator(decades if high / low > 6 else MaxNLocator(6))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(lambda value, _: f"{value:,.0f}" if 1000 <= value < 1e7 else f"{value:,.4g}")


def short_number(number: float) -> str:
    """1234.5 -> "1,234", 12.34 -> "12.3", 4.567 -> "4.57", 1.2e30 -> "1.2e+30"."""
    return f"{number:,.0f}" if 100 <= number < 1e7 else f"{number:.3g}"


def direct_labels(axes: Axes, labels: Sequence[tuple[float, str, str]]) -> None:
    """Write labels (y value, text, color) right of the axes at their y values, moved apart where they would overlap.

    They stay beside the axes as long as these are tall enough for all of them; text in equal places keeps its order.
    """
    size, line = 8.5, 0.17  # points; inches from line to line
    gap = line * DPI / axes.bbox.height  # of the axes' height
    ordered = sorted(labels, key=lambda label: label[0])
    wanted = [axes.transAxes.inverted().transform(axes.transData.transform((1, value)))[1] for value, *_ in ordered]
    groups: list[list[float]] = []  # the lowest place and the number of labels of each run that stands line by line
    for place in wanted:
        groups.append([min(max(place, 0.0), 1.0), 1])
        while len(groups) > 1 and groups[-2][0] + gap * groups[-2][1] > groups[-1][0]:
            low, many = groups.pop(-2)
            start, more = groups.pop()
            # both runs become one, around the mean of the places that its labels asked for
            centre = (many * (low + gap * (many - 1) / 2) + more * (start + gap * (more - 1) / 2)) / (many + more)
            height = gap * (many + more - 1)
            groups.append([max(0.0, min(centre - height / 2, 1 - height)), many + more])
    places = [low + gap * number for low, many in groups for number in range(int(many))]
    look: dict[str, Any] = {"size": size, "va": "center", "transform": axes.transAxes}
    for place, (_, text, color) in zip(places, ordered, strict=True):
        axes.text(1.02, place, text, color=color, **look)
