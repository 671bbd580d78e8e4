"""The phantom: exact counts, no shortcuts to the pose, local tumours."""

import numpy as np
import pytest
from kneed import KneeLocator
from skimage.feature import hog
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import adjusted_rand_score
from sklearn.model_selection import cross_val_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from rebalance_core.datasets.phantom import (
    CLASSES,
    POSES,
    PhantomBatch,
    draw_phantoms,
    make_phantom,
    phantom_counts,
)

NOTUMOR = CLASSES.index("notumor")


@pytest.fixture(scope="module")
def batch() -> PhantomBatch:
    return make_phantom(1000, size=64, seed=0)


@pytest.fixture(scope="module")
def features(batch: PhantomBatch) -> np.ndarray:
    return np.stack(
        [hog(image, pixels_per_cell=(8, 8), cells_per_block=(2, 2)) for image in batch.images]
    )


def every_kind(times: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Labels and poses with each class in each pose that many times."""
    kinds = np.arange(len(CLASSES) * len(POSES) * times)
    return kinds % len(CLASSES), kinds // len(CLASSES) % len(POSES)


@pytest.mark.parametrize("size", [16, 33, 64, 128])
def test_images_are_gray_bytes_of_the_requested_size(size: int) -> None:
    labels, poses = every_kind()
    images = draw_phantoms(labels, poses, size=size)
    assert images.shape == (12, size, size)
    assert images.dtype == np.uint8
    assert images.std(axis=(1, 2)).min() > 20


def test_zero_images() -> None:
    nothing = np.array([], dtype=int)
    assert draw_phantoms(nothing, nothing, size=32).shape == (0, 32, 32)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_other_ones() -> None:
    first, repeated, other = (make_phantom(80, size=32, seed=seed).images for seed in (5, 5, 6))
    assert first.tobytes() == repeated.tobytes()
    assert all((one != two).any() for one, two in zip(first, other, strict=True))


def test_an_image_does_not_depend_on_the_others() -> None:
    labels, poses = every_kind(times=8)  # more than one chunk of each pose
    together = draw_phantoms(labels, poses, size=64, seed=3)
    np.testing.assert_array_equal(together[:7], draw_phantoms(labels[:7], poses[:7], seed=3))
    np.testing.assert_array_equal(
        together[41:], draw_phantoms(labels[41:], poses[41:], seed=3, first=41)
    )


def test_all_images_differ(batch: PhantomBatch) -> None:
    assert len({image.tobytes() for image in batch.images}) == 1000


def test_another_size_shows_the_same_anatomy() -> None:
    labels, poses = every_kind()
    small = draw_phantoms(labels, poses, size=64, seed=2).reshape(12, -1)
    large = draw_phantoms(labels, poses, size=128, seed=2)
    shrunk = large.reshape(12, 64, 2, 64, 2).mean(axis=(2, 4)).reshape(12, -1)
    alike = np.corrcoef(small, shrunk)[:12, 12:]
    assert np.diag(alike).min() > 0.96
    np.testing.assert_array_equal(alike.argmax(axis=1), np.arange(12))


def test_counts_are_skewed_in_training_and_balanced_in_test() -> None:
    train, test = phantom_counts(1000)
    assert train == {"glioma": 90, "meningioma": 90, "notumor": 480, "pituitary": 90}
    assert test == {"glioma": 63, "meningioma": 63, "notumor": 62, "pituitary": 62}


@pytest.mark.parametrize("count", [40, 41, 97, 333, 1001, 4999])
def test_counts_sum_to_any_number(count: int) -> None:
    train, test = phantom_counts(count)
    assert tuple(train) == tuple(test) == CLASSES
    assert sum(train.values()) + sum(test.values()) == count
    assert sum(test.values()) == round(count / 4)
    assert max(test.values()) - min(test.values()) <= 1
    assert min(train.values()) >= 3
    assert train["notumor"] > 4 * train["glioma"]


@pytest.mark.parametrize("count", [-1, 0, 39])
def test_too_few_images_are_refused(count: int) -> None:
    with pytest.raises(ValueError, match=rf"at least 40 images .*\(got {count}\)"):
        make_phantom(count)


def test_invalid_arguments_are_refused() -> None:
    one = np.array([0])
    with pytest.raises(ValueError, match="at least 16 pixels"):
        draw_phantoms(one, one, size=15)
    with pytest.raises(ValueError, match="labels and poses must have one shape"):
        draw_phantoms(one, np.array([0, 1]))
    with pytest.raises(ValueError, match="A label must be a number from 0 to 3"):
        draw_phantoms(np.array([4]), one)
    with pytest.raises(ValueError, match="A pose must be a number from 0 to 2"):
        draw_phantoms(one, np.array([-1]))


def test_a_batch_has_its_counts_with_balanced_poses(batch: PhantomBatch) -> None:
    train, test = phantom_counts(1000)
    assert len(batch.images) == len(batch.labels) == len(batch.poses) == len(batch.split) == 1000
    for part, counts in (("train", train), ("test", test)):
        for label, name in enumerate(CLASSES):
            poses = batch.poses[(batch.split == part) & (batch.labels == label)]
            assert len(poses) == counts[name]
            per_pose = np.bincount(poses, minlength=len(POSES))
            assert per_pose.max() - per_pose.min() <= 1


@pytest.mark.parametrize("threshold", [40, 110])
@pytest.mark.parametrize("extent", ["share", "fill"])
def test_mean_variance_and_extent_do_not_predict_the_pose(
    batch: PhantomBatch, threshold: int, extent: str
) -> None:
    above = batch.images > threshold
    bright = above.sum(axis=(1, 2))
    box = above.any(axis=1).sum(axis=1) * above.any(axis=2).sum(axis=1)
    numbers = np.stack(
        [
            batch.images.mean(axis=(1, 2)),
            batch.images.var(axis=(1, 2)),
            bright / (64 * 64 if extent == "share" else box),
        ],
        axis=1,
    )
    for guess in (
        RandomForestClassifier(50, random_state=0),
        LogisticRegression(),
        KNeighborsClassifier(15),
    ):
        classifier = make_pipeline(StandardScaler(), guess)
        assert cross_val_score(classifier, numbers, batch.poses, cv=5).mean() <= 0.60


@pytest.mark.parametrize("label", range(len(CLASSES)), ids=CLASSES)
def test_shape_predicts_the_pose_in_every_class(
    batch: PhantomBatch, features: np.ndarray, label: int
) -> None:
    chosen = batch.labels == label
    reduced = PCA(50, random_state=0).fit_transform(features[chosen])
    fits = [KMeans(k, n_init=5, random_state=0).fit(reduced) for k in range(2, 11)]
    assert adjusted_rand_score(batch.poses[chosen], fits[1].labels_) >= 0.95
    inertia = [fit.inertia_ for fit in fits]
    elbow = KneeLocator(range(2, 11), inertia, curve="convex", direction="decreasing").elbow
    assert elbow == 3


@pytest.mark.parametrize("pose", range(len(POSES)), ids=POSES)
@pytest.mark.parametrize("label", [0, 1, 3], ids=["glioma", "meningioma", "pituitary"])
def test_a_tumour_changes_only_its_own_pixels(label: int, pose: int) -> None:
    poses = np.full(30, pose)
    healthy = draw_phantoms(np.full(30, NOTUMOR), poses, seed=1).astype(int)
    ill = draw_phantoms(np.full(30, label), poses, seed=1).astype(int)
    changed = np.abs(ill - healthy)
    share = (changed > 0).mean(axis=(1, 2))
    assert share.min() > 0
    assert share.max() < 0.20
    # What changed is one patch: a third of the frame each way holds nearly all of it.
    for one in changed:
        rows, columns = np.nonzero(one)
        assert np.ptp(rows) < 36
        assert np.ptp(columns) < 36


def test_each_tumour_is_at_the_location_of_its_class() -> None:
    """The mean distance, in pixels, of the changed pixels from the centre of axial images."""
    poses = np.zeros(60, dtype=int)
    healthy = draw_phantoms(np.full(60, NOTUMOR), poses, seed=4).astype(float)
    offset = np.abs(np.arange(64) - 31.5)
    away: dict[str, float] = {}
    for label, name in enumerate(CLASSES):
        if label == NOTUMOR:
            continue
        change = np.abs(draw_phantoms(np.full(60, label), poses, seed=4) - healthy)
        change /= change.sum(axis=(1, 2), keepdims=True)
        ring = np.hypot(offset[:, None], offset[None, :])
        away[name] = float((change * ring).sum(axis=(1, 2)).mean())
    assert away["pituitary"] < 6 < away["glioma"] < away["meningioma"]


def test_brightness_does_not_predict_the_class(batch: PhantomBatch) -> None:
    chosen = batch.split == "test"
    images = batch.images[chosen]
    numbers = np.stack(
        [images.mean(axis=(1, 2)), images.var(axis=(1, 2)), (images > 40).mean(axis=(1, 2))], axis=1
    )
    forest = RandomForestClassifier(100, random_state=0)
    assert cross_val_score(forest, numbers, batch.labels[chosen], cv=5).mean() <= 0.40
