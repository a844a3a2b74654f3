"""The panels of the training curves."""

from dataclasses import replace

from volumetric.reporting.curves import Curve, training_curves
from volumetric.reporting.results import read_results


def test_losses_share_a_panel_and_each_validated_metric_has_one(evaluation):
    curves = training_curves(read_results(evaluation))
    assert curves.steps == [10, 20, 30]
    assert [panel.title for panel in curves.panels] == ["loss", "PSNR"]  # SSIM was never validated
    assert curves.panels[1].series == [Curve("validation", [21, 22, 23])]


def test_a_metric_that_was_never_a_number_has_no_panel(evaluation):
    results = read_results(evaluation)
    history = [row.model_copy(update={"val_ssim": float("nan")}) for row in results.run.history]
    curves = training_curves(replace(results, run=replace(results.run, history=history)))
    assert [panel.title for panel in curves.panels] == ["loss", "PSNR"]
