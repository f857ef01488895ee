"use strict";
(() => {
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

  // ------------------------------------------------------------------------------------------------------- colours

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

  // ------------------------------------------------------------------------------------------------- from bytes to maps

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

  // ---------------------------------------------------------------------------------------------------------- drawing

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

  // ------------------------------------------------------------------------------------------------------------ state

  const hasTruth = photos.some((photo) => photo.truth);
  const VIEWS = [
    ["overlay", "labels on photo", STAGE >= 0], ["labels", "labels", STAGE >= 0], ["cam", "map (CAM)", STAGE >= 0],
    ["photo", "photo", true], ["truth", "truth", hasTruth], ["errors", "errors", hasTruth && STAGE >= 0],
  ].filter(([, , there]) => there);
  const low = (value) => (value === null ? Infinity : value);
  const ORDERS = [
    ["worst", "lowest IoU first", (a, b) => low(a.iou) - low(b.iou), photos.some((photo) => photo.iou !== null)],
    ["unsure", "least certain first", (a, b) => low(a.certainty) - low(b.certainty), STAGE >= 0],
    ["sure", "most certain first", (a, b) => (b.certainty ?? -1) - (a.certainty ?? -1), STAGE >= 0],
    ["name", "by name", (a, b) => (a.id < b.id ? -1 : a.id > b.id ? 1 : 0), true],
  ].filter(([, , , there]) => there);
  const state = {
    thresholds: classes.map(() => data.start),
    each: false,
    view: VIEWS[0][0],
    order: ORDERS[0][0],
    only: new Set(), // classes that a shown photo must carry; -1: photos without a tag
    shown: [], // places of the photos that pass, in order
    big: -1,
    bigClass: null,
  };
  const hundredths = (value) => (value / 100).toFixed(2);
  const uniform = () => state.thresholds.every((value) => value === state.thresholds[0]);

  // ----------------------------------------------------------------------------------------------------------- strips

  function strip(place, { only = null, large = false } = {}) {
    const photo = photos[place];
    const columns = [["photo", photo.truth ? "photo, truth" : "photo", "photo", photo.truth && "truth"]];
    photo.cams.forEach((cam, stage) => cam && columns.push([stage, data.stages[stage], "cam", "overlay"]));
    if (large && photo.labels) columns.push(["run", photo.truth ? "labels of the run, errors" : "labels of the run"]);
    const node = make("div", { className: "strip" });
    node.style.setProperty("--columns", columns.length);
    for (const [stage, title] of columns) {
      const count = stage === "photo" || stage === "run" ? (photo.truth ? 2 : 1) : 2;
      const canvases = Array.from({ length: count }, () => make("canvas"));
      canvases.forEach((canvas) => Object.assign(canvas.dataset, { column: String(stage) }));
      canvases.forEach((canvas) => Object.assign(canvas, { width: photo.size[0], height: photo.size[1] }));
      canvases.slice(1).forEach((canvas) => { canvas.style.marginTop = "4px"; });
      node.append(make("figure", {}, ...canvases, make("figcaption", { textContent: title })));
    }
    node.redraw = async () => {
      const maps = await load(place);
      for (const figure of node.children) {
        const [upper, lower] = all("canvas", figure);
        const column = upper.dataset.column;
        if (column === "photo") {
          DRAW.photo(upper, maps);
          if (lower) DRAW.truth(lower, maps);
        } else if (column === "run") {
          drawLabels(upper, maps, maps.labels, true);
          if (lower) drawErrors(lower, maps, maps.labels);
        } else {
          DRAW.cam(upper, maps, Number(column), only);
          DRAW.overlay(lower, maps, Number(column));
        }
      }
      node.dataset.drawn = state.thresholds.join();
    };
    return node;
  }

  // ------------------------------------------------------------------------------------------------------------- grid

  const grid = $("#grid");
  const cards = photos.map((photo, place) => {
    const canvas = make("canvas", { width: photo.size[0], height: photo.size[1] });
    const caption = make("span", {}, make("b", { textContent: photo.id }), make("br"), note(photo));
    const card = make("button", { type: "button", className: "card", title: photo.id, tabIndex: -1 }, canvas, caption);
    card.dataset.place = place;
    card.addEventListener("click", () => openBig(place));
    return card;
  });
  const visible = new Set();
  const watcher = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (entry.isIntersecting) visible.add(entry.target);
      else visible.delete(entry.target);
    }
    redraw();
  }, { rootMargin: "300px" });
  cards.forEach((card) => watcher.observe(card));

  function note(photo) {
    const figures = [];
    if (photo.iou !== null) figures.push(`IoU ${photo.iou.toFixed(0)}`);
    if (photo.certainty !== null) figures.push(`certain ${(100 * photo.certainty).toFixed(0)} %`);
    return figures.join(" · ") || "no tag";
  }

  async function drawCard(card) {
    const wanted = `${state.view} ${state.thresholds.join()}`;
    if (card.dataset.drawn === wanted) return;
    const maps = await load(Number(card.dataset.place));
    if (wanted !== `${state.view} ${state.thresholds.join()}`) return;
    DRAW[state.view]($("canvas", card), maps, STAGE);
    card.dataset.drawn = wanted;
  }

  let waiting = false;
  function redraw() {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      visible.forEach((node) => (node.redraw ? node.redraw() : drawCard(node)));
      if (state.big >= 0) $("#big-strip").firstChild.redraw();
    });
  }

  function arrange() {
    const passes = (photo) => [...state.only].every((c) => (c < 0 ? !photo.tags.length : photo.tags.includes(c)));
    const compare = ORDERS.find(([name]) => name === state.order)[2];
    state.shown = photos.map((_, place) => place).filter((place) => passes(photos[place]));
    state.shown.sort((a, b) => compare(photos[a], photos[b]) || a - b);
    grid.replaceChildren(...state.shown.map((place) => cards[place]));
    cards.forEach((card) => { card.tabIndex = -1; });
    if (state.shown.length) cards[state.shown[0]].tabIndex = 0;
    const names = [...state.only].map((c) => (c < 0 ? "no tag" : classes[c]));
    $("#count").textContent = `${state.shown.length} of ${photos.length} photos` +
      (names.length ? ` with ${names.join(" and ")}` : "");
    for (const chip of all("#chips button")) {
      chip.setAttribute("aria-pressed", chip.dataset.only === "all" ? !state.only.size : state.only.has(Number(chip.dataset.only)));
    }
    if ($("#order").value !== state.order) $("#order").value = state.order;
  }

  function show(...only) {
    state.only = new Set(only);
    arrange();
  }

  function setView(view) {
    state.view = view;
    all("#views button").forEach((button) => button.setAttribute("aria-pressed", button.dataset.view === view));
    const key = $("#key");
    key.replaceChildren();
    if (view === "errors") {
      for (const [name, colour] of Object.entries(ERRORS)) key.append(dot(`rgb(${colour})`), ERROR_NAMES[name]);
    }
    redraw();
  }

  function buildControls() {
    VIEWS.forEach(([view, name], index) => {
      const button = make("button", { type: "button", textContent: name, title: `Key ${index + 1}` });
      button.dataset.view = view;
      button.addEventListener("click", () => setView(view));
      $("#views").append(button);
    });
    for (const [name, text] of ORDERS) $("#order").append(make("option", { value: name, textContent: text }));
    $("#order").addEventListener("change", (event) => {
      state.order = event.target.value;
      arrange();
    });
    const chip = (only, name, colour, count) => {
      const button = make("button", { type: "button" }, ...(colour ? [dot(colour)] : []), name);
      button.append(make("small", { textContent: count }));
      button.dataset.only = only;
      button.addEventListener("click", () => {
        if (only === "all") return show();
        if (only < 0) return show(...(state.only.has(only) ? [] : [only]));
        const chosen = new Set([...state.only].filter((c) => c >= 0));
        if (!chosen.delete(only)) chosen.add(only);
        return show(...chosen);
      });
      $("#chips").append(button);
    };
    chip("all", "all", null, photos.length);
    classes.forEach((name, index) => {
      const count = photos.filter((photo) => photo.tags.includes(index)).length;
      if (count) chip(index, name, data.colours[index], count);
    });
    const bare = photos.filter((photo) => !photo.tags.length).length;
    if (bare) chip(-1, "no tag", null, bare);
  }

  // --------------------------------------------------------------------------------------------------------- threshold

  function setThreshold(value, index = null) {
    const bounded = Math.min(100, Math.max(0, value));
    if (index === null) state.thresholds.fill(bounded);
    else state.thresholds[index] = bounded;
    update();
  }

  function reset() {
    state.thresholds.fill(data.start);
    update();
  }

  function update() {
    if (!$("#slider")) return redraw();
    const same = uniform();
    if (same) $("#slider").value = state.thresholds[0];
    $("#value").textContent = same ? hundredths(state.thresholds[0]) : "mixed";
    all("#sliders label").forEach((label, index) => {
      $("input", label).value = state.thresholds[index];
      $("output", label).textContent = hundredths(state.thresholds[index]);
    });
    $("#command").textContent = setting();
    const cursor = $("#miou .cursor");
    if (cursor) {
      const { low: from, high: to, left, right } = cursor.dataset;
      const part = (state.thresholds[0] / 100 - from) / (to - from);
      const at = Number(left) + part * (right - left);
      cursor.setAttribute("x1", at);
      cursor.setAttribute("x2", at);
      cursor.style.visibility = same && part >= 0 && part <= 1 ? "visible" : "hidden";
    }
    showFigures();
    return redraw();
  }

  // The command for one threshold; where classes differ, the list, since the command takes one for all.
  function setting() {
    if (uniform()) return `${data.command} ${hundredths(state.thresholds[0])}`;
    return classes.map((name, index) => `${name}=${hundredths(state.thresholds[index])}`).join(", ");
  }

  // Confusion counts of the photos in the page at the present thresholds, from how many pixels of which truth and
  // winner lie between which thresholds.
  function figures() {
    const count = classes.length + 1;
    const right = new Float64Array(count);
    const truth = new Float64Array(count);
    const predicted = new Float64Array(count);
    let pixels = 0;
    let labelled = 0;
    for (const [real, winner, steps, amount] of data.counts) {
      const label = winner && steps > state.thresholds[winner - 1] ? winner : 0;
      pixels += amount;
      if (label) labelled += amount;
      if (real >= count) continue;
      truth[real] += amount;
      predicted[label] += amount;
      if (label === real) right[real] += amount;
    }
    const iou = [...right].map((hit, value) => {
      const union = truth[value] + predicted[value] - hit;
      return union ? (100 * hit) / union : null;
    });
    const known = iou.filter((value) => value !== null);
    const mean = known.length ? known.reduce((a, b) => a + b) / known.length : null;
    return { iou, mean, share: pixels ? labelled / pixels : 0 };
  }

  function showFigures() {
    const { iou, mean, share } = figures();
    const live = $("#live");
    live.replaceChildren();
    if (mean !== null) live.append("mIoU of these photos ", make("b", { textContent: `${mean.toFixed(2)} %` }), " · ");
    live.append("labelled ", make("b", { textContent: `${(100 * share).toFixed(1)} %` }));
    if (!uniform()) live.append(" · semples label takes one threshold for all classes: this is to look at");
    all("#scores tbody tr").forEach((row) => setLive($("td.live", row), iou[Number(row.dataset.value)]));
    setLive($("#scores tfoot td.live"), mean);
  }

  function setLive(cell, value) {
    if (!cell) return;
    cell.textContent = value === null ? "–" : value.toFixed(1);
    cell.dataset.v = value === null ? "" : value;
  }

  function buildPanel() {
    const slider = $("#slider");
    if (!slider) return;
    slider.addEventListener("input", () => setThreshold(Number(slider.value)));
    $("#reset").addEventListener("click", reset);
    $("#copy").addEventListener("click", copy);
    classes.forEach((name, index) => {
      const range = make("input", { type: "range", min: 0, max: 100, step: 1 });
      range.addEventListener("input", () => setThreshold(Number(range.value), index));
      const label = make("label", {}, make("span", { title: name }, dot(data.colours[index]), name), range, make("output"));
      $("#sliders").append(label);
    });
    $("#each")?.addEventListener("change", (event) => {
      $("#sliders").hidden = !event.target.checked;
      if (!event.target.checked) setThreshold(Number(slider.value));
    });
  }

  async function copy() {
    const text = setting();
    let done = false;
    try {
      await navigator.clipboard.writeText(text);
      done = true;
    } catch {
      const area = make("textarea", { value: text });
      document.body.append(area);
      area.select();
      done = document.execCommand("copy");
      area.remove();
    }
    say(done ? `Copied: ${text}` : text);
  }

  let toastEnds = 0;
  function say(text) {
    const toast = $("#toast");
    toast.textContent = text;
    toast.hidden = false;
    clearTimeout(toastEnds);
    toastEnds = setTimeout(() => { toast.hidden = true; }, 4000);
  }

  // ------------------------------------------------------------------------------------------------------------ tables

  function sortTable(table, column, kind) {
    const heading = all("thead th", table)[column];
    const before = heading.getAttribute("aria-sort");
    const rising = before ? before === "descending" : kind === "text";
    all("thead th", table).forEach((th) => th.removeAttribute("aria-sort"));
    heading.setAttribute("aria-sort", rising ? "ascending" : "descending");
    const key = (row) => row.children[column].dataset.v;
    const rows = all("tbody tr", table);
    rows.sort((a, b) => {
      const [left, right] = [key(a), key(b)];
      if (left === "" || right === "") return (left === "") - (right === ""); // unknown last, either way
      const order = kind === "text" ? left.localeCompare(right) : Number(left) - Number(right);
      return rising ? order : -order;
    });
    $("tbody", table).append(...rows);
  }

  function buildTables() {
    for (const table of all("table.sortable")) {
      all("thead th", table).forEach((th, column) => {
        $("button", th).addEventListener("click", () => sortTable(table, column, th.dataset.kind));
      });
    }
    for (const button of all("[data-class]")) {
      button.addEventListener("click", () => jump(Number(button.dataset.class)));
    }
    for (const button of all("[data-pair]")) {
      button.addEventListener("click", () => jump(...button.dataset.pair.split(" ").map(Number)));
    }
  }

  function jump(...only) {
    if (!grid) return;
    show(...only);
    $("#gallery").scrollIntoView();
  }

  // ------------------------------------------------------------------------------------------------------- large view

  const big = $("#big");

  function openBig(place) {
    state.big = place;
    const photo = photos[place];
    if (!photo.tags.includes(state.bigClass)) state.bigClass = null;
    $("#big-name").textContent = photo.id;
    $("#big-facts").textContent = [photo.tags.map((tag) => classes[tag]).join(", "), note(photo)].filter(Boolean).join(" · ");
    $("#big-place").textContent = `${state.shown.indexOf(place) + 1} of ${state.shown.length}`;
    const chips = (photo.tags.length > 1 && STAGE >= 0 ? [null, ...photo.tags] : []).map((index) => {
      const button = make("button", { type: "button" }, ...(index === null ? ["all maps"] : [dot(data.colours[index]), classes[index]]));
      button.setAttribute("aria-pressed", index === state.bigClass);
      button.addEventListener("click", () => {
        state.bigClass = index;
        openBig(place);
      });
      return button;
    });
    $("#big-classes").replaceChildren(...chips);
    $("#big-strip").replaceChildren(strip(place, { only: state.bigClass, large: true }));
    if (!big.open) big.showModal();
    redraw();
  }

  function step(by) {
    const at = state.shown.indexOf(state.big);
    const next = state.shown[Math.min(state.shown.length - 1, Math.max(0, at + by))];
    if (next !== undefined) openBig(next);
  }

  function buildDialogs() {
    $("#before").addEventListener("click", () => step(-1));
    $("#after").addEventListener("click", () => step(1));
    big.addEventListener("close", () => {
      const card = cards[state.big];
      state.big = -1;
      if (card?.isConnected) focusCard(card);
    });
    all("[data-open]").forEach((b) => b.addEventListener("click", () => $(`#${b.dataset.open}`).showModal()));
    all("[data-close]").forEach((b) => b.addEventListener("click", () => b.closest("dialog").close()));
    for (const dialog of all("dialog")) {
      dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
    }
  }

  // ---------------------------------------------------------------------------------------------------------- keyboard

  function focusCard(card) {
    cards.forEach((each) => { each.tabIndex = -1; });
    card.tabIndex = 0;
    card.focus();
  }

  function moveFocus(card, key) {
    const row = [...grid.children];
    const at = row.indexOf(card);
    const columns = row.filter((each) => each.offsetTop === row[0].offsetTop).length;
    const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns, Home: -at, End: row.length - 1 - at };
    const next = row[at + steps[key]];
    if (next) focusCard(next);
  }

  function onKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const typing = event.target.matches("input, select, textarea");
    const arrows = ["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown", "Home", "End"];
    if (big.open && !typing && (event.key === "ArrowLeft" || event.key === "ArrowRight")) {
      step(event.key === "ArrowLeft" ? -1 : 1);
    } else if (!big.open && event.target.matches(".card") && arrows.includes(event.key)) {
      moveFocus(event.target, event.key);
    } else if (typing && event.target.type !== "range" && event.target.type !== "checkbox") {
      return;
    } else if (!shortcut(event)) return;
    event.preventDefault();
  }

  function shortcut({ key, code, shiftKey }) {
    const by = shiftKey ? 5 : 1;
    const at = state.thresholds[0];
    if (code === "BracketLeft" || "[-".includes(key)) setThreshold(at - by);
    else if (code === "BracketRight" || "]+".includes(key)) setThreshold(at + by);
    else if (key === "?") $("#keys").open || big.open || $("#keys").showModal();
    else if (big.open || !grid) return false;
    else if (key === "r") reset();
    else if (key === "c" && $("#copy")) copy();
    else if (key === "g") focusGrid();
    else if (key === "o") {
      const next = ORDERS.findIndex(([name]) => name === state.order) + 1;
      state.order = ORDERS[next % ORDERS.length][0];
      arrange();
    } else if (VIEWS[Number(key) - 1]) setView(VIEWS[Number(key) - 1][0]);
    else return false;
    return true;
  }

  function focusGrid() {
    $("#gallery").scrollIntoView();
    if (state.shown.length) focusCard(cards[state.shown[0]]);
  }

  // ------------------------------------------------------------------------------------------------------------- start

  buildTables();
  buildDialogs();
  document.addEventListener("keydown", onKey);
  if (grid) {
    buildControls();
    buildPanel();
    arrange();
    setView(state.view);
    for (const place of $("#strips") ? data.story : []) {
      const node = strip(place);
      $("#strips").append(node);
      watcher.observe(node);
    }
    update();
  }
})();
