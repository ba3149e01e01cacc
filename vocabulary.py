"""Words <-> ids: how a caption becomes the numbers a decoder reads and writes, and back.

Comes in: captions as people wrote them. Goes out: lower-case words without punctuation (`tokenize`), their ids
(`Vocabulary.encode`) and a readable caption again (`Vocabulary.decode`). Pure Python: this file knows neither tensors
nor images, and it keeps its words as plain JSON.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from itertools import chain
from pathlib import Path
from typing import Any

import regex
from nltk import __version__ as nltk_version
from nltk.tokenize import NLTKWordTokenizer

from dataset import files

SPECIALS = ("<pad>", "<start>", "<end>", "<unk>")  # the first words of every vocabulary
PAD, START, END, UNK = range(len(SPECIALS))  # and their ids
TOKENIZER_VERSION = 4  # raise it when the same caption becomes other ids: encoded captions on disk are then made again

# What COCO's evaluation drops after tokenising (pycocoevalcap, tokenizer/ptbtokenizer.py): nothing else, so that "!!"
# stays, and brackets do as well, which the tokeniser spells "-lrb-" where the list has "-LRB-".
PUNCTUATION = frozenset(["''", "'", "``", "`", ".", "?", "!", ",", ":", "-", "--", "..", "...", ";"])
BRACKETS = {"(": "-lrb-", ")": "-rrb-", "[": "-lsb-", "]": "-rsb-", "{": "-lcb-", "}": "-rcb-"}

_treebank = NLTKWordTokenizer()
_TYPOGRAPHIC = str.maketrans({"\u2018": "'", "\u2019": "'", "\u00b4": "'", "\u201c": '"', "\u201d": '"', "\u00a0": " "})
# Words that keep their stop, as Stanford's lexer knows them: titles, streets, states, companies, u.s. , p.m. , etc.
_ABBREVIATION = (
    "(?:jan|feb|apr|jul|aug|sept?|oct|nov|dec|mon|tues?|wed|thurs?|fri|"
    "ala|ariz|calif|colo|conn|ct|dak|del|fla|ga|kans?|ky|md|mich|minn|mont|neb|nev|okla|penn|tenn|va|vt|wisc?|wyo|"
    "inc|cos?|corp|ltd|dept|assn|univ|intl|mr|mrs|ms|drs?|profs?|sens?|reps?|attys?|lt|col|gen|govs?|adm|rev|maj|sgt|"
    "cpl|pvt|capt|ste?|ave|pres|lieut|hon|brig|det|mt|ft|asst|assoc|jr|sr|bros|blvd|rd|esq|etc|vs|tel|est|ext|sq|"
    r"[a-z](?:\.[a-z])*)\."
)
_ABBREVIATED = re.compile(_ABBREVIATION)
_TWO_IN_ONE = frozenset(["cannot", "gimme", "gonna", "gotta", "lemme", "wanna"])  # which the Treebank splits
_REWRITE = [  # what Stanford's lexer sees differently from NLTK's
    (re.compile(rf"(?<!\S)(?!{_ABBREVIATION})(\S*[^\s.])\.(?=[\s\"'):/\]]|$)"), r"\1 . "),  # a sentence ends inside
    (re.compile(r",(?!\d)"), " "),  # NLTK stumbles over two in a row
    (re.compile(r"(?<=\w)-(?=\s|$)|(?<=\s)-(?=\w)"), " "),
    (re.compile(r"/(?=[\s.,]|$)"), " / "),
    (re.compile(r"(?<![!?])(?=[!?]{2})|(?<=[!?]{2})(?![!?])"), " "),
    (re.compile(r"(?<=:\d\d)([ap]m)\b"), r" \1"),
    (re.compile(r"(?<=\s)\.(?=[a-z])"), " "),
]
# Scripts that are written without spaces: there a word is a letter with its marks, as in the scores of COCO-CN.
_UNSPACED = regex.compile(
    r"(?=[\p{Han}\p{Hiragana}\p{Katakana}\u30fc\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}--\p{P}])\X", regex.V1
)
_FOREIGN_STOPS = regex.compile(
    r"[\p{P}--[\u0000-\u007f\u2010\u2011\u2018\u2019\u201c\u201d]]", regex.V1
)  # not what English quotes with
# Characters that nobody sees: marks of byte order and direction, soft hyphens, controls. Some do belong to a word: the
# joiners in scripts that they shape (as in Persian) and in emoji, and the tags that make a black flag that of Wales.
_JOINED = r"[\p{Arabic}\p{Syriac}\p{Mongolian}\p{Nko}\p{Mandaic}\p{ccc=virama}]"
_EMOJI = r"\p{Extended_Pictographic}"
_INVISIBLE = regex.compile(
    rf"(?:(?<={_JOINED})[\u200c\u200d\u180e](?=[\u200c\u200d\u180e]*[\p{{L}}\p{{M}}])"
    r"|(?<=\p{ccc=virama})\u200d|\u200d(?=\p{ccc=virama})"
    rf"|(?<={_EMOJI}[\ufe0f\p{{Emoji_Modifier}}]?)\u200d(?={_EMOJI})"
    r"|(?<=\U0001f3f4)[\U000e0020-\U000e007e]+\U000e007f)(*SKIP)(*FAIL)"
    r"|[[\p{Cf}&&\p{Default_Ignorable_Code_Point}][\p{Cc}--\s]--\u200b]",
    regex.V1,
)
_WHOLE = re.compile(r"(?<=\w)&(?=\w)|(?<=[!?])[!?]|[!?](?=[!?])")  # NLTK splits "at&t" and "!!"
_HIDDEN = str.maketrans("&!?", "\ue000\ue001\ue002")
_SHOWN = str.maketrans("\ue000\ue001\ue002", "&!?")


def tokenize(caption: str) -> list[str]:
    """The words of a caption: lower case, split as in the Penn Treebank ("dog's" -> dog 's), punctuation dropped.

    Equal to Stanford's PTB tokeniser, as COCO's evaluation uses it, on 99.98 % of the 202,654 captions of COCO val2014,
    without Java. Captions and references pass through here alike, so that training and metrics speak of the same words.
    Other languages are split at spaces, Chinese, Japanese, Thai and their like into letters; their stops are dropped.
    Two spellings that look alike are one word: letters are composed (Unicode's NFC), invisible characters dropped.
    """
    text = caption.lower()
    return _plain_words(text) or _split_treebank(_visible(text))


def _visible(text: str) -> str:
    """What a reader sees of a text, each letter in its one spelling; a letter that is a word stands by itself."""
    if text.isascii() and text.isprintable():
        return text
    text = _INVISIBLE.sub("", text).replace("\u200b", " ")  # a space, though it has no width
    text = _FOREIGN_STOPS.sub(" ", unicodedata.normalize("NFC", text))
    return _UNSPACED.sub(r" \g<0> ", text)


def _plain_words(text: str) -> list[str]:
    """The words of a caption that needs no grammar, as 97 of 100 do: letters, spaces, commas, a stop; else none."""
    body = text.rstrip()
    stop = body.endswith(".")
    body = body[:-1] if stop else body
    letters = body.replace(" ", "").replace(",", "")
    if not (letters.isascii() and letters.isalpha()):
        return []
    words = body.replace(",", " ").split()
    abbreviated = stop and body[-1] not in " ," and _ABBREVIATED.fullmatch(words[-1] + ".")
    return [] if abbreviated or not _TWO_IN_ONE.isdisjoint(words) else words


def _split_treebank(text: str) -> list[str]:
    text = text.translate(_TYPOGRAPHIC)
    for pattern, replacement in _REWRITE:
        text = pattern.sub(replacement, text)
    text = _WHOLE.sub(lambda match: match[0].translate(_HIDDEN), text)
    # NLTK cuts off the last stop of a text, "mr." or not: so it gets one of its own.
    tokens = (BRACKETS.get(token, token) for token in _treebank.tokenize(f"{text} ."))
    return [token.translate(_SHOWN) for token in tokens if token not in PUNCTUATION]


class Vocabulary:
    """The words a model knows, with ids that do not depend on the order of the captions.

    Comes in: the captions of the *training* split, `threshold`, how often a word must occur to be kept, and
    `max_words`, how many words are kept at most, the most frequent first. `words` are in id order: the four specials,
    then by falling count, ties by alphabet. `counts` holds every word that was read, also those not kept.
    Raises ValueError if `threshold` or `max_words` is not positive.
    """

    pad, start, end, unk = PAD, START, END, UNK

    def __init__(self, captions: Iterable[str] = (), threshold: int = 1, max_words: int | None = None) -> None:
        if threshold < 1 or (max_words is not None and max_words < 1):
            raise ValueError(f"threshold and max_words must be at least 1, not {threshold} and {max_words}.")
        counts = _count(captions)
        kept = [word for word, count in counts.items() if count >= threshold][:max_words]
        self._set([*SPECIALS, *kept], counts, threshold)

    def _set(self, words: list[str], counts: dict[str, int], threshold: int) -> None:
        self.words = words
        self.counts = counts
        self.threshold = threshold
        self._ids = {word: number for number, word in enumerate(words)}

    @classmethod
    def from_words(cls, words: Iterable[str]) -> Vocabulary:
        """A vocabulary of exactly these words, in this order; the specials are put in front unless they are there.

        Raises ValueError if a word occurs twice or is one of the specials.
        """
        words = list(words)
        if tuple(words[: len(SPECIALS)]) != SPECIALS:
            words = [*SPECIALS, *words]
        repeated = [word for word, count in Counter(words).items() if count > 1]
        if repeated:
            raise ValueError(f"The word {repeated[0]!r} occurs twice in a list of words: each may have one id only.")
        vocabulary = cls()
        vocabulary._set(words, {}, 1)
        return vocabulary

    def __len__(self) -> int:
        return len(self.words)

    def __contains__(self, word: object) -> bool:
        return word in self._ids

    def __getitem__(self, word: str) -> int:
        return self._ids.get(word, self.unk)

    def __repr__(self) -> str:
        return f"Vocabulary({len(self)} words, threshold {self.threshold})"

    @property
    def fingerprint(self) -> str:
        """A short hash of the words in their order: under any others, a model's ids mean something else."""
        return sha256("\n".join(self.words).encode()).hexdigest()[:16]

    def encode(self, caption: str | list[str], max_words: int | None = None) -> list[int]:
        """Ids of a caption, or of words already split, between `start` and `end`.

        Of a longer one the first `max_words` words are kept, without an `end`: it does not end there. What merely looks
        like a special, "<end>" in a caption, is an unknown word. Raises ValueError if `max_words` is not positive.
        """
        if max_words is not None and max_words < 1:
            raise ValueError(f"max_words must be at least 1, not {max_words}.")
        words = tokenize(caption) if isinstance(caption, str) else caption
        ids = [self.unk if word in SPECIALS else self[word] for word in words[:max_words]]
        return [self.start, *ids] if len(ids) < len(words) else [self.start, *ids, self.end]

    def encode_all(
        self, captions: Sequence[str], max_words: int | None = None, cache_dir: str | Path | None = None
    ) -> list[list[int]]:
        """`encode` for each caption. What was made for the same captions is read again from the folder `cache_dir`."""
        if cache_dir is None:
            return [self.encode(caption, max_words) for caption in captions]
        key = [TOKENIZER_VERSION, nltk_version, self.fingerprint, max_words, list(captions)]
        digest = sha256(json.dumps(key).encode()).hexdigest()[:16]
        path = Path(cache_dir) / f"captions-{digest}.json"
        try:
            encoded = json.loads(path.read_bytes())
            if self._is_encoded(encoded, captions):
                return encoded
        except (OSError, ValueError, RecursionError):  # not there, or damaged: make it (again)
            pass
        encoded = self.encode_all(captions, max_words)
        files.write(path, json.dumps(encoded, separators=(",", ":")))
        return encoded

    def _is_encoded(self, encoded: Any, captions: Sequence[str]) -> bool:
        """Whether this is a list of ids of this vocabulary for each of the captions, as `encode` makes them."""
        if not isinstance(encoded, list) or len(encoded) != len(captions):
            return False
        if not all(isinstance(ids, list) and ids and ids[0] == self.start for ids in encoded):
            return False
        ids = list(chain.from_iterable(encoded))
        return set(map(type, ids)) <= {int} and min(ids, default=0) >= 0 and max(ids, default=0) < len(self)

    def decode(self, ids: Iterable[int]) -> str:
        """The caption that ids spell, up to the first `end`; `pad` and `start` are skipped.

        Raises ValueError if an id is not in the vocabulary.
        """
        words = []
        for number in map(int, ids):
            if number == self.end:
                break
            if not 0 <= number < len(self.words):
                raise ValueError(f"The id {number} is not in this vocabulary of {len(self)} words.")
            if number not in (self.pad, self.start):
                words.append(self.words[number])
        return " ".join(words)

    def to_json(self) -> str:
        """The vocabulary as JSON: the words in id order, the threshold, the counts."""
        content = {"words": self.words, "threshold": self.threshold, "counts": self.counts}
        return json.dumps(content, ensure_ascii=False, indent=0)

    def save(self, path: str | Path) -> None:
        """Write `to_json` to a file, whole or not at all; OSError says what to do where that fails."""
        files.write(path, self.to_json())

    @classmethod
    def load(cls, path: str | Path) -> Vocabulary:
        """Read a vocabulary that `save` wrote.

        Raises FileNotFoundError if there is no such file, ValueError if it is something else or damaged.
        """
        if Path(path).is_dir():
            raise ValueError(f"{path} is a folder: name the vocabulary in it, as {path}/vocabulary.json.")
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise FileNotFoundError(f"No vocabulary at {path}: 1_Preliminaries.ipynb makes it.") from None
        except (ValueError, RecursionError) as error:  # broken JSON, or no text at all
            raise ValueError(f"{path} is not a vocabulary: {error}.") from None
        if not _is_vocabulary(content):
            raise ValueError(f"{path} is not a vocabulary: it lacks words (with {' '.join(SPECIALS)} first) or counts.")
        try:
            vocabulary = cls.from_words(content["words"])
        except ValueError as error:
            raise ValueError(f"{path} is not a vocabulary: {error}") from None
        vocabulary.counts, vocabulary.threshold = content["counts"], content["threshold"]
        return vocabulary

    @staticmethod
    def coverage(
        captions: Iterable[str] | Mapping[str, int], thresholds: Iterable[int]
    ) -> list[tuple[int, int, float, float]]:
        """What a threshold costs: (threshold, words kept, their share of distinct words, their share of all tokens).

        Comes in: captions, or counts such as `vocabulary.counts`. Goes out: a row for each threshold, shares in 0..1.
        """
        counts = captions if isinstance(captions, Mapping) else _count(captions)
        tokens = sum(counts.values())
        rows = []
        for threshold in thresholds:
            kept = [count for count in counts.values() if count >= threshold]
            rows.append((threshold, len(kept), len(kept) / max(1, len(counts)), sum(kept) / max(1, tokens)))
        return rows


def _count(captions: Iterable[str]) -> dict[str, int]:
    """How often each word occurs, most frequent first, ties by alphabet: independent of the captions' order."""
    if isinstance(captions, str):
        raise ValueError(f"A vocabulary is built from a list of captions, not from the one caption {captions[:40]!r}.")
    captions = list(captions)
    strange = next((caption for caption in captions if not isinstance(caption, str)), None)
    if strange is not None:
        raise ValueError(f"A vocabulary is built from captions, texts, and not from {type(strange).__name__}s.")
    counts = Counter(word for caption in captions for word in tokenize(caption))
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _is_vocabulary(content: Any) -> bool:
    if not isinstance(content, dict) or not isinstance(content.get("threshold"), int):
        return False
    words, counts = content.get("words"), content.get("counts")
    return (
        isinstance(words, list)
        and all(isinstance(word, str) for word in words)
        and tuple(words[: len(SPECIALS)]) == SPECIALS
        and isinstance(counts, dict)
        and all(isinstance(count, int) for count in counts.values())
    )
