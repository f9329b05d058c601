// The script of the pages: theme of Airflow's UI, links out of Airflow's frame, and the refresh.
"use strict";

// Airflow's document, if this page is in a frame of Airflow's UI; otherwise null.
const airflow = (() => {
  try {
    return window.parent === window ? null : window.parent.document;
  } catch {
    return null; // The page around this one is of another origin.
  }
})();

// ---- Theme: the class of Airflow's root element. Without a frame, the stylesheet follows the browser.

if (airflow) {
  const follow = () => {
    const theme = ["dark", "light"].find((name) => airflow.documentElement.classList.contains(name));
    if (theme) document.documentElement.dataset.theme = theme;
  };
  follow();
  const observer = new MutationObserver(follow);
  observer.observe(airflow.documentElement, { attributes: true, attributeFilter: ["class"] });
  window.addEventListener("pagehide", () => observer.disconnect());
}

// ---- Links: the sandbox of Airflow's frame lets no link leave the frame, so a link of Airflow's document is clicked.

document.addEventListener("click", (event) => {
  const link = event.target.closest("a[data-airflow], a[target=_blank]");
  if (!airflow || !link) return;
  event.preventDefault();
  const outer = airflow.createElement("a");
  outer.href = link.href;
  outer.rel = "noopener noreferrer";
  if (link.target || event.ctrlKey || event.metaKey || event.shiftKey) outer.target = "_blank";
  airflow.body.append(outer);
  outer.click();
  outer.remove();
});

// ---- Refresh: elements stay, and only what differs is replaced, so that focus, selection and scroll position stay.

const LONGEST_PAUSE = 60;
let timer = null;
let failures = 0;
let seenAt = new Date();

function alike(before, after) {
  return before.nodeName === after.nodeName && (before.id || "") === (after.id || "");
}

function update(before, after) {
  if (before.nodeType !== Node.ELEMENT_NODE) {
    if (before.nodeValue !== after.nodeValue) before.nodeValue = after.nodeValue;
    return;
  }
  for (const { name } of [...before.attributes]) {
    // What the user has unfolded stays so.
    if (name !== "open" && !after.hasAttribute(name)) before.removeAttribute(name);
  }
  for (const { name, value } of after.attributes) {
    if (before.getAttribute(name) !== value) before.setAttribute(name, value);
  }
  updateChildren(before, after);
}

function updateChildren(before, after) {
  let old = before.firstChild;
  for (const node of [...after.childNodes]) {
    // An element with an id may have moved.
    let found = old;
    if (node.id) found = [...before.childNodes].find((child) => child.id === node.id) ?? null;
    if (found && alike(found, node)) {
      if (found === old) old = old.nextSibling;
      else before.insertBefore(found, old);
      update(found, node);
    } else {
      before.insertBefore(document.importNode(node, true), old);
    }
  }
  while (old) {
    const next = old.nextSibling;
    old.remove();
    old = next;
  }
}

async function refresh() {
  timer = null;
  try {
    const response = await fetch(location.href, { credentials: "same-origin", signal: AbortSignal.timeout(30000) });
    if (!response.ok) throw new Error(String(response.status));
    const fresh = new DOMParser().parseFromString(await response.text(), "text/html");
    update(document.getElementById("content"), fresh.getElementById("content"));
    document.body.dataset.refresh = fresh.body.dataset.refresh;
    failures = 0;
    seenAt = new Date();
  } catch {
    failures += 1;
    const shown = document.getElementById("updated");
    shown.classList.add("bad");
    shown.textContent = `Not updated since ${seenAt.toISOString().slice(11, 19)} UTC`;
  }
  plan();
}

function plan() {
  const seconds = Number(document.body.dataset.refresh);
  if (!seconds || document.hidden || timer) return;
  timer = setTimeout(refresh, 1000 * Math.min(seconds * 2 ** failures, Math.max(seconds, LONGEST_PAUSE)));
}

document.addEventListener("DOMContentLoaded", plan);
document.addEventListener("visibilitychange", () => {
  if (document.hidden) {
    clearTimeout(timer);
    timer = null;
  } else if (!timer && Number(document.body.dataset.refresh)) {
    refresh();
  }
});
