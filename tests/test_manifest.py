import logging

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
    with pytest.raises(ManifestError, match=r"p1 is listed twice"):
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
        "subject p2/1 is listed twice",
        "line 6: the subject_id is empty",
    ):
        assert part in message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("subject,t1w\np1,a\n", "column `subject_id` is missing.*columns are: subject, t1w"),
        ("subject_id,t1w\n", "no rows"),
        ("subject_id,t1w\np1,a,b\n", "line 2: more cells than columns"),
        ("subject_id,t1w,t1w\np1,a,b\n", "`t1w` is there 2 times"),
    ],
)
def test_files_that_are_no_manifest(tmp_path, text, message):
    with pytest.raises(ManifestError, match=message):
        read_manifest(write(tmp_path / "m.csv", text))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b"subject_id;t1w;age\np1;a;3,5\n",
            "the cells are separated by semicolons or tabs; give the manifest as comma",
        ),
        (b"subject_id\tt1w\np1\ta\n", "the cells are separated by semicolons or tabs"),
        (
            b"subject_id,t1w\np1," + b"x" * 131_073 + b"\n",
            "field larger than field limit.*; give the manifest as comma",
        ),
        (b"\x1f\x8b\x08\x00subject_id", "not a readable CSV file .*; give the manifest as comma"),
        (b"\x5c\x01\x00\x00\x00\x00", "it holds binary data.*; give the manifest as comma"),
        (b"subject_id,site\np1,K\xf6ln\n", "not a readable CSV file .*in UTF-8"),
    ],
    ids=["semicolons", "tabs", "a field of 131073 characters", "gzip", "binary header", "Latin-1"],
)
def test_a_file_that_is_not_comma_separated_text_is_one_sentence(tmp_path, content, message):
    path = tmp_path / "m.csv"
    path.write_bytes(content)
    with pytest.raises(ManifestError, match=message) as caught:
        read_manifest(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert str(caught.value).count(str(path)) == 1
    assert "\n" not in str(caught.value)


def test_an_unreadable_manifest_does_not_hide_the_problems_of_another(tmp_path):
    path = write(tmp_path / "m.csv", "subject_id,split\np1,tran,x,y\np2,test\np3,train,z\n")
    with pytest.raises(ManifestError) as caught:
        read_manifest(tmp_path / "none.csv", path)
    assert str(caught.value).split("\n  ")[1:] == [
        f"{tmp_path / 'none.csv'}: there is no such file; give the manifest as comma-separated text in UTF-8",
        f"{path} line 2: more cells than columns; put a cell that holds a comma in quotes",
        f"{path} line 4: more cells than columns; put a cell that holds a comma in quotes",
        f"{path} line 2: split is 'tran', expected one of train, val, test",
    ]


def test_one_file_as_source_and_target_of_a_row_is_an_error(tmp_path):
    path = write(tmp_path / "m.csv", "subject_id,t1w,t2w\np1,x/../a.nii.gz,./a.nii.gz\np2,b,c\n")
    message = rf"subject p1: `t1w` and `t2w` are the same file {tmp_path}/a\.nii\.gz; correct one"
    with pytest.raises(ManifestError, match=message):
        read_manifest(path)


@pytest.mark.parametrize(("first", "second"), [("train", "test"), ("val", "train"), ("test", "val")])
def test_one_image_of_two_subjects_in_two_splits_is_an_error(tmp_path, first, second):
    a = write(tmp_path / "a.csv", f"subject_id,split,t1w,t2w\np1,{first},t1.nii.gz,t2.nii.gz\n")
    b = write(tmp_path / "b.csv", f"subject_id,split,t1w,t2w\np2,{second},other.nii.gz,t2.nii.gz\n")
    with pytest.raises(
        ManifestError, match=rf"subjects p1 \({first}\) and p2 \({second}\) have the same file .*t2\.nii"
    ):
        read_manifest(a, b)


def test_files_may_be_shared_where_nothing_leaks(tmp_path):
    text = (
        "subject_id,session_id,split,t1w,t2w,mask\n"
        "p1,1,train,a,b,atlas\np1,2,train,a,c,atlas\n"  # one T1w for two sessions
        "p2,,test,d,e,atlas\n"  # the mask of one template space
        "p3,,,a,b,\n"  # in no split
    )
    assert len(read_manifest(write(tmp_path / "m.csv", text)).rows) == 4


def test_subject_ids_that_differ_in_case_alone_are_a_warning(tmp_path, caplog):
    path = write(tmp_path / "m.csv", "subject_id,session_id\na,1\na,2\nb,\nA,1\n")
    with caplog.at_level(logging.WARNING):
        assert len(read_manifest(path).rows) == 4
    (record,) = caplog.records
    assert record.getMessage().startswith("a and A differ in case alone and count as different subjects")


def test_a_missing_manifest_is_named(tmp_path):
    with pytest.raises(ManifestError, match=r"none\.csv: there is no such file"):
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


def test_the_digest_follows_subjects_and_splits_not_folders(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        write(tmp_path / folder / "m.csv", "subject_id,split,t1w\np1,train,x\n")
    other = write(tmp_path / "m.csv", "subject_id,split,t1w\np1,test,x\n")
    digests = [read_manifest(tmp_path / f / "m.csv").digest() for f in ("a", "b")]
    assert digests[0] == digests[1] != read_manifest(other).digest()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('subject_id,t1w,note\np1,a.nii,"scanned twice\np2,b.nii,\n', r"m\.csv: .*a quote is not closed"),
        ("subject_id,t1w\np1,a.nii\n\0\0\0", r"m\.csv: .*binary data"),
        ('subject_id,t1w\n"p\n1",a.nii\n', r"m\.csv line 2: the subject_id 'p\\n1' holds a line break"),
        (
            "subject_id,session_id,t1w\np1,s\u20281,a.nii\n",
            r"m\.csv line 2: the session_id .* control character; rename it",
        ),
    ],
)
def test_a_manifest_that_hides_rows_or_parts_of_names_is_refused(tmp_path, text, problem):
    (tmp_path / "m.csv").write_text(text, encoding="utf-8")
    with pytest.raises(ManifestError, match=problem):
        read_manifest(tmp_path / "m.csv")


def test_a_link_to_a_training_scan_is_no_test_scan(tmp_path):
    (tmp_path / "a.nii").touch()
    (tmp_path / "b.nii").symlink_to(tmp_path / "a.nii")
    path = write(tmp_path / "m.csv", "subject_id,split,t1w\np1,train,a.nii\np2,test,b.nii\n")
    with pytest.raises(ManifestError, match=r"p1 \(train\) and p2 \(test\) have the same file"):
        read_manifest(path)


def test_a_pipe_or_a_folder_is_said_to_be_there(tmp_path):
    (tmp_path / "t1.nii.gz").mkdir()
    with pytest.raises(ManifestError, match="is a folder or a device, no file; correct the path"):
        ManifestRow("p1", paths={"t1w": tmp_path / "t1.nii.gz"}).path("t1w")


def test_attack_3_blank_lines_count_in_the_line_numbers_of_problems(tmp_path):
    text = "subject_id,split\n\n\np1,trian\np2,val,val\n"
    with pytest.raises(ManifestError) as caught:
        read_manifest(write(tmp_path / "m.csv", text))
    assert "line 4: split is 'trian'" in str(caught.value)
    assert "line 5: more cells than columns" in str(caught.value)


def test_attack_10_a_column_in_capitals_is_that_of_the_same_letters(tmp_path):
    (tmp_path / "m.csv").write_text("subject_id,t1w,T2w,T1W\np0,a.nii.gz,b.nii.gz,c.nii.gz\n")
    with pytest.raises(ManifestError) as error:
        read_manifest(tmp_path / "m.csv")
    assert "the column `T2w` looks like `t2w` misspelled" in str(error.value)
    assert "the column `T1W` looks like `t1w` misspelled" in str(error.value)
