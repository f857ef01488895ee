// Photos: story, grid, order, filter, large view.

// --------------------------------------------------------------------------------------------------------------- state

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

// -------------------------------------------------------------------------------------------------------------- strips

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

// ---------------------------------------------------------------------------------------------------------------- grid

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
  const figures = photo.corrected ? ["corrected by hand"] : [];
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

// ---------------------------------------------------------------------------------------------------------- large view

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
