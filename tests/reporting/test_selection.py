"""Which subjects are shown, by ranks known by hand."""

from tests.reporting.conftest import evaluated, failed_row, rows_of
from volumetric.reporting.selection import select_subjects


def test_best_median_and_worst_by_ssim_then_psnr(tmp_path):
    def selected(ssims, psnrs=None):
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        rows = [rows_of(f"s{n}", 0, tissues=False)[0] for n in range(len(ssims))]
        for row, ssim, psnr in zip(rows, ssims, psnrs or ssims, strict=True):
            row |= {"ssim": ssim, "psnr_db": psnr}
        return [(subject.key.name, subject.rank) for subject in select_subjects(evaluated(folder, rows))]

    assert selected([0.1, 0.9, 0.5]) == [("s1", "best"), ("s2", "median"), ("s0", "worst")]
    assert selected([0.1, 0.9, 0.5, 0.7]) == [("s1", "best"), ("s3", "median"), ("s0", "worst")]
    assert selected([0.1, "nan", 0.5]) == [("s2", "best"), ("s0", "worst")]
    assert selected([0.4]) == [("s0", "only")]
    assert selected(["", "", ""], [1, 3, 2]) == [("s1", "best"), ("s2", "median"), ("s0", "worst")]


def test_without_any_score_no_subject_is_selected(tmp_path):
    results = evaluated(tmp_path, [failed_row("a", "gone")])
    assert select_subjects(results) == []
    assert results.main_region == ""
    assert [(row.key.name, row.error) for row in results.failures] == [("a", "gone")]
