import pytest

from volumetric.manifest import ManifestError, ManifestRow, read_manifest, write_manifest


def write(path, text):
    path.write_text(text)
    return path


def test_rows_paths_and_covariates_are_read(tmp_path):
    (tmp_path / "a").mkdir()
    absolute = tmp_path / "elsewhere" / "t2.nii.gz"
    manifest = read_manifest(
        write(
            tmp_path / "a" / "m.csv",
            f"subject_id,session_id,split,t1w,t2w,site\np1,s1,train,x/t1.nii.gz,{absolute},north\n",
        )
    )
    (row,) = manifest.rows
    assert (row.subject_id, row.session_id, row.split, row.name) == ("p1", "s1", "train", "p1/s1")
    assert row.paths == {"t1w": tmp_path / "a" / "x" / "t1.nii.gz", "t2w": absolute}
    assert row.covariates == {"site": "north"}


def test_written_manifests_read_back_the_same_wherever_they_lie(tmp_path):
    rows = [
        ManifestRow("p1", "s1", "train", paths={"t1w": tmp_path / "x" / "t1.nii.gz"}, covariates={"age": "41"}),
        ManifestRow("p2", "", "test", paths={"t1w": tmp_path / "t1.nii.gz", "mask": tmp_path / "m.nii.gz"}),
    ]
    write_manifest(tmp_path / "deep" / "m.csv", rows)
    back = read_manifest(tmp_path / "deep" / "m.csv").rows
    assert [(r.name, r.split) for r in back] == [("p1/s1", "train"), ("p2", "test")]
    assert [{c: p.resolve() for c, p in r.paths.items()} for r in back] == [dict(r.paths) for r in rows]
    assert "../x/t1.nii.gz" in (tmp_path / "deep" / "m.csv").read_text()


def test_several_manifests_are_joined_and_checked_across_files(tmp_path):
    a = write(tmp_path / "a.csv", "subject_id,split\np1,train\n")
    b = write(tmp_path / "b.csv", "subject_id,split\np2,test\n")
    assert [row.name for row in read_manifest(a, b).rows] == ["p1", "p2"]
    with pytest.raises(ManifestError, match=r"p1 stands there twice"):
        read_manifest(a, a)


def test_all_problems_come_in_one_error(tmp_path):
    path = write(
        tmp_path / "m.csv",
        "subject_id,session_id,split,t1,t2w\np1,1,train,a,b\np1,2,test,a,b\np2,1,tran,a,b\np2,1,tran,a,b\n,1,val,a,b\n",
    )
    with pytest.raises(ManifestError) as caught:
        read_manifest(path)
    message = str(caught.value)
    for part in (
        "the column `t1` looks like `t1w` misspelled",
        "subject p1 is in more than one split (test and train)",
        "line 4: split is 'tran', expected one of train, val, test",
        "subject p2/1 stands there twice",
        "line 6: the subject_id is empty",
    ):
        assert part in message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("subject,t1w\np1,a\n", "column `subject_id` is missing.*columns are: subject, t1w"),
        ("subject_id,t1w\n", "no rows"),
        ("subject_id,t1w\np1,a,b\n", "line 2: more cells than columns"),
        ("subject_id,t1w,t1w\np1,a,b\n", "`t1w` stands there twice"),
    ],
)
def test_files_that_are_no_manifest(tmp_path, text, message):
    with pytest.raises(ManifestError, match=message):
        read_manifest(write(tmp_path / "m.csv", text))


def test_a_missing_manifest_is_named(tmp_path):
    with pytest.raises(ManifestError, match=r"none\.csv: there is no such manifest"):
        read_manifest(tmp_path / "none.csv")


def test_covariates_that_only_resemble_nothing_are_no_problem(tmp_path):
    row = read_manifest(write(tmp_path / "m.csv", "subject_id,age,sex,field_strength,qc\np1,3,f,1.5,pass\n")).rows[0]
    assert row.covariates == {"age": "3", "sex": "f", "field_strength": "1.5", "qc": "pass"}


def test_require_names_every_absent_file_and_empty_cell(tmp_path):
    manifest = read_manifest(write(tmp_path / "m.csv", "subject_id,t1w,t2w\np1,m.csv,\np2,none.nii.gz,m.csv\n"))
    with pytest.raises(ManifestError) as caught:
        manifest.require(manifest.rows, ["t1w", "t2w"])
    assert "subject p1: no `t2w` is given" in str(caught.value)
    assert "subject p2: the `t1w` file" in str(caught.value)


def test_the_digest_follows_people_and_splits_not_folders(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        write(tmp_path / folder / "m.csv", "subject_id,split,t1w\np1,train,x\n")
    other = write(tmp_path / "m.csv", "subject_id,split,t1w\np1,test,x\n")
    digests = [read_manifest(tmp_path / f / "m.csv").digest() for f in ("a", "b")]
    assert digests[0] == digests[1] != read_manifest(other).digest()
