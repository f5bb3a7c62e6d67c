// The search page works without this: it adds keys, filters that act at once, marks and heatmaps.
"use strict";

const find = (selector, within = document) => within.querySelector(selector);
const all = (selector) => [...document.querySelectorAll(selector)];
const isWriting = (target) => target.closest("input:not([type=checkbox], [type=radio]), select, textarea, summary");

// Filters act at once
document.addEventListener("change", ({ target }) => {
  if (target.matches("[data-now]")) {
    nameChosen();
    find("#search").requestSubmit();
  } else if (target.id === "image" && target.files.length) {
    find("#by-image").requestSubmit();
  }
});
document.addEventListener("input", ({ target }) => {
  if (target.id === "strength") find("#heat .glow").setAttribute("fill-opacity", target.value);
});

function nameChosen() {
  const chosen = all("#listed input:checked");
  const only = chosen.length === 1 && find(".of", chosen[0].parentElement).textContent;
  find("#chosen").textContent = only || (chosen.length ? `${chosen.length} documents` : "All documents");
}

// Clicks
document.addEventListener("click", (event) => {
  const { target } = event;
  const opened = target.closest("[data-open]");
  if (opened) find(`#${opened.dataset.open}`).showModal();
  if (target.closest("[data-clear]")) {
    all("#listed input:checked").forEach((box) => { box.checked = false; });
    nameChosen();
    find("#search").requestSubmit();
    target.closest("[data-clear]").remove();
  }
  const word = target.closest("[data-heat]");
  if (word) showHeat(word);
  const filter = find("#filter[open]");
  if (filter && !filter.contains(target)) filter.open = false;
  if (target.matches("dialog")) target.close();
});

// Where a word was found: its small grey picture is the mask of a glow over the page
function showHeat(button) {
  const heat = find("#heat");
  const on = button.getAttribute("aria-pressed") !== "true";
  all("[data-heat]").forEach((other) => other.setAttribute("aria-pressed", String(on && other === button)));
  if (on) find("image", heat).setAttribute("href", button.dataset.heat);
  find(".glow", heat).setAttribute("fill-opacity", find("#strength").value);
  heat.toggleAttribute("hidden", !on);
}

// The strip begins many pages before the one that is open
const here = find(".strip [aria-current]");
if (here) {
  const strip = here.closest(".strip");
  strip.scrollLeft += here.getBoundingClientRect().left - strip.getBoundingClientRect().left - strip.clientWidth / 2;
}

// A matched part in the list lights up on the page
for (const kind of ["pointerover", "focusin", "pointerout", "focusout", "click"]) {
  document.addEventListener(kind, ({ target }) => {
    const row = target.closest?.("[data-region]");
    if (!row) return;
    const rect = find(`.large .r${row.dataset.region}`);
    rect.classList.toggle("lit", !kind.endsWith("out"));
    if (kind === "click") rect.scrollIntoView({ block: "center", behavior: "smooth" });
  });
}

// Keys
const step = (by) => {
  const links = all(".hit .open");
  const at = links.indexOf(document.activeElement);
  const next = links[at < 0 ? (by > 0 ? 0 : links.length - 1) : at + by];
  if (next) focusHit(next);
  else if (at === 0 && by < 0) find("#q").focus();
  return links.length > 0;
};
const focusHit = (link) => {
  link.focus({ preventScroll: true });
  link.closest(".hit").scrollIntoView({ block: "nearest" });
};
const follow = (selector) => {
  const link = find(selector);
  link?.click();
  return Boolean(link);
};
const toBox = () => {
  find("#q").focus();
  find("#q").select();
  return true;
};
const isReading = () => Boolean(find(".reader"));
const KEYS = {
  "/": toBox,
  "?": () => !find("#keys").open && (find("#keys").showModal(), true),
  j: () => step(1),
  k: () => step(-1),
  ArrowDown: () => !isReading() && step(1),
  ArrowUp: () => !isReading() && step(-1),
  ArrowLeft: () => follow("#before"),
  ArrowRight: () => follow("#after"),
  Escape: () => follow("#back"),
};

document.addEventListener("keydown", (event) => {
  const { key, target } = event;
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || find("dialog[open]")) return;
  const filter = find("#filter[open]");
  if (key === "Escape" && filter) {
    filter.open = false;
    find("summary", filter).focus();
  } else if (isWriting(target)) {
    if (target.id === "q" && key === "ArrowDown" && step(1)) event.preventDefault();
    if (target.id === "q" && key === "Escape") target.blur();
    if (target.name === "find" && key === "Enter") event.preventDefault(); // it would ask again and close the list
  } else if (target.matches("[type=radio]") && key.startsWith("Arrow")) {
    return;
  } else if (/^[1-9]$/.test(key)) {
    all("[data-heat]")[key - 1]?.click();
  } else if (KEYS[key]?.()) {
    event.preventDefault();
  }
});

document.addEventListener("htmx:afterSwap", ({ detail }) => {
  if (detail.target?.id !== "main") return;
  find("#notice").hidden = true;
  scrollTo(0, 0);
  document.body.classList.toggle("one", isReading());
});

// Who goes back while an answer is awaited has left that question: the answer comes to nothing
let asking = null;
document.addEventListener("htmx:beforeSend", ({ detail }) => {
  if (detail.target?.id === "main") asking = detail.elt;
});
document.addEventListener("htmx:afterRequest", ({ detail }) => {
  if (detail.elt === asking) asking = null;
});
addEventListener("popstate", () => {
  asking?.addEventListener("htmx:beforeOnLoad", (event) => event.preventDefault(), { once: true });
  asking = null;
});

// What htmx cannot put into the page: answers that are no page
document.addEventListener("htmx:beforeSwap", ({ detail }) => {
  const type = detail.xhr.getResponseHeader("Content-Type") ?? "";
  if (detail.xhr.status < 400 || type.startsWith("text/html")) return;
  detail.shouldSwap = false;
  const error = type.startsWith("application/json") ? JSON.parse(detail.xhr.responseText).error : null;
  notice(error ? [error.message, error.hint].filter(Boolean).join(": ") : `The server failed (${detail.xhr.status}); its log says why.`);
});
const notice = (text) => {
  find("#notice").textContent = text;
  find("#notice").hidden = false;
};
document.addEventListener("htmx:sendError", () => notice("The server does not answer. Is docrag serve still running?"));
document.addEventListener("htmx:timeout", () => notice("The server took too long to answer."));

// A hit is fetched before it is opened: what matched on it is known already
for (const kind of ["pointerover", "focusin"]) {
  document.addEventListener(kind, ({ target }) => fetchAhead(target.closest?.(".hit .open")));
}
const fetched = new Set();
function fetchAhead(link) {
  if (!link || fetched.has(link.href)) return;
  fetched.add(link.href);
  const hint = document.createElement("link");
  hint.rel = "prefetch";
  hint.href = link.href;
  document.head.append(hint);
}

// Dropping files anywhere: images are searched by where a model sees them, else added as PDFs are
const dropped = { image: /^image\/(png|jpeg|webp|tiff)$/, files: /^(application\/pdf|image\/(png|jpeg|webp|tiff))$/ };
const holdsFiles = (event) => find("#drop") && [...event.dataTransfer.types].includes("Files");
let depth = 0;
const cover = (by) => {
  depth = Math.max(0, depth + by);
  find("#drop").hidden = depth === 0;
};
document.addEventListener("dragenter", (event) => holdsFiles(event) && cover(1));
document.addEventListener("dragleave", (event) => holdsFiles(event) && cover(-1));
document.addEventListener("dragover", (event) => holdsFiles(event) && event.preventDefault());
document.addEventListener("drop", (event) => {
  if (!holdsFiles(event)) return;
  event.preventDefault();
  cover(-depth);
  const files = [...event.dataTransfer.files];
  for (const [id, type] of Object.entries(dropped)) {
    const input = find(id === "image" ? "#image" : "#files input");
    const taken = files.filter((file) => type.test(file.type));
    if (!input || !taken.length) continue;
    const transfer = new DataTransfer();
    taken.slice(0, id === "image" ? 1 : undefined).forEach((file) => transfer.items.add(file));
    input.files = transfer.files;
    input.dispatchEvent(new Event("change", { bubbles: true }));
    return;
  }
  notice(`Not these files. ${find("#drop").textContent}.`);
});
