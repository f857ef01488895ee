// What the page knows, and how bytes become maps, labels and pictures. The three scripts are put into one block.

const $ = (selector, root = document) => root.querySelector(selector);
const all = (selector, root = document) => [...root.querySelectorAll(selector)];
const data = JSON.parse($("#data").textContent);
const { classes, photos, levels } = data;
const STAGE = data.stages.length - 1; // the stage that labels are made of
const UNKNOWN = 255;

function make(tag, properties = {}, ...children) {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children);
  return node;
}

function dot(colour) {
  const node = make("i", { className: "dot" });
  node.style.setProperty("--c", colour);
  return node;
}

// ------------------------------------------------------------------------------------------------------------- colours

const rgb = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
const LABEL_COLOURS = [[0, 0, 0], ...data.colours.map(rgb)];
const GREY = [128, 128, 128];
const ERRORS = { right: [46, 160, 67], extra: [240, 140, 30], missed: [40, 120, 230], wrong: [205, 50, 160] };
const ERROR_NAMES = { right: "right", extra: "labelled, but background", missed: "missed", wrong: "another class" };
const HEAT = gradient([[0, 0, 12], [60, 15, 110], [150, 40, 110], [225, 85, 50], [250, 165, 30], [252, 245, 160]]);

function gradient(stops) {
  return Array.from({ length: 256 }, (_, value) => {
    const place = (value / 255) * (stops.length - 1);
    const left = Math.min(Math.floor(place), stops.length - 2);
    return stops[left].map((from, i) => Math.round(from + (stops[left + 1][i] - from) * (place - left)));
  });
}

// -------------------------------------------------------------------------------------------------- from bytes to maps

const loaded = new Map(); // place of a photo -> promise of its picture and maps

function load(place) {
  if (!loaded.has(place)) loaded.set(place, decode(photos[place]));
  return loaded.get(place);
}

async function decode(photo) {
  const [width, height] = photo.grid;
  const [picture, labels, truth, ...stages] = await Promise.all([
    image(photo.photo),
    photo.labels && bytes(photo.labels, width, height),
    photo.truth && bytes(photo.truth, width, height),
    ...photo.cams.map(async (cam) => cam && {
      classes: cam.classes,
      bytes: cam.picture ? await bytes(cam.picture, width, height * cam.classes.length) : new Uint8Array(0),
    }),
  ]);
  return { photo, picture, labels, truth, stages, width, height };
}

async function image(address) {
  const picture = new Image();
  picture.src = address;
  await picture.decode();
  return picture;
}

async function bytes(address, width, height) {
  const picture = await image(address);
  const canvas = make("canvas", { width, height });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(picture, 0, 0);
  const pixels = context.getImageData(0, 0, width, height).data;
  return Uint8Array.from({ length: width * height }, (_, i) => pixels[4 * i]);
}

// Labels of one stage: the class with the largest byte, the first among equals, where it is above its threshold.
function labelMap(maps, stage) {
  const labels = new Uint8Array(maps.width * maps.height);
  const found = maps.stages[stage];
  if (!found) return labels;
  const size = labels.length;
  for (let pixel = 0; pixel < size; pixel++) {
    let best = -1;
    let winner = 0;
    for (let map = 0; map < found.classes.length; map++) {
      const value = found.bytes[map * size + pixel];
      if (value > best) [best, winner] = [value, map];
    }
    if (best > levels[state.thresholds[found.classes[winner]]]) labels[pixel] = found.classes[winner] + 1;
  }
  return labels;
}

// The CAM of one class, or of whichever is largest.
function heatMap(maps, stage, only) {
  const found = maps.stages[stage];
  const size = maps.width * maps.height;
  const heat = new Uint8Array(size);
  if (!found) return heat;
  found.classes.forEach((index, map) => {
    if (only !== null && index !== only) return;
    for (let pixel = 0; pixel < size; pixel++) {
      heat[pixel] = Math.max(heat[pixel], found.bytes[map * size + pixel]);
    }
  });
  return heat;
}

// ------------------------------------------------------------------------------------------------------------- drawing

// Lay values over a canvas; colour(value, pixel) gives [red, green, blue, opacity 0..1] or nothing.
function lay(canvas, maps, values, colour, smooth = false) {
  const layer = make("canvas", { width: maps.width, height: maps.height });
  const context = layer.getContext("2d");
  const pixels = context.createImageData(maps.width, maps.height);
  values.forEach((value, pixel) => {
    const found = colour(value, pixel);
    if (!found) return;
    pixels.data.set([found[0], found[1], found[2], Math.round((found[3] ?? 1) * 255)], 4 * pixel);
  });
  context.putImageData(pixels, 0, 0);
  const onto = canvas.getContext("2d");
  onto.imageSmoothingEnabled = smooth;
  onto.drawImage(layer, 0, 0, canvas.width, canvas.height);
}

function clean(canvas, maps, withPhoto) {
  const [width, height] = maps.photo.size;
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  const context = canvas.getContext("2d");
  if (withPhoto) context.drawImage(maps.picture, 0, 0, width, height);
  else {
    context.fillStyle = "#000";
    context.fillRect(0, 0, width, height);
  }
}

const solid = (label) => (label === UNKNOWN ? GREY : LABEL_COLOURS[label]);

const DRAW = {
  overlay(canvas, maps, stage) {
    drawLabels(canvas, maps, labelMap(maps, stage), true);
  },
  labels(canvas, maps, stage) {
    drawLabels(canvas, maps, labelMap(maps, stage), false);
  },
  cam(canvas, maps, stage, only = null) {
    clean(canvas, maps, true);
    lay(canvas, maps, heatMap(maps, stage, only), (value) => [...HEAT[value], 0.72], true);
  },
  photo(canvas, maps) {
    clean(canvas, maps, true);
  },
  truth(canvas, maps) {
    if (maps.truth) drawLabels(canvas, maps, maps.truth, false);
    else clean(canvas, maps, false);
  },
  errors(canvas, maps, stage) {
    drawErrors(canvas, maps, labelMap(maps, stage));
  },
};

function drawLabels(canvas, maps, labels, withPhoto) {
  clean(canvas, maps, withPhoto);
  const edge = withPhoto ? edges(labels, maps.width) : null;
  lay(canvas, maps, labels, (label, pixel) => (label ? [...solid(label), !edge || edge[pixel] ? 1 : 0.5] : null));
}

// Which pixels have a neighbour of another label.
function edges(labels, width) {
  return labels.map((label, pixel) => {
    const column = pixel % width;
    return Number((column > 0 && labels[pixel - 1] !== label) || (column < width - 1 && labels[pixel + 1] !== label)
      || (labels[pixel - width] ?? label) !== label || (labels[pixel + width] ?? label) !== label);
  });
}

function drawErrors(canvas, maps, labels) {
  clean(canvas, maps, true);
  lay(canvas, maps, labels, (label, pixel) => {
    const truth = maps.truth ? maps.truth[pixel] : UNKNOWN;
    if (truth === UNKNOWN) return [...GREY, 0.5];
    if (label === truth) return label ? [...ERRORS.right, 0.75] : [0, 0, 0, 0.45];
    return [...(truth === 0 ? ERRORS.extra : label === 0 ? ERRORS.missed : ERRORS.wrong), 0.85];
  });
}
