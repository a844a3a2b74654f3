"""Facts from the files of the evaluation and of its run."""

from tests.reporting.conftest import write_evaluation
from volumetric.records.evaluation import EvaluationInfo, RunIdentity
from volumetric.reporting.provenance import provenance_facts
from volumetric.reporting.results import read_results


def test_the_run_that_the_evaluation_names_is_found(evaluation, tmp_path):
    folder = write_evaluation(tmp_path / "elsewhere" / "metrics", ["a"], images=False)
    assert read_results(folder).run is None
    run = RunIdentity(seed=7, settings_sha256="5e7", folder=str(evaluation.parent))
    info = EvaluationInfo.read(folder / "evaluation.json")
    info.model_copy(update={"predictions": "/nowhere/predictions", "run": run}).write(folder / "evaluation.json")
    results = read_results(folder)
    assert results.run.folder == evaluation.parent
    facts = dict(provenance_facts(results))
    assert (facts["Seed"], facts["Settings, SHA-256"], facts["Training command"]) == (
        "7",
        "5e7",
        "volumetric train a.csv",
    )


def test_provenance_gathers_what_the_files_say(evaluation):
    results = read_results(evaluation)
    facts = dict(provenance_facts(results))
    assert facts["Model, SHA-256"] == "feed"
    assert facts["Training manifest, SHA-256"] == "abc123"
    assert facts["Data range"] == "2.5"
    assert facts["Mask rule"] == "nonzero"
    assert len(facts["per_subject.csv, SHA-256"]) == 64
