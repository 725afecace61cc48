"use strict";
document.documentElement.classList.add("scripted");

// What came of a form is where people go on reading.
const first = document.querySelector("[data-first]");
if (first && !location.hash) first.focus({ preventScroll: true });

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  const held = document.getElementById(button.dataset.copy);
  const said = document.getElementById(`${button.dataset.copy}-copied`);
  try {
    await navigator.clipboard.writeText(held.textContent.trim());
    said.textContent = "Copied";
  } catch {
    // A page that is not served by HTTPS may not write to the clipboard.
    getSelection().selectAllChildren(held);
    said.textContent = "It is selected: press Ctrl+C, or ⌘C, to copy it";
  }
});

// A form that is sent twice by a double click is sent once.
document.addEventListener("submit", (event) => {
  if (event.target.dataset.sent) event.preventDefault();
  else if (event.target.method === "post") {
    event.target.dataset.sent = "yes";
    event.submitter?.setAttribute("aria-busy", "true");
  }
});
addEventListener("pageshow", () => {
  for (const form of document.querySelectorAll("[data-sent]")) delete form.dataset.sent;
  for (const button of document.querySelectorAll("button[aria-busy]")) button.removeAttribute("aria-busy");
});

// What refreshes itself says when it cannot.
const trouble = document.getElementById("trouble");
const stale = (event) => {
  event.detail.elt.classList.add("stale");
  trouble.textContent = "Part of this page cannot be refreshed now; it is tried again.";
};
for (const name of ["htmx:responseError", "htmx:sendError", "htmx:timeout"]) document.addEventListener(name, stale);
document.addEventListener("htmx:afterRequest", (event) => {
  if (!event.detail.successful) return;
  event.detail.elt.classList.remove("stale");
  if (!document.querySelector(".stale")) trouble.textContent = "";
});

let lost = null;
document.addEventListener("htmx:beforeSwap", (event) => {
  const held = document.activeElement;
  lost = event.detail.target.contains(held) ? held : null;
});
document.addEventListener("htmx:afterSettle", () => {
  if (!lost || lost.isConnected || document.activeElement !== document.body) return;
  const then = [...(lost.dataset.then || "").split(" "), "main"].map((id) => document.getElementById(id));
  lost = null;
  then.find(Boolean).focus();
});
