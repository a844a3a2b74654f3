"""Figure of paired differences: a point for each subject, their mean with its interval, and the better side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from volumetric.figures.canvas import new_figure, save_png

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe & Ito's blue and orange, distinct in every kind of color vision; the marker's shape says the same.
_BETTER, _WORSE, _EQUAL = ("#0072B2", "o"), ("#D55E00", "v"), ("0.45", "s")
_SPREAD = 0.16


class Differences(NamedTuple):
    """One pair: its name, differences `(S,)` (NaN ones are not drawn), their mean and its 95 % interval."""

    name: str
    values: NDArray[np.float64]
    mean: float
    ci95_low: float
    ci95_high: float


class Panel(NamedTuple):
    """One metric: label of the axis, whether higher is better, and the pairs."""

    label: str
    higher_is_better: bool
    rows: Sequence[Differences]


def draw_differences(panels: Sequence[Panel], out: Path) -> None:
    """Draw a panel for each metric with a row for each pair; the side where the candidate is better is shaded."""
    names = list(dict.fromkeys(row.name for panel in panels for row in panel.rows))
    width = max(5.0, 3.2 * len(panels)) + 0.075 * max(map(len, names))
    figure = new_figure(width, 1.7 + 0.75 * len(names))
    all_axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axes, panel in zip(all_axes, panels, strict=True):
        _draw_panel(axes, panel, names)
    all_axes[0].set_yticks(range(len(names)), names)
    all_axes[0].set_ylim(len(names) - 0.5, -0.5)
    handles, labels = all_axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False, fontsize=9)
    save_png(figure, out, dpi=120)


def _draw_panel(axes: Axes, panel: Panel, names: Sequence[str]) -> None:
    for row in panel.rows:
        place = names.index(row.name)
        values = np.sort(row.values[np.isfinite(row.values)])
        height = place + 0.18 + _SPREAD * _jitter(len(values))
        gains = values if panel.higher_is_better else -values
        for chosen, (color, marker) in ((gains > 0, _BETTER), (gains < 0, _WORSE), (gains == 0, _EQUAL)):
            axes.scatter(
                values[chosen], height[chosen], s=26, c=color, marker=marker, alpha=0.8, linewidths=0, zorder=2
            )
        if np.isfinite(row.ci95_low):
            axes.plot([row.ci95_low, row.ci95_high], [place - 0.2] * 2, color="black", linewidth=2, zorder=3)
        axes.plot([row.mean], [place - 0.2], "D", color="black", markersize=6, zorder=4)
    # Empty marks, so that the legend is complete whatever a panel holds.
    for (color, marker), label in ((_BETTER, "subject: better"), (_WORSE, "worse"), (_EQUAL, "equal")):
        axes.scatter([], [], s=26, c=color, marker=marker, linewidths=0, label=label)
    axes.plot([], [], "D-", color="black", markersize=6, linewidth=2, label="mean, 95 % CI")
    axes.axvline(0, color="0.3", linewidth=1, zorder=1)
    low, high = axes.get_xlim()
    low, high = min(low, -0.05 * (high - low)), max(high, 0.05 * (high - low))
    axes.axvspan(*((0, high) if panel.higher_is_better else (low, 0)), color=_BETTER[0], alpha=0.07, zorder=0)
    axes.set_xlim(low, high)
    axes.set_xlabel(panel.label)
    axes.set_title("better →" if panel.higher_is_better else "← better", fontsize=9, color=_BETTER[0])
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(axis="y", length=0)


def _jitter(count: int) -> NDArray[np.float64]:
    """Heights `(count,)` in [-1, 1] that spread neighbors apart, the same in every figure."""
    return np.asarray(2 * ((np.arange(count) * 0.618033988749895) % 1) - 1, dtype=np.float64)
