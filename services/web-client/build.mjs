// Builds the page into the package that serves it. `--check`: only say whether what is there is what would be built.

import { mkdtemp, readdir, readFile, mkdir, rm, writeFile, cp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";

import { build } from "esbuild";

const HERE = dirname(fileURLToPath(import.meta.url));
const STATIC = join(HERE, "../terminals/web/static");
const { dependencies } = JSON.parse(await readFile(join(HERE, "package.json"), "utf8"));

async function make(into) {
  const options = { bundle: true, minify: true, target: "es2022", legalComments: "none", logLevel: "warning", absWorkingDir: HERE };
  await build({ ...options, entryPoints: { page: "src/page/main.ts" }, format: "esm", outdir: into });
  await build({ ...options, entryPoints: { "later/images": "src/page/later/images.ts" }, format: "esm", outdir: into });
  await build({ ...options, entryPoints: { boot: "src/boot.ts" }, format: "iife", outdir: into });
  await build({ ...options, entryPoints: { page: "page/page.css" }, outdir: into });
  for (const name of ["index.html", "icon.svg"]) await cp(join(HERE, "page", name), join(into, name));
  const licences = await Promise.all(Object.keys(dependencies).map(async (name) => {
    const folder = join(HERE, "node_modules", name);
    const { version, license } = JSON.parse(await readFile(join(folder, "package.json"), "utf8"));
    return `${name} ${version} (${license})\n\n${(await readFile(join(folder, "LICENSE"), "utf8")).trim()}\n`;
  }));
  await writeFile(join(into, "LICENSES.txt"), licences.join("\n---\n\n"));
}

async function contents(folder) {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile()).map((entry) => relative(folder, join(entry.parentPath, entry.name)));
  return new Map(await Promise.all(files.sort().map(async (name) => [name, await readFile(join(folder, name), "latin1")])));
}

if (process.argv.includes("--check")) {
  const made = await mkdtemp(join(tmpdir(), "web-client-"));
  try {
    await make(made);
    const [wanted, found] = [await contents(made), await contents(STATIC)];
    const names = [...new Set([...wanted.keys(), ...found.keys()])];
    const others = names.filter((name) => wanted.get(name) !== found.get(name));
    if (others.length) {
      console.error(`not built from this source: ${others.join(", ")}; build them with: make web-client`);
      process.exitCode = 1;
    }
  } finally {
    await rm(made, { recursive: true });
  }
} else {
  await rm(STATIC, { recursive: true, force: true });
  await mkdir(STATIC, { recursive: true });
  await make(STATIC);
}
