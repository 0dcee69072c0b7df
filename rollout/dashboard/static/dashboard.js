// Shows what the server sends, section by section, and asks before anything is done.

"use strict";

const $ = (id) => document.getElementById(id);
const OURS = { "X-Rollout": "page", "Content-Type": "application/json" };
let may = false;
let asked = null;

function says(text, kind) {
  $("link").textContent = text;
  $("link").className = kind;
}

function allow() {
  $("visitor").textContent = may ? "" : "to look at only; the link that rollout dashboard has printed lets you act";
  for (const actions of document.querySelectorAll(".actions")) actions.hidden = !may;
}

async function post(path, body) {
  const response = await fetch(path, { method: "POST", headers: OURS, body: JSON.stringify(body) });
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error);
  return answer;
}

function replace(name, html) {
  const where = $(name);
  // What somebody has opened, and the button that the keyboard is at, stay as they are.
  const before = new Map([...where.querySelectorAll("details[data-began]")].map((one) => [one.dataset.began, one.open]));
  const at = where.contains(document.activeElement) ? document.activeElement.dataset : null;
  where.innerHTML = html;
  for (const one of where.querySelectorAll("details[data-began]")) one.open = before.get(one.dataset.began) ?? one.open;
  allow();
  if (at && at.do) where.querySelector(`[data-do="${at.do}"][data-environment="${CSS.escape(at.environment)}"]`)?.focus();
}

function follow() {
  const events = new EventSource("events");
  events.onopen = () => says("Live", "live");
  events.onerror = () => {
    says("Not connected; trying again", "lost");
    if (events.readyState === EventSource.CLOSED) setTimeout(follow, 3000);
  };
  events.addEventListener("visitor", (event) => {
    may = JSON.parse(event.data).may;
    allow();
  });
  events.addEventListener("section", (event) => {
    const { name, html } = JSON.parse(event.data);
    replace(name, html);
  });
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-do]");
  if (!button) return;
  asked = { action: button.dataset.do, environment: button.dataset.environment };
  $("confirm-title").textContent = `${asked.action} ${asked.environment}?`;
  $("confirm-what").textContent = document.querySelector(`template[data-action="${asked.action}"]`).content.textContent;
  $("confirm-name").value = $("confirm-said").textContent = "";
  $("confirm").showModal();
});

$("confirm-no").addEventListener("click", () => $("confirm").close());
$("confirm").addEventListener("submit", (event) => {
  event.preventDefault();
  post("orders", { ...asked, confirmed: $("confirm-name").value.trim() })
    .then(() => $("confirm").close(), (error) => {
      $("confirm-said").textContent = error.message;
    });
});

(async () => {
  const key = new URLSearchParams(location.hash.slice(1)).get("key");
  if (key) {
    history.replaceState(null, "", location.pathname);
    try {
      await post("sign-in", { key });
    } catch (error) {
      says(error.message, "lost");
      return;
    }
  }
  follow();
})();
addEventListener("hashchange", () => location.reload());
