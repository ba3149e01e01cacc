"""What a user relies on in figures with captions in any script: a font that has the letters, or a sentence."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen

from figures.fonts import _remedy
from figures.style import text_width, wrap

ROOT = Path(__file__).parents[2]
LANGUAGES = {  # the font to install
    "一只狗在草地上奔跑": "Noto Sans CJK",
    "犬が走っている": "Noto Sans CJK",
    "개가 달린다": "Noto Sans CJK",
    "หมาวิ่ง": "Noto Sans Thai",
    "एक कुत्ता": "Noto Sans Devanagari",
    "ஒரு நாய்": "Noto Sans Tamil",
    "𓃥 𓃠": "Noto Sans Egyptian Hieroglyphs",
    "🐕‍🦺 🫎": "Noto Emoji",
}
DRAW = """
import json, sys, warnings
warnings.simplefilter("error")
warnings.simplefilter("ignore", DeprecationWarning)  # of what matplotlib calls
warnings.filterwarnings("ignore", "Matplotlib currently does not support")  # before 3.11: it says so, and draws
from figures.fonts import families
from figures.style import Figure, text_width, wrap
texts = json.loads(sys.argv[1])
figure = Figure(3, 1, "")
for text in texts:
    figure.write(0.1, 0.5, text)
    wrap(text, 1.5, 8.5)
axes = figure.page()
axes.axis("on")
axes.set_xticks(range(len(texts)), texts)
figure.encoded(), figure.encoded()
print(json.dumps([families(text) for text in texts]))
"""


def install(folder: Path, name: str, letters: str) -> None:
    """A font file that has these letters, where Linux looks for a user's own."""
    names = [".notdef", *(f"letter{i}" for i in range(len(letters)))]
    pen = TTGlyphPen(None)
    pen.moveTo((0, 0)), pen.lineTo((400, 800)), pen.lineTo((800, 0)), pen.closePath()
    glyph = pen.glyph()
    font = FontBuilder(1000)
    font.setupGlyphOrder(names)
    font.setupCharacterMap(dict(zip(map(ord, letters), names[1:], strict=True)))
    font.setupGlyf(dict.fromkeys(names, glyph))
    font.setupHorizontalMetrics(dict.fromkeys(names, (1000, 0)))
    font.setupHorizontalHeader(ascent=800, descent=-200)
    font.setupNameTable({"familyName": name, "styleName": "Regular"})
    font.setupOS2(sTypoAscender=800, usWinAscent=800, usWinDescent=200)
    font.setupPost()
    (folder / "fonts").mkdir(parents=True, exist_ok=True)
    font.save(folder / "fonts" / f"{name}.ttf")


def draw(texts: list[str], home: Path) -> tuple[list[str], list[list[str]]]:
    """What is said while a new process draws the texts, every warning an error; and the fonts of each."""
    environment = os.environ | {"XDG_DATA_HOME": str(home), "PYTHONIOENCODING": "utf-8"}
    how = {"cwd": ROOT, "env": environment, "check": True, "stdout": subprocess.PIPE, "encoding": "utf-8"}
    *said, fonts = subprocess.run([sys.executable, "-c", DRAW, json.dumps(texts)], **how).stdout.splitlines()
    return said, json.loads(fonts)


def test_letters_that_no_font_has_are_one_sentence_a_script_never_boxes_without_a_word(tmp_path):
    said, fonts = draw([*LANGUAGES, *LANGUAGES, "ein Hund läuft", "a dog"], tmp_path)
    for (text, remedy), found in zip(LANGUAGES.items(), fonts, strict=False):
        told = [sentence for sentence in said if f"such as {remedy} (" in sentence]
        assert len(told) == 1 or (len(found) > 1 and not told), text  # a machine may have the font
    assert fonts[-1] == fonts[-2] and len(fonts[-1]) == 1
    assert len(said) == len(set(said)) <= len(set(LANGUAGES.values()))


@pytest.mark.skipif(sys.platform != "linux", reason="fonts of one's own lie elsewhere there")
def test_a_font_that_has_the_letters_is_found_also_one_installed_since(tmp_path):
    install(tmp_path, "Aardvark", "𓃥𓃠")
    install(tmp_path, "Zebra", "𓃥𓃠𓃯")
    said, fonts = draw(["𓃥 𓃠", "a 𓃯 runs", "dog"], tmp_path)
    assert [found[1:] for found in fonts] == [["Aardvark"], ["Zebra"], []] and not said


def test_a_sentence_without_spaces_is_broken_into_lines_and_none_of_it_is_lost():
    for text in ("一只狗在草地上奔跑，追着一个红色的球，后面还有一个孩子", "หมาตัวหนึ่งวิ่งอยู่บนสนามหญ้าสีเขียว", "naïve" * 30):
        placed = wrap(text, 1.0, 8.5)
        assert "".join(piece for piece, *_ in placed) == text and placed[-1].line >= 1
        assert all(x >= 0 and x + text_width(piece, 8.5) <= 1.0 for piece, x, *_ in placed)


def test_arabic_and_hebrew_begin_at_the_right():
    for text in ("كلب يركض على العشب", "כלב רץ על הדשא", "3 كلاب تركض"):
        places = [(line, -x) for _, x, line, _ in wrap(text, 1.0, 8.5)]
        assert places == sorted(places) and max(x for _, x, *_ in wrap(text, 1.0, 8.5)) > 0.5
    assert wrap("a كلب runs", 1.0, 8.5)[0][1] == 0


@pytest.mark.parametrize(
    ("character", "font"),
    {
        "\u20e3": "Noto Emoji",  # the square of a key, in 1️⃣
        "\ufe0f": "Noto Emoji",
        "\U0001f3fd": "Noto Emoji",
        "\U0001f415": "Noto Emoji",
        "\u0301": "Noto Sans",
        "\u1d7a": "Noto Sans",
        "Ω": "Noto Sans",
        "①": "Noto Sans Symbols 2",
        "⠿": "Noto Sans Symbols 2",
        "\U0001d4b3": "Noto Sans Math",
        "ᐃ": "Noto Sans Canadian Aboriginal",
        "ﷺ": "Noto Sans Arabic",
        "ሰ": "Noto Sans Ethiopic",
        "。": "Noto Sans CJK",
    }.items(),
)
def test_the_font_to_install_is_one_that_there_is(character, font):
    assert _remedy(character) == font
