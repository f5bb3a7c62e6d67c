// Adding PDFs: they are sent, then what happens to them is told as it happens.
"use strict";

document.addEventListener("change", ({ target }) => {
  if (target.matches("#files input") && target.files.length) {
    if (!find("#upload").open) find("#upload").showModal();
    send(new FormData(find("#files")), target.files.length);
    target.value = "";
  }
});

function send(form, count) {
  const request = new XMLHttpRequest();
  find("#done").replaceChildren();
  find("#progress").hidden = false;
  find("#progress").classList.remove("broken");
  find("#files").hidden = true;
  tell(`Sending ${count === 1 ? "a file" : `${count} files`}`, 0);
  request.upload.onprogress = ({ loaded, total }) => tell("Sending", total ? loaded / total : 0);
  request.onload = () => {
    const answer = JSON.parse(request.responseText || "{}");
    if (request.status < 300) watch(answer.job);
    else failed(answer.error ?? { message: `The server answered ${request.status}`, hint: "" });
  };
  request.onerror = () => failed({ message: "The server does not answer", hint: "is docrag serve still running?" });
  request.open("POST", "/v1/ingest");
  request.send(form);
}

// A browser asks again by itself when the stream breaks, from the event after the last one it has.
function watch(job) {
  const events = new EventSource(`/v1/ingest/${job}/events`);
  const on = (name, act) => events.addEventListener(name, ({ data }) => act(JSON.parse(data)));
  tell("Waiting for its turn");
  on("progress", ({ pages, known, file }) => {
    if (known) tell(`Reading ${file}: ${pages} of ${known} pages`, pages / known);
    else tell("Looking at the files");
  });
  on("file", (report) => find("#done").append(rowOf(report)));
  on("end", ({ state, summary, error }) => {
    events.close();
    if (state !== "done") return failed(error ?? { message: "The server ends", hint: "it goes on at its next start" });
    const added = summary.added + summary.updated;
    const took = `${summary.pages} ${summary.pages === 1 ? "page" : "pages"} in ${summary.seconds.toFixed(1)} s`;
    tell(added ? `Ready to search: ${took}` : "Nothing new was added", 1);
    ended();
    refresh();
  });
  events.onerror = () => {
    if (events.readyState === EventSource.CLOSED) failed({ message: "The server no longer knows this upload", hint: "" });
  };
}

// The counts of the filter and the covers have changed. One after the other: htmx ends the request before.
async function refresh() {
  const asked = new URLSearchParams(new FormData(find("#search")));
  await htmx.ajax("GET", `/listed?${asked}`, { target: "#listed", source: "#listed" });
  if (find(".home, .nothing")) await htmx.ajax("GET", "/results", { target: "#main", source: "#search" });
}

function tell(text, share) {
  find("#stage").textContent = text;
  if (share === undefined) find("#meter").removeAttribute("value"); // it moves, and says no more
  else find("#meter").value = share;
}

const SAID = { added: "added", updated: "updated", unchanged: "already there", failed: "failed" };

function rowOf({ file, status, pages, error, hint }) {
  const row = document.createElement("li");
  const told = error ? [error, hint].filter(Boolean).join(": ") : `${SAID[status]}, ${pages} ${pages === 1 ? "page" : "pages"}`;
  row.className = status;
  row.append(...(error?.includes(file) ? [told] : [Object.assign(document.createElement("span"), { textContent: file }), told]));
  return row;
}

function failed({ message, hint }) {
  tell([message, hint].filter(Boolean).join(": "), 0);
  find("#progress").classList.add("broken");
  ended();
}

const ended = () => { find("#files").hidden = false; };
