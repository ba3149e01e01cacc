"""What a user relies on in batches: whole pictures, captions shifted once, the same on every machine."""

from dataclasses import replace
from itertools import pairwise
from typing import ClassVar

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image

from data_loader import Batch, Transform, collate, get_loader, padded_share
from dataset.pictures import open_image
from training.losses import token_loss
from training.views import RandomCropFlip
from vocabulary import Vocabulary


def same(a: Batch, b: Batch) -> bool:
    names = ("features" if a.pixels is None else "pixels", "image_of", "captions", "lengths", "targets")
    return a.image_ids == b.image_ids and all(torch.equal(getattr(a, name), getattr(b, name)) for name in names)


def epoch_of(loader, epoch: int) -> list[Batch]:
    loader.set_epoch(epoch)
    return list(loader)


# --- the picture


@pytest.mark.parametrize("jitter", [0.0, 0.3])
def test_corners_stay_corners(jitter):
    """Never cropped, never flipped, and colours keep their names."""
    corners = {(0, 0): "red", (0, -1): "lime", (-1, 0): "blue", (-1, -1): "yellow"}
    picture = Image.new("RGB", (90, 50), "gray")
    for (y, x), color in corners.items():
        picture.paste(color, (0 if x == 0 else 80, 0 if y == 0 else 40, 10 if x == 0 else 90, 10 if y == 0 else 50))
    for seed in range(10):
        pixels = Transform(32, jitter)(picture, np.random.default_rng(seed))
        assert pixels.shape == (3, 32, 32) and pixels.dtype == torch.uint8
        for (y, x), color in corners.items():
            strong = torch.tensor(Image.new("RGB", (1, 1), color).getpixel((0, 0))) == 255
            assert pixels[strong, y, x].min() > 150 > 100 > pixels[~strong, y, x].max(), color


def test_a_grey_rotated_file_arrives_upright_in_colour(tmp_path):
    picture, exif = Image.new("L", (40, 20), 200), Image.Exif()
    picture.paste(0, (0, 0, 10, 20))  # dark on the left as it is stored
    exif[ExifTags.Base.Orientation] = 6  # turn a quarter clockwise: dark on top
    picture.save(tmp_path / "turned.png", exif=exif)
    pixels = Transform(16)(open_image(tmp_path / "turned.png"))
    assert pixels.shape == (3, 16, 16)
    assert pixels[:, 0].max() < 20 and pixels[:, 8:].min() > 180


def test_jitter_is_seeded_and_absent_at_evaluation():
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (20, 20, 3), dtype=np.uint8))
    once, again, other = (Transform(16, 0.3)(picture, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert torch.equal(once, again) and not torch.equal(once, other)
    assert torch.equal(Transform(16)(picture, np.random.default_rng(1)), Transform(16, 0.3)(picture))


def test_a_view_is_most_of_the_picture_and_half_of_them_are_mirrored():
    """Each edge is cut off in some views and not in others; what is left rises or falls from left to right."""
    framed = np.zeros((60, 90, 3), np.uint8)
    framed[:3] = framed[-3:] = framed[:, :3] = framed[:, -3:] = 255
    rising = np.broadcast_to(np.linspace(40, 200, 90).astype(np.uint8)[None, :, None], (60, 90, 3)).copy()
    edges, rises = set(), 0
    for seed in range(60):
        pixels, slope = (RandomCropFlip(30)(Image.fromarray(p), np.random.default_rng(seed)) for p in (framed, rising))
        assert pixels.shape == (3, 30, 30) and pixels.dtype == torch.uint8
        assert torch.equal(pixels, RandomCropFlip(30)(Image.fromarray(framed), np.random.default_rng(seed)))
        grey = pixels.float().mean(0)
        edges.add(tuple(bool(side.mean() > 60) for side in (grey[0], grey[-1], grey[:, 0], grey[:, -1])))
        row = slope[0, 15].float()
        rises += bool(row[-1] > row[0])
        assert abs(row[-1] - row[0]) > 0.5 * 160 * 0.7  # more than half of the width, though the light varies
    assert all({seen[i] for seen in edges} == {True, False} for i in range(4)) and len(edges) > 6
    assert 15 < rises < 45


# --- the captions


def test_a_caption_is_shifted_once_and_masked():
    v = Vocabulary.from_words(["a", "red", "dog"])
    captions = [[v.encode("a red dog"), v.encode("dog")], [v.encode("a dog")]]
    batch = collate([(7, torch.zeros(2, 3), captions[0]), ("b.jpg", torch.ones(2, 3), captions[1])])
    a, red, dog = (v[word] for word in ("a", "red", "dog"))
    assert batch.image_ids == [7, "b.jpg"]
    assert batch.captions.tolist() == [
        [v.start, a, red, dog, v.end],
        [v.start, a, dog, v.end, v.pad],
        [v.start, dog, v.end, v.pad, v.pad],
    ]
    assert batch.lengths.tolist() == [4, 3, 2] and batch.image_of.tolist() == [0, 1, 0]
    # packed by time: the first step of all captions, the second of all, ...
    assert batch.inputs.batch_sizes.tolist() == [3, 3, 2, 1]
    assert batch.inputs.data.tolist() == [v.start, v.start, v.start, a, a, dog, red, dog, dog]
    assert batch.targets.tolist() == [a, a, dog, red, dog, v.end, dog, v.end, v.end]


def test_every_batch_is_sorted_and_its_targets_are_real(records, vocabulary):
    for batch in get_loader(records["train"], vocabulary, transform=Transform(16), images_per_batch=4):
        assert all(a >= b for a, b in pairwise(batch.lengths.tolist()))
        assert len(batch.targets) == len(batch.inputs.data) == batch.lengths.sum()
        assert not set(batch.targets.tolist()) & {vocabulary.pad, vocabulary.start}
        assert (batch.targets == vocabulary.end).sum() == len(batch.lengths)
        assert vocabulary.end not in batch.inputs.data
        for caption, length, row in zip(batch.captions, batch.lengths, batch.image_of, strict=True):
            record = next(r for r in records["train"] if r.image_id == batch.image_ids[row])
            assert caption[: length + 1].tolist() in [vocabulary.encode(c) for c in record.captions]
            assert not caption[length + 1 :].any()


def test_a_batchs_loss_does_not_change_when_padding_is_added(records, vocabulary, captioner):
    model = captioner().double().eval()
    batch = next(iter(get_loader(records["train"], vocabulary, transform=Transform(32), images_per_batch=6)))
    features = model.regions(batch)

    def loss(batch: Batch) -> torch.Tensor:
        return token_loss(model.decoder(features, batch.inputs, batch.image_of)[0], batch.targets)

    expected = loss(batch)
    assert torch.equal(loss(replace(batch, captions=torch.nn.functional.pad(batch.captions, (0, 9)))), expected)
    alone = [
        replace(batch, captions=batch.captions[b : b + 1, : n + 1], lengths=n[None], image_of=batch.image_of[b : b + 1])
        for b, n in enumerate(batch.lengths)
    ]
    torch.testing.assert_close(sum(map(loss, alone)), expected)


def test_captions_are_cut_at_max_words(records, vocabulary):
    loader = get_loader(records["val"], vocabulary, transform=Transform(16), max_words=3)
    lengths = torch.cat([batch.lengths for batch in loader])
    assert set(lengths.tolist()) == {3}  # no <end>: they go on
    assert all(vocabulary.end not in batch.targets for batch in loader)
    for wrong in (0, -1):
        with pytest.raises(ValueError, match=f"max_words must be at least 1, not {wrong}"):
            get_loader(records["val"], vocabulary, transform=Transform(16), max_words=wrong)


# --- batches


def test_every_image_comes_once_an_epoch_with_all_its_captions(records, vocabulary):
    loader = get_loader(records["train"], vocabulary, transform=Transform(16), images_per_batch=4)
    assert len(loader) == 2
    for epoch in range(3):
        batches = epoch_of(loader, epoch)
        assert sorted(i for batch in batches for i in batch.image_ids) == [1, 2, 3, 4, 5, 6]
        assert sum(len(batch.captions) for batch in batches) == 30


def test_epochs_differ_and_each_can_be_had_again(records, vocabulary):
    def fresh(seed: int, jitter: float = 0.3):
        return get_loader(records["train"], vocabulary, transform=Transform(16, jitter), images_per_batch=1, seed=seed)

    loader = fresh(seed=5)
    first, second, first_again = epoch_of(loader, 0), epoch_of(loader, 1), epoch_of(loader, 0)
    assert all(map(same, first, first_again))
    assert all(map(same, second, epoch_of(fresh(seed=5), 1)))  # as after a restart
    for runs in ([(5, 0), (5, 1), (5, 2)], [(5, 0), (6, 0), (7, 0)]):  # (seed, epoch)
        assert len({tuple(b.image_ids[0] for b in epoch_of(fresh(seed), epoch)) for seed, epoch in runs}) > 1
    of_image_1 = [next(b.pixels for b in epoch if b.image_ids == [1]) for epoch in (first, second)]
    assert not torch.equal(*of_image_1)  # another jitter


def test_without_shuffling_the_order_is_the_records(records, vocabulary):
    loader = get_loader(records["train"], vocabulary, transform=Transform(16), images_per_batch=4, shuffle=False)
    assert [batch.image_ids for batch in loader] == [[1, 2, 3, 4], [5, 6]]


def test_one_caption_an_image_gives_pure_length_buckets(records):
    v = Vocabulary.from_words(["dog"])
    captions = [
        "dog " * n for n in range(1, 6) for _ in range(9)
    ]  # nine of each length: a batch of eight, one left over
    many = [replace(records["train"][0], image_id=i, captions=(c, c)) for i, c in enumerate(captions)]
    loader = get_loader(many, v, transform=Transform(8), images_per_batch=8, captions_per_image=1)
    orders = []
    for epoch in range(4):
        batches = epoch_of(loader, epoch)
        assert len(batches) == len(loader) == 6
        assert sorted(i for batch in batches for i in batch.image_ids) == list(range(45))
        pure = [batch.lengths[0].item() for batch in batches if batch.lengths.unique().numel() == 1]
        assert sorted(pure) == [2, 3, 4, 5, 6]
        orders.append(tuple(pure))
    assert len(set(orders)) > 1  # the buckets themselves come in random order


def test_captions_are_drawn_anew_each_epoch_without_replacement(records, vocabulary):
    loader = get_loader(records["train"], vocabulary, transform=Transform(8), images_per_batch=1, captions_per_image=2)
    drawn = set()
    for epoch in range(6):
        for batch in epoch_of(loader, epoch):
            assert len(batch.captions) == 2 and not torch.equal(*batch.captions)
            drawn |= {(batch.image_ids[0], tuple(caption.tolist())) for caption in batch.captions}
    assert len(drawn) > 20  # of 30; one epoch shows 12


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # more workers than this machine has processors
def test_the_number_of_workers_does_not_matter(records, vocabulary):
    """Workers start anew (spawn), as on macOS and Windows."""

    def loader(workers: int):
        transform = Transform(16, jitter=0.3)
        return get_loader(records["train"], vocabulary, transform=transform, images_per_batch=2, workers=workers)

    here, there = loader(0), loader(2)
    there.multiprocessing_context = "spawn"
    for epoch in range(2):
        expected = epoch_of(here, epoch)
        assert len(expected) == 3 and all(map(same, epoch_of(there, epoch), expected))


def test_loading_leaves_the_models_random_numbers_alone(records, vocabulary):
    loader = get_loader(records["train"], vocabulary, transform=Transform(16, jitter=0.3))
    before = torch.get_rng_state()
    list(loader)
    assert torch.equal(torch.get_rng_state(), before)


def test_features_are_served_instead_of_pictures(records, vocabulary):
    features = {r.image_id: np.full((4, 5), r.image_id, dtype=np.float16) for r in records["val"]}
    batch = next(iter(get_loader(records["val"], vocabulary, features=features)))
    assert batch.features.shape == (3, 4, 5) and batch.pixels is None
    assert batch.features[:, 0, 0].tolist() == batch.image_ids
    with pytest.raises(ValueError, match=r"image 1 \(.*000001\.png\) has no features"):
        get_loader(records["train"], vocabulary, features=features)


def test_each_epoch_draws_one_of_several_views(records, vocabulary):
    train = records["train"]
    views = [{r.image_id: np.full((4, 8), view, np.float16) for r in train} for view in range(3)]
    loader = get_loader(train, vocabulary, features=views, images_per_batch=2, seed=1)
    drawn = {}
    for epoch in range(30):
        for batch in epoch_of(loader, epoch):
            for image_id, regions in zip(batch.image_ids, batch.features, strict=True):
                assert len(regions.unique()) == 1
                drawn.setdefault(image_id, []).append(int(regions[0, 0]))
    assert drawn.keys() == views[0].keys() and all(set(of_one) == {0, 1, 2} for of_one in drawn.values())
    assert len({tuple(of_one) for of_one in drawn.values()}) > 1
    assert all(same(*pair) for pair in zip(epoch_of(loader, 5), epoch_of(loader, 5), strict=True))
    with pytest.raises(ValueError, match="has no features"):
        get_loader(train, vocabulary, features=[views[0], {}])
    with pytest.raises(ValueError, match="give one of the two"):
        get_loader(train, vocabulary, features=[])


def test_a_picture_that_is_broken_in_one_view_is_left_out_of_all(records, vocabulary, capsys):
    class View(dict):
        broken: ClassVar = {}

    class Lacking(View):
        broken: ClassVar = {2: "000002.png cannot be read"}

    train = records["train"]
    views = [kind({r.image_id: np.zeros((4, 8), np.float16) for r in train}) for kind in (View, Lacking)]
    loader = get_loader(train, vocabulary, features=views)
    assert 2 not in {image_id for batch in loader for image_id in batch.image_ids}
    assert "left out: 000002.png cannot be read" in capsys.readouterr().out


def test_the_share_of_padding_is_counted_and_grouping_lowers_it(records, vocabulary):
    v = Vocabulary.from_words(["a", "dog"])
    two = [replace(records["train"][0], captions=("a", "a dog a")), replace(records["train"][1], captions=("dog",))]
    assert padded_share(get_loader(two, v, transform=Transform(8))) == 1 - (2 + 4 + 2) / 12
    captions = [("a " * n,) for n in np.random.default_rng(0).integers(1, 15, 64)]
    many = [replace(two[0], image_id=i, captions=c) for i, c in enumerate(captions)]
    grouped, as_they_come = (
        padded_share(get_loader(many, v, transform=Transform(8), images_per_batch=8, shuffle=shuffle))
        for shuffle in (True, False)
    )
    assert grouped < 0.2 < 0.35 < as_they_come


# --- errors


def test_what_cannot_be_batched_is_refused(records, vocabulary):
    train, transform = records["train"], Transform(16)
    for options in ({}, {"transform": transform, "features": {}}):
        with pytest.raises(ValueError, match="give one of the two"):
            get_loader(train, vocabulary, **options)
    with pytest.raises(ValueError, match="no records: the split is empty"):
        get_loader([], vocabulary, transform=transform)
    with pytest.raises(ValueError, match=r"image 1 \(.*000001\.png\) has no caption"):
        get_loader([replace(train[0], captions=())], vocabulary, transform=transform)
    for none in ({"images_per_batch": 0}, {"captions_per_image": 0}, {"images_per_batch": -4}):
        with pytest.raises(ValueError, match="images_per_batch and captions_per_image must be at least 1"):
            get_loader(train, vocabulary, transform=transform, **none)
    twice = replace(train[1], image_id=train[0].image_id)
    with pytest.raises(ValueError, match=r"image 1 is given twice \(.*000001\.png, .*000002\.png\): each record"):
        get_loader([*train[2:], train[0], twice], vocabulary, transform=transform)
    with pytest.raises(ValueError, match=r"interpolation is one of nearest, .*bicubic.*, not 'foo'"):
        Transform(8, 0, "foo")
    train[2].path.unlink()
    with pytest.raises(FileNotFoundError, match=r"No image at .*000003\.png"):
        list(get_loader(train, vocabulary, transform=transform))


@pytest.mark.parametrize("processes", [2, 3, 8])
def test_processes_share_every_batch_and_in_order_each_picture_once(loader, processes):
    """Of six pictures in batches of four some processes have none: they keep step all the same."""

    def ids(**options) -> list[list[int]]:
        return [batch.image_ids for batch in loader("train", images_per_batch=4, **options)]

    shares = [ids(share=(rank, processes)) for rank in range(processes)]
    for parts, whole in zip(zip(*shares, strict=True), ids(), strict=True):
        assert sorted(image for part in parts for image in part) == sorted(whole)
        assert max(map(len, parts)) - min(map(len, parts)) <= 1
    ordered = [ids(share=(rank, processes), shuffle=False) for rank in range(processes)]
    assert [own[0][:1] for own in ordered[:6]] == [[1], [2], [3], [4], [5], [6]][:processes]
    assert sorted(image for own in ordered for batch in own for image in batch) == [1, 2, 3, 4, 5, 6]
