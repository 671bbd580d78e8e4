"""The values of the plots of a training."""

import pytest

from rebalance_core.plots.training import loss_curves, loss_groups, smooth


def test_smoothing_is_an_unbiased_moving_average() -> None:
    assert smooth([3.0, 1.0, 5.0], 0.0) == [3.0, 1.0, 5.0]
    # weights 1; 0.5, 1; 0.25, 0.5, 1
    assert smooth([3.0, 1.0, 5.0], 0.5) == pytest.approx([3.0, 5 / 3, (0.75 + 0.5 + 5) / 1.75])
    assert smooth([], 0.9) == []
    assert smooth([7.0] * 5, 0.99) == pytest.approx([7.0] * 5)


def test_related_metrics_share_a_plot() -> None:
    metrics = [
        {"step": 0, "event": "start"},
        {"step": 1, "autoencoder_mae": 0.5, "time": 1.0},
        {"step": 1, "autoencoder_mae_validation": 0.6},
        {"step": 2, "discriminator_loss": 1.0, "generator_loss": 2.0},
        {"step": 2, "gradient_penalty": 0.1, "gradient_norm": 1.1, "diversity": 0.8},
    ]
    stages = ("autoencoder", "_loss", "gradient", "diversity")
    assert loss_groups(metrics, stages) == [
        ["autoencoder_mae", "autoencoder_mae_validation"],
        ["discriminator_loss", "generator_loss"],
        ["gradient_norm", "gradient_penalty"],
        ["diversity"],
    ]
    assert loss_groups([{"step": 1, "loss glioma": 0.5}], stages) == [["loss glioma"]]


def test_a_smoothed_curve_keeps_the_raw_one_faint() -> None:
    metrics = [{"step": s, "generator_loss": float(s % 2)} for s in range(6)]
    plain = loss_curves(metrics, ["generator_loss"])
    assert [t.name for t in plain.data] == ["generator loss"]
    raw, drawn = loss_curves(metrics, ["generator_loss"], 0.9).data
    assert list(raw.y) == [0, 1, 0, 1, 0, 1]
    assert (raw.opacity, raw.showlegend) == (0.25, False)
    assert list(drawn.y) == pytest.approx(smooth([0, 1, 0, 1, 0, 1], 0.9))
