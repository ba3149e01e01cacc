"""What a user relies on when words become ids and ids words."""

import importlib
import json
import random
import sys
import unicodedata
from hashlib import sha256
from pathlib import Path

import pytest

from vocabulary import END, PAD, SPECIALS, START, TOKENIZER_VERSION, UNK, Vocabulary, _split_treebank, tokenize

CAPTIONS = ["A dog runs.", "a dog sleeps", "The dog runs, and the cat sleeps!", "a bird"]


# --- words


TOKENIZED = [
    ("A man riding a wave on top of a surfboard.", "a man riding a wave on top of a surfboard"),
    ("  Two dogs,one cat , and a bird . \n", "two dogs one cat and a bird"),
    ("The dog's bowl isn't full", "the dog 's bowl is n't full"),
    ("It cannot fly; it's gonna fall", "it can not fly it 's gon na fall"),
    ("Cannot wanna gotta gimme lemme", "can not wan na got ta gim me lem me"),
    ('A sign says "stop" (in red) - really?!', "a sign says stop -lrb- in red -rrb- really ?!"),
    ("The dog\u2019s \u201cred\u201d bowl", "the dog 's red bowl"),
    ("A black-and-white t-shirt at 6:53, 3,000 people", "a black-and-white t-shirt at 6:53 3,000 people"),
    ("A cat. It sleeps... on a mat..", "a cat it sleeps on a mat"),
    ("Mr. Smith on Chapel St. in the U.S. at 5 p.m.", "mr. smith on chapel st. in the u.s. at 5 p.m."),
    ("A caf\u00e9 & bar", "a caf\u00e9 & bar"),
    ("", ""),
    (" .! ? \n", ""),
    # where Stanford's lexer and NLTK's differ; Java says these, too (test_metrics.py asks it)
    ("Cars on Sunset Blvd.", "cars on sunset blvd."),
    ("Fruit, bunches of bananas, etc. in a bowl", "fruit bunches of bananas etc. in a bowl"),
    ("a walkie- talkie on a tree -lined street", "a walkie talkie on a tree lined street"),
    ("Leaning over a fence/ An AT&T sign and/or a box", "leaning over a fence / an at&t sign and/or a box"),
    ("The time is 1:42pm, not 2pm", "the time is 1:42 pm not 2pm"),
    ("Thanks!!! A dog.. a cat??", "thanks !!! a dog a cat ??"),
    ("He tries to .hit [the] ball", "he tries to hit -lsb- the -rsb- ball"),
]


@pytest.mark.parametrize(("caption", "words"), TOKENIZED)
def test_tokenize(caption, words):
    assert tokenize(caption) == words.split()


def test_the_fast_path_for_plain_captions_changes_nothing():
    pieces = ["a", "dog", "cannot", "cannots", "gonna", "wanna", "lemme", "can", "not", "st", "x", "st.", "x.", "dog."]
    pieces += [",", ",,", ".", "..", "dog,cat", "cat,,dog", ".cat"]
    rng = random.Random(0)
    for _ in range(3000):
        caption = rng.choice((" ", "  ", "")).join(rng.choices(pieces, k=rng.randint(0, 5)))
        caption += rng.choice(("", ".", " .", ". ", ".\n", ",", " "))
        assert tokenize(caption) == _split_treebank(caption), repr(caption)


# --- ids


def test_the_specials_come_first_and_have_ids_by_name():
    assert [Vocabulary()[word] for word in ("<pad>", "<start>", "<end>", "<unk>")] == [PAD, START, END, UNK]
    assert Vocabulary(CAPTIONS).words[UNK + 1] == "a"


def test_specials_then_falling_count_then_alphabet():
    vocabulary = Vocabulary(CAPTIONS)
    assert vocabulary.words == [*SPECIALS, "a", "dog", "runs", "sleeps", "the", "and", "bird", "cat"]
    assert [vocabulary[word] for word in ("<pad>", "<start>", "<end>", "<unk>", "a")] == [0, 1, 2, 3, 4]
    assert vocabulary["zebra"] == vocabulary.unk and "zebra" not in vocabulary and "dog" in vocabulary
    assert len(vocabulary) == 12


def test_ids_do_not_depend_on_the_order_of_captions():
    assert Vocabulary(reversed(CAPTIONS)).words == Vocabulary(CAPTIONS).words


def test_threshold_keeps_words_that_occur_that_often():
    vocabulary = Vocabulary(CAPTIONS, threshold=3)  # "a" and "dog" occur exactly three times
    assert vocabulary.words == [*SPECIALS, "a", "dog"]
    assert vocabulary.counts["cat"] == 1 and vocabulary.threshold == 3
    assert len(Vocabulary(CAPTIONS, threshold=4)) == 4


def test_max_words_keeps_the_most_frequent():
    assert Vocabulary(CAPTIONS, max_words=3).words == [*SPECIALS, "a", "dog", "runs"]
    assert Vocabulary(CAPTIONS, threshold=3, max_words=100).words == [*SPECIALS, "a", "dog"]


def test_encode_and_decode():
    vocabulary = Vocabulary(CAPTIONS, threshold=2)
    ids = vocabulary.encode("The dog sleeps, zebra!")
    assert ids == [1, vocabulary["the"], vocabulary["dog"], vocabulary["sleeps"], 3, 2]
    assert vocabulary.encode(["the", "dog", "sleeps", "zebra"]) == ids
    assert vocabulary.decode(ids) == "the dog sleeps <unk>"
    assert vocabulary.decode([*ids, vocabulary["dog"], 0, 0]) == "the dog sleeps <unk>"  # nothing after the end
    assert vocabulary.decode(ids[1:-1]) == "the dog sleeps <unk>"  # needs neither start nor end
    assert vocabulary.encode("") == vocabulary.encode("...") == [1, 2] and vocabulary.decode([1, 2]) == ""


def test_a_caption_that_is_cut_does_not_end_where_it_is_cut():
    vocabulary = Vocabulary(CAPTIONS)
    assert vocabulary.decode(vocabulary.encode("a dog runs", max_words=2)) == "a dog"
    assert vocabulary.encode("a dog runs", max_words=2) == [1, vocabulary["a"], vocabulary["dog"]]
    assert vocabulary.encode(["a", "dog", "runs"], max_words=1) == [1, vocabulary["a"]]
    assert vocabulary.encode("a dog runs.", max_words=3)[-1] == vocabulary.end
    assert vocabulary.encode("a dog", max_words=2) == vocabulary.encode("a dog")


def test_decode_refuses_foreign_ids():
    for number in (-1, 12):
        with pytest.raises(ValueError, match=f"id {number} is not in this vocabulary of 12 words"):
            Vocabulary(CAPTIONS).decode([1, number])


def test_words_that_look_like_specials_stay_words():
    vocabulary = Vocabulary(["a <start> sign <end> <end>", "<unk> <pad>"])
    assert vocabulary.words[:4] == list(SPECIALS) and not set(SPECIALS) & set(vocabulary.words[4:])
    assert vocabulary.decode(vocabulary.encode("a <end> sign")) == "a < end > sign"
    assert vocabulary.encode(["<pad>", "<end>", "a"]) == [1, 3, 3, vocabulary["a"], 2]


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="list of captions, not from the one caption 'a dog'"):
        Vocabulary("a dog")
    for wrong in ([["a", "dog"]], [7], [b"a dog"]):
        with pytest.raises(ValueError, match=f"from captions, texts, and not from {type(wrong[0]).__name__}s"):
            Vocabulary(wrong)
    for arguments in ({"threshold": 0}, {"max_words": 0}):
        with pytest.raises(ValueError, match="must be at least 1"):
            Vocabulary(CAPTIONS, **arguments)


# --- on disk


def test_save_and_load(tmp_path):
    vocabulary = Vocabulary([*CAPTIONS, "un caf\u00e9"], threshold=2)
    vocabulary.save(tmp_path / "vocabulary.json")
    content = json.loads((tmp_path / "vocabulary.json").read_text(encoding="utf-8"))
    assert content["words"] == vocabulary.words
    loaded = Vocabulary.load(tmp_path / "vocabulary.json")
    assert (loaded.words, loaded.counts, loaded.threshold) == (vocabulary.words, vocabulary.counts, 2)
    assert loaded.encode(CAPTIONS[2]) == vocabulary.encode(CAPTIONS[2])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '["a"]',
        '{"words": ["a", "b"], "threshold": 1, "counts": {}}',
        '{"words": ["<pad>", "<start>", "<end>", "<unk>", 7], "threshold": 1, "counts": {}}',
        '{"words": ["<pad>", "<start>", "<end>", "<unk>"], "counts": {}}',
        '{"words": ["<pad>", "<start>", "<end>", "<unk>", "a", "a"], "threshold": 1, "counts": {}}',
        "\x80\xff",
    ],
)
def test_another_file_is_refused_in_one_sentence(tmp_path, text):
    (tmp_path / "v.json").write_text(text, encoding="latin-1")
    with pytest.raises(ValueError, match=r"v\.json is not a vocabulary"):
        Vocabulary.load(tmp_path / "v.json")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"is a folder: name the vocabulary in it"):
        Vocabulary.load(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"No vocabulary at .*v\.json"):
        Vocabulary.load(tmp_path / "v.json")


def test_from_words():
    vocabulary = Vocabulary.from_words(["dog", "a"])
    assert vocabulary.words == [*SPECIALS, "dog", "a"] and vocabulary["a"] == 5
    assert Vocabulary.from_words(vocabulary.words).words == vocabulary.words
    for words in (["a", "a"], ["a", "<end>"]):
        with pytest.raises(ValueError, match="twice"):
            Vocabulary.from_words(words)


def test_coverage_tells_what_a_threshold_costs():
    rows = Vocabulary.coverage(["a a a b", "b c"], (1, 2, 3, 4))
    assert rows == [(1, 3, 1.0, 1.0), (2, 2, 2 / 3, 5 / 6), (3, 1, 1 / 3, 0.5), (4, 0, 0.0, 0.0)]
    assert Vocabulary.coverage(Vocabulary(["a a a b", "b c"], threshold=3).counts, (1, 2, 3, 4)) == rows
    assert Vocabulary.coverage([], [1]) == [(1, 0, 0.0, 0.0)]


def test_encoded_captions_are_kept_and_never_those_of_others(tmp_path):
    captions = ["A dog runs.", "a cat\nsleeps", "", "😀"]
    vocabulary = Vocabulary(captions)
    plain = vocabulary.encode_all(captions)
    assert (
        vocabulary.encode_all(captions, cache_dir=tmp_path / "kept")
        == plain
        == [vocabulary.encode(c) for c in captions]
    )
    (file,) = (tmp_path / "kept").iterdir()
    file.write_text(json.dumps(plain[::-1]))
    assert vocabulary.encode_all(captions, cache_dir=file.parent) == plain[::-1]  # it is read, not made again
    wrong: list = [None, "1", {}, [], [None], ["1"], [True, 2], [1.0, 2], [1, 99_999, 2], [1, -1, 2], [2, 1]]
    for damaged in ("[[1, 2", "[" * 100_000, "{}", *(json.dumps([ids, *plain[1:]]) for ids in wrong)):
        file.write_text(damaged)
        assert vocabulary.encode_all(captions, cache_dir=file.parent) == plain, damaged[:40]  # made again
        assert json.loads(file.read_text()) == plain
    others = [(vocabulary, ["A dog runs.", "a cat", "sleeps", "😀"], None), (vocabulary, captions, 1)]
    others.append((Vocabulary(), captions, None))
    for words, said, longest in others:
        assert words.encode_all(said, longest, cache_dir=file.parent) == words.encode_all(said, longest)
    assert len(list(file.parent.iterdir())) == 4


AWKWARD = [
    *(caption for caption, _ in TOKENIZED),
    "\u0388\u03bd\u03b1\u03c2 \u03c3\u03ba\u03cd\u03bb\u03bf\u03c2, \u4e00\u53ea\u72d7",
    "\u0628; \U0001f436\U0001f408 e\u0301 caf\u00e9",
    "<start> a <b>dog</b> & 50 % $x^2$ {0} %s \\n </end> <end> <pad> \"'`",
    "a\x00dog\x07on\x1b[31m a\u200bsofa\u202e\ufeff\u2028here\x85there\ta\r\nb",
    "don't I'll they've we'd o'clock rock'n'roll 'tis ' '' ``quoted'' \u201cso\u201d",
    "Dr. A. B. Smith Jr. vs. St. Mary's Ave. at 10 a.m., etc. (U.S.A.)...",
    "$5.99/lb., #1, 1,000.50 3-4 20% 5'10\" 12:30pm 1/2 -- - \u2013 \u2014 a--b user@example.org http://x.org/?a=b&c",
    "a dog,,a cat ,, .cat 1,000,,5 can't (.) Jan. 5 co. ",
    *(f"a dog {word} run" for word in ("cannot", "gimme", "gonna", "gotta", "lemme", "wanna")),
    "dog " * 30 + "end.",
]
TOKENS_OF_VERSION = {1: "fc4a88b6ad090470", 2: "ddddbdc955f2c34b", 3: "5cff374c8459e55c", 4: "0a3113f866f41903"}


def test_whoever_changes_the_tokens_raises_the_version():
    """Encoded captions lie on disk under TOKENIZER_VERSION: the same version must always mean the same ids."""
    words = Vocabulary(AWKWARD[::2])
    encoded = [[tokenize(caption), words.encode(caption), words.encode(caption, 5)] for caption in AWKWARD]
    encoded.append(words.encode(["a", *SPECIALS, "dog"]))
    digest = sha256(json.dumps(encoded).encode()).hexdigest()[:16]
    told = "captions become other ids: raise TOKENIZER_VERSION in vocabulary.py, and add it here with this digest"
    assert TOKENS_OF_VERSION.get(TOKENIZER_VERSION) == digest, told


def test_encoded_captions_outlive_a_comment_but_not_another_tokenizer(tmp_path, monkeypatch):
    vocabulary = Vocabulary(CAPTIONS)
    encoded = vocabulary.encode_all(CAPTIONS, cache_dir=tmp_path / "kept")
    source = Path(sys.modules["vocabulary"].__file__).read_text(encoding="utf-8")
    (tmp_path / "commented.py").write_text(source + "\n# nothing else is changed\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    commented = importlib.import_module("commented").Vocabulary(CAPTIONS)
    assert commented.encode_all(CAPTIONS, cache_dir=tmp_path / "kept") == encoded
    assert len(list((tmp_path / "kept").iterdir())) == 1  # read, not made again
    monkeypatch.setattr("vocabulary.TOKENIZER_VERSION", TOKENIZER_VERSION + 1)
    assert vocabulary.encode_all(CAPTIONS, cache_dir=tmp_path / "kept") == encoded
    assert len(list((tmp_path / "kept").iterdir())) == 2


@pytest.mark.parametrize(
    ("caption", "words"),
    {
        "一个男人骑着马。": "一 个 男 人 骑 着 马",
        "犬が、走っている！": "犬 が 走 っ て い る",
        "サーフボード": "サ ー フ ボ ー ド",
        "หมาวิ่ง": "ห ม า วิ่ ง",
        "ឆ្កែរត់។": "ឆ្កែ រ ត់",
        "एक आदमी घोड़े पर है।": "एक आदमी घोड़े पर है",
        "كلب يركض على العشب، سريعًا؟": "كلب يركض على العشب سريعًا",
        "남자가 말을 탄다.": "남자가 말을 탄다",
        "Ein Hund läuft über die Straße – schnell!": "ein hund läuft über die straße schnell",
        "¿Qué es esto… «aquí»?": "qué es esto aquí",
        "穿T恤的man": "穿 t 恤 的 man",
        # the same to the eye: letters with their marks apart, and characters that nobody sees
        "Cafe\u0301": "caf\u00e9",
        "ng\u01b0\u01a1\u0300i \u0111a\u0300n o\u0302ng": "ng\u01b0\u1eddi \u0111\u00e0n \u00f4ng",
        "\u1112\u1161\u11ab": "\ud55c",
        "\ufeffdog\u200b": "dog",
        "a\u200bsofa": "a sofa",
        "skate\u00adboard\u2060": "skateboard",
        "\u202b\u05e9\u05dc\u05d5\u05dd\u202c": "\u05e9\u05dc\u05d5\u05dd",
        "a\x00b\x7f\x80": "ab",
        "do\u200cg\u200d": "dog",
        # but not those that belong to a word: in Persian, Sinhala, Malayalam, Bengali and Mongolian, and in emoji
        "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645\u200c": "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
        "\u0645\u06cc\u200c\u200c\u062e\u0648\u0627\u0647\u0645": "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
        "\u0d9a\u0dca\u200d\u0dbb": "\u0d9a\u0dca\u200d\u0dbb",
        "\u0d28\u0d4d\u200d": "\u0d28\u0d4d\u200d",
        "\u09b0\u200d\u09cd\u09af": "\u09b0\u200d\u09cd\u09af",
        "\u182c\u1820\u1837\u180e\u1820": "\u182c\u1820\u1837\u180e\u1820",
        "\U0001f468\u200d\U0001f469\u200d\U0001f467 \u2764\ufe0f\u200d\U0001f525": (
            "\U0001f468\u200d\U0001f469\u200d\U0001f467 \u2764\ufe0f\u200d\U0001f525"
        ),
        "\U0001f469\U0001f3fd\u200d\U0001f680": "\U0001f469\U0001f3fd\u200d\U0001f680",
        "\U0001f3f4\U000e0067\U000e0062\U000e0077\U000e006c\U000e0073\U000e007f": (
            "\U0001f3f4\U000e0067\U000e0062\U000e0077\U000e006c\U000e0073\U000e007f"
        ),
    }.items(),
)
def test_other_scripts_have_words_and_no_stops(caption, words):
    assert tokenize(caption) == words.split()
    assert tokenize(" ".join(tokenize(caption))) == words.split(), "captions of a model are split alike"
    assert tokenize(unicodedata.normalize("NFD", caption)) == words.split(), "however its letters are stored"
