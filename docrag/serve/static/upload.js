// Uploads: files are sent, then the progress of their ingest is shown.
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
  showProgress(`Uploading ${count === 1 ? "a file" : `${count} files`}`, 0);
  request.upload.onprogress = ({ loaded, total }) => showProgress("Uploading", total ? loaded / total : 0);
  request.onload = () => {
    const response = JSON.parse(request.responseText || "{}");
    if (request.status < 300) watch(response.job);
    else showFailure(response.error ?? { message: `The server responded with status ${request.status}`, hint: "" });
  };
  request.onerror = () => showFailure({ message: "The server does not respond", hint: "is docrag serve still running?" });
  request.open("POST", "/v1/ingest");
  request.send(form);
}

// If the stream breaks, the browser reconnects by itself and asks for the events that it has not seen.
function watch(job) {
  const events = new EventSource(`/v1/ingest/${job}/events`);
  const on = (name, handle) => events.addEventListener(name, ({ data }) => handle(JSON.parse(data)));
  showProgress("Waiting to start");
  on("progress", ({ pages, known, file }) => {
    if (known) showProgress(`Reading ${file}: ${pages} of ${known} pages`, pages / known);
    else showProgress("Checking the files");
  });
  on("waiting", (other) => showProgress(`Waiting for ${other.for}, which ${other.because ?? "is changing the index"}`));
  on("file", (report) => find("#done").append(resultRow(report)));
  on("end", ({ state, summary, error }) => {
    events.close();
    if (state !== "done") return showFailure(error ?? { message: "The server is stopping", hint: "it continues with the upload when it starts again" });
    const added = summary.added + summary.updated;
    const duration = `${summary.pages} ${summary.pages === 1 ? "page" : "pages"} in ${summary.seconds.toFixed(1)} s`;
    showProgress(added ? `Ready to search: ${duration}` : "Nothing new was added", 1);
    showFileInput();
    refresh();
  });
  events.onerror = () => {
    if (events.readyState === EventSource.CLOSED) showFailure({ message: "The server no longer knows this upload", hint: "" });
  };
}

// Update the documents in the filter and on the start page, one after the other: htmx would cancel the first.
async function refresh() {
  const form = new URLSearchParams(new FormData(find("#search")));
  await htmx.ajax("GET", `/listed?${form}`, { target: "#listed", source: "#listed" });
  if (find(".home, .nothing")) await htmx.ajax("GET", "/results", { target: "#main", source: "#search" });
}

function showProgress(text, share) {
  find("#stage").textContent = text;
  if (share === undefined) find("#meter").removeAttribute("value"); // an indeterminate bar
  else find("#meter").value = share;
}

const STATUS_TEXT = {
  added: "added", updated: "updated", adopted: "already indexed", unchanged: "already indexed", failed: "failed",
};

function resultRow({ file, status, pages, error, hint }) {
  const row = document.createElement("li");
  row.className = status;
  if (!error?.includes(file)) { // else the error names the file already
    const name = document.createElement("span");
    name.textContent = file;
    row.append(name);
  }
  const pageCount = `${pages} ${pages === 1 ? "page" : "pages"}`;
  row.append(error ? [error, hint].filter(Boolean).join(": ") : `${STATUS_TEXT[status]}, ${pageCount}`);
  return row;
}

function showFailure({ message, hint }) {
  showProgress([message, hint].filter(Boolean).join(": "), 0);
  find("#progress").classList.add("broken");
  showFileInput();
}

const showFileInput = () => { find("#files").hidden = false; };
