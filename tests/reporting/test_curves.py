"""The panels of the training curves."""

from volumetric.reporting.curves import Curve, training_curves
from volumetric.reporting.results import read_results


def test_losses_share_a_panel_and_each_validated_metric_has_one(evaluation):
    curves = training_curves(read_results(evaluation))
    assert curves.steps == [10, 20, 30]
    assert [panel.title for panel in curves.panels] == ["loss", "PSNR"]  # SSIM was never validated
    assert curves.panels[1].series == [Curve("validation", [21, 22, 23])]
