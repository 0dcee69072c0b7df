// Runs the protocol's test vectors with the modules of the page. Gives the failures, and how many vectors were run.

export async function run(vectors, base) {
  const protocol = await import(`${base}protocol.js`);
  const rules = await import(`${base}rules.js`);
  const { Conversation } = await import(`${base}conversation.js`);
  const failures = [];
  let count = 0;

  const bytes = (hex) => Uint8Array.from(hex.match(/../g) ?? [], (pair) => parseInt(pair, 16));
  const hex = (data) => [...data].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  const same = (got, wanted) => {
    if (JSON.stringify(got) !== JSON.stringify(wanted)) {
      throw new Error(`got ${JSON.stringify(got)}, expected ${JSON.stringify(wanted)}`);
    }
  };
  const refuses = (kind, action) => {
    try {
      action();
    } catch (error) {
      if (error instanceof kind) return;
      throw error;
    }
    throw new Error(`no ${kind.name} was thrown`);
  };
  const each = (section, check) => {
    for (const vector of vectors[section]) {
      count += 1;
      try {
        check(vector);
      } catch (error) {
        failures.push(`${section}: ${JSON.stringify(vector).slice(0, 200)}: ${error.message}`);
      }
    }
  };

  const much = (data) => (data.length <= 32 ? hex(data) : `${data.length} bytes`);
  const ms = (value) => Math.round(value * 1000) / 1000;
  const broken = "the server broke the protocol"; // how exactly, each implementation says in its own words
  const why = (text) => (text.startsWith(broken) ? broken : text);

  /** Plays a conversation as tests/support/conversations.py does. */
  class Player {
    constructor({ draw = 0.5, limit = 1 << 20, typed = 0, pending = "", credentials = { token: "secret" }, ...more }) {
      const sender = new rules.Sender({ limit, acked: typed, pending: bytes(pending) });
      const backoff = new rules.Backoff({ base: 100, random: () => draw });
      this.talk = new Conversation(credentials, "me", { ...more, sender, backoff });
    }

    step(at, [kind, ...values]) {
      const full = this.tell(at, kind, values);
      const items = this.talk.take().map((item) => this.written(item));
      const wake = this.talk.wakeAt();
      return [[...full, ...items], wake === null ? null : ms(wake)];
    }

    tell(now, kind, values) {
      const { talk } = this;
      const frame = (type, seq, data) => protocol.encodeBinary(type, 0, seq, data).buffer;
      const simple = { open: "open", connected: "connected", tick: "tick", cut: "cut", probe: "probe", retry_now: "retryNow", heard: "heard" };
      if (kind in simple) talk[simple[kind]](now);
      else if (kind === "close") talk.close(...(values.length ? [{ kill: true }] : []));
      else if (kind === "lost") talk.lost(now, ...values);
      else if (kind === "type-many") talk.type(new Uint8Array(values[0]));
      else if (kind === "resize") talk.resize(...values);
      else if (kind === "consumed") talk.consumed(now, values[0]);
      else if (kind === "raw") talk.received(now, values[0]);
      else if (kind === "binary") talk.received(now, bytes(values[0]).buffer);
      else if (kind === "data") talk.received(now, frame(protocol.DATA, values[0], bytes(values[1])));
      else if (kind === "data-many") talk.received(now, frame(protocol.DATA, values[0], new Uint8Array(values[1])));
      else if (kind === "snapshot") talk.received(now, frame(protocol.SNAPSHOT, values[0], bytes(values[1])));
      else if (kind === "ack") talk.received(now, frame(protocol.ACK, values[0]));
      else if (kind === "type") {
        try {
          talk.type(bytes(values[0]));
        } catch (error) {
          if (!(error instanceof RangeError)) throw error;
          return [["full"]];
        }
      } else {
        const unusual = values[0] ?? {};
        const fields = { type: kind, ...vectors.messages[kind], ...unusual };
        // What is written as null is not said at all.
        for (const name of Object.keys(unusual)) if (unusual[name] === null) delete fields[name];
        talk.received(now, JSON.stringify(fields));
      }
      return [];
    }

    written(item) {
      switch (item.kind) {
        case "connect": return item.url ? ["connect", item.url] : ["connect"];
        case "elsewhere": return ["elsewhere-now", item.url];
        case "resized": return ["resized", item.cols, item.rows];
        case "taken-over": return [item.kind];
        case "close": return ["close", item.code];
        case "send": return typeof item.data === "string" ? this.message(JSON.parse(item.data)) : this.frame(item.data);
        case "connecting": return ["connecting", item.again];
        case "connected": {
          const { attached: { session, mode, head, size: at }, reconnect, planned, missed, away, attempt, attach } = item;
          return ["attached-now", { session, mode, head, reconnect, planned, missed, away: ms(away), attempt: ms(attempt), attach: ms(attach), ...(at && { size: [at.cols, at.rows] }) }];
        }
        case "output": return ["output", much(item.data), item.end];
        case "screen": return ["screen", much(item.data), item.end, item.skipped];
        case "input-dropped": return ["input-dropped", item.count];
        case "pong": return ["pong-after", ms(item.ms)];
        case "lost": return ["lost", item.planned, why(item.reason), ms(item.lasted)];
        case "loop": return ["loop", why(item.reason)];
        case "failed": return ["failed", why(item.reason), ms(item.ms)];
        case "waiting": return ["waiting", ms(item.until), why(item.reason), item.planned, item.breaker];
        case "ended": return ["ended", item.status];
        case "refused": return ["refused", item.code, item.message];
      }
    }

    frame(data) {
      const { type, seq, payload } = protocol.decodeBinary(data.buffer);
      return type === protocol.ACK ? ["ack", seq] : ["data", seq, much(payload)];
    }

    message({ type, ...fields }) {
      const usual = vectors.messages[type] ?? {};
      const said = { ...Object.fromEntries(Object.keys(usual).map((name) => [name, null])), ...fields };
      const unusual = Object.entries(said).filter(([name, value]) => JSON.stringify(usual[name]) !== JSON.stringify(value));
      return unusual.length ? [type, Object.fromEntries(unusual)] : [type];
    }
  }

  each("frames", (vector) => {
    const frame = protocol.decodeBinary(bytes(vector.hex).buffer);
    same([frame.type, frame.channel, frame.seq, hex(frame.payload)], [vector.type, vector.channel, vector.seq, vector.payload]);
    same(hex(protocol.encodeBinary(frame.type, frame.channel, frame.seq, frame.payload)), vector.hex);
  });
  each("bad_frames", (vector) => refuses(protocol.BadFrame, () => protocol.decodeBinary(bytes(vector.hex).buffer)));
  each("texts", (vector) => same(protocol.decodeText(vector.text).type, vector.type));
  each("bad_texts", (text) => refuses(protocol.BadFrame, () => protocol.decodeText(text)));
  each("receiver", (vector) => {
    const receiver = new rules.Receiver();
    receiver.received = vector.start ?? 0;
    for (const step of vector.steps) {
      const act = () => "jump" in step ? receiver.jump(step.jump) : hex(receiver.accept(step.seq, bytes(step.data)));
      if (step.gap) refuses(rules.SequenceGap, act);
      else same(act(), "jump" in step ? step.skipped : step.new);
    }
    same(receiver.received, vector.received);
  });
  each("sender", (vector) => {
    const sender = new rules.Sender({ limit: vector.limit });
    for (const step of vector.steps) {
      if (step.full) refuses(RangeError, () => sender.push(bytes(step.push)));
      else if ("restart" in step) same(sender.restart(step.restart), step.dropped);
      else if ("push" in step) sender.push(bytes(step.push));
      else if (step.gap) refuses(rules.SequenceGap, () => sender.ack(step.ack));
      else if ("ack" in step) sender.ack(step.ack);
      else same([sender.acked, hex(sender.from(sender.acked, 1 << 20))], [step.from, step.pending]);
    }
    same([sender.acked, sender.end], [vector.acked, vector.end]);
  });
  each("backoff", ({ base: first, cap, ceilings, delays }) => {
    for (const [attempt, ceiling] of ceilings) same(new rules.Backoff({ base: first, cap }).ceiling(attempt), ceiling);
    for (const [attempt, draw, delay] of delays) {
      same(new rules.Backoff({ base: first, cap, random: () => draw }).delay(attempt), delay);
    }
  });
  each("breaker", ({ threshold, cooldown, max_cooldown: maxCooldown, steps }) => {
    const breaker = new rules.CircuitBreaker({ threshold, cooldown, maxCooldown });
    for (const step of steps) {
      if ("allow" in step) same(breaker.allow(step.at), step.allow);
      if ("failure" in step) same(breaker.failure(step.at), step.failure);
      if ("success" in step) breaker.success();
      if ("retry_after" in step) same(breaker.retryAfter(step.at), step.retry_after);
      if ("state" in step) same(breaker.state, step.state);
    }
  });
  each("conversations", (conversation) => {
    const player = new Player(conversation.options ?? {});
    for (const [at, given, items, wake] of conversation.steps) {
      try {
        same(player.step(at, given), [items, wake]);
      } catch (error) {
        throw new Error(`at ${at}, ${JSON.stringify(given)}: ${error.message}`);
      }
    }
  });
  each("close", ([code, action]) => same(protocol.closeAction(code), action));
  each("retry_windows", ([reason, window]) => same(protocol.retryWindow(reason, null), window));
  return { failures, count };
}
