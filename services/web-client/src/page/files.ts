// Files of exactly this build: while a release is under way another build may answer on the same port, says 404 and
// closes the connection, and we ask again.

const TRIES = 40;

/** Have a file in the browser's cache. Throws an Error with its address where it is not to be had. */
export async function fetched(url: string): Promise<void> {
  for (let attempt = 0; attempt < TRIES; attempt += 1) {
    try {
      const response = await fetch(url, { cache: attempt ? "no-cache" : "force-cache" });
      if (response.ok) {
        await response.arrayBuffer();
        return;
      }
    } catch {
      // The connection was lost, or the server is being replaced: ask again.
    }
    await new Promise((done) => setTimeout(done, 50 + Math.random() * 50 * Math.min(attempt + 1, 20)));
  }
  throw new Error(url);
}
