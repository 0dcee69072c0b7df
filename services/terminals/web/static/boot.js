/* Put into the page itself. Takes the token out of the address bar, then loads the modules of
   exactly this build: while a release is under way another build may answer on the same port,
   says 404 and closes the connection, and we ask again. */
(async () => {
  "use strict";
  const base = "%BASE%";
  const files = "%FILES%";
  const TRIES = 40;

  const fragment = new URLSearchParams(location.hash.slice(1));
  const token = fragment.get("token");
  if (token) {
    sessionStorage.setItem("terminals.token", token);
    history.replaceState(null, "", location.pathname + location.search);
  }

  const load = async (name) => {
    for (let attempt = 0; attempt < TRIES; attempt += 1) {
      try {
        const response = await fetch(base + name, { cache: attempt ? "no-cache" : "force-cache" });
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
  };

  const style = (name) =>
    new Promise((done, failed) => {
      const link = document.createElement("link");
      link.rel = "stylesheet";
      link.href = base + name;
      link.onload = done;
      link.onerror = failed;
      document.head.append(link);
    });

  try {
    await Promise.all(files.map(load));
    await Promise.all(files.filter((name) => name.endsWith(".css")).map(style));
    const app = await import(base + "app.js");
    await app.start();
  } catch (error) {
    console.error("the page could not be loaded", error);
    const boot = document.getElementById("boot");
    boot.textContent = "This page could not be loaded completely. ";
    const again = document.createElement("button");
    again.textContent = "Load again";
    again.onclick = () => location.reload();
    boot.append(again);
  }
})();
