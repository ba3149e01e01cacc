"""Fonts for words in any script: which of the installed ones have the letters of a text.

Comes in: text. Goes out: the families to write it in, the style's own first; and, where no installed font has a letter,
one sentence that says which to install. It knows no figures.
"""

from __future__ import annotations

import contextlib
import unicodedata
from functools import cache

import matplotlib
import regex
from matplotlib.font_manager import FontProperties, findSystemFonts, fontManager, get_font

SHAPED = (3, 11)  # the first Matplotlib that joins Arabic letters and writes them from the right
EAST_ASIAN = {"CJK", "HIRAGANA", "KATAKANA", "HANGUL", "IDEOGRAPHIC", "FULLWIDTH", "HALFWIDTH", "BOPOMOFO"}
# Scripts whose fonts have a longer name than the letters.
LONGER = {"CANADIAN": "Canadian Aboriginal", "EGYPTIAN": "Egyptian Hieroglyphs", "ANATOLIAN": "Anatolian Hieroglyphs"}
# Of the families that have the same letters the first is taken: plain ones, and those made to go together.
PREFERRED = ("Noto Sans", "Arial Unicode", "Microsoft", "PingFang", "Hiragino Sans", "Yu Gothic", "Malgun", "Nirmala")


def families(text: str) -> list[str]:
    """The font families to write a text in, in the order in which a letter is looked for in them.

    Where no installed font has a letter, its script and a font to install are printed, once for each script.
    """
    own = list(matplotlib.rcParams["font.family"])
    lacking = {c for c in text if not c.isspace() and unicodedata.category(c) not in ("Cc", "Cf")}
    lacking -= _letters(fontManager.findfont(FontProperties()))
    if matplotlib.__version_info__ < SHAPED and from_the_right(text):
        _say_what_is_not_shaped()
    return own + _others(frozenset(lacking)) if lacking else own


def from_the_right(text: str) -> bool:
    """Whether a text begins, after signs and digits, in a script that is written from right to left."""
    return next((kind for kind in map(unicodedata.bidirectional, text) if kind in ("L", "R", "AL")), "L") != "L"


@cache
def _others(lacking: frozenset[str]) -> list[str]:
    """Installed families that have these letters, the one with most of them first."""
    found: list[str] = []
    left = set(lacking)
    while left:
        best, has = max(_installed().items(), key=lambda font: len(left & font[1]), default=("", frozenset()))
        if not left & has:
            break
        found.append(best)
        left -= has
    for character in sorted(left):
        _say_what_to_install(_remedy(character))
    return found


@cache
def _installed() -> dict[str, frozenset[str]]:
    """The upright families that are here and their letters; also those installed since Matplotlib last looked."""
    known = {entry.fname for entry in fontManager.ttflist}
    for path in set(findSystemFonts()) - known:
        with contextlib.suppress(Exception):  # FreeType raises what it likes for a font that it cannot read
            fontManager.addfont(path)
    upright = (e for e in fontManager.ttflist if e.style == "normal" and e.weight in (400, "normal", "regular"))
    files = {entry.name: entry.fname for entry in upright if "Last Resort" not in entry.name}  # that has boxes for all
    return {name: _letters(files[name]) for name in sorted(files, key=_rank)}


def _rank(name: str) -> tuple[int, bool, str]:
    place = next((i for i, start in enumerate(PREFERRED) if name.startswith(start)), len(PREFERRED))
    return place, "Sans" not in name, name


@cache
def _letters(path: str) -> frozenset[str]:
    """The characters that a font's file has; none if it cannot be read."""
    try:
        return frozenset(map(chr, get_font(path).get_charmap()))
    except Exception:  # FreeType raises what it likes
        return frozenset()


def _remedy(character: str) -> str:
    """A font that has a character, told from what it is for and from the first word of its name."""
    if regex.match(r"[\p{Emoji}\p{Emoji_Component}\p{Extended_Pictographic}\p{Cn}]", character):
        return "Noto Emoji"
    script = unicodedata.name(character, "").split(" ")[0].split("-")[0]
    if script in EAST_ASIAN:
        return "Noto Sans CJK"
    if script == "MATHEMATICAL" or unicodedata.category(character) == "Sm":
        return "Noto Sans Math"
    if regex.match(r"[\p{Latin}\p{Greek}\p{Cyrillic}]|[\p{Common}\p{Inherited}--[\p{S}\p{N}]]", character, regex.V1):
        return "Noto Sans"
    if regex.match(r"[\p{Common}\p{Inherited}\p{Braille}\p{Co}]", character):
        return "Noto Sans Symbols 2"
    return f"Noto Sans {LONGER.get(script, script.title())}"


@cache
def _say_what_to_install(font: str) -> None:
    print(
        "some words of the figures are in letters that no installed font has, and show as boxes: install a font that "
        f"has them, such as {font} (fonts.google.com/noto), and start Python or the kernel anew"
    )


@cache
def _say_what_is_not_shaped() -> None:
    print("Matplotlib before 3.11 writes Arabic and Hebrew letter by letter from the left: pip install -U matplotlib")
