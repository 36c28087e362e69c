"""The QC page in a headless browser, opened from disk."""

import io
import json
import os
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import yaml
from browsers import chromium, skip_or_fail
from PIL import Image, ImageDraw
from report_pages import add, bar_and_mask, cord_around

from gmseg.core.geometry import slice_areas_mm2
from gmseg.datasets.phantom import make_phantom
from gmseg.inference.quality.flags import Flag
from gmseg.report import qc_page

EVIL = "</script><img src=x onerror=\"window.hacked=1\"><svg onload='hacked=1'>.nii.gz"
HOSTILE = [
    "- a.nii.gz",
    "=1+1.nii",
    "true",
    "1.5",
    "null",
    "2020-01-01",
    "a: b.nii.gz",
    "#x.nii.gz",
    "x #y.nii.gz",
    "\u00e9.nii.gz",
    "a\u2028b.nii.gz",
    "a\u0085b",
    "\U0001f9e0.nii.gz",
    "a\udcffb.nii.gz",
    'a"b.nii.gz',
    "a\\nb.nii.gz",
    "a\nb.nii.gz",
    "[x]",
    "*a",
    "&a",
    "!!python/object:os.system",
    "{{ REPORT }}",
    "__proto__",
    "\x7f",
    "\x00",
    "sub-001_T2star.nii.gz",
    " ",
    "=1+1.nii.gz",
]


@pytest.fixture(scope="module")
def browser():
    with chromium() as launched:
        yield launched


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Report of three scans: with all layers, with hostile texts, and with an empty mask."""
    place = tmp_path_factory.mktemp("scans")
    phantom = make_phantom(seed=2, shape=(72, 64, 10))
    tilt = nib.affines.from_matvec(nib.eulerangles.euler2mat(x=0.2), (0, 30, 60))
    affine, gm = tilt @ phantom.image.affine, phantom.gm_fraction
    images = {
        "scan": nib.Nifti1Image(phantom.image.dataobj, affine),
        "mask": nib.Nifti1Image((gm > 0.5).astype(np.uint8), affine),
        "soft": nib.Nifti1Image(gm, affine),
        "spread": nib.Nifti1Image(0.3 * gm, affine),
        "empty": nib.Nifti1Image(np.zeros(gm.shape, np.uint8), affine).slicer[..., ::-1],
    }
    files = {name: place / f"{name}.nii.gz" for name in images}
    for name, image in images.items():
        nib.save(image, files[name])
    flags = [Flag("area-jump", "area leaps in slice 2", (2,)), Flag(EVIL, EVIL)]
    summary = {
        "area_mm2": slice_areas_mm2(gm > 0.5, affine),
        "model": EVIL,
        "flag_details": [vars(flag) for flag in flags],
        "expected_dice": [0.9] * 9 + [0.5],
    }
    out = place / "report"
    layers = {kind: files[kind] for kind in ("soft", "spread")}
    shutil.copy(files["scan"], place / "sub-02_T2star.nii.gz")
    qc_page.add_scan(
        out,
        place / "sub-02_T2star.nii.gz",
        files["mask"],
        **layers,
        summary=summary | {"flag_details": [vars(flags[0])]},
    )
    downwards = images["scan"].slicer[..., ::-1]
    nib.save(downwards, place / "sub-10_T2star.nii.gz")
    qc_page.add_scan(out, place / "sub-10_T2star.nii.gz", files["empty"])
    images["scan"].header["descrip"] = b"<img src=x onerror=hacked=1>"
    nib.save(images["scan"], place / "sub-03.nii.gz")
    qc_page.add_scan(
        out,
        place / "sub-03.nii.gz",
        files["mask"],
        name=EVIL,
        summary=summary,
        command=["gmseg", EVIL],
        header_text=True,
    )
    qc_page.write_index(out)
    return out


class Opened:
    """An open page with the requests and complaints that it caused."""

    def __init__(self, browser, folder, *, size=(1280, 720), blocked=False):
        self.context = browser.new_context(
            viewport=dict(zip(("width", "height"), size, strict=True))
        )
        if blocked:
            self.context.add_init_script(
                "Object.defineProperty(window, 'localStorage', {get() { throw Error('blocked'); }})"
            )
        self.requests, self.complaints = [], []
        self.url = (folder / "index.html").as_uri()
        self.open()

    def open(self, where=""):
        """Open the report in a new window of the same browser."""
        self.page = self.context.new_page()
        self.page.set_default_timeout(5_000)
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("requestfailed", lambda request: self.complaints.append(request.url))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", self._on_message)
        self.page.goto(self.url + where)
        return self.page

    def _on_message(self, message):
        # drawing on the CPU is slow, which Chromium reports
        if message.type in ("error", "warning") and "GPU stall" not in message.text:
            self.complaints.append(message.text)

    def close(self):
        self.context.close()
        assert self.complaints == []
        schemes = {url.split(":")[0] for url in self.requests}
        assert schemes <= {"file", "data", "blob"}, schemes


@pytest.fixture
def opened(browser, folder):
    page = Opened(browser, folder)
    yield page
    page.close()


def press(page, *keys):
    for key in keys:
        page.keyboard.press(key)


def until(page, condition):
    """Wait for a condition; Playwright's wait_for_function needs eval, which the page forbids."""
    for _ in range(200):
        if page.evaluate(condition):
            return
        page.wait_for_timeout(50)
    pytest.fail(f"timeout: {condition}")


def names(page):
    return page.locator("#rows td.name a").all_inner_texts()


def show(page, name):
    page.locator("#rows a", has_text=name).click()
    wait_for_scan(page, name)


def wait_for_scan(page, name):
    page.locator("#name", has_text=name).wait_for()
    page.locator("#tiles .tile").first.wait_for()


def pixels(locator):
    image = Image.open(io.BytesIO(locator.screenshot())).convert("RGB")
    return np.asarray(image, float)


def is_orange(image):
    red, green, blue = np.moveaxis(image, 2, 0)
    return (red > 150) & (red - blue > 80) & (green > blue) & (red > green)


def count_orange(image):
    return int(is_orange(image).sum())


def download(page, name):
    with page.expect_download() as waiting:
        page.get_by_role("button", name=name).click()
    assert waiting.value.suggested_filename == name
    return Path(waiting.value.path()).read_text(encoding="utf-8")


# ---------------------------------------------------------------------------- the list


def test_page_opens_from_disk_and_lists_the_scans(opened):
    page = opened.page
    assert sorted(names(page)) == sorted([EVIL, "sub-02_T2star.nii.gz", "sub-10_T2star.nii.gz"])
    assert "3 scans · 3 with QC flags · 0 with a verdict" in page.locator("#counts").inner_text()
    thumbs = "[...document.querySelectorAll('td.thumb img')].map(i => i.naturalWidth)"
    until(page, f"{thumbs}.every(w => w === 288)")


def test_sorting_and_filtering(opened):
    page = opened.page
    page.locator("th.name button").click()
    assert names(page)[:2] == ["sub-10_T2star.nii.gz", "sub-02_T2star.nii.gz"]
    assert page.locator("th.name").get_attribute("aria-sort") == "descending"
    page.locator("th.flags button").click()
    assert names(page)[0] == EVIL
    page.locator("th.mean_area_mm2 button").click()
    assert names(page)[-1] == "sub-10_T2star.nii.gz"  # it has no area
    page.locator("th.mean_area_mm2 button").click()
    assert names(page)[-1] == "sub-10_T2star.nii.gz"
    page.locator("#by-flag").select_option(label="no-gm (1)")
    assert names(page) == ["sub-10_T2star.nii.gz"]
    page.locator("#by-flag").select_option("none")
    assert names(page) == []
    assert page.locator("#no-match").is_visible()
    page.locator("#by-flag").select_option("")
    page.locator("#search").fill("T2STAR 02")
    assert names(page) == ["sub-02_T2star.nii.gz"]


# ---------------------------------------------------------------------------- one scan


def test_scan_shows_slices_and_facts(opened):
    page = opened.page
    show(page, "sub-02")
    tiles = page.locator("#tiles .tile")
    assert tiles.count() == 10
    assert page.locator("#tiles .tile.flagged").count() == 1
    assert "2" in page.locator("#slice-2 .number").inner_text()
    for letter in "APRL":
        assert page.locator(f".side.{letter}").inner_text() == letter
    assert count_orange(pixels(tiles.nth(3))) > 50
    facts = page.locator("#facts").inner_text()
    for text in ("area leaps in slice 2", "72 x 64 x 10", "LAS", "gmseg 0."):
        assert text in facts
    assert "All 10 slices" in page.locator("#caption").inner_text()
    assert "doi:10.1038/s41598-018-24304-3" in page.locator("footer").text_content()


def test_tiles_show_the_right_slices_and_outlines(opened, folder):
    page = opened.page
    show(page, "sub-02")
    press(page, "o")
    [place] = (folder / "scans").glob("sub_02*")
    sheet = Image.open(place / "mosaic.png")
    facts = json.loads((place / "facts.js").read_text().split(" = ", 1)[1].rstrip(";\n"))
    step = facts["tile_px"] * (1 + 1 / facts["gap"])
    inner = np.s_[30:140, 30:140]  # without letters and numbers
    expected = []
    for at in range(10):
        left, top = (at % facts["columns"]) * step, (at // facts["columns"]) * step
        box = (left, top, left + facts["tile_px"], top + facts["tile_px"])
        expected.append(np.asarray(sheet.resize((176, 176), box=box), float)[inner].ravel())
    for at in (0, 6, 8, 9):
        seen = page.locator("#tiles .tile .image").nth(at)
        assert seen.bounding_box()["width"] == 176
        alike = np.corrcoef(pixels(seen)[inner][..., 0].ravel(), expected)[0, 1:]
        assert alike.argmax() == at
        assert alike[at] > 0.97
    press(page, "o")
    page.locator("#fill").fill("100")
    seen = page.locator("#slice-8 .image")
    red, _, blue = np.moveaxis(pixels(seen), 2, 0)
    drawn = Image.new("1", (facts["tile_px"],) * 2)
    for line in facts["tiles"][8]["path"].split("M")[1:]:
        points = [tuple(map(float, p.split())) for p in line.rstrip("Z").split("L")]
        ImageDraw.Draw(drawn).polygon(points, fill=1)
    wanted = np.asarray(drawn.resize(red.shape[::-1]))
    found = red - blue > 80
    assert (found & wanted).sum() / (found | wanted).sum() > 0.8


def test_overlay_and_layers_toggle_by_key_and_slider(opened):
    page = opened.page
    show(page, "sub-02")
    tile = page.locator("#slice-3 .image")
    outlined = count_orange(pixels(tile))
    press(page, "o")
    plain = pixels(tile)
    assert count_orange(plain) < outlined / 10
    assert page.locator("#overlay").get_attribute("aria-pressed") == "false"
    press(page, "o")
    page.locator("#fill").focus()
    press(page, *["ArrowRight"] * 12)
    assert (
        page.locator("h1#name").inner_text() == "sub-02_T2star.nii.gz"
    )  # the arrows moved the slider
    assert count_orange(pixels(tile)) > 1.5 * outlined
    page.locator("#fill").fill("0")
    for key, layer in (("s", "soft"), ("u", "spread")):
        press(page, key)
        assert page.locator(f"#{layer}-scale").is_visible()
        coloured = pixels(tile)
        assert np.abs(coloured - plain).max(axis=2).mean() > 2
        page.locator("#strength").fill("10")
        assert np.abs(pixels(tile) - plain).mean() < np.abs(coloured - plain).mean()
        page.locator("#strength").fill("80")
    press(page, "u")
    assert not page.locator("#spread-scale").is_visible()
    press(page, "j")
    wait_for_scan(page, "sub-10")
    assert page.locator("#soft").is_disabled()  # it has no layers


def test_plot_shows_values_and_opens_slices(opened):
    page = opened.page
    show(page, "sub-02")
    plot = page.locator(".plot")
    box = plot.bounding_box()
    page.mouse.move(box["x"] + 0.99 * box["width"], box["y"] + 40)
    readout = page.locator(".readout")
    assert readout.inner_text().startswith("slice 9 · 45.0 mm · ")
    assert "expected Dice 0.50" in readout.inner_text()
    assert "current" in page.locator("#slice-9").get_attribute("class")
    plot.focus()
    press(page, "Home", "ArrowRight", "ArrowRight")
    assert readout.inner_text().startswith("slice 2 · 10.0 mm")
    assert "area-jump" in readout.inner_text()
    press(page, "Enter")
    assert "current" in page.locator("#slice-2").get_attribute("class")
    assert page.locator("#name").inner_text() == "sub-02_T2star.nii.gz"
    assert len(plot.locator(".flagged").get_attribute("d").split("M")) == 2
    press(page, "j")
    wait_for_scan(page, "sub-10")
    page.locator(".plot").focus()
    press(page, "End")
    assert readout.inner_text().startswith("slice 0 · 45.0 mm · 0.0 mm² · no-gm")
    assert page.locator("#tiles .tile").last.get_attribute("id") == "slice-0"


def test_the_viewer_shows_scan_and_mask(browser, folder):
    opened = Opened(browser, folder, size=(640, 400))  # drawing on the CPU is slow
    page = opened.page
    show(page, "sub-02")
    assert not any("niivue" in url or "volumes.js" in url for url in opened.requests)
    press(page, "v")
    readout = page.locator("#viewer-status")
    until(page, "!document.getElementById('viewer-status').textContent.startsWith('Load')")
    if "WebGL" in readout.inner_text():
        skip_or_fail(f"Chromium has no WebGL here: {readout.inner_text()}")
    assert "Region around the cord" in readout.inner_text()
    canvas = page.locator("#canvas")
    assert (pixels(canvas).max(axis=2) > 40).mean() > 0.1
    masked = count_orange(pixels(canvas))
    assert masked > 100
    press(page, "o")
    assert count_orange(pixels(canvas)) < masked / 10
    press(page, "o")
    page.locator("#viewer-fill").fill("100")
    assert count_orange(pixels(canvas)) > masked
    before = pixels(canvas)
    canvas.focus()
    press(page, "ArrowUp")
    assert np.abs(pixels(canvas) - before).mean() > 1
    before = pixels(canvas)
    press(page, "a")
    axial = pixels(canvas)
    assert np.abs(axial - before).mean() > 1
    middle = np.argwhere(is_orange(axial)).mean(axis=0) / axial.shape[:2]
    np.testing.assert_allclose(middle, 0.5, atol=0.1)  # the mask is in the middle
    press(page, "Escape")
    until(page, "!document.getElementById('viewer').open")
    press(page, "v")  # again: no older volume is left
    until(page, "document.getElementById('viewer-status').textContent.includes('cord')")
    press(page, "o")
    assert count_orange(pixels(canvas)) < masked / 10
    press(page, "Escape")
    until(page, "!document.getElementById('viewer').open")
    press(page, "j")
    wait_for_scan(page, "sub-10")
    press(page, "v")  # the next scan in the same viewer
    until(page, "document.getElementById('viewer-scan').textContent.includes('sub-10')")
    until(page, "document.getElementById('viewer-status').textContent.includes('cord')")
    assert count_orange(pixels(canvas)) == 0
    opened.close()


# ----------------------------------------------------------------- verdicts and notes


def test_page_works_by_keyboard(opened):
    page = opened.page
    press(page, "/")
    page.keyboard.type("sub-02")
    press(page, "Enter")
    outline = "getComputedStyle(document.activeElement).outlineStyle"
    assert page.evaluate(f"[document.activeElement.textContent, {outline}]") == [
        "sub-02_T2star.nii.gz",
        "solid",
    ]
    press(page, "Enter")
    page.locator("#tiles .tile").first.wait_for()
    press(page, "f", "n")
    page.keyboard.type("jumps: ofsupx in 2 ?/")
    press(page, "Escape")
    assert page.locator("button.fail").get_attribute("aria-pressed") == "true"
    assert page.locator("button.pass").get_attribute("aria-pressed") == "false"
    press(page, "?")
    assert page.locator("#help").is_visible()
    press(page, "Escape")
    until(page, "!document.getElementById('help').open")
    press(page, "Escape")
    page.locator("#rows").wait_for()
    assert page.evaluate("document.activeElement.textContent") == "sub-02_T2star.nii.gz"
    row = page.locator("#rows tr", has_text="sub-02")
    assert "✗ Fail" in row.inner_text()
    assert "jumps: ofsupx in 2 ?/" in row.inner_text()
    press(page, "/")
    page.locator("#search").fill("")
    press(page, "Escape", "j")
    press(page, "Enter")
    wait_for_scan(page, "sub-10")
    press(page, "x", "k")
    wait_for_scan(page, "sub-02")
    press(page, "k")
    wait_for_scan(page, "onerror")
    press(page, "p", "p")  # given and withdrawn
    assert page.locator("button[aria-pressed=true].verdict").count() == 0


def test_verdicts_survive_a_reload_and_are_exported(opened):
    page = opened.page
    show(page, "sub-10")
    press(page, "x", "n")
    page.keyboard.type("no cord\nseen # at all")
    page.reload()
    page.locator("#tiles .tile").first.wait_for()
    assert page.locator("button.needs-fixing").get_attribute("aria-pressed") == "true"
    assert page.locator("#note").input_value() == "no cord\nseen # at all"
    page = opened.open()
    assert "1 with a verdict" in page.locator("#counts").inner_text()
    text = download(page, "qc_needs_fixing.yml")
    assert text == "FILES_GMSEG:\n- sub-10_T2star.nii.gz  # no cord seen # at all\n"
    assert yaml.safe_load(text) == {"FILES_GMSEG": ["sub-10_T2star.nii.gz"]}
    assert yaml.safe_load(download(page, "qc_fail.yml")) == {"FILES_GMSEG": []}
    rows = [line.split("\t") for line in download(page, "qc_verdicts.tsv").splitlines()]
    assert rows[0] == ["scan", "verdict", "note", "flags"]
    [row] = [row for row in rows if row[0] == "sub-10_T2star.nii.gz"]
    assert row[1:3] == ["needs-fixing", "no cord seen # at all"]
    assert "no-gm" in row[3]
    page.locator("#by-verdict").select_option("needs-fixing")
    assert names(page) == ["sub-10_T2star.nii.gz"]


def test_verdict_on_another_mask_does_not_count(browser, folder, tmp_path):
    copy = Path(shutil.copytree(folder, tmp_path / "report"))
    opened = Opened(browser, copy)
    show(opened.page, "sub-02")
    press(opened.page, "p")
    [place] = (copy / "scans").glob("sub_02*")
    facts = json.loads((place / "facts.json").read_text())
    (place / "facts.json").write_text(json.dumps(facts | {"mask_sha256": "0" * 64}))
    qc_page.write_index(copy)
    page = opened.open()
    assert "0 with a verdict" in page.locator("#counts").inner_text()
    assert "earlier mask: Pass" in page.locator("#rows tr", has_text="sub-02").inner_text()
    assert yaml.safe_load(download(page, "qc_pass.yml")) == {"FILES_GMSEG": []}
    show(page, "sub-02")
    assert "Verdict on an earlier mask: Pass" in page.locator("#facts").inner_text()
    opened.close()


def test_page_works_without_storage_and_warns(browser, folder):
    opened = Opened(browser, folder, blocked=True)
    assert opened.page.locator("#not-stored").is_visible()
    show(opened.page, "sub-10")
    press(opened.page, "f", "Escape")
    opened.page.locator("#rows").wait_for()
    assert "1 with a verdict" in opened.page.locator("#counts").inner_text()
    opened.close()


# ------------------------------------------------------------------------ the cord


@pytest.fixture(scope="module")
def with_cord(tmp_path_factory):
    """Report of a scan with a cord mask that lacks slice 1, and of one without a cord mask."""
    place = tmp_path_factory.mktemp("cord")
    scan, mask = bar_and_mask()
    cord = np.asarray(cord_around(mask).dataobj).copy()
    cord[..., 1] = 0
    nib.save(nib.Nifti1Image(cord, mask.affine), place / "seg.nii.gz")
    summary = {"area_mm2": slice_areas_mm2(np.asarray(mask.dataobj), mask.affine).tolist()}
    dice = {"expected_dice": [0.9] * 6}
    add(
        place / "qc",
        (scan, mask),
        place,
        name="a.nii.gz",
        cord=place / "seg.nii.gz",
        summary=summary | dice,
    )
    add(place / "qc", (scan, mask), place, name="b.nii.gz")
    qc_page.write_index(place / "qc")
    return place / "qc"


def is_cyan(image):
    red, green, blue = np.moveaxis(image, 2, 0)
    return (blue - red > 60) & (green - red > 50)


def test_cord_is_outlined_and_toggled(browser, with_cord):
    opened = Opened(browser, with_cord)
    page = opened.page
    show(page, "a.nii.gz")
    page.mouse.move(0, 0)
    tile = page.locator("#slice-3 .image")
    drawn = pixels(tile)
    assert is_cyan(drawn).sum() > 50
    button = page.locator("#cord")
    for hide in (lambda: press(page, "c"), button.click):
        hide()
        assert button.get_attribute("aria-pressed") == "false"
        assert is_cyan(pixels(tile)).sum() < 5
        assert count_orange(pixels(tile)) > 50
        press(page, "c")
    press(page, "o")  # the mask alone
    assert count_orange(pixels(tile)) < 5
    assert is_cyan(pixels(tile)).sum() > 50
    press(page, "o")
    outside, inside = (np.ptp(np.argwhere(kind(drawn)), axis=0) for kind in (is_cyan, is_orange))
    assert (outside > inside).all()
    thin, thick = (
        page.evaluate(f"parseFloat(getComputedStyle(document.querySelector('{line}')).strokeWidth)")
        for line in (".outline.cord .line", ".outline.mask .line")
    )
    assert thin < thick
    press(page, "?")
    assert "show or hide the cord" in page.locator("#keys").inner_text()
    press(page, "Escape", "j")
    wait_for_scan(page, "b.nii.gz")
    assert button.is_hidden()
    press(page, "c")
    assert page.locator(".outline.cord").count() == page.locator(".plot .cord").count() == 0
    assert "cord 1" not in page.locator("#slice-3 .area").inner_text()
    opened.close()


def test_cord_area_and_ratio_are_shown_and_exported(browser, with_cord):
    opened = Opened(browser, with_cord)
    page = opened.page
    entry = next(s for s in page.evaluate("gmseg.report.scans") if s["name"] == "a.nii.gz")
    cord, ratio = entry["mean_cord_area_mm2"], entry["gm_cord_ratio"]
    heads = page.locator("#heads").inner_text()
    assert "Cord, mm²" in heads
    assert "GM/cord" in heads
    rows = {name: page.locator("#rows tr", has_text=name).inner_text() for name in "ab"}
    assert f"{cord:.1f}" in rows["a"]
    assert f"{ratio:.3f}" in rows["a"]
    assert rows["b"].count("\u2013") == 3  # cord, ratio and expected Dice
    page.locator("th.gm_cord_ratio button").click()
    assert names(page)[-1] == "b.nii.gz"
    lines = [line.split("\t") for line in download(page, "qc_verdicts.tsv").splitlines()]
    assert lines[0][4:] == ["gm_area_mm2", "cord_area_mm2", "gm_cord_ratio"]
    table = {line[0]: line for line in lines[1:]}
    assert table["a.nii.gz"][5:] == [str(cord), str(ratio)]
    assert table["b.nii.gz"][5:] == ["", ""]
    assert table["b.nii.gz"][4] == table["a.nii.gz"][4] == str(entry["mean_area_mm2"])
    show(page, "a.nii.gz")
    facts = page.locator("#facts").inner_text()
    assert f"{cord:.1f} mm²" in facts
    assert f"{ratio:.3f}" in facts
    detail = page.evaluate(f"gmseg.scans['{entry['key']}']")
    areas = [detail[name][3] for name in ("area_mm2", "cord_area_mm2")]
    assert f"cord {areas[1]:.1f}" in page.locator("#slice-3 .area").inner_text()
    assert "cord" not in page.locator("#slice-1 .area").inner_text()  # it is not marked there
    page.locator("#slice-3").hover()
    shown = f"{areas[0]:.1f} mm² · cord {areas[1]:.1f} mm² · GM/cord {areas[0] / areas[1]:.3f}"
    assert shown in page.locator(".readout").inner_text()
    assert page.locator(".plot .line.cord").get_attribute("d").count("M") == 2
    opened.close()


@pytest.mark.parametrize("size", [(1280, 720), (1920, 1080)])
def test_page_with_cord_fits_the_screen(browser, with_cord, size):
    opened = Opened(browser, with_cord, size=size)
    page = opened.page
    wide = "document.documentElement.scrollWidth <= innerWidth"
    assert page.evaluate(wide)
    show(page, "a.nii.gz")
    assert page.evaluate(wide)
    last = page.locator("#tiles .tile").last.bounding_box()
    assert last["y"] + last["height"] <= size[1]
    opened.close()


def test_page_without_cord_shows_nothing_of_it(opened):
    page = opened.page
    assert "cord" not in page.locator("#heads").inner_text().lower()
    assert "cord" not in page.locator("#keys").inner_text().lower()
    show(page, "sub-02")
    assert page.locator("#cord").is_hidden()
    assert page.locator("[class~=cord]:visible").count() == 0
    assert "GM/cord" not in page.locator("#facts").inner_text()


# ------------------------------------------------------------------- hostile texts


def test_hostile_texts_are_not_executed(opened):
    page = opened.page
    show(page, "onerror")
    page.locator("#note").fill(EVIL)
    press(page, "Escape", "Escape")
    page.locator("#rows").wait_for()
    assert page.evaluate("typeof window.hacked") == "undefined"
    assert page.locator("img[src=x]").count() == page.locator("#rows svg").count() == 0
    assert page.locator("#by-flag option").count() == 6
    page.locator("#by-flag").select_option(f"flag-{EVIL}")
    assert names(page) == [EVIL]


def test_page_may_fetch_nothing(browser, folder):
    page = browser.new_context().new_page()
    page.goto((folder / "index.html").as_uri())
    refused = page.evaluate("""async () => {
        const refused = [];
        const listen = (event) => refused.push(event.effectiveDirective);
        document.addEventListener("securitypolicyviolation", listen);
        await fetch("http://127.0.0.1:9/").catch(() => 0);
        document.body.append(Object.assign(new Image(), { src: "http://127.0.0.1:9/a.png" }));
        const add = (kind, more) => {
            document.body.append(Object.assign(document.createElement(kind), more));
        };
        add("script", { src: "http://127.0.0.1:9/a.js" });
        add("script", { textContent: "window.hacked = 1" });
        add("iframe", { src: "http://127.0.0.1:9/" });
        await new Promise((done) => setTimeout(done, 200));
        return [refused.sort(), typeof window.hacked];
    }""")
    assert refused == [
        ["connect-src", "frame-src", "img-src", "script-src-elem", "script-src-elem"],
        "undefined",
    ]
    page.context.close()


@pytest.fixture(scope="module")
def many(folder, tmp_path_factory):
    """Report of 500 scans, some with hostile names, which share the images of one scan."""
    place = Path(shutil.copytree(folder, tmp_path_factory.mktemp("many") / "report"))
    [source] = (place / "scans").glob("sub_02*")
    entry = json.loads((source / "facts.json").read_text())
    for n in range(500):
        here = place / "scans" / f"many-{n:03d}"
        here.mkdir()
        name = HOSTILE[n] if n < len(HOSTILE) else f"sub-{n}_T2star.nii.gz"
        (here / "facts.json").write_text(json.dumps(entry | {"name": name}))
        os.link(source / "thumb.png", here / "thumb.png")
    for path in (place / "scans").glob("sub_*"):
        shutil.rmtree(path)
    for path in (place / "scans").glob("script*"):
        shutil.rmtree(path)
    qc_page.write_index(place)
    return place


def test_hostile_names_survive_yaml(browser, many):
    opened = Opened(browser, many)
    page = opened.page
    page.evaluate("""() => {
        for (const scan of gmseg.report.scans) {
            gmseg.verdicts.set(scan, { verdict: "fail", note: scan.name + "\\r- b: [\\u2028&" });
        }
    }""")
    text = download(page, "qc_fail.yml")
    listed = yaml.safe_load(text)
    assert list(listed) == ["FILES_GMSEG"]
    assert sorted(listed["FILES_GMSEG"][: len(HOSTILE)]) == sorted(HOSTILE)
    assert len(listed["FILES_GMSEG"]) == 500
    assert "- sub-001_T2star.nii.gz  #" in text
    table = download(page, "qc_verdicts.tsv").split("\n")
    assert len(table) == 502
    assert all(len(row.split("\t")) == 4 for row in table[:-1])
    cells = [cell for row in table for cell in row.split("\t")]
    assert "'=1+1.nii" in cells
    assert not [cell for cell in cells if cell[:1] in ("=", "+", "@", '"')]
    opened.close()


def test_five_hundred_scans(browser, many):
    opened = Opened(browser, many)
    page = opened.page
    assert page.locator("#rows tr").count() == 500
    timing = "performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd"
    assert page.evaluate(timing) < 5000  # ms; a few hundred on an idle machine
    page.wait_for_timeout(300)
    thumbs = [url for url in opened.requests if url.endswith("thumb.png")]
    assert 5 < len(thumbs) < 120
    assert not [url for url in opened.requests if url.endswith(("facts.js", "mosaic.png"))]
    page.locator("#search").fill("sub-499")
    assert names(page) == ["sub-499_T2star.nii.gz"]
    opened.close()


@pytest.mark.parametrize("size", [(1280, 720), (1920, 1080)])
def test_page_fits_the_screen(browser, folder, size):
    opened = Opened(browser, folder, size=size)
    page = opened.page
    wide = "document.documentElement.scrollWidth <= innerWidth"
    assert page.evaluate(wide)
    for name in ("sub-02", "onerror", "sub-10"):
        show(page, name)
        assert page.evaluate(wide)
        verdicts = page.locator("#verdict").bounding_box()
        assert verdicts["x"] + verdicts["width"] <= size[0]
        last = page.locator("#tiles .tile").last.bounding_box()
        assert last["y"] + last["height"] <= size[1]  # all ten slices are visible
        press(page, "Escape")
        page.locator("#rows").wait_for()
    opened.close()


@pytest.fixture(scope="module")
def group(tmp_path_factory):
    """Report of six scans, one with twice the area and one without GM."""
    place = tmp_path_factory.mktemp("group")
    phantom = make_phantom(seed=2, shape=(72, 64, 5))
    gm = (phantom.gm_fraction > 0.5).astype(np.uint8)
    masks = {f"sub-{k}": gm * (np.arange(5) <= 3 + k % 2) for k in range(1, 6)}
    masks["sub-2"][30:42, 28:34] = 1
    masks["sub-10"] = np.roll(gm, 3, axis=0)
    masks["sub-6"] = 0 * gm
    for name, data in masks.items():
        mask = nib.Nifti1Image(data.astype(np.uint8), phantom.image.affine)
        add(place / "report", (phantom.image, mask), place, f"{name}.nii.gz")
    qc_page.write_index(place / "report")
    return place / "report"


def test_plots_of_all_scans_mark_outliers_and_open_scans(browser, group):
    opened = Opened(browser, group)
    page = opened.page
    scans, profiles = (page.locator("#overview svg").nth(k).locator("a") for k in (0, 1))
    order = [f"sub-{k}.nii.gz" for k in (1, 2, 3, 4, 5, 10)]  # without the empty mask
    titles = scans.locator("title").all_text_contents()
    assert [title.split(":")[0] for title in titles] == order
    assert [title for title in titles if title.endswith("outlier")] == [titles[1]]
    assert profiles.count() == 6
    assert profiles.last.locator("title").text_content() == titles[1]  # drawn on top
    note = page.locator("#overview .remark")
    assert note.inner_text().startswith("▲ Mean area far from the median: sub-2.nii.gz (")
    assert note.inner_text().endswith("Not shown, without gray matter: 1")
    scans.nth(2).click()
    wait_for_scan(page, "sub-3.nii.gz")
    press(page, "Escape")
    page.locator("#search").fill("sub-1")
    assert scans.count() == 2
    assert "from 5 scans on" in note.inner_text()
    page.locator("#search").fill("sub-6")
    assert not page.locator("#overview").is_visible()
    opened.close()
