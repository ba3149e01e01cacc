"""Spot the bug, 8 to 10: captions and their scores.

For each bug: what is right (`repair_8` …), the wrong code as the course shows it, its symptom in numbers, and repairs
that don't suffice. `exercises.symptom(number, function)` measures, `exercises.check_bug` judges a repair.
"""

from __future__ import annotations

import math
from functools import partial

import torch
from torch.nn import functional as F

from exercises.decoding import FIRST_STATE, chain, greedy_cases, greedy_words
from exercises.evaluation import clipped_precision
from exercises.tasks import END, START, UNK, Dice, bug
from exercises.words import WORDS

# ------------------------------------------------------------------------------------------ 8: the word is not fed back


def fed_cases(dice: Dice) -> list[tuple]:
    """A model that says a word twice in a row, and rightly so, but has others to say; and those of greedy search."""
    twice = {
        (0, START): {4: 1.0},
        (1, START): {4: 0.6, 6: 0.4},
        (1, 4): {4: 0.6, 5: 0.4},
        (2, START): {5: 0.6, END: 0.4},
        (2, 4): {5: 1.0},
        (2, 5): {END: 1.0},
    }
    return [(chain(twice), FIRST_STATE, 6), *greedy_cases(dice)]


@bug(8, "3_Inference", goal="captions stammer", cases=fed_cases)
def repair_8(step, state, longest):
    words, word = [], START
    for _ in range(longest):
        logprobs, state = step(word, state)
        word = int(logprobs.argmax())
        if word == END:
            break
        words.append(word)
    return words


@repair_8.starts_as("the mistake is still there: what does `step` get in the second round?")
def write_caption(step, state, longest):
    """A model's `step`, its first state, how many steps at most -> the ids of the likeliest words."""
    words, word = [], START
    for _ in range(longest):
        logprobs, state = step(word, state)
        chosen = int(logprobs.argmax())
        if chosen == END:
            break
        words.append(chosen)
    return words


repair_8.traps += greedy_words.traps[1:]


def _no_repeats(step, state, longest, *, feed, last):
    """A search that forbids what was said, all of it or the `last` word, and gives `step` its own word or <start>."""
    words: list[int] = []
    for _ in range(longest):
        logprobs, state = step(words[-1] if feed and words else START, state)
        logprobs[words[-1:] if last else words] = -math.inf
        word = int(logprobs.argmax())
        if word == END:
            break
        words.append(word)
    return words


for last in (False, True):
    repair_8.trap("it no longer stammers, but `step` still gets <start> in every round: what should it get?")(
        partial(_no_repeats, feed=False, last=last)
    )
    repair_8.trap("a word may come again, as in 'a dog and a cat': if `step` gets the right word, forbid nothing")(
        partial(_no_repeats, feed=True, last=last)
    )


@repair_8.symptom_of("a caption of a model whose next word depends only on the word before")
def stammer(function):
    follows = {START: 4, 4: 5, 5: 6, 6: 7, 7: END}  # <start> a red kite flies <end>
    names = {4: "a", 5: "red", 6: "kite", 7: "flies"}

    def step(word, state):
        return F.one_hot(torch.tensor(follows[int(word)]), 8).float().log(), state + 1

    return {"said": " ".join(names.get(word, "?") for word in function(step, FIRST_STATE, 6))}


# --------------------------------------------------------------------------------- 9: no caption where none is finished


def hypothesis_cases(dice: Dice) -> list[tuple]:
    """What a search has found, (log-probability, words): finished and running; one without a finished one.

    In the last one a long caption is less likely, but likelier per word."""
    some = [(-1 - dice.random(), [4, 5]), (-2 - dice.random(), [4, 6])]
    long = (some[1][0], [4, 6, 5, 4, 7, 5, 8, 6])
    return [
        (some, [(-0.5, [4, 5, 6])]),
        ([some[1]], [some[0]]),
        ([], [(-3.0, [7, 8]), (-0.7, [4, 4])]),
        ([some[0], long], []),
    ]


@bug(9, "3_Inference", goal="some pictures get no caption at all", cases=hypothesis_cases)
def repair_9(finished, running):
    return max(finished or running)[1]


NOTHING_YET = "the mistake is still there: nothing may be finished when the longest length is reached"


@repair_9.starts_as(NOTHING_YET)
def best_caption(finished, running):
    """(log-probability, words) of finished and of running captions -> the words of the best."""
    return max(finished)[1]


@repair_9.trap(NOTHING_YET)
def sorted_finished(finished, running):
    return sorted(finished)[-1][1]


@repair_9.trap("an empty caption is no answer: take the best unfinished one where nothing is finished")
def nothing_then(finished, running):
    return max(finished)[1] if finished else []


@repair_9.trap("a finished caption goes before an unfinished one, even if that is likelier so far")
def best_of_all(finished, running):
    return max(finished + running)[1]


@repair_9.trap("where nothing is finished take the likeliest of them that are running, not the first")
def first_running(finished, running):
    return max(finished)[1] if finished else running[0][1]


@repair_9.trap("the longest is not the best: the best has the largest log-probability")
def longest(finished, running):
    return max(finished or running, key=lambda hypothesis: len(hypothesis[1]))[1]


@repair_9.trap("the best has the largest log-probability as it is: divide it by no length")
def best_per_word(finished, running):
    return max(finished or running, key=lambda hypothesis: hypothesis[0] / len(hypothesis[1]))[1]


@repair_9.trap("None is no caption: what is there to choose from where nothing is finished?")
def none_then(finished, running):
    return max(finished, default=(0, None))[1]


@repair_9.symptom_of("of 100 searches that stop after 8 words, how many give a caption, and how many crash")
def captions_given(function):
    dice, given, crashes = Dice(1), 0, 0
    for _ in range(100):
        length = dice.randint(4, 9)
        hypotheses = [(-1.0, list(range(4, 4 + min(length, 8))))]
        try:
            given += bool(function(*((hypotheses, []) if length <= 8 else ([], hypotheses))))
        except (ValueError, IndexError):
            crashes += 1
    return {"captions": given, "crashes": crashes}


# ----------------------------------------------------------------------------------- 10: unknown words match each other


def known_cases(dice: Dice) -> list[tuple]:
    """A caption's ids, a reference's words, a vocabulary that does not know all of them; one repeats a word, the
    last has words within words."""
    known = dice.sample([word for word in WORDS if word not in ("kite", "two")], 6)
    words = ["<pad>", "<start>", "<end>", "<unk>", *known]
    return [
        ([4, 5, UNK, 6], [known[0], "kite", "two", known[1]], words),
        ([UNK, UNK], ["kite", "two", known[3]], words[:-1]),
        ([4, 6, 5], [known[0], known[2], known[4], known[5]], words),
        ([4, 4, 4, 5, 6], [known[0], known[1], known[0], known[3]], words),
        ([4, 5, 6], ["the", "cat", "is", "here"], [*words[:4], "he", "is", "at"]),
    ]


@bug(10, "3_Inference", goal="the fewer words a model knows, the better its score", cases=known_cases)
def repair_10(caption, reference, words):
    return clipped_precision.solution([words[i] for i in caption], [reference], 1)


@repair_10.starts_as("the mistake is still there: 'parasol' and 'zebra' are both <unk> as ids, and so they match")
def score_of_ids(caption, reference, words):
    """A caption's ids, a reference's words, the vocabulary's words -> the share of the caption's words found."""
    ids = {word: i for i, word in enumerate(words)}
    known = [ids.get(word, UNK) for word in reference]
    return sum(min(caption.count(i), known.count(i)) for i in set(caption)) / len(caption)


@repair_10.trap("an unknown word is a word that was said wrongly: if it is left out, the rest scores too high")
def unknown_left_out(caption, reference, words):
    said = [words[i] for i in caption if i != UNK]
    return clipped_precision.solution(said, [reference], 1)


@repair_10.trap("divide by the caption's words, not by the reference's: this is a precision")
def recall(caption, reference, words):
    return repair_10.solution(caption, reference, words) * len(caption) / len(reference)


@repair_10.trap("a repeated word counts only as often as the reference has it: the `min` was right")
def unclipped(caption, reference, words):
    return sum(words[i] in reference for i in caption) / len(caption)


@repair_10.trap("a word counts once only here: count how often it is said, and how often the reference has it")
def as_sets(caption, reference, words):
    said = {words[i] for i in caption}
    return len(said & set(reference)) / len(said)


@repair_10.trap(as_sets.sentence)
def words_found_once(caption, reference, words):
    return len({words[i] for i in caption} & set(reference)) / len(caption)


@repair_10.symptom_of("the score of a caption in which every second word is wrong, by the words that the model knows")
def score_by_vocabulary(function):
    reference, told = WORDS[:8], [word if i % 2 else WORDS[8 + i] for i, word in enumerate(WORDS[:8])]
    found = {}
    for size in (len(WORDS), 6, 3, 0):
        words = ["<pad>", "<start>", "<end>", "<unk>", *WORDS[:size]]
        caption = [words.index(word) if word in words else UNK for word in told]
        found[f"{size} words"] = float(function(caption, list(reference), words))
    return found
