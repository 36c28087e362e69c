// The interactive viewer: NiiVue, loaded when it is first asked for.
"use strict";

gmseg.viewer = (function () {
  const { byId } = gmseg;
  const dialog = byId("viewer"), fill = byId("viewer-fill");
  const SHOWN = { opacity: 0.45, zoom: 2 };
  let view = null; // one for all scans: browsers allow few at a time
  let shown = true;

  // so that front is at the top and the patient's left on the right, as in the tiles
  const OPTIONS = {
    isRadiologicalConvention: true, backColor: [0, 0, 0, 1], crosshairColor: [1, 1, 1, 0.6],
    crosshairWidth: 0.2, crosshairWidthUnit: "mm", crosshairGap: 60, fontColor: [1, 1, 1, 1],
    show3Dcrosshair: false, dragAndDropEnabled: false, logLevel: "error",
    clipPlaneHotKey: "", cycleClipPlaneHotKey: "", viewModeHotKey: "", loadingText: "",
    multiplanarShowRender: 0, multiplanarEqualSize: true,
  };
  const ORANGE = { R: [0, 240], G: [0, 162], B: [0, 2], A: [0, 255], I: [0, 255] };

  function says(text) {
    byId("viewer-says").textContent = text;
    byId("viewer-says").hidden = !text;
  }

  function update() {
    byId("viewer-overlay").setAttribute("aria-pressed", String(shown));
    if (view && view.volumes.length > 1) view.setOpacity(1, shown ? SHOWN.opacity : 0);
  }

  /** Bring the cord to the middle. */
  function zoom(by) {
    SHOWN.zoom = Math.min(16, Math.max(0.5, SHOWN.zoom * by));
    const { extentsMinOrtho: low, extentsMaxOrtho: high } = view.volumes[0];
    const at = view.scene.crosshairPos; // from 0 to 1
    const pan = [0, 1, 2].map((i) => // NiiVue zooms about the origin
      (low[i] + high[i]) / 2 - SHOWN.zoom * (low[i] + at[i] * (high[i] - low[i])));
    view.setPan2Dxyzmm([...pan, SHOWN.zoom]);
  }

  function planes(all) {
    byId("viewer-planes").setAttribute("aria-pressed", String(all));
    view.setSliceType(all ? view.sliceTypeMultiplanar : view.sliceTypeAxial);
  }

  async function start() {
    await gmseg.load("page/niivue.umd.js");
    if (view) return;
    const probe = document.createElement("canvas").getContext("webgl2");
    if (!probe) throw new Error("this browser has no WebGL 2, which the viewer needs");
    probe.getExtension("WEBGL_lose_context")?.loseContext();
    const made = new niivue.Niivue(OPTIONS);
    made.addColormap("gray-matter", ORANGE);
    await made.attachToCanvas(byId("canvas"));
    view = made;
  }

  async function open(key, facts) {
    byId("viewed").textContent = facts.name;
    const { pixel_mm: pixel, stride } = facts.volumes;
    const every = stride > 1 ? `every ${stride}. slice, ` : "";
    dialog.showModal();
    says("loading ...");
    try {
      await Promise.all([start(), gmseg.load(`scans/${key}/volumes.js`)]);
      while (view.volumes.length) view.removeVolume(view.volumes[0]);
      const looks = {
        scan: { colormap: "gray" },
        mask: { colormap: "gray-matter", cal_min: 0, cal_max: 1 },
      };
      for (const kind of ["scan", "mask"]) {
        const image = await niivue.NVImage.loadFromBase64({
          base64: gmseg.volumes[key][kind], name: `${kind}.nii.gz`, ...looks[kind],
        });
        view.addVolume(image);
      }
      planes(byId("viewer-planes").getAttribute("aria-pressed") === "true");
      view.scene.crosshairPos = view.mm2frac(facts.volumes.middle_mm);
      update();
      zoom(1);
      says(`around the cord, ${every}pixels of ${pixel} mm, 8 bit`);
      byId("canvas").focus();
    } catch (error) {
      says(`The viewer cannot be shown: ${error.message}`);
    }
  }

  const actions = {
    o: () => { shown = !shown; update(); },
    a: () => planes(byId("viewer-planes").getAttribute("aria-pressed") !== "true"),
    ArrowUp: () => view.moveCrosshairInVox(0, 0, 1),
    ArrowDown: () => view.moveCrosshairInVox(0, 0, -1),
    "+": () => zoom(1.25),
    "=": () => zoom(1.25),
    "-": () => zoom(0.8),
    PageUp: () => view.moveCrosshairInVox(0, 0, 1),
    PageDown: () => view.moveCrosshairInVox(0, 0, -1),
  };
  dialog.addEventListener("keydown", (event) => {
    if (!dialog.open) return; // the canvas keeps the focus for a moment
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
