// Files, as the page handles them.

import { sha256 } from "@noble/hashes/sha2.js";
import { bytesToHex } from "@noble/hashes/utils.js";
import { describe, expect, test } from "vitest";

import { forgetUpload, progressOf, uploadId } from "../src/page/transfers.js";

describe("a digest", () => {
  test.each([0, 1, 3, 55, 56, 57, 63, 64, 65, 119, 120, 1000, 100_000])("of %i bytes, in pieces", async (length) => {
    const data = Uint8Array.from({ length }, (_, at) => (at * 7919) >> 3);
    const wanted = bytesToHex(new Uint8Array(await crypto.subtle.digest("SHA-256", data)));
    for (const piece of [1, 7, 64, 100, 65536]) {
      if (length / piece > 2000) continue;
      const digest = sha256.create();
      for (let at = 0; at < length; at += piece) digest.update(data.subarray(at, at + piece));
      expect(bytesToHex(digest.digest())).toBe(wanted);
    }
  });
});

describe("the id of an upload", () => {
  const file = { name: "a.bin", size: 5, lastModified: 7 };
  const store = () => {
    const kept = new Map<string, string>();
    return { getItem: (key: string) => kept.get(key) ?? null, setItem: (key: string, value: string) => void kept.set(key, value) };
  };

  test("is the same for the same file and session, until that is over", () => {
    const kept = store();
    const id = uploadId(kept, "s", file);
    expect(id).toMatch(/^[A-Za-z0-9_-]{8,64}$/);
    expect(uploadId(kept, "s", { ...file })).toBe(id);
    expect(uploadId(kept, "t", file)).not.toBe(id);
    expect(uploadId(kept, "s", { ...file, lastModified: 8 })).not.toBe(id);
    forgetUpload(kept, id);
    expect(uploadId(kept, "s", file)).not.toBe(id);
  });

  test("survives a store that makes no sense, and one that is full", () => {
    const full = { getItem: () => "{", setItem: () => { throw new DOMException("full"); } };
    expect(uploadId(full, "s", file)).not.toBe("");
  });

  test("of so many, the latest are kept", () => {
    const kept = store();
    const ids = Array.from({ length: 60 }, (_, size) => uploadId(kept, "s", { ...file, size }));
    expect(uploadId(kept, "s", { ...file, size: 59 })).toBe(ids[59]);
    expect(uploadId(kept, "s", { ...file, size: 0 })).not.toBe(ids[0]);
  });
});

test("what is said of one", () => {
  const found = { bytes: 2_000_000, done: 500_000, said: "", asked: false };
  expect(progressOf(found)).toBe("500 KB of 2.0 MB");
  expect(progressOf({ ...found, asked: true })).toBe("2.0 MB, to be downloaded");
  expect(progressOf({ ...found, said: "is there, as a.bin" })).toBe("is there, as a.bin");
});
