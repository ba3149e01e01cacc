"""Every task and bug: the solution is right, the stub is unwritten, typical wrong answers get their own sentences."""

import inspect
import linecache
import math
import textwrap
import time
from collections import Counter

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from exercises import check, check_bug, symptom
from exercises.checking import BUGS, TASKS
from exercises.decoder import Parts
from exercises.decoding import FIRST_STATE, Table, beam_cases
from exercises.running import run
from exercises.tasks import END, NOTEBOOKS, START, Dice
from model import AdditiveAttention, SpatialDecoder
from models.cells import run as run_layer
from vocabulary import Vocabulary, tokenize

SEEDS = range(5)
ALL = {**TASKS, **{bug.name: bug for bug in BUGS.values()}}


def written(source: str):
    """The function that a student's cell defines."""
    names = {"torch": torch, "F": F, "nn": nn, "math": math, "Counter": Counter}
    source, filename = textwrap.dedent(source).strip(), "<a cell>"
    linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
    exec(compile(source, filename, "exec"), names)
    return next(value for name, value in names.items() if inspect.isfunction(value) and name in ALL)


def called(name, function):
    """The same function under another name."""

    def other(*arguments):
        return function(*arguments)

    other.__name__ = name
    return other


WRONG = {
    "mask_of_runs": {
        "down the columns": """
            def mask_of_runs(runs, height, width):
                flat = []
                for place, n in enumerate(runs):
                    flat += [place % 2 == 1] * n
                return torch.tensor(flat).view(height, width)""",
        "the first run is outside": """
            def mask_of_runs(runs, height, width):
                flat = []
                for place, n in enumerate(runs):
                    flat += [place % 2 == 0] * n
                return torch.tensor(flat).view(width, height).T""",
    },
    "split_by_picture": {
        "captions leaked": """
            def split_by_picture(captions, share):
                n = int(share * len(captions))
                return captions[n:], captions[:n]""",
        "a share of 0.1 was asked, 4 pictures; 20 are held out": """
            def split_by_picture(captions, share):
                ids = sorted({i for i, _ in captions})
                held = set(ids[: len(ids) // 2])
                return [c for c in captions if c[0] not in held], [c for c in captions if c[0] in held]""",
        "some are lost": """
            def split_by_picture(captions, share):
                ids = sorted({i for i, _ in captions})
                held = set(ids[: round(len(ids) * share)])
                return captions[:-1], [c for c in captions if c[0] in held]""",
    },
    "named_again": {
        "divide by what *a* names": """
            def named_again(a, b):
                a, b = set(a), set(b)
                return len(a & b) / len(a | b)""",
        "use sets": """
            def named_again(a, b):
                if not a: return 0
                return len([x for x in a if x in b]) / len(a)""",
        "return 0 for it": """
            def named_again(a, b):
                return len(set(a) & set(b)) / len(set(a))""",
    },
    "words_of": {
        "'ball,' is no word": "def words_of(caption): return caption.lower().split()",
        "write all in lower case": """
            def words_of(caption):
                return caption.replace(".", " ").replace(",", " ").split()""",
    },
    "ids_of": {
        "begins with <start> and ends with <end>": """
            def ids_of(words, vocabulary):
                return [vocabulary.get(w, vocabulary["<unk>"]) for w in words]""",
        "line 2 of your function, `return [1] + [vocabulary[w] for w in words] + [2]`: KeyError: 'zebra': "
        "a word that the vocabulary does not know becomes <unk>": """
            def ids_of(words, vocabulary):
                return [1] + [vocabulary[w] for w in words] + [2]""",
    },
    "coverage_at": {
        "*at least* k times": """
            def coverage_at(counts, k):
                kept = [n for n in counts.values() if n > k]
                return len(kept) / len(counts), sum(kept) / sum(counts.values())""",
        "tokens are weighed by count": """
            def coverage_at(counts, k):
                share = sum(n >= k for n in counts.values()) / len(counts)
                return share, share""",
    },
    "padded": {
        "the longest caption comes first": """
            def padded(captions):
                lengths = torch.tensor([len(c) - 1 for c in captions])
                rows = [torch.tensor(c) for c in captions]
                return nn.utils.rnn.pad_sequence(rows, batch_first=True), lengths""",
        "a caption of n ids has n - 1 targets": """
            def padded(captions):
                captions = sorted(captions, key=len)[::-1]
                rows = [torch.tensor(c) for c in captions]
                return nn.utils.rnn.pad_sequence(rows, batch_first=True), torch.tensor([len(c) for c in captions])""",
    },
    "lstm_step": {
        "input and forget gate are swapped": """
            def lstm_step(gates, c):
                D = c.shape[1]
                f, i = gates[:, :D].sigmoid(), gates[:, D:2*D].sigmoid()
                g, o = gates[:, 2*D:3*D].tanh(), gates[:, 3*D:].sigmoid()
                c = f * c + i * g
                return o * c.tanh(), c""",
        "the candidate g needs tanh": """
            def lstm_step(gates, c):
                i, f, g, o = gates.sigmoid().chunk(4, 1)
                c = f * c + i * g
                return o * c.tanh(), c""",
    },
    "attend": {
        "take the softmax over its regions": """
            def attend(query, keys, regions, v):
                e = (keys + query[:, None]).tanh() @ v
                a = torch.softmax(e, 0)
                return torch.einsum("br,bre->be", a, regions), a""",
        "the *weighted* sum of the regions": """
            def attend(query, keys, regions, v):
                e = (keys + query[:, None]).tanh() @ v
                return regions.mean(dim=1), e.softmax(1)""",
        "should sum to one, yours sum to": """
            def attend(query, keys, regions, v):
                e = (keys + query[:, None]).tanh() @ v
                a = e.sigmoid()
                return torch.einsum("br,bre->be", a, regions), a""",
    },
    "decoder_step": {
        "the state never moves": """
            def decoder_step(parts, words, state, regions):
                h, c, known, memory = state
                h, c = parts.word_lstm(parts.embed(words), h, c)
                context, weights = parts.look(h, regions)
                known, memory = parts.language_lstm((h + context).tanh(), known, memory)
                return parts.score((h + context).tanh() + known), state, weights""",
        "ask with the *new* state": """
            def decoder_step(parts, words, state, regions):
                h, c, known, memory = state
                context, weights = parts.look(h, regions)
                h, c = parts.word_lstm(parts.embed(words), h, c)
                seen = torch.tanh(context + h)
                known, memory = parts.language_lstm(seen, known, memory)
                return parts.score(known + seen), (h, c, known, memory), weights""",
        "the second LSTM reads what is *seen*": """
            def decoder_step(parts, words, state, regions):
                h, c = parts.word_lstm(parts.embed(words), *state[:2])
                known, memory = parts.language_lstm(h, *state[2:])
                context, weights = parts.look(h, regions)
                return parts.score((h + context).tanh() + known), (h, c, known, memory), weights""",
        "score(seen + known)": """
            def decoder_step(parts, words, state, regions):
                h, c = parts.word_lstm(parts.embed(words), *state[:2])
                context, weights = parts.look(h, regions)
                known, memory = parts.language_lstm(torch.tanh(h + context), *state[2:])
                return parts.score(known), (h, c, known, memory), weights""",
    },
    "mean_loss": {
        "15 cells, but only 10 are real": """
            def mean_loss(scores, targets):
                return F.cross_entropy(scores.flatten(0, 1), targets.flatten())""",
        "still divides by all 15": """
            def mean_loss(scores, targets):
                sums = F.cross_entropy(scores.transpose(1, 2), targets, ignore_index=0, reduction="sum")
                return sums / targets.numel()""",
    },
    "split_perplexity": {
        "add first": "def split_perplexity(losses, tokens): return sum(math.exp(x) for x in losses) / len(losses)",
        "a batch of 10 words counts as much as one of 18": """
            def split_perplexity(losses, tokens):
                return math.exp(torch.tensor(losses).mean())""",
    },
    "own_words": {
        "the coin is reversed": """
            def own_words(truth, scores, coins, ratio):
                own = scores.argmax(1)
                return torch.where(coins < ratio, own, truth)""",
        "each word has a coin of its own": """
            def own_words(truth, scores, coins, ratio):
                if coins[0].item() < ratio: return truth
                return scores.argmax(1)""",
    },
    "greedy_words": {
        "the word is not fed back": """
            def greedy_words(step, state, longest):
                said = []
                while len(said) < longest:
                    logprobs, state = step(1, state)
                    if logprobs.argmax() == 2: break
                    said.append(logprobs.argmax())
                return said""",
        "it goes on after <end>": """
            def greedy_words(step, state, longest):
                said = [1]
                for _ in range(longest):
                    logprobs, state = step(said[-1], state)
                    said.append(logprobs.argmax().item())
                return said[1:]""",
    },
    "beam_words": {
        "0.18 where 0.36 can be had": """
            def beam_words(step, state, width, longest):
                word, said = 1, []
                for _ in range(longest):
                    logprobs, state = step(word, state)
                    word = logprobs.argmax().item()
                    if word == 2: break
                    said.append(word)
                return said""",
        "keep the best unfinished one": """
            def beam_words(step, state, width, longest):
                live, done = [(0, (1,), state)], []
                for _ in range(longest):
                    new = []
                    for p, words, s in live:
                        logprobs, after = step(words[-1], s)
                        top, ids = logprobs.topk(width)
                        new += [(p + x, words + (i,), after) for x, i in zip(top.tolist(), ids.tolist())]
                    new = sorted(new, key=lambda n: n[0], reverse=True)[:width]
                    done += [n for n in new if n[1][-1] == 2]
                    live = [n for n in new if n[1][-1] != 2]
                return list(max(done, key=lambda n: n[0])[1][1:-1])""",
        "a finished caption is not set aside": """
            def beam_words(step, state, width, longest):
                live = [(0, [1], state)]
                for _ in range(longest):
                    new = []
                    for p, words, s in live:
                        logprobs, after = step(words[-1], s)
                        new += [(p + x, words + [i], after) for i, x in enumerate(logprobs.tolist())]
                    live = sorted(new, key=lambda n: n[0])[-width:]
                words = live[-1][1][1:]
                return words[: words.index(2)] if 2 in words else words""",
        "every <end> counts": """
            def beam_words(step, state, width, longest):
                live, done = [(0, [1], state)], []
                for _ in range(longest):
                    new = []
                    for p, words, s in live:
                        logprobs, after = step(words[-1], s)
                        done.append((p + logprobs[2].item(), words))
                        new += [(p + x, words + [i], after) for i, x in enumerate(logprobs.tolist()) if i != 2]
                    live = sorted(new, key=lambda n: n[0])[-width:]
                return max(done or live, key=lambda n: n[0])[1][1:]""",
        "nothing is cut off": """
            def beam_words(step, state, width, longest):
                live, done = [(0, [1], state)], []
                for _ in range(longest):
                    new = []
                    for p, words, s in live:
                        logprobs, after = step(words[-1], s)
                        done.append((p + logprobs[2].item(), words))
                        new += [(p + x, words + [i], after) for i, x in enumerate(logprobs.tolist()) if i != 2]
                    live = new
                return max(done, key=lambda n: n[0])[1][1:]""",
        "its last word is lost": """
            def beam_words(step, state, width, longest):
                live, done = [(0, [1], state)], []
                for _ in range(longest):
                    new = []
                    for p, words, s in live:
                        logprobs, after = step(words[-1], s)
                        new += [(p + x, words + [i], after) for i, x in enumerate(logprobs.tolist())]
                    new = sorted(new, key=lambda n: n[0])[-width:]
                    done += [n for n in new if n[1][-1] == 2]
                    live = [n for n in new if n[1][-1] != 2]
                return max(done or live, key=lambda n: n[0])[1][1:-1]""",
    },
    "clipped_precision": {
        "'the the the' scores 1": """
            def clipped_precision(words, references, n):
                runs = [tuple(words[i:i+n]) for i in range(len(words) - n + 1)]
                known = {tuple(r[i:i+n]) for r in references for i in range(len(r) - n + 1)}
                return sum(run in known for run in runs) / len(runs) if runs else 0""",
        "clip by the count in any ONE reference": """
            def clipped_precision(words, references, n):
                count = lambda t: Counter(tuple(t[i:i+n]) for i in range(len(t) - n + 1))
                own, ref = count(words), Counter()
                for r in references: ref.update(count(r))
                return sum(min(c, ref[g]) for g, c in own.items()) / max(1, sum(own.values()))""",
    },
    "tfidf_cosine": {
        "'a' weighs as much as 'kite'": """
            def tfidf_cosine(words, reference, in_pictures, pictures):
                a, b = Counter(words), Counter(reference)
                dot = sum(a[w] * b[w] for w in a)
                return dot / math.hypot(*a.values()) / math.hypot(*b.values())""",
        "KeyError: 'zeppelin': a word may be in no picture's captions": """
            def tfidf_cosine(words, reference, in_pictures, pictures):
                a = {w: n * math.log(pictures / in_pictures[w]) for w, n in Counter(words).items()}
                b = {w: n * math.log(pictures / in_pictures[w]) for w, n in Counter(reference).items()}
                dot, size = sum(a[w] * b.get(w, 0) for w in a), math.hypot(*a.values()) * math.hypot(*b.values())
                return dot / size if size else 0""",
    },
    "peak_hits": {
        "row and column have changed places": """
            def peak_hits(weights, mask):
                side = int(weights.shape[1] ** 0.5)
                x, y = weights.argmax(1) // side, weights.argmax(1) % side
                return mask[((y + .5) / side * mask.shape[0]).long(), ((x + .5) / side * mask.shape[1]).long()]""",
        "take its *centre*": """
            def peak_hits(weights, mask):
                side = int(weights.shape[1] ** 0.5)
                y, x = weights.argmax(1) // side, weights.argmax(1) % side
                return mask[y * mask.shape[0] // side, x * mask.shape[1] // side]""",
    },
    "repair_1": {
        "of the held-out captions leaked": """
            def repair_1(captions, share):
                n = round(share * len(captions))
                return captions[n:], captions[:n]""",
        "should be in exactly one": "def repair_1(captions, share): return captions, captions",
    },
    "repair_2": {
        "which layer looks at the whole batch": """
            def repair_2(network, images):
                network.train()
                with torch.no_grad():
                    return network(images)""",
        "one picture at a time is still a batch": """
            def repair_2(network, images):
                return torch.cat([network(images[n:n+1]) for n in range(len(images))])""",
    },
    "repair_3": {
        "which numbers are neighbours in memory": """
            def repair_3(features):
                return features.reshape(len(features), -1, features.shape[1])""",
        "column by column": "def repair_3(features): return features.transpose(2, 3).flatten(2).transpose(1, 2)",
    },
    "repair_4": {
        "for all pictures alike": "def repair_4(regions, weight): return torch.zeros(len(regions), weight.shape[0])",
        "the tanh is missing": "def repair_4(regions, weight): return F.linear(regions.mean(1), weight)",
        "drawn at random": "def repair_4(regions, weight): return torch.randn(len(regions), weight.shape[0])",
    },
    "repair_5": {
        "the more padding, the smaller the loss": """
            def repair_5(scores, targets):
                return F.cross_entropy(scores.transpose(1, 2), targets)""",
        "still divides by all 15": """
            def repair_5(scores, targets):
                losses = F.cross_entropy(scores.flatten(0, 1), targets.flatten(), reduction="none")
                return (losses * (targets.flatten() > 0)).mean()""",
    },
    "repair_6": {
        "<start> is no target": "def repair_6(captions): return captions[:, :-1], captions[:, :-1]",
        "the wrong way round": "def repair_6(captions): return captions[:, 1:], captions[:, :-1]",
        "the inputs are one longer": "def repair_6(captions): return captions, captions[:, 1:]",
    },
    "repair_7": {
        "still depends on the batch size": """
            def repair_7(losses, batch_size):
                parts = torch.tensor(losses).split(batch_size)
                return sum(p.mean().exp() for p in parts) / len(parts)""",
        "the last one is smaller": """
            def repair_7(losses, batch_size):
                parts = torch.tensor(losses).split(batch_size)
                return torch.stack([p.mean() for p in parts]).mean().exp()""",
    },
    "repair_8": {
        "what does `step` get in the second round": """
            def repair_8(step, state, longest):
                said = []
                for _ in range(longest):
                    logprobs, state = step(1, state)
                    if int(logprobs.argmax()) == 2: break
                    said.append(int(logprobs.argmax()))
                return said""",
        "the state is not carried on": """
            def repair_8(step, state, longest):
                word, said = 1, []
                for _ in range(longest):
                    word = int(step(word, state)[0].argmax())
                    if word == 2: break
                    said.append(word)
                return said""",
    },
    "repair_9": {
        "nothing may be finished": "def repair_9(finished, running): return max(finished, key=lambda h: h[0])[1]",
        "an empty caption is no answer": "def repair_9(finished, running): return max(finished)[1] if finished else []",
        "a finished caption goes before": "def repair_9(finished, running): return max([*finished, *running])[1]",
    },
    "repair_10": {
        "both <unk> as ids, and so they match": """
            def repair_10(caption, reference, words):
                ids = [words.index(w) if w in words else 3 for w in reference]
                return sum(min(n, ids.count(i)) for i, n in Counter(caption).items()) / len(caption)""",
        "if it is left out": """
            def repair_10(caption, reference, words):
                said = Counter(words[i] for i in caption if i != 3)
                return sum((said & Counter(reference)).values()) / max(1, sum(said.values()))""",
    },
}


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("seed", SEEDS)
def test_the_solution_is_right(name, seed):
    result = check(ALL[name].solution, seed)
    assert (result.state, result.sentence, result.points) == ("right", "", ALL[name].points)


@pytest.mark.parametrize("body", ['raise NotImplementedError("your turn")', "...", "pass", "return None", "return ..."])
@pytest.mark.parametrize("name", ALL)
def test_the_stub_is_unwritten(name, body):
    stub = written(f'def {name}{ALL[name].parameters}:\n    """The goal."""\n    {body}')
    result = check(stub)
    assert (result.state, result.sentence, result.points) == ("unwritten", "still to write", 0)


@pytest.mark.parametrize("name", ALL)
def test_two_wrong_answers_at_least_get_their_own_sentence(name):
    assert len(WRONG[name]) >= 2
    for sentence, source in WRONG[name].items():
        for seed in SEEDS:
            result = check(written(source), seed)
            assert result.state == "wrong" and sentence in result.sentence, (sentence, result)


@pytest.mark.parametrize("name", ALL)
def test_each_mistake_is_told_from_the_others(name):
    """No typical mistake passes, or gets another's sentence, whatever the seed."""
    for seed in SEEDS[:2]:
        for trap in ALL[name].traps:
            result = check(called(name, trap.wrong), seed)
            assert result.state == "wrong" and trap.sentence in result.sentence


@pytest.mark.parametrize("name", ALL)
def test_a_check_takes_less_than_a_second(name):
    start = time.perf_counter()
    check(ALL[name].solution, 7)
    wrong = written(next(iter(WRONG[name].values())))
    check(wrong, 7)
    assert time.perf_counter() - start < 2


def test_the_tasks_are_those_of_the_course():
    """At most 18, three to six a notebook, in the notebooks' order; ten bugs."""
    order = [task.notebook for task in TASKS.values()]
    assert len(TASKS) <= 18 and len(BUGS) == 10 and list(BUGS) == list(range(1, 11))
    assert all(3 <= order.count(notebook) <= 6 for notebook in NOTEBOOKS)
    assert {bug.notebook for bug in BUGS.values()} <= set(NOTEBOOKS)


@pytest.mark.parametrize("number", BUGS)
def test_a_bug_shows_and_its_repair_takes_the_symptom_away(number):
    bug = BUGS[number]
    assert "no number" not in symptom(number).values
    assert dict(symptom(number).values) != dict(symptom(number, bug.solution).values)
    assert "still there" in check_bug(number, bug.broken).sentence
    assert check_bug(number, bug.solution).state == "right"


def test_the_symptoms_are_those_told():
    assert len(set(symptom(5, BUGS[5].solution).values.values())) == 1, "more padding, same loss"
    losses = list(symptom(5).values.values())
    assert losses == sorted(losses, reverse=True) and losses[0] > 5 * losses[-1]
    assert symptom(6).values == {"share of real targets": 1.0}
    assert symptom(3).values == {"regions that change": 64, "the first of them": 0}
    assert symptom(3, BUGS[3].solution).values == {"regions that change": 1, "the first of them": 21}
    assert symptom(8).values == {"said": "a a a a a a"}
    assert symptom(8, BUGS[8].solution).values == {"said": "a red kite flies"}


# ------------------------------------------------------------------------------------- the solutions are the library's


def test_lstm_step_is_torchs():
    cell = nn.LSTMCell(3, 5)
    x, h, c = torch.randn(2, 3), torch.randn(2, 5), torch.randn(2, 5)
    gates = F.linear(x, cell.weight_ih, cell.bias_ih) + F.linear(h, cell.weight_hh, cell.bias_hh)
    for own, theirs in zip(TASKS["lstm_step"].solution(gates, c), cell(x, (h, c)), strict=True):
        assert torch.allclose(own, theirs, atol=1e-6)


def test_attend_is_the_librarys():
    attention = AdditiveAttention(6, 4)
    query, keys, regions = torch.randn(2, 4), torch.randn(2, 9, 4), torch.randn(2, 9, 6)
    weights = TASKS["attend"].solution(query, keys, regions, attention.v.weight[0])[1]
    assert torch.allclose(weights, attention(query.unsqueeze(1), keys).squeeze(1), atol=1e-6)


def test_decoder_step_is_the_librarys():
    torch.manual_seed(0)
    decoder = SpatialDecoder(11, 7, word_size=5, hidden_size=6, attention_size=4).eval()
    words, regions = torch.tensor([5, 6]), torch.randn(2, 9, 7)
    images = decoder.prepare(regions)

    def lstm(layer):
        return lambda x, h, c: run_layer(layer, x, None, (h, c))[1]

    def look(h, regions):
        query, v = decoder.query(h), decoder.attention.v.weight[0]
        context, weights = TASKS["attend"].solution(query, decoder.attention.keys(regions), regions, v)
        return decoder.context(context), weights

    parts = Parts(decoder.embedding, lstm(decoder.word_rnn), look, lstm(decoder.language_rnn), decoder.lm_head)
    scores, state, weights = TASKS["decoder_step"].solution(parts, words, images.state, regions)
    expected = decoder.step(words, images.state, images)
    for own, theirs in zip((scores, *state, weights), (expected[0], *expected[1], expected[2]), strict=True):
        assert torch.allclose(own, theirs, atol=1e-6)


def test_words_ids_and_coverage_are_the_vocabularys():
    captions = ["A dog, a cat and a ball.", "Two kites fly above a dog"]
    vocabulary = Vocabulary(captions)
    ids = {word: i for i, word in enumerate(vocabulary.words)}
    for caption in [*captions, "a zebra and a dog"]:
        words = TASKS["words_of"].solution(caption)
        assert words == tokenize(caption)
        assert TASKS["ids_of"].solution(words, ids) == vocabulary.encode(caption)
    assert TASKS["coverage_at"].solution(vocabulary.counts, 2) == Vocabulary.coverage(captions, [2])[0][2:]


# -------------------------------------------------------------------------------------- other right answers are right


def a_beam(keep):
    """A beam search that manages its places as `keep` says: candidates, width, how many are finished -> who goes on."""

    def beam_words(step, state, width, longest):
        beams, finished = [(0.0, (START,), state)], []
        for _ in range(longest):
            grown = [beam for beam in beams if beam[1][-1] == END]
            for total, words, before in beams:
                if words[-1] != END:
                    logprobs, after = step(words[-1], before)
                    grown += [(total + x, (*words, w), after) for w, x in enumerate(logprobs.tolist())]
            beams, ended = keep(sorted(grown, key=lambda b: -b[0]), width, len(finished))
            finished += ended
        ended = finished + [b for b in beams if b[1][-1] == END]
        words = max(ended or beams, key=lambda b: b[0])[1]
        return [w for w in words if w not in (START, END)]

    return beam_words


BEAMS = {
    "finished ones keep their place": lambda grown, width, n: (grown[:width], []),
    "finished ones cost no place": lambda grown, width, n: (
        [b for b in grown if b[1][-1] != END][:width],
        [b for b in grown[:width] if b[1][-1] == END],
    ),
    "a finished one gives its place away": lambda grown, width, n: (
        [b for b in grown[: width - n] if b[1][-1] != END],
        [b for b in grown[: width - n] if b[1][-1] == END],
    ),
}


@pytest.mark.parametrize("keep", BEAMS.values(), ids=BEAMS)
@pytest.mark.parametrize("seed", range(20))
def test_beams_that_manage_their_places_otherwise_are_right(keep, seed):
    result = check(a_beam(keep), seed)
    assert result.state == "right", result


def test_a_model_that_counts_its_questions_counts_those_of_one_run():
    table, _, width, longest = beam_cases(Dice(3))[4]
    assert isinstance(table, Table) and table.asked == 0
    run(TASKS["beam_words"].solution, (table, FIRST_STATE, width, longest))
    assert table.asked == 0


def test_a_split_may_be_random():
    def split_by_picture(captions, share):
        ids = list({i for i, _ in captions})
        order = torch.randperm(len(ids)).tolist()
        held = {ids[i] for i in order[: round(share * len(ids))]}
        return [c for c in captions if c[0] not in held], [c for c in captions if c[0] in held]

    assert check(split_by_picture).state == "right"


def test_the_split_that_is_shown_does_not_follow_the_order_of_the_pictures():
    captions = [(picture, "a dog") for picture in range(40)]
    _, held_out = TASKS["split_by_picture"].solution(captions, 0.25)
    assert len(held_out) == 10 and held_out not in (captions[:10], captions[-10:])
    assert TASKS["split_by_picture"].solution(captions, 0.25)[1] == held_out


def test_tensors_of_the_other_kind_and_of_one_number_will_do():
    def mask_of_runs(runs, height, width):
        return torch.from_numpy(TASKS["mask_of_runs"].solution(runs, height, width))

    def split_perplexity(losses, tokens):
        return (torch.tensor(losses) * torch.tensor(tokens)).sum().div(sum(tokens)).exp()

    assert check(mask_of_runs).state == check(split_perplexity).state == "right"
