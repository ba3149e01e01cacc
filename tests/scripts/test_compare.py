"""What a user relies on in scripts.compare: the settings of scripts.train, and a table at the end of the work."""

import pytest

from scripts import compare, train


@pytest.mark.parametrize(
    "given",
    [
        [],
        ["--encoder", "resnet18"],
        ["--encoder", "resnet18", "--weights", "none"],
        ["--encoder", "timm/resnet18"],
        ["--encoder", "small", "--epochs", "2"],
        ["--threshold", "5"],
    ],
)
@pytest.mark.parametrize("dataset", ["sample", "flickr8k"])
@pytest.mark.parametrize("first", ["lstm", "show_attend_tell"])
def test_the_settings_are_those_that_train_has(given, dataset, first):
    how = ["--dataset", dataset, *given]
    settings = compare.settings_for(*compare.parse([first, "rnn", *how]))
    assert settings[first] == train.parse(["--preset", first, *how])[1]
    alone, shared = vars(train.parse(["--preset", "rnn", *how])[1]), vars(settings[first])
    assert vars(settings["rnn"]) == alone | {name: shared[name] for name in compare.SHARED}
