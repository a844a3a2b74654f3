"""Warnings about the scores."""

from types import SimpleNamespace

from tests.reporting.conftest import evaluated, rows_of, summary_of, write_evaluation
from volumetric.records.table import SessionKey
from volumetric.reporting.notes import _sidecar_warnings, warnings
from volumetric.reporting.results import read_results


def test_what_is_wrong_with_the_scores_is_a_warning(tmp_path):
    rows = rows_of("a", 0) + rows_of("b", 1)
    rows[0]["mask_rule"] = "deepbet"
    rows.append({"subject_id": "a", "method": "identity", "region": "", "status": "n/a", "error": "no rows to fit"})
    summary = summary_of(rows_of("a", 0))
    summary[0] |= {"num_nonfinite": 2}
    sentences = warnings(evaluated(tmp_path, rows, summary))
    assert sentences[:3] == [
        "identity is not available: no rows to fit.",
        "psnr_db of the model in brain is not finite for 2 of the subjects.",
        "The brain masks were made by different rules (deepbet, nonzero).",
    ]


def test_the_warnings_of_a_sidecar_name_the_subject(evaluation):
    assert warnings(read_results(evaluation)) == ["b2: unlike the training"]


def test_a_sidecar_of_another_program_is_a_note_and_no_error(tmp_path):
    write_evaluation(tmp_path, ["a", "b"])
    (tmp_path / "images" / "s1" / "prediction.json").write_text('{"EchoTime": 0.1}')
    (sentence,) = [text for text in warnings(read_results(tmp_path)) if "Sidecar" in text]
    assert sentence.startswith("Sidecars of predictions that cannot be read: 1; the first because of ")
    assert "prediction.json: format_version is None" in sentence


def test_very_many_warnings_of_sidecars_are_counted_by_kind():
    texts = {f"s{n}": "looks like noise: r = 0.1" if n % 3 else f"a rare thing: {n}" for n in range(60)}
    sidecars = {SessionKey(name): SimpleNamespace(warnings=(text,)) for name, text in texts.items()}
    assert _sidecar_warnings(SimpleNamespace(sidecars=sidecars)) == [
        "20 subjects, the first is s0: a rare thing: 0",
        "40 subjects, the first is s1: looks like noise: r = 0.1",
    ]
