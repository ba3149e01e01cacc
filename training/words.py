"""The words of a training: which of them the model may say, and what is lost of its captions.

Comes in: settings and records. Goes out: a vocabulary that suits the size of the dataset, and a sentence on the words
that it lacks and the captions that are cut. It does not know models.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from dataset import paths
from dataset.records import Record
from training.config import Config
from vocabulary import SPECIALS, Vocabulary, tokenize

MANY = 0.05  # of the words unknown: a model of them learns to say <unk>
FEW, ALIKE = 20, 0.95  # of so many different captions people begin and end no such share alike
ENOUGH = 30_000  # captions, to tell shares from


def vocabulary_for(cfg: Config, train: Sequence[Record]) -> Vocabulary:
    """The dataset's own vocabulary.json if it has one (scripts.convert writes it), else that of the captions.

    The threshold is lowered, and that is said, until at most the share `cfg.unknown` of the words falls below it.
    Raises ValueError if no word occurs so often.
    """
    own = paths.find(cfg.dataset) / "vocabulary.json"
    if own.is_file():
        return Vocabulary.load(own)
    captions = [caption for record in train for caption in record.captions]
    vocabulary = Vocabulary(captions, cfg.threshold, cfg.max_words)
    kept = Vocabulary.coverage(vocabulary.counts, range(cfg.threshold, 0, -1))
    threshold = next(threshold for threshold, *_, share in kept if threshold == 1 or 1 - share <= cfg.unknown)
    if threshold < cfg.threshold:
        print(f"a word must occur {threshold} times, not {cfg.threshold}, in a dataset of this size (--threshold)")
        vocabulary = Vocabulary(captions, threshold, cfg.max_words)
    if len(vocabulary) == len(SPECIALS):
        raise ValueError(f"no word occurs {cfg.threshold} times in the training captions: lower --threshold")
    return vocabulary


def describe_words(vocabulary: Vocabulary, splits: Mapping[str, Sequence[Record]], caption_words: int) -> str:
    """Of each split the share of words that are `<unk>`, and of captions that are cut; with advice where it is much."""
    unknown, cut, longest, told_of_words = {}, {}, 0, ""
    for name, records in splits.items():
        captions = [caption for record in records for caption in record.captions]
        words = [tokenize(caption) for caption in captions[:: 1 + len(captions) // ENOUGH]]
        count = sum(map(len, words))
        unknown[name] = sum(word not in vocabulary for caption in words for word in caption) / max(1, count)
        cut[name] = sum(len(caption) > caption_words for caption in words) / len(words)
        longest = max(longest, *map(len, words))
        told_of_words += _strange_words(name, words)
    told = f"words that are <unk>: {_shares(unknown)}; captions cut at {caption_words} words: {_shares(cut)}"
    if max(unknown.values()) > MANY:
        told += "\nwarning: the model will learn to say <unk>: lower --threshold, or bring more captions"
    if max(cut.values()) > MANY:
        told += f"\nwarning: the model will not see how they end: --caption-words {longest} cuts none"
    return told + told_of_words


def _strange_words(name: str, captions: Sequence[Sequence[str]]) -> str:
    """Warnings of captions that a model should not learn from as they are: without words, or with another's marks."""
    told, spoken = "", set(map(tuple, captions)) - {()}
    if silent := sum(not words for words in captions) / len(captions):
        told += f"\nwarning: {silent:.1%} of {name}'s captions have no word: the model learns to say nothing"
    if len(spoken) >= FEW:
        ends = [Counter(words[place] for words in spoken).most_common(1)[0] for place in (0, -1)]
        if all(count > ALIKE * len(spoken) for _, count in ends):
            told += (
                f"\nwarning: {name}'s captions begin with {ends[0][0]!r} and end with {ends[1][0]!r}: if these are "
                "marks of another program, take them out; the course has its own <start> and <end>"
            )
    return told


def _shares(shares: Mapping[str, float]) -> str:
    return ", ".join(f"{share:.1%} of {name}" for name, share in shares.items())
