// What a reload must not lose. sessionStorage belongs to one browser tab.

const TOKEN = "terminals.token";
const TABS = "terminals.tabs";

export const token = () => sessionStorage.getItem(TOKEN);
export const setToken = (value) => sessionStorage.setItem(TOKEN, value);

export function signOut() {
  sessionStorage.removeItem(TOKEN);
  sessionStorage.removeItem(TABS);
}

export function saveTabs(tabs, active) {
  sessionStorage.setItem(TABS, JSON.stringify({ tabs, active }));
}

/**
 * The tabs of the page before the reload. Reading takes the client ids and unacknowledged input
 * away: a duplicated browser tab must not act as the same client.
 */
export function takeTabs() {
  try {
    const saved = JSON.parse(sessionStorage.getItem(TABS)) ?? { tabs: [], active: -1 };
    const tabs = saved.tabs.map(({ profile, session, epoch, number }) => ({ profile, session, epoch, number }));
    saveTabs(tabs, saved.active);
    return saved;
  } catch {
    return { tabs: [], active: -1 };
  }
}

export const toBase64 = (data) => btoa(Array.from(data, (byte) => String.fromCharCode(byte)).join(""));
export const fromBase64 = (text) => Uint8Array.from(atob(text), (char) => char.charCodeAt(0));

export function randomId() {
  return Array.from(crypto.getRandomValues(new Uint8Array(8)), (byte) =>
    byte.toString(16).padStart(2, "0"),
  ).join("");
}
