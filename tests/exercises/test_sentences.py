"""What a student is told is true of the code that he wrote, however he wrote it."""

import numpy as np
import pytest
import torch
from students import a_function

from exercises import check, symptom

CHANGES = {
    "ids_of": ("words", """
        words.insert(0, "<start>")
        words.append("<end>")
        return [vocabulary.get(w, vocabulary["<unk>"]) for w in words]"""),
    "repair_9": ("finished", """
        finished.sort()
        running.sort()
        return (finished or running)[-1][1]"""),
    "repair_10": ("reference", """
        found = 0
        for i in caption:
            if words[i] in reference:
                reference.remove(words[i])
                found += 1
        return found / len(caption)"""),
    "tfidf_cosine": ("in_pictures", """
        for w in words + reference:
            in_pictures.setdefault(w, 1)
        return SOLUTION(words, reference, in_pictures, pictures)"""),
    "greedy_words": ("state", """
        words, word = [], 1
        for _ in range(longest):
            logprobs, _ = step(word, state)
            state += 1
            word = int(logprobs.argmax())
            if word == 2:
                break
            words.append(word)
        return words"""),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_right_values_with_a_changed_input_are_no_other_mistake(name):
    """A typical mistake may give the same values in the cases that show the change: it is not the one made here."""
    changed, body = CHANGES[name]
    result = check(a_function(name, body))
    assert result.state == "wrong" and result.sentence.startswith(f"your function changes its input `{changed}`")


TURN = 'raise NotImplementedError("your turn")'
WRITTEN = {
    "mean_loss": (
        "line 2 of your function, `return F.cross_entropy(targets.flatten(), scores.flatten(0, 1))`: ",
        "return F.cross_entropy(targets.flatten(), scores.flatten(0, 1))",
    ),
    "own_words": (
        'line 2 of your function, `return scores.argsort(-1).softmax(-1)`: NotImplementedError: "',
        "return scores.argsort(-1).softmax(-1)",
    ),
    "lstm_step": (
        f"line 4 of your function, `{TURN}`: the stub's `raise` is still there",
        f"i, f, g, o = gates.chunk(4, -1)\nc = f.sigmoid() * c + i.sigmoid() * g.tanh()\n{TURN}",
    ),
    "decoder_step": (
        f"line 4 of your function, `{TURN}`: the stub's `raise` is still there",
        f"h, c, k, d = state\nh, c = parts.word_lstm(parts.embed(words), h, c)\n{TURN}",
    ),
    "attend": (
        f"line 3 of your function, `{TURN}`: the stub's `raise` is still there",
        f"def other():\n    {TURN}\nreturn other()",
    ),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_a_function_that_was_written_and_crashes_is_not_still_to_write(name):
    """Torch, too, raises NotImplementedError; and the stub's own may be left below what was written."""
    sentence, body = WRITTEN[name]
    result = check(a_function(name, body))
    assert result.state == "wrong" and result.sentence.startswith(sentence)


def test_the_line_that_a_stub_gives_does_not_make_it_written():
    assert check(a_function("decoder_step", f"h, c, k, d = state\n{TURN}")).state == "unwritten"


def test_a_symptom_cannot_be_measured_of_what_is_to_be_written_or_crashes_and_says_which():
    assert symptom(4, a_function("repair_4", TURN)).values == {"no number": "the function is still to write"}
    crashed = symptom(4, a_function("repair_4", "return regions.argsort(1).softmax(1)")).values["no number"]
    assert crashed.startswith("line 2 of your function, `return regions.argsort(1).softmax(1)`: NotImplementedError")


HEIGHT_ONLY = """
    s, h = math.isqrt(weights.shape[1]), len(mask)
    p = weights.argmax(1)
    return mask[((p // s + 0.5) * h / s).long(), ((p % s + 0.5) * h / s).long()]"""
FALSE = [  # what a mistake that is not made would say
    ("own_words", "one decision", "return scores.argmax(-1)"),
    ("own_words", "always the true words", "return truth if coins.mean() < ratio else scores.argmax(-1)"),
    ("named_again", "either of them names", "return len(set(a) - set(b)) / len(set(a))"),
    ("peak_hits", "upper left corner", HEIGHT_ONLY),
    (
        "lstm_step",
        "cuts the captions of the batch",
        "i, f, g, o = gates.split(4, dim=-1)\nreturn SOLUTION(torch.cat([i, f, g, o], -1), c)",
    ),
    ("lstm_step", "cuts the captions of the batch", "h, c = gates.chunk(4, -1)\nreturn h, c"),
]


@pytest.mark.parametrize(("name", "sentence", "body"), FALSE, ids=[f"{name}, {said}" for name, said, _ in FALSE])
def test_a_mistake_that_was_not_made_is_not_named(name, sentence, body):
    """Whoever gives the same in one case by chance, or crashes with an exception of the same kind, made another."""
    for seed in range(20):
        result = check(a_function(name, body), seed)
        assert result.state == "wrong" and sentence not in result.sentence, result


TRUE = [
    ("own_words", "always the model's own words", "return scores.argmax(-1)"),
    ("own_words", "one decision for the whole batch", "return truth if coins.mean() < ratio else scores.argmax(-1)"),
    ("own_words", "one decision for the whole batch", "return truth if coins[-1] < ratio else scores.argmax(-1)"),
    ("named_again", "that b does *not* name", "return len(set(a) - set(b)) / len(set(a))"),
    ("named_again", "that b does *not* name", "return len(set(a) - set(b)) / len(set(a)) if a else 0"),
    ("peak_hits", "the height is taken for both", HEIGHT_ONLY),
    *(
        ("attend", sentence, f"w = ({scores}).softmax(-1)\nreturn torch.einsum('br,bre->be', w, regions), w")
        for sentence, scores in {
            "query: it belongs inside the tanh": "keys.tanh() @ v",
            "query: it belongs inside the tanh, tanh(keys + query)": "(keys.tanh() + query.tanh()[:, None]) @ v",
            "query: without the tanh of keys + query": "keys @ v",
            "query: without the tanh of keys + query it moves": "(keys + query[:, None]) @ v",
        }.items()
    ),
    ("ids_of", "the <start> is missing", "return [vocabulary.get(w, 3) for w in words] + [2]"),
    (
        "coverage_at",
        "these are the words that are *not* kept",
        """
        rare = [n for n in counts.values() if n < k]
        return len(rare) / len(counts), sum(rare) / sum(counts.values())""",
    ),
    (
        "attend",
        "v is missing",
        "w = (keys + query[:, None]).tanh().sum(-1).softmax(-1)\nreturn (w[:, None] @ regions)[:, 0], w",
    ),
    (
        "lstm_step",
        "a sigmoid and then a tanh",
        """
        i, f, g, o = gates.sigmoid().chunk(4, -1)
        c = f * c + i * g.tanh()
        return o * c.tanh(), c""",
    ),
    (
        "mean_loss",
        "the softmax is taken twice",
        "return F.cross_entropy(scores.softmax(-1).flatten(0, 1), targets.flatten(), ignore_index=0)",
    ),
    (
        "mean_loss",
        "this is the perplexity",
        "return F.cross_entropy(scores.flatten(0, 1), targets.flatten(), ignore_index=0).exp()",
    ),
    (
        "split_perplexity",
        "their base is e, not 2",
        "return 2 ** (sum(x * n for x, n in zip(losses, tokens)) / sum(tokens))",
    ),
    ("own_words", "the coin is reversed", "return torch.where(coins > ratio, truth, scores.argmax(-1))"),
    ("repair_9", "nothing may be finished when", "return sorted(finished)[-1][1]"),
    ("lstm_step", "`h, c = gates.chunk(4, -1)`: ValueError: too many values to unpack", "h, c = gates.chunk(4, -1)"),
]


@pytest.mark.parametrize(("name", "sentence", "body"), TRUE, ids=[f"{name}, {said}" for name, said, _ in TRUE])
def test_a_mistake_is_named(name, sentence, body):
    for seed in range(20):
        result = check(a_function(name, body), seed)
        assert result.state == "wrong" and sentence in result.sentence, result


SETTINGS = {
    "torch.set_grad_enabled": ("repair_2", "torch.set_grad_enabled(False)\nreturn SOLUTION(network, images)"),
    "torch.set_default_dtype": ("lstm_step", "torch.set_default_dtype(torch.float64)\nreturn SOLUTION(gates, c)"),
    "torch.set_default_device": ("lstm_step", "torch.set_default_device('meta')\nreturn SOLUTION(gates, c)"),
    "np.seterr": ("mask_of_runs", "np.seterr(all='raise')\nreturn SOLUTION(runs, height, width)"),
}


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_setting_that_is_altered_is_said_and_put_back(setting):
    name, body = SETTINGS[setting]
    before = torch.is_grad_enabled(), torch.get_default_dtype(), torch.get_default_device(), np.geterr()
    result = check(a_function(name, body))
    assert (result.state, result.sentence) == (
        "wrong",
        f"your function leaves `{setting}` changed for all cells that follow: do without, or put it back",
    )
    assert (torch.is_grad_enabled(), torch.get_default_dtype(), torch.get_default_device(), np.geterr()) == before


def test_a_setting_for_a_block_of_its_own_is_right():
    body = "with torch.no_grad(), np.errstate(all='raise'):\n    return SOLUTION(gates, c)"
    assert check(a_function("lstm_step", body)).state == "right"


def test_numpys_random_numbers_go_on_as_before():
    np.random.seed(1)
    expected = np.random.rand()
    np.random.seed(1)
    check(a_function("lstm_step", "np.random.seed(7)\nreturn SOLUTION(gates, c)"))
    assert np.random.rand() == expected


ROWS = {
    "zeros": "ids = torch.zeros(len(captions), len(captions[0]), dtype=torch.long)\n",
    "longest": "ids = torch.zeros(len(captions), max(map(len, captions)), dtype=torch.long)\n",
    "whole": "for row, caption in zip(ids, captions):\n    row[:] = torch.tensor(caption)\n",
    "row": "for row, caption in zip(ids, captions):\n    row[: len(caption)] = torch.tensor(caption)\n",
    "word": "for i, row in enumerate(captions):\n    for j, word in enumerate(row):\n        ids[i, j] = word\n",
    "more": "ids = [caption + [0] * (len(captions[0]) - len(caption)) for caption in captions]\n",
    "stack": "ids = torch.stack([torch.tensor(row) for row in ids])\n",
    "tensor": "ids = torch.tensor(ids)\n",
    "as they are": "ids = captions\n",
}


@pytest.mark.parametrize("key", ["", "captions, key=len", "captions", "captions, key=len, reverse=True"])
@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        (("longest", "whole"), "a caption fills only the beginning of its row"),
        (("as they are", "tensor"), "rows of different lengths make no tensor"),
        (("as they are", "stack"), "rows of different lengths make no tensor"),
        (("zeros", "row"), "a row is too short for its caption"),
        (("zeros", "word"), "a row is too short for its caption"),
        (("more", "stack"), "rows of different lengths make no tensor"),
        (("more", "tensor"), "rows of different lengths make no tensor"),
    ],
)
def test_rows_of_a_wrong_length_are_named(lines, sentence, key):
    order = f"captions = sorted({key})\n" if key else ""
    body = order + "".join(ROWS[line] for line in lines) + "return ids, torch.tensor([len(c) - 1 for c in captions])"
    for seed in range(5):
        result = check(a_function("padded", body), seed)
        right = "reverse" in key and lines[0] in ("zeros", "more")
        assert result.state == "right" if right else sentence in result.sentence


def test_the_tip_for_a_state_that_is_a_tensor_works():
    stacked = "scores, state, weights = SOLUTION(parts, words, state, regions)\nreturn scores, {}, weights"
    tip = "new state should be a tuple, yours is a tensor; tuple(...) makes one of it"
    assert check(a_function("decoder_step", stacked.format("torch.stack(state)"))).sentence == tip
    assert check(a_function("decoder_step", stacked.format("tuple(torch.stack(state))"))).state == "right"
    assert "makes one" not in check(a_function("decoder_step", stacked.format("torch.stack(state, 1)"))).sentence


@pytest.mark.parametrize("name", ["split_by_picture", "repair_1"])
def test_two_tuples_are_two_lists_and_exchanged_they_are_named(name):
    assert check(a_function(name, "return tuple(map(tuple, SOLUTION(captions, share)))")).state == "right"
    exchanged = check(a_function(name, "return SOLUTION(captions, share)[::-1]"))
    assert exchanged.sentence.startswith("the two lists are exchanged")
