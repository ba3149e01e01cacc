"""Tasks of 3_Inference: clipped precision (BLEU), and rare words that weigh more (CIDEr)."""

from __future__ import annotations

import math
from collections import Counter

from exercises.tasks import Dice, task

NOTEBOOK = "3_Inference"


# -------------------------------------------------------------------------------------------------- clipped_precision


def reference_cases(dice: Dice) -> list[tuple]:
    """Captions and references: "the the the" of BLEU's paper, pairs of words, one shorter than n; a word from
    each reference; last, words that other words begin or end with."""
    noun, other = dice.sample(["cat", "dog", "boat", "kite"], 2)
    told = [f"the {noun} is on the mat".split(), f"there is the {other} on a mat".split()]
    return [
        (["the"] * 7, told, 1),
        (f"the {noun} the {noun} on the mat mat".split(), told, 1),
        (f"the {noun} on the mat on the mat".split(), told, 2),
        (f"there is a {other}".split(), [*told, f"a {other}".split()], 1),
        (["the"], told, 2),
        ([noun, other], [[noun], [other]], 1),
        (["he", "is", "at", "it"], [["the", "cat", "is", "fat"], ["it", "is", "the", "mat"]], 1),
    ]


@task(NOTEBOOK, points=3, goal="Clipped n-gram precision, the heart of BLEU", cases=reference_cases)
def clipped_precision(words, references, n):
    """A caption's words, the references' words, n -> the share of its runs of n words that a reference has, too.

    A run counts as often as it occurs in the ONE reference that has it most often; 0 if the caption is too short."""

    def runs(text):
        return Counter(tuple(text[i : i + n]) for i in range(len(text) - n + 1))

    own, theirs = runs(words), [runs(reference) for reference in references]
    found = sum(min(count, max(counts[run] for counts in theirs)) for run, count in own.items())
    return found / own.total() if own else 0.0


def _runs(text, n):
    return Counter(tuple(text[i : i + n]) for i in range(len(text) - n + 1))


@clipped_precision.trap("'the the the' scores 1: a run counts only as often as a reference has it")
def unclipped(words, references, n):
    own, known = _runs(words, n), {run for reference in references for run in _runs(reference, n)}
    return sum(count for run, count in own.items() if run in known) / max(1, own.total())


@clipped_precision.trap("the references are added up: clip by the count in any ONE reference, the largest")
def references_summed(words, references, n):
    own, theirs = _runs(words, n), Counter(run for reference in references for run in _runs(reference, n).elements())
    return (own & theirs).total() / max(1, own.total())


@clipped_precision.trap("each run counts once only: count how often it is said, then clip")
def as_sets(words, references, n):
    own, known = set(_runs(words, n)), {run for reference in references for run in _runs(reference, n)}
    return len(own & known) / max(1, len(own))


@clipped_precision.trap("only the first reference is used: take the one that has the run most often")
def first_reference(words, references, n):
    own = _runs(words, n)
    return (own & _runs(references[0], n)).total() / max(1, own.total())


@clipped_precision.trap("this divides by the caption's words: a caption of w words has w - n + 1 runs")
def divided_by_words(words, references, n):
    return clipped_precision.solution(words, references, n) * max(0, len(words) - n + 1) / len(words)


@clipped_precision.trap("a caption shorter than n has no run: its precision is 0")
def too_short(words, references, n):
    return clipped_precision.solution(words, references, n) * (len(words) - n + 1) / (len(words) - n + 1)


@clipped_precision.trap(
    "this is the best single reference: each run may come from another one, whichever has it most often"
)
def best_reference(words, references, n):
    return max(clipped_precision.solution(words, [reference], n) for reference in references)


@clipped_precision.trap("divide by all runs of the caption, w - n + 1, not by how many different ones there are")
def divided_by_different(words, references, n):
    own = _runs(words, n)
    return clipped_precision.solution(words, references, n) * own.total() / max(1, len(own))


@clipped_precision.trap("the last run is missing: w words have w - n + 1 runs, range(len(words) - n + 1)")
def last_run_missing(words, references, n):
    return clipped_precision.solution(words[:-1], [reference[:-1] for reference in references], n)


@clipped_precision.trap("this divides by the references' runs, which is recall: divide by the caption's own")
def recall(words, references, n):
    found = clipped_precision.solution(words, references, n) * _runs(words, n).total()
    return found / max(1, sum(_runs(reference, n).total() for reference in references))


@clipped_precision.trap("runs of exactly n words are asked: this is a mean over runs of 1 to n words, as BLEU takes it")
def mean_over_lengths(words, references, n):
    return math.prod(clipped_precision.solution(words, references, k + 1) for k in range(n)) ** (1 / n)


# ------------------------------------------------------------------------------------------------------- tfidf_cosine


def rarity_cases(dice: Dice) -> list[tuple]:
    """Captions that share frequent or rare words; the second has a word in no picture, the third share nothing, the
    fourth have no weight, the fifth say a shared rare word twice; last, a word within others,
    and counts that have a 0 for whatever they lack."""
    words = str.split
    in_pictures = {"a": 1000, "dog": dice.randint(80, 120), "kite": dice.randint(3, 9), "red": 200, "the": 900}
    return [
        (words("a red dog a red kite"), words("a dog near a kite kite"), in_pictures | {"near": 150}, 1000),
        (words("the dog the zeppelin"), words("a red zeppelin zeppelin"), in_pictures, 1200),
        (["a", "dog"], ["kite"], in_pictures | {"near": 7}, 1000),
        (["a"], ["a"], in_pictures, 1000),
        (words("a kite red kite"), words("the red kite"), in_pictures, 5000),
        (words("an ear near"), words("a shear near the"), Counter(in_pictures | {"near": 9, "ear": 2}), 2000),
    ]


@task(
    NOTEBOOK, points=3, goal="How alike are two captions, if rare words weigh more? (CIDEr's idea)", cases=rarity_cases
)
def tfidf_cosine(words, reference, in_pictures, pictures):
    """Two captions' words, in how many pictures' captions each word occurs, how many pictures there are -> cosine.

    A word's weight is its count in the caption times log(pictures / in_pictures); a word of no picture counts as in
    one. The cosine is the product of the two vectors, divided by their lengths; 0 if one of them is all zero."""

    def weighed(text):
        return {w: n * math.log(pictures / in_pictures.get(w, 1)) for w, n in Counter(text).items()}

    a, b = weighed(words), weighed(reference)
    lengths = math.hypot(*a.values()) * math.hypot(*b.values())
    return sum(a[w] * b[w] for w in a if w in b) / lengths if lengths else 0.0


def _product(a, b):
    return sum(a[w] * b[w] for w in a if w in b)


def _cosine(a, b):
    lengths = math.hypot(*a.values()) * math.hypot(*b.values())
    return _product(a, b) / lengths if lengths else 0.0


def _weights(text, in_pictures, pictures, count=lambda n: n):
    return {w: count(n) * math.log(pictures / in_pictures.get(w, 1)) for w, n in Counter(text).items()}


@tfidf_cosine.trap("'a' weighs as much as 'kite' here: multiply each count by log(pictures / in_pictures)")
def counts_only(words, reference, in_pictures, pictures):
    return _cosine(Counter(words), Counter(reference))


@tfidf_cosine.trap("a word said twice weighs twice: multiply by its count in the caption")
def rarity_only(words, reference, in_pictures, pictures):
    return _cosine(*(_weights(text, in_pictures, pictures, lambda n: 1) for text in (words, reference)))


@tfidf_cosine.trap("this is the product of the vectors: divide by both lengths, or long captions win")
def not_divided(words, reference, in_pictures, pictures):
    return _product(*(_weights(text, in_pictures, pictures) for text in (words, reference)))


@tfidf_cosine.trap("the logarithm is missing: a word in 1 of 1000 pictures weighs a thousand times more, not 7")
def no_logarithm(words, reference, in_pictures, pictures):
    def weighed(text):
        return {w: n * pictures / in_pictures.get(w, 1) for w, n in Counter(text).items()}

    return _cosine(weighed(words), weighed(reference))


@tfidf_cosine.trap("a word may be in no picture's captions: count it as in one")
def unseen_word(words, reference, in_pictures, pictures):
    def weighed(text):
        return {w: n * math.log(pictures / in_pictures[w]) for w, n in Counter(text).items()}

    return _cosine(weighed(words), weighed(reference))


@tfidf_cosine.trap("a caption of nothing but words that are everywhere is all zero: return 0, don't divide by 0")
def zero_length(words, reference, in_pictures, pictures):
    a, b = (_weights(text, in_pictures, pictures) for text in (words, reference))
    return _product(a, b) / (math.hypot(*a.values()) * math.hypot(*b.values()))


@tfidf_cosine.trap("a word said twice is added twice: go over the different words, as its weight has the count already")
def repeats_added(words, reference, in_pictures, pictures):
    a, b = (_weights(text, in_pictures, pictures) for text in (words, reference))
    lengths = math.hypot(*a.values()) * math.hypot(*b.values())
    return sum(a[w] * b.get(w, 0) for w in words) / lengths if lengths else 0.0


@tfidf_cosine.trap("a word that only one of the captions has adds nothing to the product: leave it out")
def only_in_one(words, reference, in_pictures, pictures):
    a, b = (_weights(text, in_pictures, pictures) for text in (words, reference))
    return sum(a[w] * b[w] for w in a)


@tfidf_cosine.trap("a word of no picture weighs nothing here: count it as in one, so that it weighs most")
def unseen_is_nothing(words, reference, in_pictures, pictures):
    return _cosine(*(_weights(filter(in_pictures.get, text), in_pictures, pictures) for text in (words, reference)))


@tfidf_cosine.trap("a word of no picture is counted as in 0, and nothing can be divided by that: count it as in one")
def unseen_in_none(words, reference, in_pictures, pictures):
    return sum(pictures / in_pictures.get(word, 0) for word in words)


@tfidf_cosine.trap("this divides by one length only: divide by both")
def length_of_first(words, reference, in_pictures, pictures):
    a, b = (_weights(text, in_pictures, pictures) for text in (words, reference))
    return _product(a, b) / math.hypot(*a.values()) if _product(a, b) else 0.0


@tfidf_cosine.trap("this divides by one length only: divide by both")
def length_of_second(words, reference, in_pictures, pictures):
    return length_of_first.wrong(reference, words, in_pictures, pictures)


@tfidf_cosine.trap("a length is the *root* of the sum of the squares: the root is missing")
def squared_lengths(words, reference, in_pictures, pictures):
    a, b = (_weights(text, in_pictures, pictures) for text in (words, reference))
    return _product(a, b) / math.hypot(*a.values()) ** 2 / math.hypot(*b.values()) ** 2 if _product(a, b) else 0.0


@tfidf_cosine.trap("1 is added to the counts: the weight is log(pictures / in_pictures) as it stands")
def one_added(words, reference, in_pictures, pictures):
    more = {word: n + 1 for word, n in in_pictures.items()}
    return _cosine(*(_weights(text, more, pictures) for text in (words, reference)))
