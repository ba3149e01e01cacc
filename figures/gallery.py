"""Pictures with captions: in rows, with all their captions beside them, or with the model's caption below people's.

Comes in: pictures (PIL images or uint8 arrays (H, W, 3)) and captions as strings. Goes out: a `Figure`. Knows no
tensors, no models, no files.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

from figures.annotations import Object, category_colors, draw_objects
from figures.pictures import Picture, as_array, draw_outline, listed, panels, scaled_mask, show
from figures.style import GREEN, GREY, INK, ORANGE, Figure, Placed, line_count, text_width, wrap

LINE, SIZE = 0.165, 8.5  # of text below pictures: inches from line to line, points


def image_grid(
    images: Sequence[Picture],
    titles: Sequence[str] | None = None,
    columns: int = 6,
    masks: Sequence[ArrayLike | None] | None = None,
) -> Figure:
    """Pictures in rows of `columns`, each with its title, if any, wrapped below it.

    Comes in: titles, one per picture; a line break in it starts a new line; masks, per picture a bool (H, W) of the
    image whose outline is drawn in white, or None. Raises ValueError if the numbers differ or a mask has not the size
    of its picture.
    """
    images = listed(images)
    for name, values in (("titles", titles), ("masks", masks)):
        if not len(images) or (values is not None and len(values) != len(images)):
            raise ValueError(f"{len(images)} pictures and {len(values or ())} {name}: there must be one per picture")
    width = 1.5
    texts = [wrap(title, width, SIZE) for title in titles or ()]
    feet = [0.13 + LINE * line_count(words) for words in texts]
    alt = f"{len(images)} pictures" + (": " + "; ".join(titles) if titles else "")
    figure = panels([as_array(image, 300) for image in images], columns, width, alt, feet=feet)
    for axes, words in zip(list(figure.axes), texts, strict=False):
        left, top = figure.below(axes)
        for word, x, row, _ in words:
            figure.write(left + x, top + row * LINE, word, size=SIZE, color=INK)
    for axes, image, mask in zip(list(figure.axes), images, masks or (), strict=False):
        if mask is not None:
            draw_outline(axes, scaled_mask(mask, image, np.asarray(axes.images[0].get_array())), "white")
    return figure


def captioned(
    images: Sequence[Picture],
    captions: Sequence[Sequence[str]],
    columns: int = 2,
    named: Sequence[Sequence[Mapping[int, str]]] | None = None,
    masks: Sequence[ArrayLike | None] | None = None,
    objects: Sequence[Sequence[Object]] | None = None,
) -> Figure:
    """Pictures, each with all its captions beside it.

    Comes in: captions, a list per picture; named, per picture and caption a dict from the place of a word (0 is the
    first) to the category that it names: the word gets that category's colour and a line; objects, per picture its
    (category, mask) in the same colours; masks, as in `image_grid`. Raises ValueError if the lengths differ or a mask
    has not the size of its picture.
    """
    images = listed(images)
    if not len(images) or len(captions) != len(images):
        raise ValueError(f"{len(images)} pictures and {len(captions)} lists of captions: there must be one per picture")
    if named is not None and [len(said) for said in named] != [len(said) for said in captions]:
        raise ValueError("the words named must be given for each caption of each picture")
    for name, given in (("masks", masks), ("lists of objects", objects)):
        if given is not None and len(given) != len(images):
            raise ValueError(f"{len(images)} pictures and {len(given)} {name}: there must be one per picture")
    if columns < 1:
        raise ValueError(f"columns must be 1 or more, not {columns}")
    columns, wide, room, gap, edge = min(columns, len(images)), 1.6, 2.7, 0.25, 0.05
    pictures = [as_array(image, 320) for image in images]
    talls = [wide * min(1.5, picture.shape[0] / picture.shape[1]) for picture in pictures]
    texts = [[wrap(caption, room, SIZE) for caption in said] for said in captions]
    heights = [
        max(tall, sum(LINE * line_count(words) + 0.09 for words in said))
        for tall, said in zip(talls, texts, strict=True)
    ]
    rows = [max(heights[start : start + columns]) + gap for start in range(0, len(images), columns)]
    alt = "; ".join(f"a picture and its captions: {' / '.join(said)}" for said in captions)
    figure = Figure(columns * (wide + room + gap) - gap / 2 + edge, sum(rows) - gap + 2 * edge, alt)
    colors = category_colors(
        [name for said in named or () for words in said for name in words.values()]
        + [name for shown in objects or () for name, _ in shown]
    )
    for place, (picture, said) in enumerate(zip(pictures, texts, strict=True)):
        row, column = divmod(place, columns)
        left, top = edge + column * (wide + room + gap), edge + sum(rows[:row])
        axes = figure.inches(left, top, wide, talls[place])
        show(axes, picture)
        axes.set_anchor("NW")
        draw_objects(axes, images[place], picture, objects[place] if objects is not None else (), colors)
        mask = masks[place] if masks is not None else None
        if mask is not None:
            draw_outline(axes, scaled_mask(mask, images[place], picture), "white")
        kinds = named[place] if named is not None else [{}] * len(said)
        _write_captions(figure, left + wide + 0.12, top + 0.11, said, kinds, colors)
    return figure


def _write_captions(
    figure: Figure,
    left: float,
    top: float,
    captions: Sequence[Sequence[Placed]],
    named: Sequence[Mapping[int, str]],
    colors: Mapping[str, str],
) -> None:
    """Wrapped captions below each other; a word that names a category in that category's colour."""
    for words, kinds in zip(captions, named, strict=True):
        for word, x, line, place in words:
            at, color = (left + x, top + line * LINE), colors[kinds[place]] if place in kinds else INK
            figure.write(*at, word, size=SIZE, color=color)
            if place in kinds:  # a line too: colour alone does not reach everybody
                figure.underline(*at, text_width(word, SIZE), color)
        top += line_count(words) * LINE + 0.09


def gallery(
    images: Sequence[Picture],
    actual: Sequence[str],
    predicted: Sequence[str],
    columns: int = 3,
    highlight: Sequence[Mapping[int, bool]] | None = None,
) -> Figure:
    """Pictures with the caption a human wrote ("actual") and the caption of the model ("predicted") below.

    Comes in: three lists of one length; highlight, per picture a dict from the place of a predicted word (0 is the
    first) to True (right: green) or False (wrong: red and underlined). Raises ValueError if the lengths differ.
    """
    images = listed(images)
    lengths = {len(images), len(actual), len(predicted)} | ({len(highlight)} if highlight is not None else set())
    if len(lengths) != 1 or not len(images):
        raise ValueError(
            f"{len(images)} pictures, {len(actual)} actual and {len(predicted)} predicted captions"
            + (f", {len(highlight)} highlights" if highlight is not None else "")
            + ": there must be one of each per picture"
        )
    width, indent = 2.9, 0.68
    texts = [[wrap(text, width - indent, SIZE) for text in pair] for pair in zip(actual, predicted, strict=True)]
    feet = [0.2 + LINE * (line_count(one) + line_count(other)) for one, other in texts]
    alt = "; ".join(f"actual: {one}, predicted: {other}" for one, other in zip(actual, predicted, strict=True))
    figure = panels([as_array(image, 300) for image in images], columns, width, alt, feet=feet)
    for number, axes in enumerate(list(figure.axes)):
        left, top = figure.below(axes)
        for kind, words in zip(("actual", "predicted"), texts[number], strict=True):
            figure.write(left, top, kind, size=7.5, color=GREY)
            for word, x, row, place in words:
                right = highlight[number].get(place) if highlight is not None and kind == "predicted" else None
                at, color = (left + indent + x, top + row * LINE), {None: INK, True: GREEN, False: ORANGE}[right]
                figure.write(*at, word, size=SIZE, color=color)
                if right is False:  # a line too: colour alone does not reach everybody
                    figure.underline(*at, text_width(word, SIZE), color)
            top += line_count(words) * LINE + 0.03
    return figure
