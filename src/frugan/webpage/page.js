import * as ort from "./ort.wasm.bundle.min.mjs";
import { between, latentsOf, truncated } from "./latents.js";

// The page of one network. What the network is stands in the page as JSON, written by frugan.webpage, which says what
// each key means. All computation is here and in the network; the address bar holds what is shown.

const network = JSON.parse(document.getElementById("network").textContent);
const { height, width, channels } = network.image;
const find = (id) => document.getElementById(id);
const TOLERANCE = 2; // grey levels between this device's images and those of the device that exported the network
const LARGEST = 50e6; // pixels of a picture that a phone can still hold
const FIRST = 12; // sliders shown at once

const state = { seed: 0, to: null, at: 0, truncation: null, moved: new Map(), labels: startingLabels() };
let session, shownLatents = null, source = null, changed = false, running = null;
const times = [];

// ---------------------------------------------------------------------------------------------------- the network

async function bytesOf(id, file) {
  const inlined = find(id);
  if (!inlined) {
    const answer = await fetch(file);
    if (!answer.ok) throw new Error(`${file} is missing (${answer.status})`);
    return new Uint8Array(await answer.arrayBuffer());
  }
  const packed = await decoded(inlined.textContent);
  inlined.remove(); // megabytes of text that nobody needs any more
  return new Uint8Array(await new Response(new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer());
}

async function decoded(base64) {
  const text = atob(base64), bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
}

async function open() {
  ort.env.wasm.numThreads = 1; // more need headers that a plain file server does not send
  ort.env.wasm.wasmBinary = await bytesOf("runtime", "ort-wasm-simd-threaded.wasm");
  ort.env.logLevel = "error";
  session = await ort.InferenceSession.create(await bytesOf("model", "model.onnx"), { executionProviders: ["wasm"] });
}

// The network's images, as bytes [height, width, channels], from a tensor of `first` (latents or an image) and labels.
async function run(first, labels) {
  const feeds = {};
  if (network.latents) feeds[network.latents.input] = new ort.Tensor("float32", first, [1, network.latents.size]);
  else feeds[network.images.input] = new ort.Tensor("float32", first, [1, channels, height, width]);
  if (network.labels) {
    const { input, kind, size } = network.labels;
    if (kind === "classes") feeds[input] = new ort.Tensor("int64", BigInt64Array.of(BigInt(labels[0])), [1]);
    else feeds[input] = new ort.Tensor("float32", Float32Array.from(labels), [1, size]);
  }
  const begun = performance.now();
  const made = await session.run(feeds);
  const took = performance.now() - begun;
  return { bytes: toBytes(made[network.output].data), took };
}

// [channels, height, width] in the network's range to bytes [height, width, channels], rounded half to even as torch does.
function toBytes(values) {
  const [low, high] = network.range, pixels = height * width, bytes = new Uint8ClampedArray(pixels * channels);
  for (let c = 0; c < channels; c++)
    for (let p = 0; p < pixels; p++) bytes[p * channels + c] = ((values[c * pixels + p] - low) * 255) / (high - low);
  return bytes; // a clamped array rounds half to even by itself
}

// "It is black on the phone": the page carries an input and the image that it must give, and compares at its start.
async function check() {
  const { input, labels, expected } = network.check;
  const first = new Float32Array((await decoded(input)).buffer), wanted = await decoded(expected);
  const { bytes } = await run(first, labels);
  const apart = bytes.reduce((most, value, i) => Math.max(most, Math.abs(value - wanted[i])), 0);
  document.documentElement.dataset.apart = apart;
  if (apart > TOLERANCE)
    trouble(`This browser computes other images than the network gave when it was exported: they differ by up to ${apart} grey levels. Do not trust what you see; please try another browser.`);
  else say(`Ready. This device makes the image that the network was exported with${apart ? `, but for ${apart} grey level${apart > 1 ? "s" : ""}` : ""}.`, true);
}

// ---------------------------------------------------------------------------------------------------- what is shown

function startingLabels() {
  const labels = network.labels;
  if (!labels) return [];
  return labels.kind === "classes" ? [0] : labels.start ?? new Array(labels.size).fill(0);
}

function latentsNow() {
  const { size, distribution } = network.latents;
  const of = (seed) => {
    const drawn = latentsOf(seed, size, distribution);
    const limit = state.truncation ?? network.latents.fixed;
    return limit === null ? drawn : truncated(drawn, limit);
  };
  const latents = state.to === null ? of(state.seed) : between(of(state.seed), of(state.to), state.at, distribution);
  for (const [index, value] of state.moved) latents[index] = value;
  return latents;
}

// Draw what the state says; while that is computed, further changes wait and only the last of them is drawn.
function draw() {
  changed = true;
  running ??= (async () => {
    while (changed) {
      changed = false;
      await drawOnce();
    }
  })().catch((error) => trouble(`The network stopped: ${error.message}`)).finally(() => (running = null));
  return running;
}

async function drawOnce() {
  if (network.images && !source) return;
  const first = network.latents ? shownLatents.slice() : source;
  const { bytes, took } = await run(first, state.labels);
  paint(find("image"), bytes);
  times.push(took);
  if (times.length > 30) times.shift();
  const median = [...times].sort((a, b) => a - b)[times.length >> 1], pace = 1000 / Math.max(median, 0.05);
  find("speed").textContent = `${pace >= 10 ? Math.round(pace).toLocaleString("en") : pace.toFixed(1)} images/s on this device (${median.toFixed(median < 10 ? 1 : 0)} ms each)`;
  document.documentElement.dataset.drawn = Number(document.documentElement.dataset.drawn ?? 0) + 1;
  find("save").disabled = false;
}

function paint(canvas, bytes) {
  const pixels = new ImageData(width, height);
  for (let p = 0; p < width * height; p++) {
    for (let c = 0; c < 3; c++) pixels.data[4 * p + c] = bytes[p * channels + (channels === 1 ? 0 : c)];
    pixels.data[4 * p + 3] = 255;
  }
  canvas.getContext("2d", { willReadFrequently: true }).putImageData(pixels, 0, 0);
}

function say(text, good = false) {
  find("said").textContent = text;
  find("status").classList.toggle("good", good);
}

function trouble(text) {
  find("trouble").textContent = text;
  find("trouble").hidden = !text;
}

// ---------------------------------------------------------------------------------------------------- the address bar

// #seed=7&label=3&truncation=0.7&moved=5:1.25,9:-0.3, and &to=8&at=0.43 for a place on the way to another seed.
function address() {
  const words = [];
  if (network.latents) {
    words.push(`seed=${state.seed}`);
    if (state.to !== null) words.push(`to=${state.to}`, `at=${state.at.toFixed(3)}`);
    if (state.truncation !== null) words.push(`truncation=${state.truncation}`);
    if (state.moved.size) words.push(`moved=${[...state.moved].map(([index, value]) => `${index}:${value}`).join(",")}`);
  }
  if (network.labels) words.push(`label=${state.labels.join(",")}`);
  return `#${words.join("&")}`;
}

function write() {
  if (location.hash !== address()) history.replaceState(null, "", address());
  describe();
}

function read() {
  const words = new URLSearchParams(location.hash.slice(1));
  const whole = (name) => (/^\d{1,15}$/.test(words.get(name) ?? "") ? Number(words.get(name)) : null);
  const within = (text, low, high) => (text && Number(text) >= low && Number(text) <= high ? Number(text) : null);
  const latents = network.latents;
  if (latents) {
    state.seed = whole("seed") ?? 0;
    state.to = whole("to");
    state.at = within(words.get("at"), 0, 1) ?? 0;
    state.truncation = latents.truncation ? within(words.get("truncation"), 0.1, 2.9) : null;
    state.moved = new Map();
    for (const pair of (words.get("moved") ?? "").split(",")) {
      const [index, value] = pair.split(":"), number = within(value, -latents.limit, latents.limit);
      if (/^\d+$/.test(index) && Number(index) < latents.size && number !== null) state.moved.set(Number(index), number);
    }
  }
  if (network.labels && words.has("label")) {
    const given = words.get("label").split(",").map(Number), { kind, size } = network.labels;
    const fits = kind === "classes" ? given.length === 1 && Number.isInteger(given[0]) && given[0] >= 0 && given[0] < size
      : given.length === size && given.every((value) => kind === "values" ? Number.isFinite(value) : value === 0 || value === 1);
    if (fits) state.labels = given;
  }
}

// ---------------------------------------------------------------------------------------------------- controls

function made(tag, attributes = {}, ...inside) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== false && value !== null) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...inside);
  return element;
}

const shown = []; // functions that make each control show the state

// A value beside a name is a span: an output would be what the label is of.
function field(name, control, output = null) {
  return made("label", { class: "field" }, made("span", {}, name, ...(output ? [output] : [])), control);
}

function update() {
  show();
  write();
  return draw();
}

function show() {
  if (network.latents) shownLatents = latentsNow();
  for (const one of shown) one();
}

function changeLatents(change) {
  stopWalking();
  change();
  update();
}

function seedField() {
  const input = made("input", { type: "number", min: 0, max: 999999999999999, step: 1, id: "seed", onchange: () => changeLatents(() => {
    state.seed = Math.max(0, Math.min(999999999999999, Math.round(Number(input.value)) || 0));
    state.to = null;
    state.moved.clear();
  }) });
  shown.push(() => { if (document.activeElement !== input || input.value === "") input.value = state.seed; });
  return field("Seed", input);
}

function labelField() {
  const { names } = network.labels;
  const select = made("select", { id: "label", onchange: () => { state.labels = [Number(select.value)]; update(); } },
    ...names.map((name, number) => made("option", { value: number }, spelt(name))));
  shown.push(() => { select.value = state.labels[0]; });
  return field(network.latents ? "Label" : "Turn it into", select);
}

const spelt = (name) => name.replaceAll("_", " ");

function attributeFields() {
  const { names, exclusive } = network.labels;
  const boxes = names.map((name, number) => made("input", { type: "checkbox", onchange: (event) => {
    const group = (exclusive ?? []).find((members) => members.includes(number)) ?? [];
    if (event.target.checked) for (const other of group) state.labels[other] = 0;
    state.labels[number] = event.target.checked ? 1 : 0;
    update();
  } }));
  shown.push(() => boxes.forEach((box, number) => { box.checked = state.labels[number] === 1; }));
  return made("fieldset", { id: "attributes" }, made("legend", {}, "What the image shall have"), made("div", { class: "choices" },
    ...names.map((name, number) => made("label", {}, boxes[number], spelt(name)))));
}

function truncationField() {
  const output = made("span", { class: "value" }), input = made("input", { type: "range", id: "truncation", min: 0.1, max: 3, step: 0.1, oninput: () => changeLatents(() => {
    state.truncation = Number(input.value) >= 3 ? null : Number(input.value);
  }) });
  shown.push(() => {
    input.value = state.truncation ?? 3;
    output.textContent = state.truncation ?? "off";
    input.setAttribute("aria-valuetext", output.textContent);
  });
  return field("Truncation", input, output);
}

function slider(name, low, high, get, isMoved, set) {
  const output = made("span", { class: "value" }), input = made("input", { type: "range", min: low, max: high, step: "any", "aria-label": name, oninput: () => set(Number(Number(input.value).toFixed(2))) });
  // Arrow keys move a range by its step, which for "any" browsers choose: a tenth suits everybody.
  input.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 0.1, ArrowUp: 0.1, ArrowLeft: -0.1, ArrowDown: -0.1 }[event.key];
    if (!step) return;
    event.preventDefault();
    set(Number(Math.max(low, Math.min(high, get() + step)).toFixed(2)));
  });
  const row = made("label", { class: "slider" }, made("span", { "aria-hidden": "true" }, name.split(" ").pop()), input, output);
  shown.push(() => {
    input.value = get();
    output.textContent = get().toFixed(2);
    input.setAttribute("aria-valuetext", output.textContent);
    row.classList.toggle("moved", isMoved());
  });
  return row;
}

function latentSliders() {
  const { size, order, limit } = network.latents;
  const rows = order.map((index) => slider(`Latent ${index}`, -limit, limit, () => shownLatents[index], () => state.moved.has(index),
    (value) => changeLatents(() => state.moved.set(index, value))));
  rows.forEach((row, place) => { row.querySelector("input").dataset.latent = order[place]; });
  const reset = made("button", { type: "button", class: "plain", id: "reset", onclick: () => changeLatents(() => state.moved.clear()) }, "Back to the seed");
  shown.push(() => { reset.hidden = state.moved.size === 0; });
  const parts = [
    made("div", { class: "head" }, made("h2", {}, "Latents"), reset,
      made("p", { class: "soft" }, size > FIRST ? "The numbers that the image is made from; those that change it most come first." : "The numbers that the image is made from.")),
    made("div", { class: "sliders" }, ...rows.slice(0, FIRST)),
  ];
  if (size > FIRST) parts.push(made("details", {}, made("summary", {}, `The other ${size - FIRST}`), made("div", { class: "sliders" }, ...rows.slice(FIRST))));
  return made("div", {}, ...parts);
}

function valueSliders() {
  const rows = state.labels.map((_, index) => slider(`Value ${index}`, -2, 2, () => state.labels[index], () => false,
    (value) => { state.labels[index] = value; update(); }));
  return made("div", { id: "values" }, made("h2", {}, "Values"), made("div", { class: "sliders" }, ...rows));
}

function describe() {
  const named = !network.labels ? "" : network.labels.kind === "classes" ? `, label ${spelt(network.labels.names[state.labels[0]])}` : "";
  if (network.latents) find("image").setAttribute("aria-label", `Generated image of seed ${state.seed}${state.to === null ? "" : ` on the way to ${state.to}`}${named}${state.moved.size ? `, ${state.moved.size} latents moved` : ""}`);
}

function build() {
  const fields = [], parts = [];
  if (network.latents) fields.push(seedField());
  if (network.labels?.kind === "classes") fields.push(labelField());
  if (network.latents?.truncation) fields.push(truncationField());
  if (fields.length) parts.push(made("div", { class: "fields" }, ...fields));
  if (network.labels?.kind === "attributes") parts.push(attributeFields());
  if (network.labels?.kind === "values") parts.push(valueSliders());
  if (network.latents) parts.push(latentSliders());
  find("controls").append(...parts);
  find("controls").hidden = !parts.length;
  document.querySelector("main").classList.toggle("wide", !network.latents);
  find("save").disabled = true;
  find("save").addEventListener("click", save);
  if (network.latents) {
    find("new").addEventListener("click", () => changeLatents(() => {
      Object.assign(state, { seed: Math.floor(Math.random() * 1e6), to: null, at: 0 });
      state.moved.clear();
    }));
    find("walk").addEventListener("click", () => (walking ? stopWalking() : startWalking()));
  } else takePictures();
  addEventListener("hashchange", () => { stopWalking(); read(); update(); });
}

function save() {
  find("image").toBlob((blob) => {
    const link = made("a", { href: URL.createObjectURL(blob), download: network.latents ? `seed-${state.seed}.png` : "translated.png" });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  });
}

// ---------------------------------------------------------------------------------------------------- the walk

let walking = null;
const LEG = 2500; // milliseconds from one seed to the next

function startWalking() {
  walking = { before: performance.now() };
  if (state.to === null) Object.assign(state, { to: state.seed + 1, at: 0 });
  state.moved.clear();
  find("walk").setAttribute("aria-pressed", "true");
  find("walk").textContent = "Stop";
  requestAnimationFrame(step);
}

async function step(now) {
  if (!walking) return;
  state.at += Math.min(now - walking.before, 100) / LEG;
  walking.before = now;
  while (state.at >= 1) Object.assign(state, { seed: state.to, to: state.to + 1, at: state.at - 1 });
  show();
  await draw();
  if (walking) requestAnimationFrame(step);
}

function stopWalking() {
  if (!walking) return;
  walking = null;
  state.at = Number(state.at.toFixed(3));
  find("walk").setAttribute("aria-pressed", "false");
  find("walk").textContent = "Walk";
  update();
}

// ---------------------------------------------------------------------------------------------------- pictures

// The middle square (or the network's shape) of a picture, brought to the size that the network takes.
function take(picture, pictureWidth, pictureHeight) {
  const canvas = find("given"), context = canvas.getContext("2d", { willReadFrequently: true });
  const scale = Math.min(pictureWidth / width, pictureHeight / height), w = width * scale, h = height * scale;
  context.imageSmoothingQuality = "high";
  context.fillStyle = "white"; // behind transparent pixels
  context.fillRect(0, 0, width, height);
  context.drawImage(picture, (pictureWidth - w) / 2, (pictureHeight - h) / 2, w, h, 0, 0, width, height);
  const { data } = context.getImageData(0, 0, width, height), pixels = width * height, [low, high] = network.range;
  source = new Float32Array(channels * pixels);
  for (let p = 0; p < pixels; p++) {
    const grey = Math.round(0.299 * data[4 * p] + 0.587 * data[4 * p + 1] + 0.114 * data[4 * p + 2]);
    for (let c = 0; c < channels; c++) source[c * pixels + p] = low + ((channels === 1 ? grey : data[4 * p + c]) * (high - low)) / 255;
  }
  find("invite").hidden = true;
  return draw();
}

async function takeFile(file) {
  if (!file) return;
  stopCamera();
  trouble("");
  const picture = new Image(), address = URL.createObjectURL(file);
  try {
    await new Promise((resolve, reject) => Object.assign(picture, { onload: resolve, onerror: reject, src: address }));
  } catch {
    return trouble(`${file.name} is no picture that this browser can read. Give a PNG, JPEG or WebP.`);
  } finally {
    setTimeout(() => URL.revokeObjectURL(address), 10000);
  }
  const { naturalWidth, naturalHeight } = picture; // known from its first bytes, before anything is decoded
  if (!naturalWidth || !naturalHeight) return trouble(`${file.name} has no size in pixels. Give a PNG, JPEG or WebP.`);
  if (naturalWidth * naturalHeight > LARGEST)
    return trouble(`${file.name} has ${Math.round(naturalWidth * naturalHeight / 1e6)} megapixels; at most ${LARGEST / 1e6} are taken. Make it smaller first; the network sees ${width} x ${height}.`);
  await take(picture, naturalWidth, naturalHeight);
}

let video = null;

async function startCamera() {
  trouble("");
  video = made("video", { playsinline: true, muted: true });
  find("camera").setAttribute("aria-pressed", "true");
  find("camera").textContent = "Stop the camera";
  try {
    video.srcObject = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "user" } });
    await video.play();
  } catch (error) {
    stopCamera();
    return trouble(`The camera cannot be used: ${error.message}. Allow it in your browser, or choose a picture.`);
  }
  const frame = async () => {
    if (!video) return;
    if (video.videoWidth) await take(video, video.videoWidth, video.videoHeight);
    requestAnimationFrame(frame);
  };
  frame();
}

function stopCamera() {
  video?.srcObject?.getTracks().forEach((track) => track.stop());
  video = null;
  find("camera").setAttribute("aria-pressed", "false");
  find("camera").textContent = "Use the camera";
}

function takePictures() {
  const drop = find("drop");
  find("file").addEventListener("change", (event) => { takeFile(event.target.files[0]); event.target.value = ""; });
  find("camera").addEventListener("click", () => (video ? stopCamera() : startCamera()));
  if (!navigator.mediaDevices) Object.assign(find("camera"), { disabled: true, title: "A browser gives the camera only to pages from https or localhost." });
  addEventListener("dragover", (event) => { event.preventDefault(); drop.classList.add("over"); });
  addEventListener("dragleave", () => drop.classList.remove("over"));
  addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    takeFile(event.dataTransfer.files[0]);
  });
  addEventListener("paste", (event) => takeFile(event.clipboardData.files[0]));
}

// ---------------------------------------------------------------------------------------------------- begin

try {
  read();
  build();
  await open();
  await check();
  await update();
} catch (error) {
  trouble(`The network could not be started: ${error.message}`);
  say("Not ready.");
} finally {
  document.documentElement.dataset.ready = "yes";
}
