// The page of sessions and generations.

import { age, byId, bytes, confirmEnd, h, short, title } from "./dom.js";
import { call, Unauthorized } from "./api.js";

const EVERY_MS = 4000;

export class Dashboard {
  #timer = null;
  #visible = false;

  /** `page`: {opened(session), onOpen(entry), onUnauthorized()}. */
  constructor(page) {
    this.page = page;
    document.addEventListener("visibilitychange", () => this.#visible && !document.hidden && this.refresh());
  }

  show(visible) {
    this.#visible = visible;
    byId("sessions").classList.toggle("shown", visible);
    byId("sessions").inert = !visible;
    clearTimeout(this.#timer);
    if (visible) this.refresh();
  }

  async refresh() {
    clearTimeout(this.#timer);
    try {
      const [status, { sessions }] = await Promise.all([call("/api/status"), call("/api/sessions")]);
      this.#render(status, sessions);
      this.#notice("");
    } catch (error) {
      if (error instanceof Unauthorized) return this.page.onUnauthorized();
      this.#notice(`${error.message} What is shown may be old.`);
    }
    if (this.#visible && !document.hidden) this.#timer = setTimeout(() => this.refresh(), EVERY_MS);
  }

  #notice(text) {
    byId("notice").textContent = text;
    byId("notice").hidden = !text;
  }

  #render(status, sessions) {
    const live = sessions.filter((entry) => entry.live);
    const uptime = age(Date.now() / 1000 - status.manager.started);
    byId("figures").replaceChildren(
      figure(status.sessions.live, "running"),
      figure(status.sessions.attached, "attached"),
      figure(status.generations.filter((entry) => entry.weight > 0).length, "serving"),
      figure(uptime, "session manager up"),
    );
    byId("empty").hidden = live.length > 0;
    byId("session-table").hidden = sessions.length === 0;
    const rows = [...live.reverse(), ...sessions.filter((entry) => !entry.live).reverse()];
    replaceRows(byId("session-table"), rows.map((entry) => this.#session(entry)));
    replaceRows(byId("generation-table"), [...status.generations].reverse().map(generation));
  }

  #session(entry) {
    const here = this.page.opened(entry.id);
    const [tone, state] = !entry.live
      ? ["off", `ended, ${entry.status}`]
      : here
        ? ["good", "open here"]
        : entry.attached
          ? ["good", "open elsewhere"]
          : ["idle", "detached"];
    const label = here ? "Show" : entry.attached ? "Take over" : "Open";
    const actions = entry.live
      ? [
          h("button", { onclick: () => this.page.onOpen(entry) }, label),
          h("button", { class: "quiet danger", onclick: () => this.#end(entry) }, "End"),
        ]
      : [];
    return [
      cell("Session", h("code", { title: entry.id }, short(entry.id))),
      cell("Profile", title(entry.profile)),
      cell("State", h("span", { class: `dot ${tone}` }), state),
      cell("Age", age(Date.now() / 1000 - entry.created)),
      cell("Output", bytes(entry.output)),
      cell("Generation", entry.generation),
      h("td", { class: "actions" }, ...actions),
    ];
  }

  async #end(entry) {
    const what = `End ${title(entry.profile)} session ${short(entry.id)}? Programs running in it are hung up.`;
    if (!(await confirmEnd(what))) return;
    try {
      await call(`/api/sessions/${entry.id}`, { method: "DELETE" });
    } catch (error) {
      if (error instanceof Unauthorized) return this.page.onUnauthorized();
      this.#notice(error.message);
    }
    this.refresh();
  }
}

function generation(entry) {
  const tone = entry.state === "serving" ? "good" : entry.state === "draining" ? "idle" : "off";
  const bar = h("span", { class: "meter", "aria-hidden": true }, h("span", { style: `width:${entry.weight}%` }));
  return [
    cell("Generation", h("strong", {}, entry.name)),
    cell("Build", h("code", {}, entry.build)),
    cell("State", h("span", { class: `dot ${tone}` }), entry.state),
    cell("Weight", bar, `${entry.weight} %`),
    cell("Workers", entry.workers),
    cell("Attached", entry.attached),
    cell("Attaches", entry.attaches),
    cell("Loops", h("span", { class: entry.loops ? "bad" : "" }, String(entry.loops))),
    cell("Memory", entry.memory_bytes ? bytes(entry.memory_bytes) : "–"),
  ];
}

function figure(value, label) {
  return h("div", { class: "figure" }, h("strong", {}, String(value)), h("span", {}, label));
}

const cell = (label, ...content) => h("td", { "data-label": label }, h("span", {}, ...content.map((part) => (typeof part === "number" ? String(part) : part))));

/** Put rows in place; a focused button keeps its focus. */
function replaceRows(table, rows) {
  const body = table.tBodies[0];
  const buttons = [...body.querySelectorAll("button")];
  const focused = buttons.indexOf(document.activeElement);
  body.replaceChildren(...rows.map((cells) => h("tr", {}, ...cells)));
  if (focused >= 0) body.querySelectorAll("button")[focused]?.focus();
}
