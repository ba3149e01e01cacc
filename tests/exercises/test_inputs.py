"""The inputs of the checks leave no room for what is right by chance, and are those of the notebooks in kind."""

import inspect
from collections import defaultdict

import pytest
import torch
from students import ALL, a_function

from exercises import check
from exercises.decoder import Parts
from exercises.tasks import Dice

SAME = {"repair_2": {"images dimension 1"}}  # what is alike in all cases: pictures have three colours


def sizes(name, value):
    """What of an argument is a size or a number, by name."""
    if isinstance(value, torch.Tensor):
        return {f"{name} dimension {d}": size for d, size in enumerate(value.shape)}
    if isinstance(value, int | float):
        return {name: value}
    return {f"{name} length": len(value)} if isinstance(value, str | list | dict) else {}


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("seed", range(5))
def test_no_size_and_no_number_is_the_same_in_all_cases_of_a_task(name, seed):
    """So that a constant in place of what is given is never right."""
    task = ALL[name]
    arguments = list(inspect.signature(task.solution).parameters)
    found = defaultdict(set)
    for case in task.cases(Dice(seed)):
        for argument, value in zip(arguments, case, strict=True):
            if not isinstance(value, Parts):
                for size, number in sizes(argument, value).items():
                    found[size].add(number)
    assert {size for size, numbers in found.items() if len(numbers) < 2} == SAME.get(name, set())


TENTH = "return F.cross_entropy(scores.flatten(0, 1), targets.flatten(), ignore_index=0, reduction='sum') / 10"
CONSTANTS = {
    "mean_loss": TENTH,
    "repair_5": TENTH,
    "greedy_words": "return SOLUTION(step, state, 6)",
    "repair_8": "return SOLUTION(step, state, 6)",
    "tfidf_cosine": "return SOLUTION(words, reference, in_pictures, 1000)",
    "own_words": """
        words = truth.clone()
        for i in range(12):
            if coins[i] >= ratio:
                words[i] = scores[i].argmax()
        return words""",
    "attend": """
        parts = [SOLUTION(query[b : b + 1], keys[b : b + 1], regions[b : b + 1], v) for b in range(3)]
        return torch.cat([context for context, _ in parts]), torch.cat([weights for _, weights in parts])""",
    "peak_hits": """
        side, peak = math.isqrt(len(weights)), weights.argmax(-1)
        row, column = (peak // side + 0.5) * mask.shape[0] / side, (peak % side + 0.5) * mask.shape[1] / side
        return mask[row.long(), column.long()]""",
    "decoder_step": """
        rows = [SOLUTION(parts, words[[b]], tuple(s[[b]] for s in state), regions[[b]]) for b in range(3)]
        states = tuple(torch.cat([row[1][k] for row in rows]) for k in range(4))
        return torch.cat([row[0] for row in rows]), states, torch.cat([row[2] for row in rows])""",
}


@pytest.mark.parametrize("name", CONSTANTS)
def test_the_size_of_one_example_is_not_right_for_all(name):
    assert [check(a_function(name, CONSTANTS[name]), seed).state for seed in range(3)] == ["wrong"] * 3


def test_memory_that_was_not_written_is_no_padding_by_chance():
    body = """
        captions = sorted(captions, key=len)[::-1]
        ids = torch.empty(len(captions), len(captions[0]), dtype=torch.long)
        for row, caption in zip(ids, captions, strict=True):
            row[: len(caption)] = torch.tensor(caption)
        return ids, torch.tensor([len(caption) - 1 for caption in captions])"""
    for _ in range(5):
        assert check(a_function("padded", body)).state == "wrong"
    assert not torch.are_deterministic_algorithms_enabled()


RETURN = "return SOLUTION(*args)"
ONLY_HERE = {  # right on plain small inputs, and a crash, or another number, on those of the notebooks
    "lstm_step": ("Can't call numpy() on Tensor that requires grad", "gates = torch.tensor(gates.numpy())\n" + RETURN),
    "mean_loss": (
        "view size is not compatible",
        "return F.cross_entropy(scores.flatten(0, 1), targets.view(-1), ignore_index=0)",
    ),
    "greedy_words": ("not 'tuple'", "int(state)\n" + RETURN),
    "decoder_step": ("scores should have shape", "scores, *rest = SOLUTION(*args)\nreturn scores.squeeze(), *rest"),
    "clipped_precision": ("yours is 0.2857: return it as it is, not rounded", "return round(SOLUTION(*args), 4)"),
    "coverage_at": ("not rounded", "return tuple(round(share, 4) for share in SOLUTION(*args))"),
    "tfidf_cosine": (
        "ZeroDivisionError",
        """
        def weight(word):
            try:
                return math.log(pictures / in_pictures[word])
            except KeyError:
                return math.log(pictures)
        in_pictures = in_pictures.copy()
        in_pictures |= {w: pictures / math.exp(weight(w)) for w in words + reference}
        return SOLUTION(words, reference, in_pictures, pictures)""",
    ),
}


@pytest.mark.parametrize("name", ONLY_HERE)
def test_what_is_right_here_is_right_in_the_notebook(name):
    sentence, body = ONLY_HERE[name]
    result = check(a_function(name, body.replace("*args", ", ".join(inspect.signature(ALL[name].solution).parameters))))
    assert result.state == "wrong" and sentence in result.sentence, result


WITHIN = {
    "clipped_precision": """
        own = Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))
        found = (min(k, max(" ".join(r).count(" ".join(run)) for r in references)) for run, k in own.items())
        return sum(found) / own.total() if own else 0""",
    "named_again": "return sum(x in ' '.join(b) for x in set(a)) / len(set(a)) if a else 0",
    "tfidf_cosine": """
        def weighed(text):
            counts = {w: " ".join(text).count(w) for w in words + reference}
            return {w: n * math.log(pictures / in_pictures.get(w, 1)) for w, n in counts.items()}
        a, b = weighed(words), weighed(reference)
        lengths = math.hypot(*a.values()) * math.hypot(*b.values())
        return sum(a[w] * b[w] for w in a) / lengths if lengths else 0""",
    "repair_10": """
        said = Counter(words[i] for i in caption)
        return sum(min(n, " ".join(reference).count(w)) for w, n in said.items()) / len(caption)""",
    "ids_of": """
        def id_of(word):
            return next((i for known, i in vocabulary.items() if word in known), vocabulary["<unk>"])
        return [vocabulary["<start>"], *map(id_of, words), vocabulary["<end>"]]""",
}


@pytest.mark.parametrize("name", WITHIN)
def test_a_word_within_another_is_another_word(name):
    assert [check(a_function(name, WITHIN[name]), seed).state for seed in range(5)] == ["wrong"] * 5
