"use strict";
document.documentElement.classList.add("scripted");
document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  const text = document.getElementById(button.dataset.copy).textContent.trim();
  await navigator.clipboard.writeText(text);
  const before = button.textContent;
  button.textContent = "Copied";
  setTimeout(() => { button.textContent = before; }, 2000);
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
