"""Libraries are silenced for a moment, and the process is left as it was, with threads as well."""

import logging
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import nibabel as nib
import numpy as np
import pytest

from gmseg.io import image_file
from gmseg.io.quiet import quiet_logger, warnings_as


@pytest.fixture
def faulty_header(tmp_path):
    """A scan whose header nibabel repairs with a message: the qform's code is out of range."""
    path = tmp_path / "t2s.nii"
    nib.save(nib.Nifti1Image(np.ones((3, 3, 2), np.float32), np.eye(4)), path)
    content = bytearray(path.read_bytes())
    content[38] = 0  # `regular`, and a wrong size of the header's extents
    content[70:72] = (16).to_bytes(2, "little")
    content[72:74] = (31).to_bytes(2, "little")  # bitpix does not fit the data type
    path.write_bytes(content)
    return path


def test_threads_leave_filters_and_levels_as_they_were(faulty_header):
    logger = nib.imageglobals.logger
    before = logger.level, list(logger.filters), list(logger.handlers), list(warnings.filters)
    start = threading.Barrier(8)

    def read(_):
        start.wait()
        for _ in range(20):
            image_file.load_voxels(faulty_header, image_file.open_image(faulty_header))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(read, range(8)))
    after = logger.level, list(logger.filters), list(logger.handlers), list(warnings.filters)
    assert after == before


def test_nibabel_is_silent_while_an_image_is_opened_and_only_then(faulty_header, caplog):
    with caplog.at_level(logging.DEBUG, "nibabel.global"):
        image_file.open_image(faulty_header)
        assert caplog.records == []
        nib.load(faulty_header)
        assert caplog.records


def test_other_threads_still_log(caplog):
    logger = logging.getLogger("some.library")
    with quiet_logger(logger), quiet_logger(logger):
        logger.error("dropped")
        other = threading.Thread(target=logger.error, args=["kept"])
        other.start()
        other.join()
    logger.error("afterwards")
    assert caplog.messages == ["kept", "afterwards"]


def test_warnings_become_errors():
    with warnings_as("error", UserWarning), pytest.raises(UserWarning):
        warnings.warn("as the caller wants", stacklevel=1)
