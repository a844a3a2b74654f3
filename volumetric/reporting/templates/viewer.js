"use strict";
// The 3D viewer: four linked panels of one subject. It starts when it comes into sight and ends when another starts,
// since browsers give a page few WebGL contexts. The error is computed here, from the two volumes.

const HEADER = { datatype: 70, bitpix: 72, offset: 108, slope: 112, inter: 116 }; // bytes of a NIfTI-1 header
const INT16 = 4;
const ROLES = ["source", "truth", "prediction"];
const WHITE = { source: 1.8, truth: 2.5, prediction: 2.5, error: 2.5 };
const SLICES = { axial: 0, coronal: 1, sagittal: 2, three: 3, render: 4 };
const FADING = 1; // NiiVue's color map type whose opacity grows with the square of the value, up to cal_min
const OPAQUE_FROM = 0.35;
// Ever brighter from 0 on, and nothing at 0 itself; blue and orange are told apart in every color vision.
const TOO_BRIGHT = { R: [190, 190, 190, 235, 255], G: [60, 60, 60, 95, 190], B: [0, 0, 0, 0, 110], A: [0, 0, 255, 255, 255], I: [0, 3, 4, 128, 255] };
const TOO_DARK = { R: [0, 0, 0, 20, 120], G: [95, 95, 95, 130, 205], B: [190, 190, 190, 235, 255], A: [0, 0, 255, 255, 255], I: [0, 3, 4, 128, 255] };

const WAITING = "The viewer starts when it comes into sight.";

let running = null;

function startNiivue() {
  if (!window.niivue) document.body.append(Object.assign(document.createElement("script"), { textContent: document.getElementById("viewer-program").textContent }));
  return window.niivue;
}

async function unpack(id) {
  const bytes = Uint8Array.from(atob(document.getElementById(id).textContent), (character) => character.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
}

/** prediction - truth as a NIfTI of whole steps: both have the same slope, so levels are subtracted. */
function errorVolume(truth, prediction) {
  const start = new DataView(truth).getFloat32(HEADER.offset, true);
  const [t, p] = [truth, prediction].map((volume) => new Uint8Array(volume, start));
  const volume = new ArrayBuffer(start + 2 * t.length);
  new Uint8Array(volume).set(new Uint8Array(truth, 0, start));
  const header = new DataView(volume);
  header.setInt16(HEADER.datatype, INT16, true);
  header.setInt16(HEADER.bitpix, 16, true);
  header.setFloat32(HEADER.inter, 0, true);
  const error = new Int16Array(volume, start);
  for (let voxel = 0; voxel < error.length; voxel++) error[voxel] = p[voxel] - t[voxel];
  return volume;
}

function endViewer() {
  if (!running) return;
  for (const { nv, canvas: old } of running.panels) {
    nv.onLocationChange = nv.onAzimuthElevationChange = () => {};
    nv.cleanup();
    nv.gl.getExtension("WEBGL_lose_context")?.loseContext();
    old.replaceWith(old.cloneNode()); // a lost context stays with its canvas
  }
  delete running.viewer.dataset.ready;
  say(running.viewer, WAITING);
  running = null;
}

function say(viewer, message) {
  for (const stage of viewer.querySelectorAll(".stage")) {
    stage.classList.toggle("waiting", Boolean(message));
    stage.dataset.message = message;
  }
}

async function startViewer(viewer) {
  if (running?.viewer === viewer) return;
  endViewer();
  const session = (running = { viewer, panels: [] });
  if (!document.createElement("canvas").getContext("webgl2")) {
    say(viewer, "This browser has no WebGL 2. The slices below show the same volumes.");
    return;
  }
  say(viewer, "Reading the volumes …");
  const { Niivue, NVImage } = startNiivue();
  const volumes = Object.fromEntries(await Promise.all(ROLES.map(async (role) => [role, await unpack(`volume-${viewer.dataset.index}-${role}`)])));
  volumes.error = errorVolume(volumes.truth, volumes.prediction);
  if (running !== session) return; // another was opened meanwhile
  for (const figure of viewer.querySelectorAll("figure")) {
    const role = figure.dataset.role;
    const nv = new Niivue({
      backColor: [0, 0, 0, 1], crosshairColor: [0.45, 0.8, 1, 0.8], crosshairWidth: 0.8, crosshairWidthUnit: "mm", crosshairGap: 10, show3Dcrosshair: true, isOrientationTextVisible: true,
      fontColor: [0.62, 0.65, 0.69, 1], fontMinPx: 11, dragAndDropEnabled: false, scrollRequiresFocus: true, logLevel: "silent", isColorbar: false,
      viewModeHotKey: "", clipPlaneHotKey: "", cycleClipPlaneHotKey: "", loadingText: "", dragMode: 3, multiplanarShowRender: 0, multiplanarLayout: 3,
    });
    nv.addColormap("too bright", TOO_BRIGHT);
    nv.addColormap("too dark", TOO_DARK);
    await nv.attachToCanvas(figure.querySelector("canvas"), false);
    const base = role === "error" ? "truth" : role;
    const load = (which, options) => NVImage.loadFromUrl({ url: `${which}.nii`, buffer: volumes[which], name: `${which}.nii`, ...options });
    nv.addVolume(await load(base, { colormap: "gray", cal_min: 0, cal_max: WHITE[role] }));
    if (role === "error") {
      const overlay = await load("error", { colormap: "too bright", colormapNegative: "too dark", cal_min: OPAQUE_FROM, cal_max: 1 });
      Object.assign(overlay, { cal_minNeg: -1, cal_maxNeg: -OPAQUE_FROM, colormapType: FADING, opacity: Number(viewer.querySelector(".opacity").value) });
      nv.addVolume(overlay);
    }
    session.panels.push({ nv, role, canvas: nv.canvas });
    if (running !== session) return;
  }
  link(session);
  choosePlanes(viewer, viewer.querySelector(".panels").dataset.planes);
  say(viewer, "");
  viewer.dataset.ready = "true";
}

/** One crosshair, one pan and one camera for all panels. */
function link(session) {
  const panels = session.panels.map(({ nv }) => nv);
  let leading = false;
  const follow = (leader, change) => {
    if (leading) return;
    leading = true;
    for (const nv of panels.filter((other) => other !== leader)) {
      change(nv);
      nv.drawScene();
    }
    leading = false;
  };
  for (const leader of panels) {
    leader.onLocationChange = (location) => {
      follow(leader, (nv) => {
        nv.scene.crosshairPos = leader.scene.crosshairPos.slice();
        nv.scene.pan2Dxyzmm = leader.scene.pan2Dxyzmm.slice();
      });
      sayWhere(session, location);
    };
    leader.onAzimuthElevationChange = (azimuth, elevation) => follow(leader, (nv) => nv.setRenderAzimuthElevation(azimuth, elevation));
    // beside the middle, where the ventricles are, as in the slices below
    leader.scene.crosshairPos = [0.62, 0.5, 0.56];
  }
  panels[0].createOnLocationChange();
}

function sayWhere(session, location) {
  const at = session.panels[0].nv.frac2vox(session.panels[0].nv.scene.crosshairPos);
  const values = session.panels.map(({ nv, role }) => `${role} ${show(nv.volumes.at(-1).getValue(...at))}`);
  const mm = Array.from(location.mm).slice(0, 3).map((x) => x.toFixed(0).replace("-", "−")).join(" ");
  session.viewer.querySelector(".where").textContent = `${mm} mm · ${values.join(" · ")}`;
}

function choosePlanes(viewer, planes) {
  for (const button of viewer.querySelectorAll("[data-planes]:not(.panels)")) button.setAttribute("aria-pressed", button.dataset.planes === planes);
  viewer.querySelector(".panels").dataset.planes = planes;
  if (running?.viewer === viewer) running.panels.forEach(({ nv }) => nv.setSliceType(SLICES[planes]));
}

function moveByKey(event) {
  const step = { ArrowLeft: [-1, 0, 0], ArrowRight: [1, 0, 0], ArrowUp: [0, 1, 0], ArrowDown: [0, -1, 0], PageUp: [0, 0, 1], PageDown: [0, 0, -1] }[event.key];
  const panel = running?.panels.find(({ canvas: own }) => own === event.target);
  if (!panel) return;
  if (step) {
    event.preventDefault();
    if (panel.nv.opts.sliceType === SLICES.render) {
      const { renderAzimuth, renderElevation } = panel.nv.scene;
      panel.nv.setRenderAzimuthElevation(renderAzimuth + 5 * step[0], renderElevation + 5 * (step[1] + step[2]));
    } else {
      panel.nv.moveCrosshairInVox(...step);
    }
  }
  if (event.key !== "Tab") event.stopPropagation(); // NiiVue's own keys would alert and switch modes
}

function prepareViewers() {
  const viewers = [...document.querySelectorAll(".viewer")];
  const sight = new IntersectionObserver((entries) => {
    const seen = entries.find(({ isIntersecting }) => isIntersecting);
    if (seen) startViewer(seen.target).catch((error) => say(seen.target, `The viewer cannot start here: ${error.message}`));
  }, { rootMargin: "100px" });
  for (const viewer of viewers) {
    say(viewer, WAITING);
    viewer.addEventListener("keydown", moveByKey, true);
    viewer.querySelector(".controls").addEventListener("click", (event) => {
      if (event.target.dataset.planes) choosePlanes(viewer, event.target.dataset.planes);
    });
    viewer.querySelector(".opacity").addEventListener("input", (event) => {
      if (running?.viewer === viewer) running.panels.find(({ role }) => role === "error")?.nv.setOpacity(1, Number(event.target.value));
    });
    sight.observe(viewer);
  }
}
