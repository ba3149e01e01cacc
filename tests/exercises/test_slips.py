"""Wrong answers that are nearly right: none passes, and each gets the sentence that helps."""

import math
from collections import Counter

import pytest

from exercises import check
from exercises.checking import TASKS

PLAIN = str.maketrans(",.", "  ")


def held(captions, n, start=0):
    ids = sorted({i for i, _ in captions})[start : start + n]
    return [c for c in captions if c[0] not in ids], [c for c in captions if c[0] in ids]


def runs(text, n):
    return Counter(zip(*(text[k:] for k in range(n)), strict=False))


def best_of_one(words, references, n):
    own = runs(words, n)
    return max((own & runs(r, n)).total() for r in references) / own.total() if own else 0


def repeats(words, reference, in_pictures, pictures):
    a, b = (
        {w: n * math.log(pictures / in_pictures.get(w, 1)) for w, n in Counter(t).items()} for t in (words, reference)
    )
    lengths = math.hypot(*a.values()) * math.hypot(*b.values())
    return sum(a[w] * b.get(w, 0) for w in words) / lengths if lengths else 0


def somewhere(weights, mask):
    side, (h, w) = math.isqrt(weights.shape[1]), mask.shape
    tops = [divmod(int(peak), side) for peak in weights.argmax(1)]
    return mask.new_tensor(
        [mask[r * h // side : (r + 1) * h // side, c * w // side : (c + 1) * w // side].any() for r, c in tops]
    )


SLIPS = [
    ("split_by_picture", "the two lists are exchanged", lambda c, s: held(c, round(s * len({i for i, _ in c})))[::-1]),
    ("named_again", "*different* things", lambda a, b: len(set(a) & set(b)) / len(a) if a else 0),
    ("words_of", "'' is no word", lambda c: c.lower().translate(PLAIN).split(" ")),
    ("words_of", "not the first one only", lambda c: (c[0].lower() + c[1:]).translate(PLAIN).split()),
    ("words_of", "wherever it stands", lambda c: c.lower().replace(",", " ").strip(".").split()),
    ("words_of", "not 'sata'", lambda c: c.lower().replace(",", " ").replace(".", "").split()),
    ("coverage_at", "divide by all distinct words", lambda counts, k: (
        sum(n >= k for n in counts.values()) / sum(counts.values()), TASKS["coverage_at"].solution(counts, k)[1])),
    ("coverage_at", "per cent", lambda counts, k: tuple(100 * x for x in TASKS["coverage_at"].solution(counts, k))),
    ("clipped_precision", "the best single reference", best_of_one),
    ("tfidf_cosine", "a word said twice is added twice", repeats),
    ("peak_hits", "the *centre* must be on the thing", somewhere),
    ("attend", "the two results are exchanged", lambda q, k, r, v: TASKS["attend"].solution(q, k, r, v)[::-1]),
    ("mean_loss", "over the words", lambda s, t: -s.log_softmax(1).gather(2, t[..., None])[..., 0][t > 0].mean()),
    ("own_words", "even where the coin is 0", lambda t, s, c, r: t.where(c <= r, s.argmax(-1))),
    ("own_words", "1 - ratio", lambda t, s, c, r: t.where(c < 1 - r, s.argmax(-1))),
    ("decoder_step", "before the softmax", lambda p, w, s, r: (
        TASKS["decoder_step"].solution(p, w, s, r)[0].softmax(-1), *TASKS["decoder_step"].solution(p, w, s, r)[1:])),
    ("peak_hits", "every word gets the same answer", lambda weights, mask: mask.new_ones(len(weights))),
]  # fmt: skip


@pytest.mark.parametrize(("name", "sentence", "slip"), SLIPS, ids=[f"{name}: {said}" for name, said, _ in SLIPS])
@pytest.mark.parametrize("seed", range(5))
def test_a_slip_gets_its_sentence(name, sentence, slip, seed):
    slip.__name__ = name
    result = check(slip, seed)
    assert result.state == "wrong" and sentence in result.sentence, result


def test_pictures_drawn_twice_are_noticed():
    def split_by_picture(captions, share):
        import random

        ids = sorted({i for i, _ in captions})
        drawn = set(random.choices(ids, k=round(share * len(ids))))
        return [c for c in captions if c[0] not in drawn], [c for c in captions if c[0] in drawn]

    results = [check(split_by_picture, seed) for seed in range(15)]
    assert all(result.state == "wrong" and "are held out" in result.sentence for result in results)
