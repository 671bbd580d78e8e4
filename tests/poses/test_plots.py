"""The plots of the Poses page contain every image with its id, and every k."""

import pandas as pd
import pytest

from rebalance_core.plots.poses import cluster_scatter, elbow_plot, selected_images, silhouette_plot

TABLE = pd.DataFrame(
    {
        "image": ["a.png", "b.png", "c.png", "d.png"],
        "class": ["cat", "dog", "cat", "dog"],
        "pose": ["left", "left", "right", "left"],
        "split": ["train", "train", "test", "train"],
        "cluster": [0, 0, 1, 1],
        "x": [0.0, 1.0, 2.0, 3.0],
        "y": [4.0, 5.0, 6.0, 7.0],
        "z": [8.0, 9.0, 10.0, 11.0],
    }
)
TRIED = [1, 2, 3]
INERTIA = {"cat": [10.0, 5.0, 4.0], "dog": [0.0, 0.0, 0.0]}
SILHOUETTES = {"cat": [None, 0.5, 0.4], "dog": [None, None, None]}


@pytest.mark.parametrize("colour", ["pose", "cluster", "class", "split"])
@pytest.mark.parametrize("dimensions", [2, 3])
def test_a_scatter_holds_every_image_once_in_its_colour(colour: str, dimensions: int) -> None:
    figure = cluster_scatter(TABLE, colour, dimensions=dimensions)
    points = {}
    for trace in figure.data:
        for number, (image, *_) in enumerate(trace.customdata):
            place = (trace.x[number], trace.y[number]) + (
                (trace.z[number],) if dimensions == 3 else ()
            )
            points[image] = (trace.name, place)
    axes = ["x", "y", "z"][:dimensions]
    assert points == {
        row["image"]: (str(row[colour]), tuple(row[axes])) for _, row in TABLE.iterrows()
    }


def test_selected_ids_are_unique_and_in_order() -> None:
    points = [{"customdata": [name, "cat", "left"]} for name in ("b.png", "a.png", "b.png")]
    assert selected_images(points) == ["b.png", "a.png"]
    assert selected_images([]) == []


def test_the_elbow_plot_shows_relative_inertia_and_k() -> None:
    figure = elbow_plot(TRIED, INERTIA, {"cat": 2, "dog": None}, {"cat": 2, "dog": 2})
    assert [t.name for t in figure.data] == ["cat (elbow 2)", "dog (elbow none)"]
    assert list(figure.data[0].y) == [1.0, 0.5, 0.4]
    assert list(figure.data[1].y) == [0, 0, 0]
    assert [(s.x0, s.x1) for s in figure.layout.shapes] == [(2, 2)]
    assert figure.layout.annotations[0].text == "k = 2"


def test_curves_mark_k_where_classes_differ() -> None:
    figure = silhouette_plot(TRIED, SILHOUETTES, {"cat": 2, "dog": 3})
    assert not figure.layout.shapes
    assert list(figure.data[0].y) == [None, 0.5, 0.4]
    at = [t.marker.size.index(max(t.marker.size)) for t in figure.data]
    assert at == [1, 2], "the places of k = 2 and k = 3"
    assert [len(set(t.marker.size)) for t in figure.data] == [2, 2]
