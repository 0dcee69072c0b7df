// Put into the page itself. Takes what a link carries out of the address bar, then loads the files of exactly this
// build: while a release is under way another build may answer on the same port, says 404 and closes the
// connection, and we ask again.

import { takeCredential } from "./page/api.js";

const BASE = "%BASE%";
const FILES = "%FILES%".split(" ");
const TRIES = 40;

async function load(name: string): Promise<void> {
  for (let attempt = 0; attempt < TRIES; attempt += 1) {
    try {
      const response = await fetch(BASE + name, { cache: attempt ? "no-cache" : "force-cache" });
      if (response.ok) {
        await response.arrayBuffer();
        return;
      }
    } catch {
      // The connection was lost, or the server is being replaced: ask again.
    }
    await new Promise((done) => setTimeout(done, 50 + Math.random() * 50 * Math.min(attempt + 1, 20)));
  }
  throw new Error(name);
}

function style(name: string): Promise<unknown> {
  return new Promise((done, failed) => {
    const link = document.createElement("link");
    link.rel = "stylesheet";
    link.href = BASE + name;
    link.onload = done;
    link.onerror = failed;
    document.head.append(link);
  });
}

async function boot(): Promise<void> {
  const credential = takeCredential();
  try {
    await Promise.all(FILES.map(load));
    await Promise.all(FILES.filter((name) => name.endsWith(".css")).map(style));
    const page = (await import(`${BASE}page.js`)) as { start(credential: string | null): Promise<void> };
    await page.start(credential);
  } catch (error) {
    console.error("the page could not be loaded", error);
    const said = document.getElementById("boot");
    if (!said) return;
    said.hidden = false;
    said.textContent = "This page could not be loaded completely. ";
    const again = document.createElement("button");
    again.textContent = "Load again";
    again.onclick = () => location.reload();
    said.append(again);
  }
}

void boot();
