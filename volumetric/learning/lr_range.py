"""Learning-rate range test (Smith 2017): the rate rises from step to step, until the loss diverges."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
from lightning_fabric import Fabric
from numpy.typing import NDArray

from volumetric.batch.progress import progress as progress_bar
from volumetric.config.run import RunConfig
from volumetric.figures.curve import learning_rate_curve
from volumetric.learning.checkpoint import Progress
from volumetric.learning.data import patch_batches
from volumetric.learning.loop import TrainingCohort
from volumetric.learning.optimization import Optimization, TrainingError
from volumetric.records.run import LearningRateRow

log = logging.getLogger(__name__)

NUM_STEPS = 100
RATES = np.geomspace(1e-5, 0.3, NUM_STEPS)
SMOOTHING = 0.9
DIVERGED = 4.0
"""The test ends where the smoothed loss is so many times its lowest."""


def lr_range_test(fabric: Fabric, config: RunConfig, cohort: TrainingCohort, out: Path) -> float:
    """Train for at most a hundred steps on rising rates.

    Args:
        fabric: the device.
        config: everything but the rate and the number of steps.
        cohort: training subjects, and the model to be.
        out: folder that gets `lr_range.csv` and `lr_range.png`.

    Returns:
        A third of the rate at which the smoothed loss is lowest: just before it stops falling.

    Raises:
        TrainingError: the loss diverged before the tenth step.
    """
    trial = config.model_copy(update={"optim": config.optim.model_copy(update={"num_steps": NUM_STEPS})})
    optimization = Optimization(fabric, trial, cohort.spec, pretrained=cohort.pretrained)
    progress = Progress()
    losses = progress.losses
    with progress_bar("learning rates", NUM_STEPS, "steps") as advance:
        batches: Any = fabric.setup_dataloaders(
            patch_batches(cohort.train, trial, cohort.spec, first_step=0, anatomies=cohort.anatomies),
            use_distributed_sampler=False,
        )
        for batch in batches:
            try:
                optimization.step(batch, progress, float(RATES[progress.step]))
            except TrainingError:
                if not losses:
                    raise
                break
            advance(f"rate {RATES[len(losses) - 1]:.1e}  loss {losses[-1]:.3f}")
            if losses[-1] > 2 * DIVERGED * losses[0] or smoothed(losses)[-1] > DIVERGED * smoothed(losses).min():
                break
    if len(losses) < 10:
        raise TrainingError(f"the loss diverged at a rate of {RATES[len(losses)]:.1g} already; check the scans")
    smooth = smoothed(losses)
    suggestion = float(RATES[int(np.argmin(smooth))] / 3)
    rates = RATES[: len(losses)]
    points = zip(rates.tolist(), losses, smooth.tolist(), strict=True)
    rows = [LearningRateRow(lr=rate, loss=loss, smoothed=average) for rate, loss, average in points]
    LearningRateRow.write_table(out / "lr_range.csv", rows)
    learning_rate_curve(rates.tolist(), losses, smooth.tolist(), suggestion, out / "lr_range.png")
    log.info("suggested: --set optim.lr=%.1e (%s shows the curve)", suggestion, out / "lr_range.png")
    return suggestion


def smoothed(losses: list[float]) -> NDArray[np.float64]:
    """Exponential moving average of weight 0.9, without the bias of its start (Kingma and Ba 2015)."""
    average, smooth = 0.0, np.empty(len(losses))
    for n, loss in enumerate(losses):
        average = SMOOTHING * average + (1 - SMOOTHING) * loss
        smooth[n] = average / (1 - SMOOTHING ** (n + 1))
    return smooth
