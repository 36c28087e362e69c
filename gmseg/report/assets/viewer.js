// The interactive viewer NiiVue, loaded when it is first opened.
"use strict";

gmseg.viewer = (function () {
  const { byId } = gmseg;
  const dialog = byId("viewer"), fill = byId("viewer-fill");
  const SHOWN = { opacity: 0.45, zoom: 2 };
  let view = null; // one for all scans, because browsers allow only a few
  let shown = true;

  // anterior at the top and the patient's left on the right, as in the tiles
  const OPTIONS = {
    isRadiologicalConvention: true, backColor: [0, 0, 0, 1], crosshairColor: [1, 1, 1, 0.6],
    crosshairWidth: 0.2, crosshairWidthUnit: "mm", crosshairGap: 60, fontColor: [1, 1, 1, 1],
    show3Dcrosshair: false, dragAndDropEnabled: false, logLevel: "error",
    clipPlaneHotKey: "", cycleClipPlaneHotKey: "", viewModeHotKey: "", loadingText: "",
    multiplanarShowRender: 0, multiplanarEqualSize: true,
  };
  const ORANGE = { R: [0, 240], G: [0, 162], B: [0, 2], A: [0, 255], I: [0, 255] };

  function setStatus(text) {
    byId("viewer-status").textContent = text;
    byId("viewer-status").hidden = !text;
  }

  function update() {
    byId("viewer-overlay").setAttribute("aria-pressed", String(shown));
    if (view && view.volumes.length > 1) view.setOpacity(1, shown ? SHOWN.opacity : 0);
  }

  /** Zoom by a factor, with the cord in the middle. */
  function zoom(factor) {
    SHOWN.zoom = Math.min(16, Math.max(0.5, SHOWN.zoom * factor));
    const { extentsMinOrtho: low, extentsMaxOrtho: high } = view.volumes[0];
    const crosshair = view.scene.crosshairPos; // from 0 to 1
    const pan = [0, 1, 2].map((i) => // NiiVue zooms about the origin
      (low[i] + high[i]) / 2 - SHOWN.zoom * (low[i] + crosshair[i] * (high[i] - low[i])));
    view.setPan2Dxyzmm([...pan, SHOWN.zoom]);
  }

  function showPlanes(all) {
    byId("viewer-planes").setAttribute("aria-pressed", String(all));
    view.setSliceType(all ? view.sliceTypeMultiplanar : view.sliceTypeAxial);
  }

  async function start() {
    await gmseg.load("page/niivue.umd.js");
    if (view) return;
    const probe = document.createElement("canvas").getContext("webgl2");
    if (!probe) throw new Error("the viewer needs WebGL 2, which this browser lacks");
    probe.getExtension("WEBGL_lose_context")?.loseContext();
    const created = new niivue.Niivue(OPTIONS);
    created.addColormap("gray-matter", ORANGE);
    await created.attachToCanvas(byId("canvas"));
    view = created;
  }

  async function open(key, facts) {
    byId("viewer-scan").textContent = facts.name;
    const { pixel_mm: pixel, stride } = facts.volumes;
    const sampling = stride > 1 ? `, 1 slice in ${stride}` : "";
    dialog.showModal();
    setStatus("Loading ...");
    try {
      await Promise.all([start(), gmseg.load(`scans/${key}/volumes.js`)]);
      while (view.volumes.length) view.removeVolume(view.volumes[0]);
      const styles = {
        scan: { colormap: "gray" },
        mask: { colormap: "gray-matter", cal_min: 0, cal_max: 1 },
      };
      for (const kind of ["scan", "mask"]) {
        const image = await niivue.NVImage.loadFromBase64({
          base64: gmseg.volumes[key][kind], name: `${kind}.nii.gz`, ...styles[kind],
        });
        view.addVolume(image);
      }
      showPlanes(byId("viewer-planes").getAttribute("aria-pressed") === "true");
      view.scene.crosshairPos = view.mm2frac(facts.volumes.middle_mm, 0, true);
      update();
      zoom(1);
      setStatus(`Region around the cord${sampling}; pixels of ${pixel} mm, 8 bit.`);
      byId("canvas").focus();
    } catch (error) {
      setStatus(`The viewer cannot be shown: ${error.message}.`);
    }
  }

  const actions = {
    o: () => { shown = !shown; update(); },
    a: () => showPlanes(byId("viewer-planes").getAttribute("aria-pressed") !== "true"),
    ArrowUp: () => view.moveCrosshairInVox(0, 0, 1),
    ArrowDown: () => view.moveCrosshairInVox(0, 0, -1),
    "+": () => zoom(1.25),
    "=": () => zoom(1.25),
    "-": () => zoom(0.8),
    PageUp: () => view.moveCrosshairInVox(0, 0, 1),
    PageDown: () => view.moveCrosshairInVox(0, 0, -1),
  };
  dialog.addEventListener("keydown", (event) => {
    if (!dialog.open) return; // the canvas may still have the focus
    event.stopPropagation();
    const action = actions[event.key];
    if (!action || !view || (event.target === fill && event.key.startsWith("Arrow"))) return;
    action();
    event.preventDefault();
  }, true);
  byId("viewer-overlay").addEventListener("click", actions.o);
  byId("viewer-planes").addEventListener("click", () => view && actions.a());
  byId("viewer-close").addEventListener("click", () => dialog.close());
  fill.value = 100 * SHOWN.opacity;
  fill.addEventListener("input", () => { SHOWN.opacity = fill.value / 100; shown = true; update(); });

  return { open };
})();
