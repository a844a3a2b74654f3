"""The panels of the training curves."""

from dataclasses import replace

from volumetric.records.evaluation import SparsificationCurve
from volumetric.reporting.curves import Curve, sparsification_curves, training_curves
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


def test_sparsification_is_the_mean_over_subjects_with_uncertainty(evaluation):
    results = read_results(evaluation)
    assert sparsification_curves(results).panels == []
    curves = [
        SparsificationCurve(by_uncertainty=(level,) * 20, by_error=(level,) + (0.0,) * 19) for level in (0.1, 0.3)
    ]
    made = sparsification_curves(replace(results, sparsification=curves))
    assert (made.steps[0], made.steps[-1], len(made.steps)) == (0, 95, 20)
    (panel,) = made.panels
    assert [line.name for line in panel.series] == ["least certain first", "largest error first"]
    assert panel.series[0].values == [0.2] * 20
    assert panel.series[1].values[:2] == [0.2, 0]
