// The search page works without scripts. This adds shortcuts, filters that apply at once, marks and heatmaps.
"use strict";

const find = (selector, within = document) => within.querySelector(selector);
const all = (selector) => [...document.querySelectorAll(selector)];
const isTyping = (target) => target.closest("input:not([type=checkbox], [type=radio]), select, textarea, summary");

// Filters apply at once
document.addEventListener("change", ({ target }) => {
  if (target.matches("[data-now]")) {
    updateFilterLabel();
    find("#search").requestSubmit();
  } else if (target.id === "image" && target.files.length) {
    find("#by-image").requestSubmit();
  }
});
document.addEventListener("input", ({ target }) => {
  if (target.id === "strength") find("#heat .glow").setAttribute("fill-opacity", target.value);
});

function updateFilterLabel() {
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
    updateFilterLabel();
    find("#search").requestSubmit();
    target.closest("[data-clear]").remove();
  }
  const word = target.closest("[data-heat]");
  if (word) showHeat(word);
  const filter = find("#filter[open]");
  if (filter && !filter.contains(target)) filter.open = false;
  if (target.matches("dialog")) target.close();
});

// The heatmap of a word: its small grey image is the mask of a glow over the page
function showHeat(button) {
  const heat = find("#heat");
  const on = button.getAttribute("aria-pressed") !== "true";
  all("[data-heat]").forEach((other) => other.setAttribute("aria-pressed", String(on && other === button)));
  if (on) find("image", heat).setAttribute("href", button.dataset.heat);
  find(".glow", heat).setAttribute("fill-opacity", find("#strength").value);
  heat.toggleAttribute("hidden", !on);
}

// Scroll the strip to the page that is open
const current = find(".strip [aria-current]");
if (current) {
  const strip = current.closest(".strip");
  strip.scrollLeft += current.getBoundingClientRect().left - strip.getBoundingClientRect().left - strip.clientWidth / 2;
}

// Pointing at a matched part in the list highlights it on the page
for (const kind of ["pointerover", "focusin", "pointerout", "focusout", "click"]) {
  document.addEventListener(kind, ({ target }) => {
    const row = target.closest?.("[data-region]");
    if (!row) return;
    const rect = find(`.large .r${row.dataset.region}`);
    rect.classList.toggle("lit", !kind.endsWith("out"));
    if (kind === "click") rect.scrollIntoView({ block: "center", behavior: "smooth" });
  });
}

// Keyboard shortcuts
const moveFocus = (by) => {
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
const focusSearch = () => {
  find("#q").focus();
  find("#q").select();
  return true;
};
const isReading = () => Boolean(find(".reader"));
const KEYS = {
  "/": focusSearch,
  "?": () => !find("#keys").open && (find("#keys").showModal(), true),
  j: () => moveFocus(1),
  k: () => moveFocus(-1),
  ArrowDown: () => !isReading() && moveFocus(1),
  ArrowUp: () => !isReading() && moveFocus(-1),
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
  } else if (isTyping(target)) {
    if (target.id === "q" && key === "ArrowDown" && moveFocus(1)) event.preventDefault();
    if (target.id === "q" && key === "Escape") target.blur();
    if (target.name === "find" && key === "Enter") event.preventDefault(); // it would submit the search and close the list
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

// A response that arrives after the user went back belongs to a search that was left: ignore it
let pending = null;
document.addEventListener("htmx:beforeSend", ({ detail }) => {
  if (detail.target?.id === "main") pending = detail.elt;
});
document.addEventListener("htmx:afterRequest", ({ detail }) => {
  if (detail.elt === pending) pending = null;
});
addEventListener("popstate", () => {
  pending?.addEventListener("htmx:beforeOnLoad", (event) => event.preventDefault(), { once: true });
  pending = null;
});

// Error responses that are not HTML cannot be swapped into the page: show them as a notice
document.addEventListener("htmx:beforeSwap", ({ detail }) => {
  const type = detail.xhr.getResponseHeader("Content-Type") ?? "";
  if (detail.xhr.status < 400 || type.startsWith("text/html")) return;
  detail.shouldSwap = false;
  const error = type.startsWith("application/json") ? JSON.parse(detail.xhr.responseText).error : null;
  showNotice(error ? [error.message, error.hint].filter(Boolean).join(": ") : `The server failed (status ${detail.xhr.status}). See its log.`);
});
const showNotice = (text) => {
  find("#notice").textContent = text;
  find("#notice").hidden = false;
};
document.addEventListener("htmx:sendError", () => showNotice("The server does not respond. Is docrag serve still running?"));
document.addEventListener("htmx:timeout", () => showNotice("The server took too long to respond."));

// Prefetch a result before it is opened; the server already knows what matched on it
for (const kind of ["pointerover", "focusin"]) {
  document.addEventListener(kind, ({ target }) => prefetch(target.closest?.(".hit .open")));
}
const prefetched = new Set();
function prefetch(link) {
  if (!link || prefetched.has(link.href)) return;
  prefetched.add(link.href);
  const hint = document.createElement("link");
  hint.rel = "prefetch";
  hint.href = link.href;
  document.head.append(hint);
}

// Files dropped anywhere: an image starts a search if the index takes images; other files are uploaded
const DROP_TYPES = { image: /^image\/(png|jpeg|webp|tiff)$/, files: /^(application\/pdf|image\/(png|jpeg|webp|tiff))$/ };
const holdsFiles = (event) => find("#drop") && [...event.dataTransfer.types].includes("Files");
let depth = 0;
const toggleDropArea = (by) => {
  depth = Math.max(0, depth + by);
  find("#drop").hidden = depth === 0;
};
document.addEventListener("dragenter", (event) => holdsFiles(event) && toggleDropArea(1));
document.addEventListener("dragleave", (event) => holdsFiles(event) && toggleDropArea(-1));
document.addEventListener("dragover", (event) => holdsFiles(event) && event.preventDefault());
document.addEventListener("drop", (event) => {
  if (!holdsFiles(event)) return;
  event.preventDefault();
  toggleDropArea(-depth);
  const files = [...event.dataTransfer.files];
  for (const [id, type] of Object.entries(DROP_TYPES)) {
    const input = find(id === "image" ? "#image" : "#files input");
    const accepted = files.filter((file) => type.test(file.type));
    if (!input || !accepted.length) continue;
    const transfer = new DataTransfer();
    accepted.slice(0, id === "image" ? 1 : undefined).forEach((file) => transfer.items.add(file));
    input.files = transfer.files;
    input.dispatchEvent(new Event("change", { bubbles: true }));
    return;
  }
  showNotice(`These files cannot be used. ${find("#drop").textContent}.`);
});
