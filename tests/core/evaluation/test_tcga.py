"""Barcodes anywhere in a path."""

import pytest

from eva_core.evaluation.tcga import from_barcode, patient, patients, tcga

SLIDE = "TCGA-A1-A0SB-01Z-00-DX1"


@pytest.mark.parametrize(
    ("path", "found", "rest"),
    [
        (f"x/{SLIDE}.U.svs", ("TCGA-A1-A0SB", "DX"), f"{SLIDE}.U.svs"),
        ("tcga_brca/TCGA-A1-A0SB/1.2.840/0f1e.dcm", ("TCGA-A1-A0SB", None), "TCGA-A1-A0SB/1.2.840/0f1e.dcm"),
        (f"s3://b/{SLIDE}/DCM_0.dcm", ("TCGA-A1-A0SB", "DX"), f"{SLIDE}/DCM_0.dcm"),
        ("C:\\d\\tcga-a1-a0sb\\slide.svs", ("TCGA-A1-A0SB", None), "tcga-a1-a0sb/slide.svs"),
        (f"{SLIDE}/TCGA-A1-A0SB_level0.svs", ("TCGA-A1-A0SB", "DX"), "TCGA-A1-A0SB_level0.svs"),
        ("TCGA-ZZ-0001/TCGA-A1-A0SB.svs", ("TCGA-A1-A0SB", None), "TCGA-A1-A0SB.svs"),
        ("normalised_TCGA-A1-A0SB.svs", ("TCGA-A1-A0SB", None), "normalised_TCGA-A1-A0SB.svs"),
        ("TCGA-BRCA/TCGA-A1-A0SBX/x-TCGA-A1-A0SB.svs", None, None),
        ("slide.svs", None, None),
    ],
)
def test_the_innermost_barcode_counts(path, found, rest):
    assert tcga(path) == found
    assert patient(path) == (found and found[0])
    assert from_barcode(path) == rest


def test_all_patients_of_a_path():
    found = patients("TCGA-ZZ-0001/TCGA-A1-A0SB-and_TCGA-A1-A0SC.svs")
    assert found == {"TCGA-ZZ-0001", "TCGA-A1-A0SB", "TCGA-A1-A0SC"}
