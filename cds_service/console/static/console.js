// What HTML alone cannot do, in a few lines. Everything else is htmx and the server.
"use strict";

document.addEventListener("click", async (event) => {
  const button = event.target.closest("button[data-copy]");
  if (!button) return;
  button.dataset.said ??= button.textContent;
  const source = document.getElementById(button.dataset.copy);
  try {
    await navigator.clipboard.writeText(source.textContent);
    button.textContent = button.dataset.copied;
  } catch {
    getSelection().selectAllChildren(source); // then the person copies it
    button.textContent = button.dataset.selected;
  }
  setTimeout(() => { button.textContent = button.dataset.said; }, 1500);
});

// What was typed before htmx listened is checked as well: to a page that has just come, and to a form that came with an
// answer. Text only: the value of a box that nobody ticked is "on".
document.addEventListener("htmx:load", (event) => {
  for (const form of event.target.querySelectorAll("form[hx-trigger*=input]")) {
    const isTyped = [...form.querySelectorAll("input[id], textarea")].some((each) => each.value !== each.defaultValue);
    if (isTyped) form.dispatchEvent(new Event("input", { bubbles: true }));
  }
});

// A list whose choice opens a page.
document.addEventListener("change", (event) => {
  if (event.target.matches("select[data-submits]")) event.target.form.requestSubmit();
});

// What was typed before an order was signed is part of it: its own, delayed call would put the answer to it away.
let signedAt = 0;
document.addEventListener("submit", (event) => {
  if (event.target.id === "order-form") signedAt = event.timeStamp;
}, true);
document.addEventListener("htmx:beforeRequest", (event) => {
  const by = event.detail.requestConfig.triggeringEvent;
  if (by?.type === "input" && by.timeStamp < signedAt) event.preventDefault();
});
