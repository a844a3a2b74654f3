from volumetric.records.run import HistoryRow, Provenance


def test_history_without_validation_subjects_has_no_columns_of_scores(tmp_path):
    path = tmp_path / "history.csv"
    rows = [HistoryRow(step=3, lr=1 / 3, train_loss=2), HistoryRow(step=6, lr=0, train_loss=1.5)]
    HistoryRow.write_table(path, rows)
    assert path.read_text() == "step,lr,train_loss\n3,0.333333333,2\n6,0,1.5\n"
    HistoryRow.write_table(path, [rows[1].model_copy(update={"val_psnr_db": 20.5, "val_ssim": 0.75})])
    assert path.read_text() == "step,lr,train_loss,val_psnr_db,val_ssim\n6,0,1.5,20.5,0.75\n"
    (row,) = HistoryRow.read_table(path)
    assert row.values() == {"step": 6, "lr": 0, "train_loss": 1.5, "val_psnr_db": 20.5, "val_ssim": 0.75}


def test_provenance_names_command_and_versions_and_comes_back(tmp_path):
    provenance = Provenance.now(seed=7, device="cpu")
    provenance.write(tmp_path / "provenance.json")
    assert Provenance.read(tmp_path / "provenance.json") == provenance
    assert provenance.seed == 7
    assert {"python", "torch", "volumetric"} <= provenance.versions.keys()
    assert provenance.command
