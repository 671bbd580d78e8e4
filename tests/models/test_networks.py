"""Parameter counts of the originals; initialisation, saving and loading."""

from pathlib import Path

import pytest
import torch
from torch import nn

from models.bagan_gp import BaganGP, seeded_bagan, stage_widths
from models.classifier import Classifier, build_network, classifier_names, seeded_classifier
from models.unet import norm_groups, seeded_unet
from models.unet_shape import UNetShape

CLASSES = ["glioma", "meningioma", "notumor", "pituitary"]
PAPER = UNetShape(128, 1, (128, 128, 256, 256, 512, 512), 2, (4,))
NARROW = UNetShape(16, 1, (32,), 1, ())


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(
    ("channels", "counts"),
    [(1, (1_443_520, 1_447_873, 512, 5_120_577)), (3, (1_445_568, 1_449_923, 512, 5_122_625))],
)
def test_bagan_has_the_parameters_of_the_original(channels: int, counts: tuple[int, ...]) -> None:
    model = BaganGP(size=64, channels=channels, classes=CLASSES)
    parts = (model.encoder, model.decoder, model.embedding, model.discriminator)
    assert tuple(map(parameters, parts)) == counts


@pytest.mark.parametrize("size", [32, 64, 128, 256])
def test_bagan_makes_images_of_every_size(size: int) -> None:
    model = BaganGP(size=size, channels=1, classes=["a", "b"])
    labels = torch.tensor([0, 1])
    images = model.generate(torch.randn(2, 128), labels)
    assert images.shape == (2, 1, size, size)
    assert images.abs().max() <= 1
    assert model.reconstruct(images, labels).shape == images.shape
    assert model.discriminator(images, labels).shape == (2,)


def test_bagans_batch_norm_is_that_of_the_framework_it_names(tmp_path: Path) -> None:
    for name, values in (("keras", (1e-3, 0.01)), ("torch", (1e-5, 0.1))):
        model = seeded_bagan(32, 1, CLASSES, 0, batch_norm=name)
        model.save_pretrained(tmp_path / name)
        for each in (model, BaganGP.from_pretrained(tmp_path / name)):
            norms = [m for m in each.modules() if isinstance(m, nn.BatchNorm2d)]
            assert {(m.eps, m.momentum) for m in norms} == {values}
    with pytest.raises(ValueError, match="batch_norm 'other' is none of"):
        BaganGP(size=32, channels=1, classes=CLASSES, batch_norm="other")


def test_bagan_refuses_other_sizes() -> None:
    for size in (16, 48, 512):
        with pytest.raises(ValueError, match=f"not {size}"):
            stage_widths(size)


def test_paper_unet_has_the_parameters_of_the_paper() -> None:
    unet = seeded_unet(PAPER, seed=0)
    assert parameters(unet) == 113_668_609
    blocks = [type(b).__name__ for b in (*unet.down_blocks, *unet.up_blocks)]
    assert [i for i, name in enumerate(blocks) if name.startswith("Attn")] == [4, 7]


def test_unshuffling_moves_pixels_into_channels_and_changes_nothing_else_of_the_shape() -> None:
    assert PAPER.unshuffled(1) == PAPER
    expected = UNetShape(size=32, channels=16, widths=PAPER.widths, layers=2, attention=(4,))
    assert PAPER.unshuffled(4) == expected


@pytest.mark.parametrize(("width", "dim"), [(16, 256), (64, 256), (128, 512)])
def test_condition_dim_is_four_times_the_first_width_and_at_least_256(width: int, dim: int) -> None:
    assert UNetShape(16, 1, (width, 512), 1, ()).condition_dim == dim


def test_a_conditional_unet_takes_the_condition_embedding() -> None:
    unet = seeded_unet(NARROW, seed=0, conditional=True).eval()
    noisy, t = torch.zeros(2, 1, 16, 16), torch.tensor(5)
    with torch.no_grad():
        first, second = unet(noisy, t, torch.eye(2, NARROW.condition_dim)).sample
    assert not torch.equal(first, second)


@pytest.mark.parametrize(
    ("widths", "groups"),
    [
        ((128, 128, 256, 256, 512, 512), 32),
        ((32, 96, 128), 8),
        ((16, 32, 64), 4),
        ((20, 30), 5),
        ((3,), 1),
    ],
)
def test_norm_groups_have_at_least_four_channels(widths: tuple[int, ...], groups: int) -> None:
    assert norm_groups(widths) == groups


def test_a_narrow_unet_depends_on_the_timestep() -> None:
    """GroupNorm over single channels cancelled the timestep embedding: the output was constant."""
    unet = seeded_unet(NARROW, seed=0).eval()
    noisy = torch.randn(1, 1, 16, 16)
    with torch.no_grad():
        early, late = (unet(noisy, torch.tensor(t)).sample for t in (0, 900))
    assert (early - late).abs().max() > 0.01


def test_weights_depend_on_the_seed_alone_and_the_global_state_is_unchanged() -> None:
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    factories = (
        lambda seed: seeded_bagan(32, 1, CLASSES, seed),
        lambda seed: seeded_unet(NARROW, seed),
        lambda seed: seeded_classifier(CLASSES, seed),
    )
    for make in factories:
        first, same, other = (
            torch.cat([p.flatten() for p in make(seed).parameters()]) for seed in (5, 5, 6)
        )
        assert torch.equal(first, same)
        assert not torch.equal(first, other)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_bagan_and_classifier_load_as_they_were_saved(tmp_path: Path) -> None:
    bagan = seeded_bagan(32, 1, CLASSES, 0)
    bagan.save_pretrained(tmp_path / "bagan")
    reloaded = BaganGP.from_pretrained(tmp_path / "bagan")
    assert reloaded.classes == CLASSES
    assert all(
        torch.equal(a, b) for a, b in zip(bagan.parameters(), reloaded.parameters(), strict=True)
    )
    classifier = seeded_classifier(CLASSES, 0).eval()
    classifier.save_pretrained(tmp_path / "classifier")
    image = torch.randn(1, 1, 32, 32)
    loaded = Classifier.from_pretrained(tmp_path / "classifier").eval()
    assert torch.equal(classifier(image), loaded(image))


def test_the_3x3_stem_keeps_the_resolution_of_small_images() -> None:
    """Of 32 px, ResNet-18 leaves 1 before the average; with the 3×3 stem it is 4."""
    usual, small = (build_network(name, 4) for name in ("resnet18", "resnet18_3x3"))
    assert parameters(usual) - parameters(small) == 64 * 3 * (7 * 7 - 3 * 3)
    sizes: list[torch.Size] = []
    for network in (usual, small):
        network.layer4.register_forward_hook(lambda _m, _i, out: sizes.append(out.shape[2:]))
        assert network(torch.zeros(2, 3, 32, 32)).shape == (2, 4)
    assert sizes == [(1, 1), (4, 4)]
    assert "resnet18_3x3" in classifier_names()
