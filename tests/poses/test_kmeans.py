"""The arithmetic of clustering, by exact answers."""

import numpy as np
import pytest

from rebalance_core.poses import kmeans
from rebalance_core.poses.kmeans import (
    Fit,
    elbow,
    fit_restarts,
    match_clusters,
    nearest_centre,
    project,
    sample_rows,
    silhouettes,
    stability,
)


def numbers(*centres: list[list[float]]) -> list[list[int]]:
    named = {str(n): np.array(c, dtype=float) for n, c in enumerate(centres)}
    return [result.tolist() for result in match_clusters(named).values()]


def blobs(count: int, *centres: tuple[float, float]) -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.concatenate([rng.normal(c, 0.1, (count, 2)) for c in centres]).astype(np.float32)


def test_clusters_are_matched_by_their_centroids() -> None:
    corners = [[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]]
    moved = [[0.5, 10.5], [0.5, 0.5], [10.5, 0.5]]
    turned = [[9.5, -0.5], [-0.5, 9.5], [-0.5, -0.5]]
    assert numbers(corners, moved, turned) == [[0, 1, 2], [2, 0, 1], [1, 2, 0]]


def test_matching_is_optimal_as_a_whole_not_greedy() -> None:
    """9 is nearest to 10, but the pair {0 with -30, 10 with 9} would cost more."""
    assert numbers([[0.0], [10.0]], [[9.0], [21.0]]) == [[0, 1], [0, 1]]


def test_matching_follows_the_mean_of_those_matched() -> None:
    """The third class is nearer to the mean 8 of 0 and 16 than to 0 itself."""
    assert numbers([[0.0], [30.0]], [[16.0], [46.0]], [[23.0], [17.0]]) == [[0, 1], [0, 1], [1, 0]]


def test_the_class_with_most_clusters_defines_the_numbers() -> None:
    assert numbers([[19.0], [1.0]], [[0.0], [10.0], [20.0]]) == [[2, 0], [0, 1, 2]]


@pytest.mark.parametrize(
    ("inertia", "result"),
    [
        ([100, 60, 20, 18, 16, 14, 12, 10, 8, 6], 3),
        ([100, 20, 18, 16, 14, 12, 10, 8, 6, 4], 2),
        ([100, 80, 60, 40, 20, 19, 18, 17, 16, 15], 5),
        ([100, 90, 80, 70, 60, 50, 40, 30, 20, 10], None),
        ([100, 20], None),
        ([0, 0, 0, 0], None),
    ],
)
def test_the_elbow_is_where_the_curve_bends(inertia: list[int], result: int | None) -> None:
    assert elbow(np.array(inertia, dtype=float)) == result


def test_restarts_come_best_first_and_the_same_for_the_same_seed() -> None:
    points = blobs(20, (0, 0), (5, 0), (0, 5))
    fits = fit_restarts(points, 3, 10, seed=1)
    assert len(fits) == 10
    assert [f.inertia for f in fits] == sorted(f.inertia for f in fits)
    assert sorted(np.bincount(fits[0].labels)) == [20, 20, 20]
    again = fit_restarts(points, 3, 10, seed=1)
    assert all(np.array_equal(a.labels, b.labels) for a, b in zip(fits, again, strict=True))


def test_mini_batches_find_the_same_clusters(monkeypatch: pytest.MonkeyPatch) -> None:
    points = blobs(60, (0, 0), (5, 0), (0, 5))
    lloyd = fit_restarts(points, 3, 5, seed=0)[0]
    monkeypatch.setattr(kmeans, "MINI_BATCH_THRESHOLD", 100)
    batched = fit_restarts(points, 3, 5, seed=0)[0]
    assert stability([lloyd, batched]) == 1.0


def test_stability_is_the_mean_agreement_of_all_pairs() -> None:
    def fit(*labels: int) -> Fit:
        return Fit(np.array(labels), np.zeros((2, 1)), 0.0)

    assert stability([fit(0, 0, 1, 1), fit(1, 1, 0, 0), fit(0, 0, 1, 1)]) == 1.0
    # three pairs: 1, and twice -0.5, the index of two halvings that cross
    assert stability([fit(0, 0, 1, 1), fit(1, 1, 0, 0), fit(0, 1, 0, 1)]) == pytest.approx(0.0)
    assert stability([fit(0, 1)]) is None


def test_silhouettes_are_those_of_the_definition() -> None:
    points = np.array([[0.0], [1.0], [10.0], [11.0]], np.float32)
    near, far = (9.5 - 1) / 9.5, (10.5 - 1) / 10.5
    result = silhouettes(points, [np.array([0, 0, 1, 1]), np.zeros(4, int), np.arange(4)], 0)
    assert result == [pytest.approx((near + far) / 2), None, None]


def test_points_are_assigned_to_the_nearest_centre() -> None:
    labels, distances = nearest_centre(np.array([[0.0, 1], [9, 0]]), np.array([[0.0, 0], [9, 3]]))
    assert labels.tolist() == [0, 1]
    assert distances.tolist() == [1.0, 3.0]


def test_the_projection_is_pca_of_the_fitted_rows_only() -> None:
    from sklearn.decomposition import PCA

    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(60, 8)).astype(np.float32) * np.arange(8, 0, -1, dtype=np.float32)
    fitted = np.arange(40)
    points, variance = project(vectors, fitted, 3, None, seed=0)
    pca = PCA(3, svd_solver="full").fit(vectors[:40])
    expected = pca.transform(vectors)
    np.testing.assert_allclose(np.abs(points), np.abs(expected), atol=1e-3)
    assert variance == pytest.approx(pca.explained_variance_ratio_.sum(), abs=1e-4)
    other = vectors.copy()
    other[40:] *= 100
    assert np.allclose(project(other, fitted, 3, None, seed=0)[0][:40], points[:40], atol=1e-4)


def test_the_fewest_components_that_keep_a_fraction_of_the_variance() -> None:
    vectors = np.zeros((101, 4), np.float32)
    vectors[:, :2] = np.random.default_rng(0).normal(size=(101, 2)) * [10, 1]
    assert project(vectors, np.arange(101), 50, 0.9, 0)[0].shape == (101, 1)
    points, variance = project(vectors, np.arange(101), 50, 0.999, 0)
    assert points.shape == (101, 2)
    assert variance == pytest.approx(1)


def test_equal_vectors_have_no_components() -> None:
    points, variance = project(np.full((9, 5), 3, np.float32), np.arange(9), 50, None, 0)
    assert (points.shape, variance) == ((9, 0), 0.0)


def test_a_sample_is_seeded_ordered_and_whole_where_it_fits() -> None:
    rows = np.arange(100, 200)
    assert np.array_equal(sample_rows(rows, 100, 0), rows)
    drawn = sample_rows(rows, 10, 4)
    assert len(set(drawn)) == 10
    assert np.array_equal(drawn, np.sort(drawn))
    assert np.array_equal(drawn, sample_rows(rows, 10, 4))
    assert not np.array_equal(drawn, sample_rows(rows, 10, 5))
