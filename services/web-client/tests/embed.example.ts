import { Terminal } from "@xterm/xterm";
import { Connection, randomId } from "@terminals/web-client";

declare const ticket: string; // from your server, see below

const term = new Terminal();
term.open(document.body);

const connection = new Connection({
  url: "wss://terminals.example.com:4001/",
  credentials: { ticket },
  client: randomId(),
  session: null, // or the id of one, to attach to that
  size: { cols: term.cols, rows: term.rows },
  handlers: {
    onAttached: (attached) => console.info(`this is ${attached.session}`),
    onOutput: (data, end) => term.write(data, () => connection.consumed(end)),
    onScreen: (screen, end) => term.write(screen, () => connection.consumed(end)),
    onDropped: (count) => console.warn(`${count} bytes may not have arrived`),
    onSize: ({ cols, rows }) => term.resize(cols, rows),
    onState: (state) => console.info(state.kind),
    onPong: () => {},
  },
});
const encoder = new TextEncoder();
term.onData((text) => connection.send(encoder.encode(text)));
term.onResize(({ cols, rows }) => connection.resize(cols, rows));
connection.open();
