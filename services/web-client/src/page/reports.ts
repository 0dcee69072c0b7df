// What a terminal answers when a program asks it, or reports because it was told to: in output of the past,
// nobody waits for that any more, and a shell would take it for typed.

// Device attributes and status (c, n, R, y), focus (I, O), windows (t), modes ($y), and strings (DCS, OSC).
const REPORT = /^(\x1b\[[?>=]?[\d;]*[cnRty]|\x1b\[[IO]|\x1b\[\?[\d;]*\$y|\x1b[P\]].*)$/s;

export function isReport(text: string): boolean {
  return REPORT.test(text);
}
