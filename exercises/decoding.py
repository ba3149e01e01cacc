"""Tasks of 3_Inference: greedy and beam search over any model that tells the next word's probability.

The model is a function `step(word, state) -> (log-probabilities of the next word (V,), the state after)`.
"""

from __future__ import annotations

import math
from itertools import product

import torch
from torch import Tensor

from exercises.tasks import END, START, UNK, Dice, task

NOTEBOOK = "3_Inference"
NEVER = -30.0  # the log-probability of what is never said


class Table:
    """A tiny language model: what comes next depends on the word before and on the state, which counts the words."""

    def __init__(self, logprobs: Tensor) -> None:
        self.logprobs = logprobs  # (places, V, V)
        self.asked = 0

    def __call__(self, word: int | Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        self.asked += 1
        if self.asked > 2000:
            raise RuntimeError("`step` has been asked 2000 times: stop at <end>, and after `longest` steps")
        place = min(int(state), len(self.logprobs) - 1)
        return self.logprobs[place, int(word)].clone(), state + 1


class TableOfTwo(Table):
    """The same with a state of two parts, as a decoder's state has several."""

    def __call__(self, word: int | Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor]]:  # type: ignore[override]
        logprobs, after = super().__call__(word, state[0])
        return logprobs, (after, state[1] * 2)


def random_table(dice: Dice, *, end: float, places: int = 5, vocabulary: int = 8) -> Table:
    """Random log-probabilities; <pad>, <start> and <unk> are never said, and `end` makes <end> likely or not."""
    scores = 1.5 * dice.normals(places, vocabulary, vocabulary)
    scores[..., [0, START, UNK]] = NEVER
    scores[..., END] += end
    return Table(scores.log_softmax(-1))


def chain(chances: dict[tuple[int, int], dict[int, float]]) -> Table:
    """A table from (place, word before) -> {next word: probability}; what is not told is never said."""
    logprobs = torch.full((3, 7, 7), NEVER)
    for (place, before), following in chances.items():
        for word, chance in following.items():
            logprobs[place, before, word] = math.log(chance)
    return Table(logprobs)


FIRST_STATE = torch.tensor(0)


# ------------------------------------------------------------------------------------------------------- greedy_words


def greedy_cases(dice: Dice) -> list[tuple]:
    """Models that end after some words, all different; two that never end; one with a state of parts."""
    cases: list[tuple] = []
    while len(cases) < 3:
        longest = 6 + len(cases)
        table = random_table(dice, end=-1.0, vocabulary=longest + 2)
        said = greedy_words.solution(table, FIRST_STATE, longest)
        if 3 <= len(said) < longest and len(set(said)) == len(said):
            cases.append((table, FIRST_STATE, longest))
    endless = [(random_table(dice, end=NEVER, vocabulary=longest + 6), FIRST_STATE, longest) for longest in (5, 9)]
    (table, *_), parts = cases[0], (FIRST_STATE, torch.tensor(1.0))
    return [*cases, *endless, (TableOfTwo(table.logprobs), parts, 7)]


@task(NOTEBOOK, points=2, goal="A caption, word by word: always the likeliest", cases=greedy_cases)
def greedy_words(step, state, longest):
    """The model's `step`, its first state, how many steps at most -> the ids of the words, without <start> and <end>.

    `step(word, state)` gives the log-probabilities of the next word (V,), and the state after it."""
    words, word = [], START
    for _ in range(longest):
        logprobs, state = step(word, state)
        word = int(logprobs.argmax())
        if word == END:
            break
        words.append(word)
    return words


def _greedy(step, state, longest, *, feed=True, carry=True, stop=True):
    words, word = [], START
    for _ in range(longest):
        logprobs, after = step(word if feed else START, state)
        state = after if carry else state
        word = int(logprobs.argmax())
        if word == END and stop:
            break
        words.append(word)
    return words


@greedy_words.trap("the word is not fed back: give `step` the word it has just chosen, not <start> again")
def word_not_fed_back(step, state, longest):
    return _greedy(step, state, longest, feed=False)


@greedy_words.trap("the state is not carried on: give the next step the state that the last one returned")
def state_not_carried(step, state, longest):
    return _greedy(step, state, longest, carry=False)


@greedy_words.trap("it goes on after <end>: that is where the caption stops")
def never_stops(step, state, longest):
    return _greedy(step, state, longest, stop=False)


@greedy_words.trap("<end> is no word of the caption: leave it out")
def end_kept(step, state, longest):
    words = _greedy(step, state, longest)
    return words if len(words) == longest else [*words, END]


@greedy_words.trap("<start> is no word of the caption: leave it out")
def start_kept(step, state, longest):
    return [START, *_greedy(step, state, longest)]


@greedy_words.trap("the likeliest word has the *largest* log-probability")
def unlikeliest(step, state, longest):
    return _greedy(lambda word, now: ((found := step(word, now))[0].neg(), found[1]), state, longest)


@greedy_words.trap("one step too many: `longest` words at most")
def one_more(step, state, longest):
    return _greedy(step, state, longest + 1)


@greedy_words.trap("one step too few: a caption that does not end has `longest` words")
def one_less(step, state, longest):
    return _greedy(step, state, longest - 1)


# --------------------------------------------------------------------------------------------------------- beam_words

A, B, C = 4, 5, 6
LAST = {(2, word): {END: 1.0} for word in (A, B, C)}
SHORT_SIGHTED = LAST | {  # greedy says A and ends with 0.6 x 0.3 = 0.18; B C has 0.4 x 0.9 = 0.36
    (0, START): {A: 0.6, B: 0.4},
    (1, A): {A: 0.25, B: 0.3, C: 0.25, END: 0.2},
    (1, B): {A: 0.04, B: 0.03, C: 0.9, END: 0.03},
}
OVERTAKEN = LAST | {  # A is finished first, with 0.33; B A has 0.405 then, and 0.385 when it is finished
    (0, START): {A: 0.55, B: 0.45},
    (1, A): {B: 0.4, END: 0.6},
    (1, B): {A: 0.9, END: 0.1},
    (2, A): {B: 0.05, END: 0.95},
}
SHORT_WINS = LAST | {  # A has 0.42; B A has 0.36, which is more per word
    (0, START): {A: 0.6, B: 0.4},
    (1, A): {B: 0.3, END: 0.7},
    (1, B): {A: 0.9, END: 0.1},
}
STILL_RUNNING = LAST | {  # A has 0.315 and B C 0.247 when two are finished; B C A has 0.37
    (0, START): {A: 0.35, B: 0.65},
    (1, A): {C: 0.1, END: 0.9},
    (1, B): {A: 0.05, C: 0.95},
    (2, C): {A: 0.6, END: 0.4},
}
CUT_OFF = LAST | {  # of two beams A has 0.24 and B 0.21; C alone would have 0.25, but it is the third at the start
    (0, START): {A: 0.4, B: 0.35, C: 0.25},
    (1, A): {B: 0.4, END: 0.6},
    (1, B): {A: 0.4, END: 0.6},
    (1, C): {END: 1.0},
}
NOT_YET = LAST | {  # in two steps no <end> is among the two likeliest: A B has 0.52, B A 0.34, B alone 0.11
    (0, START): {A: 0.55, B: 0.45},
    (1, A): {B: 0.95, END: 0.05},
    (1, B): {A: 0.75, END: 0.25},
}
EXAMPLES = (
    (SHORT_SIGHTED, 3),
    (OVERTAKEN, 3),
    (SHORT_WINS, 3),
    (OVERTAKEN, 2),
    (STILL_RUNNING, 4),
    (CUT_OFF, 3),
    (NOT_YET, 2),
)


def beam_cases(dice: Dice) -> list[tuple]:
    """The examples above, with time for the better caption and without; a random model; one that never ends."""
    cases: list[tuple] = [(chain(table), FIRST_STATE, 2, longest) for table, longest in EXAMPLES]
    while len(cases) < 8:
        table = random_table(dice, end=0.5)
        if _beyond_dispute(table, width=3, longest=4):
            cases.append((Table(table.logprobs), FIRST_STATE, 3, 4))
    return [*cases, (random_table(dice, end=NEVER, places=2), FIRST_STATE, 3, 2)]


def _beyond_dispute(table: Table, width: int, longest: int) -> bool:
    """True if beams agree that manage their places differently, and greedy search doesn't find the same."""
    best = _likeliest(table, longest)
    widths = {tuple(beam_words.solution(Table(table.logprobs), FIRST_STATE, w, longest)) for w in (width - 1, width, 9)}
    greedy = _greedy(Table(table.logprobs), FIRST_STATE, longest)
    return widths == {best} and list(best) != greedy


def _likeliest(table: Table, longest: int) -> tuple[int, ...]:
    """The likeliest finished caption, by trying all."""
    found: dict[tuple[int, ...], float] = {}
    for length in range(longest):
        for words in product(range(4, table.logprobs.shape[1]), repeat=length):
            path = [START, *words, END]
            found[words] = sum(float(table.logprobs[t, path[t], path[t + 1]]) for t in range(length + 1))
    return max(found, key=lambda words: found[words])


@task(NOTEBOOK, points=4, goal="The likeliest caption that a beam of some width finds", cases=beam_cases)
def beam_words(step, state, width, longest):
    """As `greedy_words`, but of all continuations the `width` likeliest go on -> the words of the likeliest caption.

    A caption's score is the sum of its log-probabilities. One that has reached <end> is finished; if none has after
    `longest` steps, the likeliest unfinished one is returned."""
    beams, finished = [(0.0, [START], state)], []
    for _ in range(longest):
        grown = []
        for total, words, before in beams:
            logprobs, after = step(words[-1], before)
            grown += [(total + more, [*words, word], after) for word, more in enumerate(logprobs.tolist())]
        best = sorted(grown, key=lambda beam: -beam[0])[:width]
        finished += [beam for beam in best if beam[1][-1] == END]
        beams = [beam for beam in best if beam[1][-1] != END]
    _, words, _ = max(finished or beams, key=lambda beam: beam[0])
    return [word for word in words if word not in (START, END)]


def _grown(step, beams):
    """All continuations of the beams by one word, the likeliest first."""
    grown = []
    for total, words, before in beams:
        logprobs, after = step(words[-1], before)
        grown += [(total + more, [*words, word], after) for word, more in enumerate(logprobs.tolist())]
    return sorted(grown, key=lambda beam: -beam[0])


def _beam(step, state, width, longest, *, key=lambda total, words: total, choose=None, enough=math.inf, strip=True):
    beams, finished = [(0.0, [START], state)], []
    for _ in range(longest):
        best = _grown(step, beams)[:width]
        finished += [beam for beam in best if beam[1][-1] == END]
        beams = [beam for beam in best if beam[1][-1] != END]
        if len(finished) >= enough:
            break
    pool = choose(finished, beams) if choose else finished or beams
    _, words, _ = max(pool, key=lambda beam: key(beam[0], beam[1]))
    return [word for word in words if word not in (START, END)] if strip else words[1:-1]


@beam_words.trap("the width is ignored: this is greedy search, which takes 0.18 where 0.36 can be had")
def width_ignored(step, state, width, longest):
    return _beam(step, state, 1, longest)


@beam_words.trap("the list of finished captions may be empty at the end: keep the best unfinished one then")
def nothing_finished(step, state, width, longest):
    return _beam(step, state, width, longest, choose=lambda finished, beams: finished)


@beam_words.trap("an empty caption where nothing has finished: return the best unfinished one then")
def nothing_said(step, state, width, longest):
    return _beam(step, state, width, longest, choose=lambda finished, beams: finished or [(0.0, [], state)])


@beam_words.trap("it stops at the first finished caption: a longer one may still be likelier")
def first_finished(step, state, width, longest):
    return _beam(step, state, width, longest, enough=1)


@beam_words.trap("it stops as soon as `width` captions are finished: one that still goes on may be likelier")
def width_finished(step, state, width, longest):
    return _beam(step, state, width, longest, enough=width)


@beam_words.trap("a finished caption is not set aside: nothing is said after <end>, so it must not go on")
def goes_on_after_end(step, state, width, longest):
    beams = [(0.0, [START], state)]
    for _ in range(longest):
        beams = _grown(step, beams)[:width]
    words = beams[0][1][1:]
    return words[: words.index(END)] if END in words else words


def _set_aside_first(step, state, width, longest):
    beams, finished = [(0.0, [START], state)], []
    for _ in range(longest):
        grown = _grown(step, beams)
        finished += [beam for beam in grown if beam[1][-1] == END]
        beams = [beam for beam in grown if beam[1][-1] != END][:width]
    _, words, _ = max(finished or beams, key=lambda beam: beam[0])
    return [word for word in words if word not in (START, END)]


@beam_words.trap(
    "every <end> counts, however unlikely: cut to the `width` likeliest first, then set the finished aside"
)
def set_aside_before_the_cut(step, state, width, longest):
    return _set_aside_first(step, state, width, longest)


@beam_words.trap("nothing is cut off: only the `width` likeliest captions go on, though a dropped one might have won")
def no_cut(step, state, width, longest):
    return _set_aside_first(step, state, 10**6, longest)


@beam_words.trap("an unfinished caption has no <end> to cut off: its last word is lost")
def last_word_lost(step, state, width, longest):
    return _beam(step, state, width, longest, strip=False)


@beam_words.trap("the score is the sum of log-probabilities, not their mean: nothing is asked about lengths here")
def mean_logprob(step, state, width, longest):
    return _beam(step, state, width, longest, key=lambda total, words: total / (len(words) - 1))


@beam_words.trap("a finished caption goes before an unfinished one, even if that is likelier so far")
def unfinished_wins(step, state, width, longest):
    return _beam(step, state, width, longest, choose=lambda finished, beams: [*finished, *beams])


@beam_words.trap("<start> and <end> are no words of the caption: leave them out")
def ends_kept(step, state, width, longest):
    return [START, *_beam(step, state, width, longest), END]
