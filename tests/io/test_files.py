"""Files are written atomically, and no file is replaced without `overwrite`."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from gmseg import InputError
from gmseg.io import files


def test_a_failed_write_keeps_the_old_file(tmp_path):
    path = tmp_path / "mask.nii.gz"
    path.write_text("old")

    def fail():
        with files.atomic_path(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_signal_right_after_a_folder_is_created_leaves_none(tmp_path, monkeypatch):
    mkdir = Path.mkdir

    def interrupted(folder, **options):
        mkdir(folder, **options)
        if folder.name == "b":
            raise KeyboardInterrupt

    monkeypatch.setattr(Path, "mkdir", interrupted)
    with pytest.raises(KeyboardInterrupt), files.new_folders([tmp_path / "a" / "b" / "mask.nii"]):
        pytest.fail("the signal came before")
    assert list(tmp_path.iterdir()) == []


WRITE_FOREVER = """
import sys, itertools, numpy as np, nibabel as nib
from gmseg.io import image
for i in itertools.count(1):
    data = np.full((60, 60, 30), i % 9, np.uint8)
    image.write_image(nib.Nifti1Image(data, np.eye(4)), sys.argv[1])
    print(i, flush=True)
"""


def test_a_killed_process_leaves_the_old_file_or_the_new_one(tmp_path):
    path = tmp_path / "mask.nii.gz"
    rng = np.random.default_rng(0)
    for _ in range(4):
        command = [sys.executable, "-c", WRITE_FOREVER, str(path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            process.stdout.readline()
            time.sleep(rng.uniform(0, 0.1))
            os.kill(process.pid, signal.SIGKILL)
        data = np.asarray(nib.load(path).dataobj)
        assert data.shape == (60, 60, 30)
        assert data.min() == data.max()


def test_a_new_file_has_the_usual_permissions(tmp_path):
    (tmp_path / "usual").touch()
    with files.atomic_path(tmp_path / "new.json") as temporary:
        temporary.write_text("{}")
    assert (tmp_path / "new.json").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_outputs_are_checked_before_anything_is_written(tmp_path):
    scan = tmp_path / "scan.nii.gz"
    scan.write_text("a scan")
    (tmp_path / "link.nii.gz").symlink_to(scan)
    with pytest.raises(InputError, match="is the input itself"):
        files.check_output(tmp_path / "link.nii.gz", inputs=[scan], overwrite=True)
    with pytest.raises(InputError, match="exists; use `overwrite=True`"):
        files.check_output(scan, overwrite=False)
    assert files.check_output(scan, overwrite=True) == scan
    with pytest.raises(InputError, match="is a file, not a folder"):
        files.check_folder(scan / "a" / "b")
    assert files.check_folder(tmp_path / "a" / "b") == tmp_path / "a" / "b"
    assert not (tmp_path / "a").exists()


def test_only_the_text_between_two_lines_is_replaced(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# Über\n<!-- from -->\nold\n<!-- to -->\nlast\n", encoding="utf-8")
    for text in ("| a |", "\n| b |\n\n"):
        files.write_between(page, "<!-- from -->", "<!-- to -->", text)
        expected = f"# Über\n<!-- from -->\n\n{text.strip()}\n\n<!-- to -->\nlast\n"
        assert page.read_text(encoding="utf-8") == expected
    with pytest.raises(InputError, match="lacks the lines"):
        files.write_between(page, "<!-- to -->", "<!-- from -->", "x")


def test_links_to_missing_content_say_how_to_get_it(tmp_path):
    link = tmp_path / "t2s.nii.gz"
    link.symlink_to("../.git/annex/objects/zX/4k/MD5E-s1--a.nii.gz/MD5E-s1--a.nii.gz")
    with pytest.raises(InputError, match=r"its content is not here; run datalad get .*t2s.nii.gz"):
        files.check_input(link)
    link.unlink()
    link.symlink_to("nowhere.nii.gz")
    with pytest.raises(InputError, match=r"is a broken link to nowhere\.nii\.gz; "):
        files.check_input(link)


def test_a_file_that_appears_during_a_write_is_kept(tmp_path):
    paths = [tmp_path / "mask.nii", tmp_path / "soft.nii"]

    def write(theirs):
        with files.atomic_paths(paths, overwrite=False) as temporaries:
            for temporary in temporaries:
                temporary.write_text("ours")
            theirs.write_text("theirs")

    for theirs, other in (paths, paths[::-1]):
        with pytest.raises(InputError, match="exists, and was written in the meantime"):
            write(theirs)
        assert theirs.read_text() == "theirs"
        assert not other.exists()
        theirs.unlink()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o444])
def test_a_replaced_file_hands_on_its_permissions(tmp_path, mode):
    path = tmp_path / "mask.nii.gz"
    path.write_text("old")
    path.chmod(mode)
    with files.atomic_path(path) as temporary:
        assert temporary.parent.stat().st_mode & 0o777 == 0o700  # private meanwhile
        temporary.write_text("new")
    assert path.read_text() == "new"
    assert path.stat().st_mode & 0o777 == mode


def test_the_umask_of_the_process_is_not_touched(tmp_path, monkeypatch):
    def refuse(_):
        raise AssertionError("other threads may create files meanwhile")

    monkeypatch.setattr(os, "umask", refuse)
    files.write_text(tmp_path / "a.txt", "text")


def test_a_link_to_a_missing_file_counts_as_existing(tmp_path):
    link = tmp_path / "mask.nii.gz"
    link.symlink_to(tmp_path / "dropped")
    with pytest.raises(InputError, match="is a link to a file that is missing; get its content"):
        files.check_output(link, overwrite=False)
    with pytest.raises(InputError, match="exists"):
        files.write_text(link, "new", overwrite=False)
    assert link.is_symlink()
    files.write_text(files.check_output(link, overwrite=True), "new")
    assert not link.is_symlink()
    assert link.read_text() == "new"


def test_an_empty_file_does_not_block_but_a_device_does(tmp_path):
    empty = tmp_path / "mask.nii.gz"
    empty.touch()
    files.write_text(files.check_output(empty, overwrite=False), "new", overwrite=False)
    assert empty.read_text() == "new"
    with pytest.raises(InputError, match="exists"):
        files.check_output(os.devnull, overwrite=False)


def test_files_and_folders_are_flushed_before_and_after_the_move(tmp_path, monkeypatch):
    path, flushed = tmp_path / "mask.nii.gz", []
    real = os.fsync

    def fsync(handle):
        flushed.append((os.path.isdir(f"/proc/self/fd/{handle}"), path.exists()))  # noqa: PTH112
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    files.write_text(path, "text")
    assert flushed == [(False, False), (True, True)]
