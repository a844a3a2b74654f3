import numpy as np
import pytest

from volumetric.simulation.label_table import LabelTable, LabelTableError, read_label_table, shipped_tables
from volumetric.simulation.tissues import NAMES, NUMBER


def test_every_shipped_table_can_be_read_and_knows_the_air():
    assert shipped_tables() == ["freesurfer", "freesurfer_tumor", "three_tissues"]
    for name in shipped_tables():
        assert read_label_table(name).tissue_of[0] == "air"


def test_freesurfers_left_and_right_are_one_tissue():
    table = read_label_table("freesurfer").tissue_of
    for left, right in ((2, 41), (3, 42), (10, 49), (12, 51), (17, 53), (7, 46), (8, 47), (4, 43), (28, 60)):
        assert table[left] == table[right]


def test_labels_become_the_numbers_of_their_tissues():
    table = LabelTable("own", {0: "air", 7: "cortex", 300: "bone"})
    numbers = table.tissues(np.array([[0, 7], [300, 7]], np.uint16), name="map")
    assert [NAMES[n] for n in numbers.ravel()] == ["air", "cortex", "bone", "cortex"]


def test_unknown_labels_are_listed_with_the_file():
    with pytest.raises(LabelTableError, match=r"map\.nii: the table `own` has no tissue for labels 4, 9; choose"):
        LabelTable("own", {0: "air"}).tissues(np.array([0, 9, 4, 9]), name="map.nii")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("cortex: 3", "expected lines `tissue: \\[labels\\]`"),
        ("- 3", "expected lines"),
        ("white_stuff: [3]", "no tissue `white_stuff`; there are air"),
        ("cortex: [3]\nwhite_matter: [2, 3]", "label 3 is `cortex` and `white_matter`; keep one"),
        ("cortex: [-1]", "label -1 of `cortex`: expected 0 to 65535"),
        ("cortex: [70000]", "label 70000"),
        ("cortex: [[", "not valid YAML"),
        ("cortex: three", "expected lines"),
        ("extends: [1]", r"extends: no table `\[1\]`"),
        ("extends: freesurfr", "extends: no table `freesurfr`; there are freesurfer"),
    ],
)
def test_a_wrong_table_is_one_sentence(tmp_path, text, problem):
    path = tmp_path / "table.yaml"
    path.write_text(text)
    with pytest.raises(Exception, match=problem) as caught:
        read_label_table(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_table_that_is_not_there_names_those_that_are():
    with pytest.raises(
        LabelTableError, match="no table `freesurfr`; there are freesurfer, freesurfer_tumor, three_tissues"
    ):
        read_label_table("freesurfr")


def test_a_table_of_ones_own_is_read(tmp_path):
    path = tmp_path / "own.yaml"
    path.write_text("air: [0]\ncortex: [1, 2]\n")
    assert read_label_table(path).tissue_of == {0: "air", 1: "cortex", 2: "cortex"}
    assert NUMBER["air"] == 0


def test_a_tumor_map_is_laid_over_a_label_map():
    table = read_label_table("freesurfer_tumor")
    labels, tumor = np.array([2, 3, 2, 2, 0]), np.array([0, 0, 1, 2, 4])
    laid_over = np.where(tumor > 0, 600 + tumor, labels)
    names = [NAMES[number] for number in table.tissues(laid_over, name="map")]
    assert names == ["white_matter", "cortex", "necrosis", "edema", "tumor"]
    assert read_label_table("freesurfer").tissue_of.items() < table.tissue_of.items()


def test_a_table_of_ones_own_may_move_labels_of_the_one_it_extends(tmp_path):
    path = tmp_path / "own.yaml"
    path.write_text("extends: three_tissues\nedema: [4]\nfluid: [2]\n")
    assert read_label_table(path).tissue_of == {0: "air", 1: "fluid", 2: "fluid", 3: "white_matter", 4: "edema"}
