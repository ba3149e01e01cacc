"""Checks of what annotation files say: every value passes through here before the library believes it.

Comes in: values as JSON or CSV gave them, and the file they come from. Goes out: the same values with a known type, or
a ValueError of one sentence that names the file and shows at most 60 characters of what is wrong. It knows no layout.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

NEWLINE = re.compile("\r\n|\r|\n")


def read_json(file: Path, each: Callable[[dict[str, Any]], Any] | None = None) -> Any:
    """The content of a JSON file, with or without a byte-order mark; ValueError if it is not JSON in UTF-8.

    `each` says what becomes of an object as soon as it is read, so that not all of a large file is kept.
    """
    try:
        with file.open(encoding="utf-8-sig") as text:
            return json.load(text, object_hook=each)
    except json.JSONDecodeError as error:
        reason = f"{file}, line {error.lineno}: broken JSON ({error.msg})"
    except UnicodeDecodeError as error:
        reason = f"{file} is not UTF-8 text ({first_line(error)})"
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, thousands of brackets
        reason = f"{file}: broken JSON ({first_line(error)})"
    raise ValueError(f"{reason}; fetch or draw the file again.")


def read_text(file: Path) -> str:
    """A text file as spreadsheets and consoles write it: UTF-8, or UTF-16 with its byte-order mark.

    ValueError, with the line, if it is in another encoding.
    """
    content = file.read_bytes()
    encoding = "utf-16" if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        line = len(NEWLINE.split(content[: error.start].decode(encoding, "ignore")))
        raise ValueError(
            f"{file}, line {line} is not {error.encoding.upper()} text ({first_line(error)}): save it as UTF-8, a "
            'table as "CSV UTF-8", or with encoding="utf-8".'
        ) from None


def get_field(entry: Any, name: str, file: Path) -> Any:
    """`entry[name]`, or a ValueError that names the missing field."""
    try:
        return entry[name]
    except (KeyError, TypeError, IndexError):
        raise ValueError(f"{file}: there is no field {name!r} in {shown(entry)}.") from None


def get_list(content: Any, name: str, file: Path) -> list[Any]:
    """The field of that name, which must be a list."""
    value = get_field(content, name, file)
    if not isinstance(value, list):
        raise ValueError(f"{file}: the field {name!r} must be a list.")
    return value


def check_id(value: Any, file: Path) -> int | str:
    """The id of an image, annotation or category: a whole number or a name."""
    if isinstance(value, bool) or not isinstance(value, int | str) or not is_text(str(value)):
        raise ValueError(f"{file}: {shown(value)} is no id: that is a whole number or a name.")
    return value


def check_name(value: Any, file: Path | str) -> str:
    """A text that can name a file on any operating system."""
    if not is_text(value) or len(value.encode()) > 255 or any(ord(c) < 32 for c in value):
        raise ValueError(f"{file}: the file name {shown(value)} is not a name: that is one to 255 bytes of text.")
    return value


def check_size(image: dict[str, Any], file: Path) -> tuple[int, int]:
    """Width and height of an image in pixels, 0 where the entry does not give them."""
    width, height = (image.get(side) or 0 for side in ("width", "height"))
    if type(width) is not int or type(height) is not int or not 0 <= width <= 10**6 or not 0 <= height <= 10**6:
        raise ValueError(f"{file}: width and height of an image are pixels, not {shown(width)} and {shown(height)}.")
    return width, height


def check_caption(caption: Any, where: str) -> str:
    """A caption without the blanks around it; `where` says which one it is, for the error."""
    if not isinstance(caption, str) or not caption.strip():
        raise ValueError(f"{where} has an empty caption: write one, or remove it.")
    if not is_text(caption):
        raise ValueError(f"{where} has half a character in its caption {shown(caption)}: write it whole.")
    return caption.strip()


def is_text(value: Any) -> bool:
    """True for a text that is not blank and can be written as UTF-8: JSON lets half a character pass."""
    return isinstance(value, str) and bool(value.strip()) and not re.search("[\ud800-\udfff]", value)


def are_numbers(values: Any, limit: float = 1e9) -> bool:
    """True for a list of numbers between -limit and limit: neither NaN nor infinite."""
    return isinstance(values, list) and all(type(v) in (int, float) and -limit <= v <= limit for v in values)


def shown(value: Any) -> str:
    """A value as an error message shows it: at most 60 characters, and printable."""
    text = ascii(value) if isinstance(value, str) and not is_text(value) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def first_line(error: Exception) -> str:
    """What went wrong, without the thousand bytes it went wrong in."""
    return error.reason if isinstance(error, UnicodeDecodeError) else str(error).splitlines()[0]
