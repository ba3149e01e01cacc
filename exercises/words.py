"""Tasks of 1_Preliminaries: from a caption to words, ids, a vocabulary's coverage, and a padded batch."""

from __future__ import annotations

from functools import partial

import torch

from exercises.tasks import END, PAD, START, UNK, Dice, task

NOTEBOOK = "1_Preliminaries"
TEXT = "a the dog cat kite ball boat red blue big small runs sits flies near behind and with two"
WORDS = TEXT.split()


# ----------------------------------------------------------------------------------------------------------- words_of


def sentence_cases(dice: Dice) -> list[tuple]:
    """Plain sentences, with capitals, commas, stops and double spaces; the last two lack a space."""
    nouns = dice.sample(["dog", "cat", "kite", "ball", "boat", "clock"], 4)
    return [
        (f"A {nouns[0]} and the {nouns[1]}",),
        (f"A {nouns[0]}, a {nouns[1]} and two {nouns[2]}s.",),
        (f"Two {nouns[2]}s  fly above  the {nouns[3]}.",),
        (f"the {nouns[1]},the {nouns[0]}",),
        ("The Cat sat.A Dog ran",),
    ]


@task(NOTEBOOK, points=1, goal="A plain sentence -> its words", cases=sentence_cases)
def words_of(caption):
    """A sentence of letters, spaces, commas and stops -> its words, lower case, without commas and stops."""
    return caption.lower().replace(",", " ").replace(".", " ").split()


@words_of.trap("'ball,' is no word: commas and stops don't belong to it")
def split_only(caption):
    return caption.split()


@words_of.trap("'ball,' is no word: commas and stops don't belong to it")
def split_lower(caption):
    return caption.lower().split()


@words_of.trap("'A' and 'a' are one word: write all in lower case")
def keeps_case(caption):
    return caption.replace(",", " ").replace(".", " ").split()


@words_of.trap("'' is no word: two spaces in a row end one word, not two")
def empty_words(caption):
    return caption.lower().replace(",", " ").replace(".", " ").strip().split(" ")


@words_of.trap("a comma ends a word: 'ball,the' are two words, not 'ballthe'")
def glued(caption):
    return caption.lower().replace(",", "").replace(".", "").split()


@words_of.trap("'Cat' and 'cat' are one word, too: write all letters in lower case, not the first one only")
def first_letter_only(caption):
    caption = caption.replace(",", " ").replace(".", " ")
    return (caption[:1].lower() + caption[1:]).split()


@words_of.trap("a stop ends a word wherever it stands: 'sat.A' are two words, and the stop belongs to neither")
def stop_at_end_only(caption):
    return caption.lower().replace(",", " ").rstrip(".").split()


@words_of.trap("a stop ends a word: 'sat.A' are two words, not 'sata'")
def stop_deleted(caption):
    return caption.lower().replace(",", " ").replace(".", "").split()


@words_of.observe
def empty_word(arguments, words):
    found = isinstance(words, list) and "" in words
    return "'' is no word: split() without an argument leaves none, split(' ') does" if found else None


# ------------------------------------------------------------------------------------------------------------- ids_of


def word_cases(dice: Dice) -> list[tuple]:
    """Small vocabularies, and captions with and without words that they do not know."""
    cases: list[tuple] = []
    for size in (12, 9, 10, 11):
        known = dice.sample(WORDS, size)
        vocabulary = {word: i for i, word in enumerate(["<pad>", "<start>", "<end>", "<unk>", *known])}
        within = max(known, key=len)[1:]  # no word, but the end of one
        words = [dice.sample(known, 4), [*known[:2], "zebra", *known[2:4]], ["xylophone"], [known[0], within]]
        cases.append((words[len(cases)], vocabulary))
    return cases


@task(NOTEBOOK, points=1, goal="Words -> ids, between <start> and <end>", cases=word_cases)
def ids_of(words, vocabulary):
    """Words, and a dictionary word -> id that holds <start>, <end> and <unk>, too -> the caption's ids."""
    unknown = vocabulary["<unk>"]
    return [vocabulary["<start>"], *(vocabulary.get(word, unknown) for word in words), vocabulary["<end>"]]


@ids_of.trap("a caption begins with <start> and ends with <end>")
def without_ends(words, vocabulary):
    return [vocabulary.get(word, UNK) for word in words]


@ids_of.trap("the <start> is missing: a model is given it before the first word")
def without_start(words, vocabulary):
    return [*(vocabulary.get(word, UNK) for word in words), END]


@ids_of.trap("the <end> is missing: without it a model never learns to stop")
def without_end(words, vocabulary):
    return [START, *(vocabulary.get(word, UNK) for word in words)]


@ids_of.trap("a word that the vocabulary does not know becomes <unk>")
def unknown_crashes(words, vocabulary):
    return [START, *(vocabulary[word] for word in words), END]


@ids_of.trap("unknown words are left out: each should become <unk>, as its place in the caption is real")
def unknown_dropped(words, vocabulary):
    return [START, *(vocabulary[word] for word in words if word in vocabulary), END]


@ids_of.trap("an unknown word becomes <pad> (0), which means: here is no word; take <unk>")
def unknown_is_pad(words, vocabulary):
    return [START, *(vocabulary.get(word, PAD) for word in words), END]


# -------------------------------------------------------------------------------------------------------- coverage_at


def count_cases(dice: Dice) -> list[tuple]:
    """Word counts with a long tail, some of them exactly at the threshold; last, none is so frequent."""
    cases = []
    for k in (2, 3, 5):
        counts = {word: dice.choice([1, 1, k - 1, k, k + 1, 20, 50]) or 1 for word in WORDS[k:]}
        cases.append((counts | {"kept": k, "rare": 1, "often": 90}, k))
    return [*cases, ({"often": 90, "rare": 1}, 100)]


@task(
    NOTEBOOK,
    points=2,
    goal="What share of the words, and of the text, does a threshold keep?",
    cases=count_cases,
    returns=("share of the distinct words", "share of the tokens"),
)
def coverage_at(counts, k):
    """Word -> how often it occurs, and a threshold -> shares of distinct words and of all tokens that are kept."""
    kept = [count for count in counts.values() if count >= k]
    return len(kept) / len(counts), sum(kept) / sum(counts.values())


@coverage_at.trap("a word is kept if it occurs *at least* k times: one that occurs exactly k times is missing")
def more_than_k(counts, k):
    return coverage_at.solution(counts, k + 1)


@coverage_at.trap("these are the words that are *not* kept: a word is kept if it occurs at least k times")
def rare_ones(counts, k):
    words, tokens = coverage_at.solution(counts, k)
    return 1 - words, 1 - tokens


@coverage_at.trap("tokens are weighed by count: a word that occurs 50 times is 50 tokens of the text")
def words_twice(counts, k):
    share = coverage_at.solution(counts, k)[0]
    return share, share


@coverage_at.trap("the two shares are exchanged: the distinct words come first")
def exchanged(counts, k):
    words, tokens = coverage_at.solution(counts, k)
    return tokens, words


@coverage_at.trap("these are numbers of words and tokens: divide by how many there are")
def numbers_not_shares(counts, k):
    kept = [count for count in counts.values() if count >= k]
    return len(kept), sum(kept)


@coverage_at.trap(
    "the distinct words that are kept are divided by the tokens: divide by all distinct words, len(counts)"
)
def divided_by_tokens(counts, k):
    kept, tokens = [count for count in counts.values() if count >= k], sum(counts.values())
    return len(kept) / tokens, sum(kept) / tokens


@coverage_at.trap("these are per cent: a share lies between 0 and 1")
def per_cent(counts, k):
    words, tokens = coverage_at.solution(counts, k)
    return 100 * words, 100 * tokens


# ------------------------------------------------------------------------------------------------------------- padded


def batch_cases(dice: Dice) -> list[tuple]:
    """Captions of different lengths, as ids, shortest and longest in the middle. Ordered by their ids they are neither
    ordered by length nor as given."""
    cases: list[tuple] = []
    for lengths in ([4, 7, 3, 5], [3, 6, 8, 5, 4]):
        orders = (lengths, sorted(lengths))
        order = lengths
        while order in orders or order[::-1] in orders:
            captions = [[START, *(dice.randint(4, 30) for _ in range(n - 2)), END] for n in lengths]
            order = [len(caption) for caption in sorted(captions)]
        cases.append((captions,))
    return cases


@task(
    NOTEBOOK,
    points=2,
    goal="Captions of different lengths -> one tensor, longest first",
    cases=batch_cases,
    returns=("ids", "lengths"),
)
def padded(captions):
    """Lists of ids, <start> and <end> included -> ids (B, T + 1), longest first, filled up with 0 (<pad>), and how
    many targets each has (B,): all but its <start>."""
    captions = sorted(captions, key=len, reverse=True)
    ids = torch.zeros(len(captions), len(captions[0]), dtype=torch.long)
    for row, caption in zip(ids, captions, strict=True):
        row[: len(caption)] = torch.tensor(caption)
    return ids, torch.tensor([len(caption) - 1 for caption in captions])


@padded.trap("the longest caption comes first: sort by length before you fill in")
def unsorted(captions):
    ids = torch.zeros(len(captions), max(map(len, captions)), dtype=torch.long)
    for row, caption in zip(ids, captions, strict=True):
        row[: len(caption)] = torch.tensor(caption)
    return ids, torch.tensor([len(caption) - 1 for caption in captions])


@padded.trap("the shortest caption comes first: the longest should")
def shortest_first(captions):
    return tuple(part.flip(0) for part in padded.solution(captions))


@padded.trap("<start> is given, never said: a caption of n ids has n - 1 targets")
def start_counted(captions):
    ids, lengths = padded.solution(captions)
    return ids, lengths + 1


@padded.trap("the padding stands in front: fill up after the words")
def padded_in_front(captions):
    ids, lengths = padded.solution(captions)
    rows = [row.roll(ids.shape[1] - int(n) - 1) for row, n in zip(ids, lengths, strict=True)]
    return torch.stack(rows), lengths


@padded.trap("sorted by the ids: sort by length, key=len")
def by_ids(captions):
    return unsorted.wrong(sorted(captions, reverse=True))


@padded.trap("sorted by the ids: sort by length, key=len")
def by_ids_upwards(captions):
    return unsorted.wrong(sorted(captions))


def _filled(captions, width, way):
    """Rows of this width in a tensor, written in one of the ways in which that is done."""
    ids = torch.zeros(len(captions), width, dtype=torch.long)
    for i, caption in enumerate(captions):
        if way == "word by word":
            for j, word in enumerate(caption):
                ids[i, j] = word
        else:
            ids[i, : width if way == "whole row" else len(caption)] = torch.tensor(caption)
    return ids, torch.tensor([len(caption) - 1 for caption in captions])


def _together(captions, width, way):
    """A tensor of rows that are filled up to this width, or not at all."""
    rows = [caption + [PAD] * (width - len(caption)) for caption in captions]
    ids = torch.tensor(rows) if way == "lists" else torch.stack([torch.tensor(row) for row in rows])
    return ids, torch.tensor([len(caption) - 1 for caption in captions])


def _ordered(order, fill, width, way, captions):
    captions = order(captions)
    return fill(captions, width(captions), way)


def _of_first(captions):
    return len(captions[0])


def _of_longest(captions):
    return max(map(len, captions))


WHOLE = "a caption fills only the beginning of its row, row[: len(caption)]: what follows is <pad>"
TOO_SHORT = "a row is too short for its caption: all rows should be as long as the longest"
RAGGED = "rows of different lengths make no tensor: fill each up with 0 (<pad>) to the longest"
LONGEST_FIRST = partial(sorted, key=len, reverse=True)
for order in (LONGEST_FIRST, list, partial(sorted, key=len), sorted, lambda captions: captions[::-1]):
    padded.trap(WHOLE)(partial(_ordered, order, _filled, _of_longest, "whole row"))
    for way in ("lists", "tensors"):
        padded.trap(RAGGED)(partial(_ordered, order, _together, lambda captions: 0, way))
    if order is not LONGEST_FIRST:
        for way in ("lists", "tensors"):
            padded.trap(RAGGED)(partial(_ordered, order, _together, _of_first, way))
        for way in ("row by row", "word by word"):
            padded.trap(TOO_SHORT)(partial(_ordered, order, _filled, _of_first, way))
