"""Repairs that don't suffice, as students write them: each gets the sentence that names it; no symptom misleads."""

import linecache
import math
import textwrap
import warnings

import pytest
import torch
from pytest import approx
from torch.nn import functional as F

from exercises import check, check_bug, symptom
from exercises.checking import BUGS

REPAIRS = [
    (2, "which layer looks at the whole batch", "network.train(); return network(images)"),
    (3, "which numbers are neighbours in memory", "return features.reshape(len(features), -1, features.shape[1])"),
    (3, "only channels and rows", "n, e = features.shape[:2]; return features.transpose(1, 2).reshape(n, -1, e)"),
    (3, "the regions run backwards", "return features.flatten(2).transpose(1, 2).flip(1)"),
    (4, "the same picture is twice", "torch.manual_seed(0); return torch.randn(len(regions), len(weight)).tanh()"),
    (4, "the same picture is twice", "torch.manual_seed(42); return torch.randn(len(regions), len(weight)).tanh()"),
    (4, "first the mean, then the tanh", "return (regions @ weight.T).tanh().mean(1)"),
    (4, "the sum grows with the number of regions", "return torch.tanh(regions.sum(1) @ weight.T)"),
    (4, "a sigmoid lies between 0 and 1", "return torch.sigmoid(regions.mean(1) @ weight.T)"),
    (4, "only the first region", "return torch.tanh(regions[:, 0] @ weight.T)"),
    (4, "clamp cuts", "return (regions.mean(1) @ weight.T).clamp(-1, 1)"),
    (4, "the mean goes over the regions", "return torch.tanh(regions.mean(0) @ weight.T)"),
    (5, "this is the sum", "return F.cross_entropy(scores.transpose(1, 2), targets, ignore_index=0, reduction='sum')"),
    (
        5,
        "not by the number of captions",
        "return F.cross_entropy(scores.transpose(1, 2), targets, ignore_index=0, reduction='sum') / len(targets)",
    ),
    (
        5,
        "the mean of the captions' means",
        """
        each = F.cross_entropy(scores.transpose(1, 2), targets, ignore_index=0, reduction='none')
        return (each.sum(1) / (targets > 0).sum(1)).mean()""",
    ),
    (
        5,
        "no longer belong together",
        "return F.cross_entropy(scores.transpose(0, 1).flatten(0, 1), targets.flatten(), ignore_index=0)",
    ),
    (
        5,
        "the score of <pad> is gone",
        "return F.cross_entropy(scores[..., 1:].flatten(0, 1), targets.flatten() - 1, ignore_index=-1)",
    ),
    (6, "the target is still the word that was just given", "return captions[:, 1:], captions[:, 1:]"),
    (6, "<start> comes round", "return captions[:, :-1], captions[:, :-1].roll(-1, 1)"),
    (6, "one word is skipped", "return captions[:, :-2], captions[:, 2:]"),
    (
        6,
        "<end> should be a target",
        "targets = captions[:, 1:].clone(); targets[targets == 2] = 0; return captions[:, :-1], targets",
    ),
    (
        7,
        "a mean of perplexities, weighted by size",
        """
        parts = torch.tensor(losses).split(batch_size)
        return sum(len(p) * p.mean().exp() for p in parts) / len(losses)""",
    ),
    (7, "a mean of exponentials", "return sum(math.exp(x) for x in losses) / len(losses)"),
    (
        7,
        "the last, smaller batch is left out",
        "n = len(losses) // batch_size * batch_size; return math.exp(sum(losses[:n]) / n)",
    ),
    (7, "natural logarithms", "return 2 ** (sum(losses) / len(losses))"),
    (7, "divide before", "return math.exp(sum(losses)) / len(losses)"),
    (
        8,
        "what does `step` get in the second round?",
        """
        said = []
        while len(said) < longest:
            logprobs, state = step(1, state)
            if logprobs.argmax() == 2: break
            said.append(int(logprobs.argmax()))
        return said""",
    ),
    (
        8,
        "no longer stammers, but `step` still gets <start>",
        """
        said = []
        for _ in range(longest):
            logprobs, state = step(1, state)
            logprobs[said] = -math.inf
            if logprobs.argmax() == 2: break
            said.append(int(logprobs.argmax()))
        return said""",
    ),
    (
        8,
        "no longer stammers, but `step` still gets <start>",
        """
        said = []
        for _ in range(longest):
            logprobs, state = step(1, state)
            first, second = logprobs.topk(2).indices.tolist()
            word = second if said and first == said[-1] else first
            if word == 2: break
            said.append(word)
        return said""",
    ),
    (
        8,
        "a word may come again",
        """
        said = [1]
        for _ in range(longest):
            logprobs, state = step(said[-1], state)
            logprobs[said] = -math.inf
            if logprobs.argmax() == 2: break
            said.append(int(logprobs.argmax()))
        return said[1:]""",
    ),
    (
        8,
        "a word may come again",
        """
        said = [1]
        for _ in range(longest):
            logprobs, state = step(said[-1], state)
            logprobs[said[-1]] = -math.inf
            if logprobs.argmax() == 2: break
            said.append(int(logprobs.argmax()))
        return said[1:]""",
    ),
    (9, "the likeliest of them", "return max(finished)[1] if finished else running[0][1]"),
    (9, "the longest is not the best", "return max(finished or running, key=lambda h: len(h[1]))[1]"),
    (9, "None is no caption", "return max(finished, default=(0, None))[1]"),
    (9, "divide it by no length", "return max(finished or running, key=lambda h: h[0] / len(h[1]))[1]"),
    (
        10,
        "only as often as the reference has it",
        "return sum(words[i] in reference for i in caption) / len(caption)",
    ),
    (
        10,
        "only as often as the reference has it",
        """
        ids = [words.index(w) for w in reference if w in words]
        return sum(i in ids for i in caption) / len(caption)""",
    ),
    (
        10,
        "a word counts once only",
        "said, known = {words[i] for i in caption}, set(reference); return len(said & known) / len(said)",
    ),
    (10, "a word counts once only", "return len({words[i] for i in caption} & set(reference)) / len(caption)"),
]


def repair(number, body):
    """A student's `repair_N` with this body."""
    names = {"torch": torch, "F": F, "math": math}
    source = f"def repair{BUGS[number].parameters}:\n" + textwrap.indent(textwrap.dedent(body), "    ")
    linecache.cache["<a repair>"] = (len(source), None, source.splitlines(keepends=True), "<a repair>")
    exec(compile(source, "<a repair>", "exec"), names)
    return names["repair"]


@pytest.mark.parametrize(("number", "sentence", "body"), REPAIRS, ids=[f"{n}, {s}" for n, s, _ in REPAIRS])
def test_a_repair_that_does_not_suffice_is_named(number, sentence, body):
    for seed in range(5):
        result = check_bug(number, repair(number, body), seed)
        assert result.state == "wrong" and sentence in result.sentence, result


def test_sorted_captions_leak_where_pictures_have_different_numbers_of_them():
    """A slice of the sorted captions cuts through a picture, from either end, rounded or not."""

    def split_by_picture(captions, share):
        n = len(captions) - cut(share * len(captions))
        ranked = sorted(captions, reverse=backwards)
        return ranked[:n], ranked[n:]

    for cut, backwards in ((round, False), (round, True), (int, False), (math.ceil, True)):
        for seed in range(5):
            for result in (check_bug(1, split_by_picture, seed), check(split_by_picture, seed)):
                assert result.state == "wrong" and "leaked" in result.sentence, (cut, backwards, seed, result)


def test_a_network_may_keep_its_gradients():
    """What is asked of bug 2 is that features stay; no warning tells of tensors with gradients."""
    kept = repair(2, "return network.eval()(images)")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert check_bug(2, kept).state == "right"
        assert symptom(2, kept).values == {"difference": approx(0, abs=1e-5), "running statistics that moved": 0}
    assert symptom(2).values["running statistics that moved"] == 9


def test_a_wrong_repair_does_not_take_the_whole_symptom_away():
    columns = symptom(3, repair(3, "return features.transpose(2, 3).flatten(2).transpose(1, 2)")).values
    assert columns == {"regions that change": 1, "the first of them": 42}
    assert symptom(3, BUGS[3].solution).values == {"regions that change": 1, "the first of them": 21}
    alike = "how far two pictures' first states differ"
    for body in (
        "return torch.zeros(len(regions), len(weight))",
        "torch.manual_seed(0); return torch.randn(1, len(weight))",
    ):
        assert symptom(4, repair(4, body)).values == {"different first words": 1, alike: 0}
    assert symptom(4, BUGS[4].solution).values[alike] > 0.1
    assert symptom(9).values == {"captions": 80, "crashes": 20}
    assert symptom(9, repair(9, "return max(finished)[1] if finished else []")).values == {"captions": 80, "crashes": 0}
    assert symptom(9, BUGS[9].solution).values == {"captions": 100, "crashes": 0}


def test_fewer_known_words_never_raise_a_right_score():
    right, wrong = (list(symptom(10, f).values.values()) for f in (BUGS[10].solution, BUGS[10].broken))
    assert right == [0.5, 0.375, 0.125, 0] and wrong == sorted(wrong)
