"use strict";

const $ = (id) => document.getElementById(id);
const state = { about: null, file: null, tags: new Set(), turn: 0 };

function say(text) {
  $("status").textContent = text;
}

function fail(text) {
  $("error").textContent = text;
  $("error").hidden = !text;
  if (text) say("");
}

function dot(colour) {
  const made = document.createElement("i");
  made.className = "dot";
  made.style.setProperty("background", colour);
  return made;
}

function showTags() {
  const { about } = state;
  $("tags-legend").textContent = about.needs_tags
    ? "What is in the photo? This model has to be told."
    : "Look only for these (optional)";
  for (const entry of about.classes) {
    const button = document.createElement("button");
    button.type = "button";
    button.setAttribute("aria-pressed", "false");
    button.append(dot(entry.colour), entry.name);
    button.addEventListener("click", () => {
      const on = !state.tags.delete(entry.name);
      if (on) state.tags.add(entry.name);
      button.setAttribute("aria-pressed", String(on));
      if (state.file) send();
    });
    $("tags").append(button);
  }
}

function take(file) {
  if (!file) return;
  state.file = file;
  send();
}

async function send() {
  const { file, about } = state;
  const turn = ++state.turn;
  $("answer").hidden = true;
  fail("");
  if (file.size > about.megabytes * 1e6) {
    fail(`${file.name}: this file has ${(file.size / 1e6).toFixed(0)} megabytes; this page takes up to ${about.megabytes}. Make the photo smaller.`);
    return;
  }
  if (about.needs_tags && !state.tags.size) {
    say(`${file.name}: now choose what is in it`);
    return;
  }
  say(`${file.name}: segmenting ...`);
  const query = new URLSearchParams([...state.tags].map((name) => ["tag", name]));
  let answer;
  try {
    const reply = await fetch(`predict?${query}`, {
      method: "POST",
      headers: { "X-File-Name": encodeURIComponent(file.name), "Content-Type": "application/octet-stream" },
      body: file,
    });
    answer = await reply.json();
  } catch {
    answer = { error: "the program does not answer; is it still running?" };
  }
  if (turn !== state.turn) return;
  if (answer.error) fail(`${file.name}: ${answer.error}`);
  else show(answer);
}

function show(answer) {
  say(`${answer.name}: ${answer.width} × ${answer.height} pixels, ${answer.seconds} s`);
  $("picture").src = answer.picture;
  $("layer").src = answer.layer;
  const colours = new Map(state.about.classes.map((entry) => [entry.name, entry.colour]));
  const rows = answer.classes.map((entry) => {
    const row = document.createElement("tr");
    const [name, share, pixels] = [0, 1, 2].map(() => row.insertCell());
    name.append(dot(entry.label ? colours.get(entry.name) : "transparent"), entry.name);
    const bar = document.createElement("progress");
    bar.value = entry.share;
    share.append(`${(100 * entry.share).toFixed(1)} %`, bar);
    pixels.textContent = entry.pixels.toLocaleString("en");
    return row;
  });
  $("areas").replaceChildren(...rows);
  const stem = answer.name.replace(/\.[^.]*$/, "");
  const cell = (text) => `"${String(text).replaceAll('"', '""')}"`;
  const lines = answer.classes.map((entry) => [cell(entry.name), entry.label, entry.pixels, entry.share].join(","));
  const table = `class,label,pixels,share\n${lines.join("\n")}\n`;
  download("get-labels", answer.labels, `${stem}_labels.png`);
  download("get-overlay", answer.overlay, `${stem}_overlay.jpg`);
  download("get-areas", `data:text/csv;charset=utf-8,${encodeURIComponent(table)}`, `${stem}_areas.csv`);
  $("answer").hidden = false;
}

function download(id, href, name) {
  $(id).href = href;
  $(id).download = name;
}

function setOpacity() {
  $("layer").style.setProperty("opacity", $("opacity").value / 100);
}

async function start() {
  const about = await (await fetch("about")).json();
  state.about = about;
  $("model").textContent = `${about.name}: ${about.classes.length} classes`;
  $("limits").textContent = `up to ${about.megapixels} megapixels, ${about.megabytes} megabytes`;
  showTags();
  setOpacity();
  $("opacity").addEventListener("input", setOpacity);
  $("file").addEventListener("change", () => {
    take($("file").files[0]);
    $("file").value = "";
  });
  $("drop").addEventListener("keydown", (event) => {
    if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      $("file").click();
    }
  });
  addEventListener("dragover", (event) => {
    event.preventDefault();
    $("drop").classList.add("over");
  });
  addEventListener("dragleave", () => $("drop").classList.remove("over"));
  addEventListener("drop", (event) => {
    event.preventDefault();
    $("drop").classList.remove("over");
    take(event.dataTransfer.files[0]);
  });
  addEventListener("paste", (event) => take(event.clipboardData.files[0]));
  document.body.dataset.ready = "yes";
}

start();
