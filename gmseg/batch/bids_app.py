"""The BIDS App: a dataset's scans become derivatives, and these a table of the group.

`participant_level` segments scans and writes what BIDS wants beside the masks; `group_level`
gathers what it wrote. Which scans there are, `gmseg.batch.bids_query` tells; what is written where,
`gmseg.batch.bids_derivatives`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from gmseg.batch import bids_derivatives as derivatives
from gmseg.batch import jobs as cohort
from gmseg.batch.bids_query import Scan
from gmseg.batch.multi_echo import combine_echoes
from gmseg.core.model import Model
from gmseg.errors import InputError
from gmseg.io.files import write_text
from gmseg.io.image import mark_of
from gmseg.io.tables import write_table
from gmseg.morphometry.areas import COLUMNS, measure_mask


@dataclass(frozen=True)
class Done:
    """What became of a scan at the participant level.

    Attributes
    ----------
    scan : Scan
    facts : dict or None
        The sidecar of its mask; None where it failed.
    fault : str or None
        Why it failed, in one line.
    ours : bool
        Whether the fault is the program's or the machine's, and not the scan's.
    anew : bool
        Whether it was segmented, not found done.
    """

    scan: Scan
    facts: dict | None = None
    fault: str | None = None
    ours: bool = False
    anew: bool = True


def participant_level(
    bids_dir,
    out_dir,
    scans: Sequence[Scan],
    model: Model,
    *,
    volume: int | None = None,
    mean: bool = False,
    tta: int = 0,
    seed: int = 0,
    workers: int = 1,
    scheduler: str | None = None,
    overwrite: bool = False,
    command: Sequence[str] | None = None,
    tell: Callable[[str], None] | None = None,
) -> Iterator[Done]:
    """Segment scans of a BIDS dataset and write their derivatives; what is done is left as it is.

    Parameters
    ----------
    bids_dir, out_dir : path-like
        Of the raw dataset, and of the derivatives; the latter is made.
    scans : sequence of Scan
        See `gmseg.batch.bids_query.find_scans`.
    model : Model
    volume, mean, tta, seed : int, bool, int, int
        See `gmseg.segment`.
    workers, scheduler, tell : int, str, callable
        See `gmseg.batch.jobs.run`.
    overwrite : bool
        Segment what is done, too, and replace what was made otherwise.
    command : sequence of str, optional
        The command line, for the QC page.

    Yields
    ------
    Done
        One per scan, as soon as it is done. A bad scan does not stop the others.

    Raises
    ------
    gmseg.errors.InputError
        If `out_dir` cannot be a place for these derivatives.
    """
    bids_dir, out_dir = Path(bids_dir), Path(out_dir)
    choices = {"mean": True} if mean else {} if volume is None else {"volume": volume}
    copies = {"tta": tta, "seed": seed} if tta > 1 else {}
    derivatives.check_out_dir(bids_dir, out_dir)
    derivatives.write_dataset(bids_dir, out_dir)

    def failed(scan: Scan, fault: str, ours: bool = False) -> Done:
        note = out_dir / derivatives.fault_file(scan)
        note.parent.mkdir(exist_ok=True)
        write_text(note, _within(fault, (out_dir, bids_dir)) + "\n")
        return Done(scan, fault=fault, ours=ours)

    jobs, owners, taken = [], {}, {}
    try:
        for scan in scans:
            try:
                mask = derivatives.outputs(scan)["mask"]
                if mask in taken:
                    raise InputError(
                        f"{scan.files[0]}: would be written to {mask}, as {taken[mask]} is; "
                        f"rename or remove one"
                    )
                taken[mask] = scan.files[0]
                job = _job(out_dir, scan, choices, copies, command, overwrite=overwrite)
                found = None if overwrite else _found(out_dir, scan, job, model)
            except Exception as error:
                yield failed(scan, *cohort.faulty(error, scan.files[0]))
                continue
            if found:
                (out_dir / derivatives.fault_file(scan)).unlink(missing_ok=True)
                yield Done(scan, found, anew=False)
                continue
            jobs.append(job)
            owners[id(job)] = scan
        if not jobs:  # and no cluster for them
            return
        (out_dir / derivatives.PAGE).mkdir(exist_ok=True)
        write_page(out_dir)  # one makes the page, before several add to it
        for outcome in cohort.run(jobs, model, workers=workers, scheduler=scheduler, tell=tell):
            scan, fault = owners[id(outcome.job)], outcome.fault
            if fault is None:
                try:
                    facts = _describe(out_dir, scan, outcome, choices)
                except Exception as error:
                    yield failed(scan, *cohort.faulty(error, scan.files[0]))
                    continue
            if fault is not None:
                yield failed(scan, fault, outcome.ours)
                continue
            (out_dir / derivatives.fault_file(scan)).unlink(missing_ok=True)
            yield Done(scan, facts)
    finally:  # what is done is shown, even of a run that is interrupted
        write_page(out_dir)


def group_level(out_dir, scans: Sequence[Scan]) -> list[dict]:
    """Gather what the participant level wrote: a table, and the QC page anew.

    Parameters
    ----------
    out_dir : path-like
    scans : sequence of Scan
        Those that failed or are not segmented yet have rows, too.

    Returns
    -------
    list of dict
        The rows, see `gmseg.batch.bids_derivatives.GROUP_COLUMNS`.

    Raises
    ------
    gmseg.errors.InputError
        If none of them has a mask.
    """
    out_dir = Path(out_dir)
    rows = [derivatives.group_row(out_dir, scan) for scan in scans]
    if all(row["problem"] for row in rows):
        raise InputError(f"{out_dir}: has no mask of these scans; run the participant level first")
    write_table(out_dir / derivatives.GROUP_TABLE, rows, derivatives.GROUP_COLUMNS)
    write_page(out_dir)
    return rows


def write_page(out_dir: Path) -> Path | None:
    """Write the QC page from what is in it; nothing where there is nothing."""
    from gmseg.report.qc_page import write_index

    folder = out_dir / derivatives.PAGE
    return write_index(folder) if folder.is_dir() else None


def _job(
    out_dir: Path, scan: Scan, choices: dict, copies: dict, command, *, overwrite: bool
) -> cohort.Job:
    """Return what is to be done with a scan, whose echoes are combined first."""
    files = {kind: out_dir / file for kind, file in derivatives.outputs(scan).items()}
    file, taken = scan.files[0], choices
    if len(scan.files) > 1:
        file, taken = out_dir / derivatives.combination(scan), {}
        combine_echoes(scan.files, file, **choices, overwrite=overwrite)
        if overwrite or not derivatives.json_of(file).exists():
            sidecar = derivatives.combination_facts(scan, choices)
            derivatives.write_json(derivatives.json_of(file), sidecar)
    return cohort.Job(
        file,
        {kind: files[kind] for kind in ("mask", "soft")},
        taken | copies,
        out_dir / derivatives.PAGE,
        command,
        overwrite,
    )


def _found(out_dir: Path, scan: Scan, job: cohort.Job, model: Model) -> dict | None:
    """Return the sidecar of a scan's mask where nothing is left to do for it."""
    if not cohort.is_done(job, model):
        return None
    facts = derivatives.read_facts(out_dir, scan)
    # an interrupted run may have replaced the mask and not its sidecar
    same = facts is not None and facts.get("MadeFrom") == mark_of(job.files["mask"])
    return facts if same else None


def _within(fault: str, folders: Sequence[Path]) -> str:
    """Return a fault as a dataset tells it, where names begin at its root."""
    for folder in folders:
        if folder != Path():
            fault = fault.replace(f"{folder}/", "")
    return fault


def _describe(out_dir: Path, scan: Scan, outcome: cohort.Outcome, choices: dict) -> dict:
    """Measure a mask, write the table and the sidecars, and return the mask's."""
    files = outcome.job.files
    rows = measure_mask(files["mask"], soft=files["soft"])
    write_table(out_dir / derivatives.outputs(scan)["table"], rows, COLUMNS)
    mark = mark_of(files["mask"])
    mask, soft = derivatives.facts(scan, outcome.summary, mark, choices)
    derivatives.write_json(derivatives.json_of(files["soft"]), soft)
    derivatives.write_json(derivatives.json_of(files["mask"]), mask)  # last: the scan is done
    return mask
