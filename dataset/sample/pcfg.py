"""A probabilistic grammar (PCFG) as a small tree: captions are drawn from it, and each has a known probability.

Comes in: words, sequences and weighted choices. Goes out: a caption as its words (`sample`), or the probability of any
caption (`logprob`), and with it the lowest perplexity that a captioning model can hope for. It knows no English but the
rule of "a" and "an".
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from random import Random


@dataclass(frozen=True)
class Words:
    text: tuple[str, ...]


@dataclass(frozen=True)
class Sequence:
    parts: tuple["Node", ...]


@dataclass(frozen=True)
class Choice:
    options: tuple[tuple[float, "Node"], ...]  # (probability, node); the probabilities sum to one


Node = Words | Sequence | Choice


def words(text: str) -> Words:
    """These words, in this order; the empty text says nothing."""
    return Words(tuple(text.split()))


def seq(*parts: Node | str) -> Sequence:
    """One part after the other."""
    return Sequence(tuple(words(p) if isinstance(p, str) else p for p in parts))


def choice(*options: tuple[float, Node | str]) -> Choice:
    """One of the options; the weights need not sum to one, and an option of weight zero is left out."""
    total = sum(weight for weight, _ in options)
    return Choice(tuple((w / total, words(n) if isinstance(n, str) else n) for w, n in options if w > 0))


def draw(node: Node, rng: Random) -> list[str]:
    """Words drawn from the tree, every article still an "a"."""
    match node:
        case Words(text):
            return list(text)
        case Sequence(parts):
            return [word for part in parts for word in draw(part, rng)]
        case Choice(options):
            weights, nodes = zip(*options, strict=True)
            return draw(rng.choices(nodes, weights)[0], rng)


def ends(node: Node, tokens: list[str], i: int) -> dict[int, float]:
    """{j: probability that the node says exactly tokens[i:j]}, summed over all ways in which it can."""
    match node:
        case Words(text):
            j = i + len(text)
            return {j: 1.0} if tuple(tokens[i:j]) == text else {}
        case Sequence(parts):
            reached = {i: 1.0}
            for part in parts:
                before, reached = reached, {}
                for j, p in before.items():
                    for k, q in ends(part, tokens, j).items():
                        reached[k] = reached.get(k, 0.0) + p * q
            return reached
        case Choice(options):
            total: dict[int, float] = {}
            for weight, option in options:
                for j, p in ends(option, tokens, i).items():
                    total[j] = total.get(j, 0.0) + weight * p
            return total


def articles(tokens: Iterable[str]) -> list[str]:
    """Every "a" before a vowel becomes "an": the one rule that looks across the nodes of the tree."""
    tokens = list(tokens)
    return ["an" if a == "a" and b[:1] in tuple("aeiou") else a for a, b in pairwise([*tokens, ""])]


def sample(node: Node, rng: Random) -> list[str]:
    """One caption as its words, drawn with the probability that `logprob` gives it."""
    return articles(draw(node, rng))


def logprob(node: Node, tokens: list[str]) -> float:
    """log p(tokens), natural, summed over all derivations; -inf where the grammar cannot say it."""
    plain = ["a" if t == "an" else t for t in tokens]
    p = ends(node, plain, 0).get(len(plain), 0.0) if articles(plain) == list(tokens) else 0.0
    return math.log(p) if p > 0 else -math.inf
