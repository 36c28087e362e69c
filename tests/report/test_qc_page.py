"""Folder of the QC page: its files, privacy, hostile texts, facts and summaries."""

import base64
import contextlib
import gzip
import json
import re
import struct
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from orientations import ROTATION, a_scan, reoriented
from report_pages import add, bar_and_mask, cord_around, facts_of, index_of

from gmseg import InputError
from gmseg.core import geometry
from gmseg.inference.quality.flags import LIMITS, Flag
from gmseg.report import qc_facts, qc_page

SECRETS = (b"DOE^JANE", b"19700131", b"secret-folder")


# -------------------------------------------------------------------------- the folder


def test_report_is_one_self_contained_folder(tmp_path):
    folder = tmp_path / "qc"
    place = add(folder, bar_and_mask(), tmp_path)
    page = qc_page.write_index(folder)
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    own = {
        f"scans/{place.name}/{n}"
        for n in ("facts.json", "facts.js", "mosaic.png", "context.png", "thumb.png", "volumes.js")
    }
    assert own | {"index.html", "report.json"} == {n for n in names if not n.startswith("page/")}
    text = page.read_text()
    for asset in re.findall(r'(?:src|href)="(page/[^"]+)"', text):
        assert asset in names
    assert {"page/niivue.umd.js", "page/niivue-licences.txt"} <= names
    assert "BSD 2-Clause" in (folder / "page" / "niivue-licences.txt").read_text()
    assert not re.search(r"https?:", text)
    [entry] = index_of(folder)["scans"]
    assert (entry["key"], entry["name"], entry["slices"]) == (place.name, "scan.nii.gz", 6)


def test_scans_of_the_same_name_are_kept_apart(tmp_path):
    folder = tmp_path / "qc"
    places = []
    for subject in ("a", "b", "a"):
        (tmp_path / subject).mkdir(exist_ok=True)
        places.append(add(folder, bar_and_mask(), tmp_path / subject, name="t2s.nii.gz"))
    assert places[0] == places[2] != places[1]
    qc_page.write_index(folder)
    first = index_of(folder)
    assert [scan["name"] for scan in first["scans"]] == ["t2s.nii.gz"] * 2
    qc_page.write_index(folder)
    assert index_of(folder)["id"] == first["id"]
    assert len(list((folder / "scans").iterdir())) == 2


def test_same_mask_in_another_file_has_the_same_checksum(tmp_path):
    scan, mask = bar_and_mask()
    first = facts_of(add(tmp_path / "qc", (scan, mask), tmp_path))["mask_sha256"]
    data = np.asarray(mask.dataobj)
    as_float = nib.Nifti1Image(data.astype(np.float32), mask.affine)
    again = facts_of(add(tmp_path / "qc", (scan, as_float), tmp_path))["mask_sha256"]
    other = nib.Nifti1Image(np.roll(data, 1, axis=0), mask.affine)
    assert first == again != facts_of(add(tmp_path / "qc", (scan, other), tmp_path))["mask_sha256"]


def test_folder_with_other_files_is_refused(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "me.jpg").write_text("-")
    with pytest.raises(InputError, match=r"photos: contains files but no report of gmseg; choose"):
        add(tmp_path / "photos", bar_and_mask(), tmp_path)
    assert [path.name for path in (tmp_path / "photos").iterdir()] == ["me.jpg"]
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / ".DS_Store").write_text("-")
    add(tmp_path / "new", bar_and_mask(), tmp_path)


def test_error_leaves_the_older_entry_or_nothing(tmp_path, monkeypatch):
    folder = tmp_path / "deep" / "qc"
    scan, mask = bar_and_mask()
    other = nib.Nifti1Image(np.asarray(mask.dataobj)[:, :, :5], mask.affine)
    with pytest.raises(InputError, match="shape"):
        add(folder, (scan, other), tmp_path)

    def fail(*args):
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(qc_page, "volumes_script", fail)
        with pytest.raises(OSError, match="full"):
            add(folder, (scan, mask), tmp_path)
    assert not folder.parent.exists()
    place = add(folder, (scan, mask), tmp_path)
    before = {path.name: path.read_bytes() for path in place.iterdir()}
    with monkeypatch.context() as patch:
        patch.setattr(qc_page, "volumes_script", fail)
        with pytest.raises(OSError, match="full"):
            add(folder, (scan, mask), tmp_path)
    assert before == {path.name: path.read_bytes() for path in place.iterdir()}
    assert [path.name for path in place.parent.iterdir()] == [place.name]


def test_scans_may_be_added_concurrently(tmp_path):
    for n in range(6):
        (tmp_path / f"{n}").mkdir()
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda n: add(tmp_path / "qc", bar_and_mask(), tmp_path / f"{n}"), range(6)))
    qc_page.write_index(tmp_path / "qc")
    assert len(index_of(tmp_path / "qc")["scans"]) == 6


BEGIN = """
import sys, time
from pathlib import Path
from gmseg.report import qc_page
folder, *words, begin = sys.argv[1:]
print("ready", flush=True)
while not Path(begin).exists():
    time.sleep(0.001)
qc_page.check_report(folder)
qc_page.add_scan(folder, *words)
qc_page.write_index(folder)
"""


def test_processes_begin_one_folder(tmp_path):
    """Each adds its scan and writes the index once, so none may lose the entry of another."""
    for n in range(4):
        (tmp_path / f"{n}").mkdir()
        for name, image in zip(("scan", "mask"), bar_and_mask(), strict=True):
            nib.save(image, tmp_path / f"{n}" / f"{name}.nii.gz")
    running = []
    for n in range(4):
        images = [str(tmp_path / f"{n}" / f"{name}.nii.gz") for name in ("scan", "mask")]
        words = [sys.executable, "-c", BEGIN, str(tmp_path / "qc"), *images, str(tmp_path / "go")]
        running.append(subprocess.Popen(words, stdout=subprocess.PIPE))
    for process in running:
        process.stdout.readline()
    (tmp_path / "go").touch()
    assert [process.wait(timeout=60) for process in running] == [0] * 4
    for process in running:
        process.stdout.close()
    assert len(index_of(tmp_path / "qc")["scans"]) == 4
    assert not list((tmp_path / "qc").rglob(".gmseg-*"))


def test_index_is_written_again_if_a_scan_was_added_meanwhile(tmp_path, monkeypatch):
    for name in "ab":
        (tmp_path / name).mkdir()
    add(tmp_path / "qc", bar_and_mask(), tmp_path / "a")
    real = qc_page.write_text

    def add_another_first(path, *arguments, **options):
        if path.name == "index.html":
            monkeypatch.setattr(qc_page, "write_text", real)
            add(tmp_path / "qc", bar_and_mask(), tmp_path / "b")
        real(path, *arguments, **options)

    monkeypatch.setattr(qc_page, "write_text", add_another_first)
    qc_page.write_index(tmp_path / "qc")
    assert len(index_of(tmp_path / "qc")["scans"]) == 2


class Killed(BaseException):
    """Stands for SIGKILL: no clean-up follows."""


@pytest.mark.parametrize("step", ["page", "index.html", "report.json", "scans"])
def test_a_report_whose_beginning_was_killed_is_continued(tmp_path, monkeypatch, step):
    """A kill may come before any of the first files and folders is written."""
    folder = tmp_path / "qc"

    def stop_at(real):
        def checked(path, *arguments, **options):
            if Path(path).name == step:
                raise Killed
            return real(path, *arguments, **options)

        return checked

    with monkeypatch.context() as patch:
        patch.setattr(qc_page, "write_text", stop_at(qc_page.write_text))
        patch.setattr(Path, "mkdir", stop_at(Path.mkdir))
        patch.setattr(Path, "rmdir", lambda _: None)
        with contextlib.suppress(Killed):
            add(folder, bar_and_mask(), tmp_path)
            qc_page.write_index(folder)
    add(folder, bar_and_mask(), tmp_path)
    qc_page.write_index(folder)
    assert len(index_of(folder)["scans"]) == 1
    (folder / "report.json").write_text("")  # what a full disk leaves
    for path in folder.iterdir():
        if path.name != "report.json":
            path.rename(tmp_path / path.name)
    assert qc_page.check_report(folder) == folder
    assert qc_page.write_index(folder).is_file()


def test_incomplete_entries_are_recognised(tmp_path):
    place = add(tmp_path / "qc", bar_and_mask(), tmp_path)
    assert qc_page.is_complete(place)
    for file in place.iterdir():
        content = file.read_bytes()
        file.write_bytes(b"")
        assert not qc_page.is_complete(place), file.name
        file.write_bytes(content)
    (place / "volumes.js").unlink()
    assert not qc_page.is_complete(place)


# ------------------------------------------------------------ hostile texts, and privacy

EVIL = "</script><img src=x onerror=alert(1)>\u2028'\"&\\ \udcff.nii.gz"


def test_hostile_texts_are_escaped(tmp_path):
    flag = Flag("<b>", EVIL)
    summary = {"area_mm2": [0.0] * 6, "flag_details": [vars(flag)], "model": EVIL}
    scan, mask = bar_and_mask()
    empty = nib.Nifti1Image(np.zeros(mask.shape, np.uint8), mask.affine)
    place = add(tmp_path / "qc", (scan, empty), tmp_path, name="a.nii.gz")
    nib.save(scan, tmp_path / "b.nii.gz")
    place = qc_page.add_scan(
        tmp_path / "qc",
        tmp_path / "b.nii.gz",
        tmp_path / "mask_a.nii.gz",
        name=EVIL,
        summary=summary,
        command=["gmseg", "segment", f"/home/{EVIL}"],
    )
    page = qc_page.write_index(tmp_path / "qc").read_text(encoding="ascii")
    assert page.count("</script>") == page.count("\n<script ")  # those of the template
    for text in (page.split('id="report">')[1], (place / "facts.js").read_text(encoding="ascii")):
        assert "<img" not in text
        assert "\u2028" not in text
    scans = {scan["name"] for scan in index_of(tmp_path / "qc")["scans"]}
    assert scans == {"a.nii.gz", EVIL}
    assert re.fullmatch(r"[A-Za-z0-9_-]+", place.name)
    assert facts_of(place)["flags"] == [{"name": "<b>", "text": EVIL, "slices": []}]


def test_header_texts_and_folders_stay_out_of_the_report(tmp_path):
    folder = tmp_path / "secret-folder"
    folder.mkdir()
    scan, mask = bar_and_mask()
    for image in (scan, mask):
        image.header["descrip"] = b"DOE^JANE 19700131"
        image.header["aux_file"] = b"DOE^JANE"
        image.header["db_name"] = b"DOE^JANE"
        image.header["intent_name"] = b"DOE^JANE"
        comment = nib.nifti1.Nifti1Extension("comment", b"DOE^JANE born 19700131")
        image.header.extensions.append(comment)
    summary = {
        "area_mm2": geometry.slice_areas_mm2(mask.dataobj, mask.affine),
        "scan": str(folder / "scan.nii.gz"),
        "mask": str(folder),
        "model": f"{folder}/model",
    }
    call = [str(folder / "gmseg"), "segment", str(folder / "scan.nii.gz"), f"--report={folder}/qc"]
    place = add(tmp_path / "qc", (scan, mask), folder, summary=summary, command=call)
    qc_page.write_index(tmp_path / "qc")
    contents = {p: p.read_bytes() for p in (tmp_path / "qc").rglob("*") if p.is_file()}
    packed = json.loads((place / "volumes.js").read_text().split(" = ", 1)[1].rstrip(";\n"))
    for kind, text in packed.items():
        contents[kind] = gzip.decompress(base64.b64decode(text))
    for name, content in contents.items():
        for secret in SECRETS:
            assert secret not in content, (name, secret)
    assert facts_of(place)["command"] == "gmseg segment scan.nii.gz --report=qc"
    for image in place.glob("*.png"):
        assert png_chunks(image) <= {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"}
    requested = add(tmp_path / "requested", (scan, mask), folder, header_text=True)
    assert ["db_name", "DOE^JANE"] in facts_of(requested)["header_text"]


def png_chunks(file):
    content, position, kinds = file.read_bytes(), 8, set()
    while position < len(content):
        (length,) = struct.unpack(">I", content[position : position + 4])
        kinds.add(content[position + 4 : position + 8])
        position += 12 + length
    return kinds


def test_scan_can_be_renamed(tmp_path):
    place = add(
        tmp_path / "qc",
        bar_and_mask(),
        tmp_path,
        name="DOE^JANE.nii.gz",
        header_text=True,
        command=["gmseg", "report", f"{tmp_path}/DOE^JANE.nii.gz", "mask_DOE^JANE.nii.gz"],
    )
    assert "DOE" in place.name
    place = qc_page.add_scan(
        tmp_path / "other",
        tmp_path / "DOE^JANE.nii.gz",
        tmp_path / "mask_DOE^JANE.nii.gz",
        name="sub-01_T2star.nii.gz",
        command=["gmseg", "report", "x/DOE^JANE.nii.gz", "DOE^JANE_m"],
    )
    qc_page.write_index(tmp_path / "other")
    for path in (tmp_path / "other").rglob("*"):
        assert "DOE" not in path.name
        assert not (path.is_file() and b"DOE^" in path.read_bytes())
    assert facts_of(place)["command"] == "gmseg report sub-01_T2star.nii.gz sub-01_T2star_m"


def test_command_lines_have_no_folders():
    shown = qc_facts.command_line(
        [r"C:\t\gmseg.exe", "segment", "/a/b c.nii.gz", "--out-dir=/x/y", "--centre", "2.5,-31"],
        "b c.nii.gz",
        "b c.nii.gz",
    )
    assert shown == "gmseg.exe segment 'b c.nii.gz' --out-dir=y --centre 2.5,-31"


# ----------------------------------------------------------------- facts and summaries


def summary_of(image, **more):
    areas = geometry.slice_areas_mm2(np.asarray(image.dataobj), image.affine)
    return {"area_mm2": areas.round(3).tolist(), "flag_details": [], **more}


def test_summary_gives_flags_and_expected_dice(tmp_path):
    scan, mask = (reoriented(image, [[0, 1], [1, 1], [2, -1]]) for image in bar_and_mask())
    flag = Flag("area-jump", "area jumps in slice 1", (1,))
    summary = summary_of(
        mask,
        flag_details=[vars(flag)],
        expected_dice=[0.9, 0.8, None, 0.7, 0.6, 0.5],
        model="default",
        model_sha256="ab" * 32,
        threshold=0.5,
        tta=4,
        seed=1,
        clean=["largest"],
    )
    facts = facts_of(add(tmp_path / "qc", (scan, mask), tmp_path, summary=summary))
    assert facts["numbers"] == [5, 4, 3, 2, 1, 0]
    assert facts["expected_dice"] == [0.5, 0.6, 0.7, None, 0.8, 0.9]
    assert facts["area_mm2"] == summary["area_mm2"][::-1]
    assert facts["flags"] == [{"name": "area-jump", "text": "area jumps in slice 1", "slices": [1]}]
    made = dict(facts["made"])
    assert made["Test-time augmentation"] == "4 copies, seed 1"
    assert made["SHA-256 of its weights"] == "ab" * 32
    qc_page.write_index(tmp_path / "qc")
    [entry] = index_of(tmp_path / "qc")["scans"]
    assert (entry["expected_dice"], entry["lowest_expected_dice"]) == (0.7, 0.5)


def test_without_summary_only_header_and_areas_raise_flags(tmp_path):
    scan, mask = bar_and_mask()
    facts = facts_of(add(tmp_path / "qc", (scan, mask), tmp_path))
    assert facts["expected_dice"] is None
    assert {flag["name"] for flag in facts["flags"]} <= set(LIMITS)
    assert "origin is unknown" in dict(facts["made"])["Mask"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s | {"area_mm2": [1.0] * 6}, "areas of the summary differ"),
        (lambda s: s | {"area_mm2": s["area_mm2"][:3]}, "areas of the summary differ"),
        (lambda s: {"volume_mm3": 3}, "not one of gmseg segment"),
        (lambda s: s | {"flag_details": [{"name": "x"}]}, "not one of gmseg segment"),
        (lambda s: s | {"flag_details": ["x"]}, "not one of gmseg segment"),
        (lambda s: s | {"expected_dice": [0.5]}, "not one of gmseg segment"),
        (lambda s: s | {"expected_dice": 3}, "not one of gmseg segment"),
        (lambda s: s | {"expected_dice": [float("nan")] * 6}, "not one of gmseg segment"),
        (lambda s: s | {"area_mm2": [float("nan")] * 6}, "areas of the summary differ"),
        (lambda s: s | {"area_mm2": [[1.0]]}, "not one of gmseg segment"),
    ],
)
def test_summary_of_another_mask_is_refused(tmp_path, change, message):
    scan, mask = bar_and_mask()
    with pytest.raises(InputError, match=message):
        add(tmp_path / "qc", (scan, mask), tmp_path, summary=change(summary_of(mask)))
    assert not (tmp_path / "qc").exists()


def test_masks_of_several_labels_need_the_value_of_gm(tmp_path):
    scan, mask = bar_and_mask()
    nib.save(scan, tmp_path / "scan.nii.gz")
    inside = np.asarray(mask.dataobj)
    white = np.roll(inside, 9, axis=0) & (1 - inside)
    nib.save(nib.Nifti1Image(inside + 2 * white, scan.affine), tmp_path / "mask.nii.gz")
    with pytest.raises(InputError, match=r"contains 2 besides 0 and 1; .* with `label=1`"):
        qc_page.add_scan(tmp_path / "qc", tmp_path / "scan.nii.gz", tmp_path / "mask.nii.gz")
    nib.save(a_scan(mask.shape, (0.7, 0.6, 3.0), ROTATION), tmp_path / "other.nii.gz")
    with pytest.raises(InputError, match=r"other\.nii\.gz: .*, as a scan does; give a mask"):
        qc_page.add_scan(tmp_path / "qc", tmp_path / "scan.nii.gz", tmp_path / "other.nii.gz")
    assert not (tmp_path / "qc").exists()
    files = tmp_path / "scan.nii.gz", tmp_path / "mask.nii.gz"
    areas = facts_of(qc_page.add_scan(tmp_path / "qc", *files, label=1))["area_mm2"]
    nib.save(mask, tmp_path / "mask.nii.gz")
    assert facts_of(qc_page.add_scan(tmp_path / "gm", *files))["area_mm2"] == areas


def test_cord_areas_come_from_the_cord_mask_or_the_summary(tmp_path):
    scan, mask = (reoriented(image, [[0, 1], [1, 1], [2, -1]]) for image in bar_and_mask())
    cord = cord_around(mask)
    data = np.asarray(cord.dataobj).copy()
    data[..., 1] = 0
    cord = nib.Nifti1Image(data, cord.affine)
    nib.save(cord, tmp_path / "seg.nii.gz")
    areas = geometry.slice_areas_mm2(data, cord.affine).round(3).tolist()
    summary = summary_of(mask, cord_area_mm2=areas)
    choices = (
        {"cord": tmp_path / "seg.nii.gz"},
        {"summary": summary},
        {"cord": tmp_path / "seg.nii.gz", "summary": summary},
        {"cord": tmp_path / "seg.nii.gz", "summary": summary | {"cord_area_mm2": None}},
    )
    for k, choice in enumerate(choices):
        facts = facts_of(add(tmp_path / f"qc{k}", (scan, mask), tmp_path, **choice))
        assert facts["cord_area_mm2"] == areas[::-1]
        qc_page.write_index(tmp_path / f"qc{k}")
        [entry] = index_of(tmp_path / f"qc{k}")["scans"]
        both = [(gm, whole) for gm, whole in zip(summary["area_mm2"], areas, strict=True) if whole]
        assert len(both) == 5
        ratio = np.mean([gm / whole for gm, whole in both])
        assert entry["gm_cord_ratio"] == pytest.approx(ratio, abs=1e-4)
        cord_mm2 = np.mean([whole for _, whole in both])
        assert entry["mean_cord_area_mm2"] == pytest.approx(cord_mm2, abs=0.01)


def test_scan_without_cord_has_no_cord_entries(tmp_path):
    scan, mask = bar_and_mask()
    facts = facts_of(add(tmp_path / "qc", (scan, mask), tmp_path, summary=summary_of(mask)))
    assert facts["cord_area_mm2"] is None
    qc_page.write_index(tmp_path / "qc")
    assert not [key for key in index_of(tmp_path / "qc")["scans"][0] if "cord" in key]


@pytest.mark.parametrize(
    ("areas", "message"),
    [
        ([1.0] * 6, "cord areas of its summary differ from the cord mask's"),
        ([1.0] * 5, "not one of gmseg segment"),
        ([float("nan")] * 6, "not one of gmseg segment"),
        ([float("inf")] * 6, "not one of gmseg segment"),
        ([-1.0] * 6, "not one of gmseg segment"),
        ([[1.0]] * 6, "not one of gmseg segment"),
        ([1.0] * 5 + [None], "not one of gmseg segment"),
        (["x"] * 6, "not one of gmseg segment"),
        ({"a": 1}, "not one of gmseg segment"),
        (3, "not one of gmseg segment"),
    ],
)
def test_hostile_cord_areas_are_refused(tmp_path, areas, message):
    scan, mask = bar_and_mask()
    nib.save(cord_around(mask), tmp_path / "seg.nii.gz")
    summary = summary_of(mask, cord_area_mm2=areas)
    with pytest.raises(InputError, match=message):
        add(tmp_path / "qc", (scan, mask), tmp_path, summary=summary, cord=tmp_path / "seg.nii.gz")
    assert not (tmp_path / "qc").exists()


# ------------------------------------------------------------------------ the command


def test_command_adds_a_scan_and_prints_the_page(tmp_path):
    scan, mask = bar_and_mask()
    nib.save(scan, tmp_path / "scan.nii.gz")
    nib.save(mask, tmp_path / "mask.nii.gz")
    entry = summary_of(mask, expected_dice=[0.9] * 6, scan="x/scan.nii.gz", mask="x/mask.nii.gz")
    entries = {"scans": [entry, entry | {"scan": "b.nii.gz"}]}
    (tmp_path / "s.json").write_text(json.dumps(entries))
    command = [sys.executable, "-m", "gmseg", "report", "scan.nii.gz", "mask.nii.gz"]
    nib.save(cord_around(mask), tmp_path / "seg.nii.gz")
    command += ["--out", "qc", "--summary", "s.json", "--cord", "seg.nii.gz"]
    done = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True)
    assert Path(done.stdout.strip()) == Path("qc/index.html")
    [entry] = index_of(tmp_path / "qc")["scans"]
    place = tmp_path / "qc" / "scans" / entry["key"]
    assert facts_of(place)["expected_dice"] == [0.9] * 6
    assert facts_of(place)["command"].endswith(
        "report scan.nii.gz mask.nii.gz --out qc --summary s.json --cord seg.nii.gz"
    )
    assert min(facts_of(place)["cord_area_mm2"]) > 0
    again = subprocess.run(command, cwd=tmp_path, check=False, capture_output=True, text=True)
    assert again.returncode == 2
    assert "--overwrite" in again.stderr


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"scans": [1]}', '{"scans": []}', "[" * 10**5]
)
def test_file_without_the_summary_is_refused(tmp_path, content):
    (tmp_path / "s.json").write_text(content)
    with pytest.raises(InputError, match=r"s.json: (is not a summary|has no entry)"):
        qc_facts.find_summary(tmp_path / "s.json", Path("a.nii.gz"), Path("b.nii.gz"))


def test_volumes_script_is_one_assignment(tmp_path):
    place = add(tmp_path / "qc", bar_and_mask(), tmp_path)
    text = (place / "volumes.js").read_text()
    assert re.fullmatch(
        r'gmseg\.volumes\["[\w-]+"\] = \{"scan": "[\w+/=]+", "mask": "[\w+/=]+"\};\n', text
    )
