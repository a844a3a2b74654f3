"""Curves over a logarithmic axis."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from volumetric.figures.canvas import new_figure, save_png


def learning_rate_curve(
    rates: Sequence[float], losses: Sequence[float], smooth: Sequence[float], suggestion: float, out: Path
) -> None:
    """Loss over learning rate, raw and smoothed, with the suggested rate marked."""
    figure = new_figure(7, 4.5)
    axes = figure.subplots()
    axes.semilogx(rates, losses, color="0.75", label="loss of a step")
    axes.semilogx(rates, smooth, color="C0", label="smoothed")
    axes.axvline(suggestion, color="C3", linestyle="--", label=f"suggested: {suggestion:.1e}")
    axes.set(xlabel="learning rate", ylabel="loss", ylim=(0, 1.5 * smooth[0]))
    axes.legend()
    save_png(figure, out)
