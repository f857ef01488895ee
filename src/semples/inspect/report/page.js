// Threshold, figures that follow it, tables, keys; and the start.

// ----------------------------------------------------------------------------------------------------------- threshold

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

// The command that makes label maps with these thresholds: the commonest for all classes, the others by name.
function setting() {
  const often = (value) => state.thresholds.filter((each) => each === value).length;
  const usual = state.thresholds.reduce((best, value) => (often(value) > often(best) ? value : best));
  const own = classes.flatMap((name, index) => {
    const value = state.thresholds[index];
    return value === usual ? [] : [` --class-threshold=${quoted(`${name}=${hundredths(value)}`)}`];
  });
  return `${data.command} --threshold ${hundredths(usual)}${own.join("")}`;
}

// A word as shells read it back.
function quoted(text) {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'"'"'`)}'`;
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
  if (data.after) live.append(` · before ${data.after}`);
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
    const rail = make("span", { className: "rail" }, range);
    if (data.automatic) {
      const mark = make("i", { title: `chosen from photos and tags: ${data.automatic[index].toFixed(2)}` });
      mark.style.setProperty("--at", data.automatic[index]);
      rail.append(mark);
    }
    const label = make("label", {}, make("span", { title: name }, dot(data.colours[index]), name), rail, make("output"));
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

// -------------------------------------------------------------------------------------------------------------- tables

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

// ------------------------------------------------------------------------------------------------------------ keyboard

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

// --------------------------------------------------------------------------------------------------------------- start

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
