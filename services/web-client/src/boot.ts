// Put into the page itself. Takes what a link carries out of the address bar, then loads the files of exactly this
// build.

import { takeCredential } from "./page/api.js";
import { fetched } from "./page/files.js";

const BASE = "%BASE%";
const FILES = "%FILES%".split(" ");

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
    await Promise.all(FILES.map((name) => fetched(BASE + name)));
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
