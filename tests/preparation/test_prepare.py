"""Raw scans through `prepare` to a manifest that the other verbs take."""

import csv
import json

import numpy as np
import pytest
import SimpleITK as sitk
from typer.testing import CliRunner

from tests.conftest import brain_pair, raw_pair, write_raw_cohort
from volumetric.cli import app
from volumetric.config.preparation import PreparationConfig
from volumetric.config.resolve import resolve_as
from volumetric.evaluation.evaluate import evaluate
from volumetric.imaging.geometry import displacement_mm, inverse, mask_points, same_space
from volumetric.imaging.nifti import Image, read_image, read_labels, write_image
from volumetric.imaging.registration import random_moves, read_transform
from volumetric.learning.train import train
from volumetric.manifest import ManifestError, ManifestRow, read_manifest, write_manifest
from volumetric.model.folder import load_model
from volumetric.outputs import OutputError, hash_bytes
from volumetric.preparation import task as task_module
from volumetric.preparation.prepare import PreparationError, prepare
from volumetric.records.preparation import PreparationSidecar, QualityRow
from volumetric.records.record import RecordError
from volumetric.synthesis.infer import infer

QUICK = [
    "registration.num_starts=1",
    "bias.iterations=[5]",
    "quality.residual_mm=[1.5,3]",
    "quality.snr=[2,1]",
    "quality.brain_ml_low=[50,40]",
]


SIZE = 0.45
"""Of voxels and heads beside those of adults, for a quarter of the time."""


def quick(*overrides):
    return resolve_as(PreparationConfig, None, [*QUICK, *overrides])


def table(path):
    with path.open() as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """The folder of raw scans, and the result of preparing them: three subjects, one of them with a damaged T2w."""
    folder = tmp_path_factory.mktemp("raw")
    raw = write_raw_cohort(folder, ["train", "test", "train"], size=SIZE)
    (folder / "p2" / "t2w.nii.gz").write_bytes((folder / "p2" / "t2w.nii.gz").read_bytes()[:900])
    return raw, prepare([raw], folder / "prepared", quick(), jobs=2)


def test_each_pair_lies_on_the_raw_t1w_grid_and_its_move_is_known(prepared):
    raw, done = prepared
    rows = read_manifest(done.manifest).rows
    assert [(r.subject_id, r.split, r.covariates["site"], r.covariates["qc"]) for r in rows] == [
        ("p0", "train", "here", "pass"),
        ("p1", "test", "here", "pass"),
    ]
    for number, (row, before) in enumerate(zip(rows, read_manifest(raw).rows, strict=False)):
        t1w, t2w = (read_image(row.path(c)) for c in ("t1w", "t2w"))
        scan = read_image(before.path("t1w"))
        np.testing.assert_array_equal(t1w.affine, scan.affine)
        assert same_space(t1w.space, scan.space)
        assert same_space(t2w.space, scan.space)
        mask = read_labels(row.path("mask")).array > 0
        assert (mask == (scan.array != 0)).mean() > 0.99
        (move,) = random_moves(1, np.zeros(3), seed=number, shift_mm=5 * SIZE, turn_deg=4)
        found = read_transform(row.path("t1w").parent / "t1w_to_t2w.tfm")
        assert displacement_mm(inverse(move) @ found, mask_points(scan.space, mask)) < 0.5


def test_quality_has_a_row_a_pair_and_the_damaged_one_is_named(prepared, caplog):
    _, done = prepared
    rows = table(done.manifest.parent / "quality.csv")
    assert [(r["subject_id"], r["qc"]) for r in rows] == [("p0", "pass"), ("p1", "pass"), ("p2", "fail")]
    assert rows[2]["reasons"].startswith("t2w.nii.gz: the file is damaged")
    assert [o.status for o in done.outcomes] == ["ok", "ok", "failed"]
    for row in rows[:2]:
        assert float(row["nmi_after"]) > float(row["nmi_before"])
        assert row["mask_rule"] == "nonzero"
        assert float(row["overlap"]) > 0.98
    assert (done.manifest.parent / "p0" / "quality.png").read_bytes()[:4] == b"\x89PNG"


def test_the_transform_reproduces_the_prepared_scan_with_itk_alone(prepared):
    raw, done = prepared
    row = read_manifest(done.manifest).rows[0]
    read = sitk.ReadImage
    by_itk = sitk.Resample(
        read(str(read_manifest(raw).rows[0].path("t2w")), sitk.sitkFloat32),
        read(str(row.path("t1w"))),
        sitk.ReadTransform(str(row.path("t1w").parent / "t1w_to_t2w.tfm")),
        sitk.sitkBSpline,
    )
    ours = read_image(row.path("t2w")).array  # shading removed, so not equal, but in the same place
    mask = read_labels(row.path("mask")).array > 0
    theirs = sitk.GetArrayFromImage(by_itk).transpose(2, 1, 0)
    assert np.corrcoef(ours[mask], theirs[mask])[0, 1] > 0.99


def test_repeating_skips_what_is_whole_and_another_recipe_is_refused(prepared):
    raw, done = prepared
    out = done.manifest.parent
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    again = prepare([raw], out, quick(), jobs=1)
    assert [o.status for o in again.outcomes] == ["skipped", "skipped", "failed"]
    assert before == {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    graded = prepare([raw], out, quick("quality.brain_ml_low=[900,700]"), jobs=1)
    assert [row.qc for row in graded.quality] == ["fail", "fail", "fail"]  # other limits cost no new work
    assert [o.status for o in graded.outcomes] == ["skipped", "skipped", "failed"]
    prepare([raw], out, quick(), jobs=1)
    with pytest.raises(OutputError, match=r"interpolation was cubic, is linear.*--fresh"):
        prepare([raw], out, quick("interpolation=linear"))


def test_train_takes_the_manifest_keeps_the_recipe_and_infer_follows_it(prepared, tiny_config, tmp_path):
    raw, done = prepared
    train([done.manifest], tiny_config, tmp_path / "run")
    spec = load_model(tmp_path / "run").spec
    assert spec.preparation == quick()
    scan = read_manifest(raw).rows[1].path("t1w")
    infer([scan], model=tmp_path / "run", out=tmp_path / "raw", prepare=True)
    infer([done.manifest], model=tmp_path / "run", out=tmp_path / "prepared", split="test")
    (by_recipe,) = (tmp_path / "raw").rglob("*_T2w.nii.gz")
    (by_file,) = (tmp_path / "prepared").rglob("*_T2w.nii.gz")
    np.testing.assert_array_equal(read_image(by_recipe).array, read_image(by_file).array)
    np.testing.assert_array_equal(read_image(by_recipe).affine, read_image(scan).affine)
    sidecar = json.loads(by_recipe.with_name(by_recipe.name.replace(".nii.gz", ".json")).read_text())
    assert (sidecar["prepared_here"], sidecar["mask_rule"]) == (True, "nonzero")
    assert sidecar["preparation_reason"] == "--prepare was given"


def test_raw_pairs_on_two_grids_are_refused_by_train_naming_prepare(prepared, tiny_config, tmp_path):
    raw, _ = prepared
    with pytest.raises(ValueError, match=r"subject p0: `t2w` has shape .* with `volumetric prepare`"):
        train([raw], tiny_config, tmp_path)


def test_another_grid_keeps_a_native_pair_and_evaluate_takes_the_one_that_matches(tmp_path, tiny_config, monkeypatch):
    monkeypatch.setattr("volumetric.imaging.registration.LEVELS_MM", (4.0,))
    raw = write_raw_cohort(tmp_path, ["train", "test"])
    recipe = quick("grid.spacing_mm=3.5", "grid.crop_margin_mm=5", "quality.residual_mm=[9,9]")
    done = prepare([raw], tmp_path / "prepared", recipe, jobs=1)
    row = read_manifest(done.manifest).rows[1]
    scan = read_image(read_manifest(raw).rows[1].path("t1w"))
    np.testing.assert_allclose(read_image(row.path("t2w")).space.spacing_mm, 3.5, rtol=1e-6)
    assert same_space(read_image(row.path("native_t2w")).space, scan.space)
    model = train([done.manifest], tiny_config, tmp_path / "run")
    scores = {}
    for name, inputs, prepared_here in (("prepared", done.manifest, False), ("raw", raw, True)):
        out = tmp_path / name / "predictions"
        infer([inputs], model=model, out=out, split="test", prepare=prepared_here)
        scores[name] = evaluate(out, [done.manifest], tmp_path / name / "metrics", jobs=1).rows[0]
    (by_recipe,) = (tmp_path / "raw").rglob("*_T2w.nii.gz")
    assert same_space(read_image(by_recipe).space, scan.space)
    num_ml = [scores["prepared"].num_voxels * 3.5**3, scores["raw"].num_voxels * 3.0 * 2.6 * 3.2]
    assert num_ml[0] == pytest.approx(num_ml[1], rel=0.03)
    assert scores["prepared"].metrics["psnr_db"] == pytest.approx(scores["raw"].metrics["psnr_db"], abs=1.5)


def test_labels_come_along_and_a_mask_given_is_used_as_given(tmp_path, monkeypatch):
    monkeypatch.setattr("volumetric.imaging.registration.LEVELS_MM", (4.0,))
    t1w, t2w = raw_pair(1)
    labels = np.zeros(t1w.array.shape, np.uint8)
    labels[8:-9, 12:-14, 10:-8] = 2
    files = {"t1w": t1w, "t2w": t2w, "mask": t1w.with_array(labels), "lesions": t1w.with_array(labels // 2)}
    paths = {column: tmp_path / f"{column}.nii.gz" for column in files}
    for column, image in files.items():
        write_image(paths[column], image)
    write_manifest(tmp_path / "raw.csv", [ManifestRow("p1", "a", "train", paths=paths)])
    done = prepare([tmp_path / "raw.csv"], tmp_path / "out", quick("bias.enabled=false"), jobs=1)
    (row,) = read_manifest(done.manifest).rows
    np.testing.assert_array_equal(read_labels(row.path("mask")).array, labels > 0)
    np.testing.assert_array_equal(read_labels(row.path("lesions")).array, labels // 2)
    np.testing.assert_array_equal(read_image(row.path("t1w")).array, t1w.array)
    assert done.quality[0].mask_rule == "given"


def test_labels_on_another_grid_and_a_missing_reference_are_named(tmp_path):
    t1w, t2w = raw_pair(1)
    small, _ = brain_pair(1)
    for name, image in (("t1w", t1w), ("t2w", t2w), ("tissues", small.with_array(np.uint8(small.array > 0)))):
        write_image(tmp_path / f"{name}.nii.gz", image)
    (tmp_path / "raw.csv").write_text(
        "subject_id,t1w,t2w,tissues\na,t1w.nii.gz,t2w.nii.gz,tissues.nii.gz\nb,,t2w.nii.gz,\n"
    )
    with pytest.raises(PreparationError, match=r"none of 2 subjects could be prepared; .*quality\.csv says why"):
        prepare([tmp_path / "raw.csv"], tmp_path / "out", quick(), jobs=1)
    reasons = [row["reasons"] for row in table(tmp_path / "out" / "quality.csv")]
    assert "subject a: `tissues` has shape (31, 37, 29) and another grid than `t1w` (47, 53, 43)" in reasons[0]
    assert "subject b: no `t1w` is given" in reasons[1]
    with pytest.raises(PreparationError, match=r"no row has a `flair`, the reference.*--set reference=t2w"):
        prepare([tmp_path / "raw.csv"], tmp_path / "out2", quick("reference=flair"))


def test_two_subjects_with_one_folder_name_are_an_error_before_any_work(tmp_path):
    (tmp_path / "raw.csv").write_text("subject_id,t1w\na b,x.nii.gz\na_b,y.nii.gz\n")
    with pytest.raises(PreparationError, match="a b and a_b would share the folder a_b"):
        prepare([tmp_path / "raw.csv"], tmp_path / "out", quick())


def test_a_model_without_a_recipe_refuses_to_prepare(run_folder, cohort, tmp_path):
    with pytest.raises(ValueError, match="trained on scans as they came"):
        infer([cohort], model=run_folder, out=tmp_path, prepare=True)


ONE_IMAGE = ["--set", "bias.enabled=false", "--set", "quality.snr=[2,1]", "--jobs", "1"]


def write_one_image(folder, subject_id, seed=0):
    """A manifest of one subject with a T1w alone, which takes a second to prepare."""
    t1w, _ = brain_pair(seed)
    write_image(folder / f"{seed}.nii.gz", t1w)
    write_manifest(
        folder / f"{seed}.csv", [ManifestRow(subject_id, split="train", paths={"t1w": folder / f"{seed}.nii.gz"})]
    )
    return folder / f"{seed}.csv"


def prepare_by_command(manifest, out):
    return CliRunner().invoke(app, ["prepare", str(manifest), "--out", str(out), *ONE_IMAGE])


@pytest.fixture
def one_prepared(tmp_path):
    manifest = write_one_image(tmp_path, "a_b")
    assert prepare_by_command(manifest, tmp_path / "out").exit_code == 0
    return manifest, tmp_path / "out" / "a_b"


@pytest.mark.parametrize("content", ["", '{"format_version": 1, "files": {"t1', "[]", '{"files": {}, "quality": 3}'])
def test_a_damaged_sidecar_is_made_again(one_prepared, caplog, content):
    manifest, folder = one_prepared
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    (folder / "preparation.json").write_text(content)
    result = prepare_by_command(manifest, folder.parent)
    assert (result.exit_code, result.exception) == (0, None) or isinstance(result.exception, SystemExit)
    assert "preparation.json" in caplog.text
    assert "it is made again" in caplog.text
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize("name", ["t1w.nii.gz", "mask.nii.gz", "quality.png"])
def test_an_output_emptied_to_0_bytes_is_made_again(one_prepared, name):
    manifest, folder = one_prepared
    before = (folder / name).read_bytes()
    (folder / name).write_bytes(b"")
    assert prepare_by_command(manifest, folder.parent).exit_code == 0
    assert (folder / name).read_bytes() == before


def test_another_subject_with_the_same_folder_name_replaces_nothing(one_prepared, tmp_path):
    _, folder = one_prepared
    before = (folder / "t1w.nii.gz").read_bytes()
    result = prepare_by_command(write_one_image(tmp_path, "a b", seed=1), folder.parent)
    assert result.exit_code != 0
    (row,) = QualityRow.read_table(folder.parent / "quality.csv")
    assert f"subject a b: {folder.name} holds subject a_b; rename one" in row.reasons
    assert (folder / "t1w.nii.gz").read_bytes() == before


def test_a_source_replaced_while_it_is_prepared_is_recorded_under_the_bytes_that_were_read(tmp_path, monkeypatch):
    manifest = write_one_image(tmp_path, "a")
    source = tmp_path / "0.nii.gz"
    read, other = source.read_bytes(), brain_pair(1)[0]

    def align_and_replace(*arguments, **options):
        write_image(source, other)
        return align(*arguments, **options)

    align = task_module.align
    monkeypatch.setattr(task_module, "align", align_and_replace)
    assert prepare_by_command(manifest, tmp_path / "out").exit_code == 0
    sidecar = PreparationSidecar.read(tmp_path / "out" / "a" / "preparation.json")
    assert sidecar.sources_sha256 == {"t1w": hash_bytes(read)}
    monkeypatch.undo()
    assert prepare_by_command(manifest, tmp_path / "out").exit_code == 0
    again = PreparationSidecar.read(tmp_path / "out" / "a" / "preparation.json")
    assert again.sources_sha256 == {"t1w": hash_bytes(source.read_bytes())}
    np.testing.assert_array_equal(read_image(tmp_path / "out" / "a" / "t1w.nii.gz").array, other.array)


def files_below(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("more", [[], ["--fresh"]])
@pytest.mark.parametrize("linked", [False, True])
def test_attack_10_a_raw_scan_at_the_path_of_an_output_is_never_replaced(tmp_path, linked, more):
    (tmp_path / "data" / "a").mkdir(parents=True)
    scan = tmp_path / "data" / "a" / "t1w.nii.gz"
    write_image(scan, brain_pair(0)[0])
    write_manifest(tmp_path / "raw.csv", [ManifestRow("a", split="train", paths={"t1w": scan})])
    (tmp_path / "link").symlink_to(tmp_path / "data")
    before = files_below(tmp_path / "data")
    out = tmp_path / ("link" if linked else "data")
    result = CliRunner().invoke(app, ["prepare", str(tmp_path / "raw.csv"), "--out", str(out), *ONE_IMAGE, *more])
    assert isinstance(result.exception, PreparationError)
    assert str(result.exception) == f"{scan}: what is prepared would replace this input; choose another --out"
    assert files_below(tmp_path / "data") == before


def test_attack_10_the_manifest_is_never_replaced(tmp_path):
    manifest = write_one_image(tmp_path, "a").rename(tmp_path / "manifest.csv")
    before = files_below(tmp_path)
    result = prepare_by_command(manifest, tmp_path)
    assert isinstance(result.exception, PreparationError)
    assert str(manifest) in str(result.exception)
    assert files_below(tmp_path) == before


@pytest.mark.parametrize("name", ["manifest.csv", "quality.csv", "a/t1w.nii.gz", "a/mask.nii.gz"])
def test_attack_10_files_of_others_are_not_replaced(tmp_path, name):
    manifest = write_one_image(tmp_path, "a")
    file = tmp_path / "out" / name
    file.parent.mkdir(parents=True)
    file.write_text("mine")
    result = prepare_by_command(manifest, tmp_path / "out")
    assert isinstance(result.exception, OutputError)
    assert str(file) in str(result.exception)
    assert files_below(tmp_path / "out") == {file.relative_to(tmp_path / "out"): b"mine"}


def test_attack_10_what_is_written_has_no_folders_of_the_raw_scans(tmp_path):
    write_one_image(tmp_path, "a")
    (tmp_path / "b.nii.gz").write_bytes(b"damaged")
    scans = {"a": tmp_path / "0.nii.gz", "b": tmp_path / "b.nii.gz"}
    write_manifest(
        tmp_path / "raw.csv", [ManifestRow(name, split="train", paths={"t1w": scan}) for name, scan in scans.items()]
    )
    prepare_by_command(tmp_path / "raw.csv", tmp_path / "out")
    assert PreparationSidecar.read(tmp_path / "out" / "a" / "preparation.json").sources == {"t1w": "0.nii.gz"}
    assert "b.nii.gz: not a NIfTI file" in (tmp_path / "out" / "quality.csv").read_text()
    assert not [name for name, content in files_below(tmp_path / "out").items() if str(tmp_path).encode() in content]


def test_a_damaged_settings_file_is_one_sentence(one_prepared):
    manifest, folder = one_prepared
    (folder.parent / "settings.json").write_text('{"bias": ')
    result = prepare_by_command(manifest, folder.parent)
    assert isinstance(result.exception, RecordError)
    assert "settings.json" in str(result.exception)
    assert "--fresh" in str(result.exception)


def test_attack_9_damaged_raw_scans_cost_one_sentence_each_and_the_rest_is_done(tmp_path, monkeypatch):
    """A constant T2w ended the whole batch with the traceback of ITK."""
    monkeypatch.setattr("volumetric.imaging.registration.LEVELS_MM", (4.0,))
    t1w, t2w = brain_pair(0, shape=(21, 27, 19))
    far = t2w.affine + np.outer([900, 0, 0, 0], [0, 0, 0, 1])
    cases = {
        "constant": (t1w, t2w.with_array(t2w.array * 0 + 7)),
        "copy": (t1w, t1w),
        "apart": (t1w, Image(t2w.array, far)),
        "last": (t1w, t2w),
    }
    rows = []
    for name, images in cases.items():
        paths = {c: tmp_path / name / f"{c}.nii.gz" for c in ("t1w", "t2w")}
        for path, image in zip(paths.values(), images, strict=True):
            write_image(path, image)
        rows.append(ManifestRow(name, paths=paths))
    write_manifest(tmp_path / "raw.csv", rows)
    done = prepare([tmp_path / "raw.csv"], tmp_path / "out", quick(), jobs=1)
    assert {outcome.name: outcome.status for outcome in done.outcomes} == dict.fromkeys(cases, "failed") | {
        "last": "ok"
    }
    errors = {outcome.name: outcome.error for outcome in done.outcomes}
    assert errors["constant"] == "subject constant: `t2w`: every voxel is 7; this is no scan, name another"
    assert errors["copy"] == "subject copy: the files of `t1w` and `t2w` are equal byte for byte; correct one"
    assert "check that both are of this subject" in errors["apart"]


def test_attack_7_fresh_deletes_nothing_where_no_subject_has_its_files(one_prepared, tmp_path):
    _, folder = one_prepared
    before = {path: path.read_bytes() for path in folder.parent.rglob("*") if path.is_file()}
    wrong = tmp_path / "wrong.csv"
    wrong.write_text("subject_id,t1w\na_b,none.nii.gz\nc,none.nii.gz\n")
    with pytest.raises(ManifestError, match=r"subject a_b: the `t1w` file .*none\.nii\.gz does not exist"):
        prepare([wrong], folder.parent, quick(), fresh=True)
    assert {path: path.read_bytes() for path in folder.parent.rglob("*") if path.is_file()} == before
