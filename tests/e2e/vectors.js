// Runs the protocol's test vectors with the modules of the page. Gives the failures, and how many vectors were run.

export async function run(vectors, base) {
  const protocol = await import(`${base}protocol.js`);
  const rules = await import(`${base}rules.js`);
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
  each("close", ([code, action]) => same(protocol.closeAction(code), action));
  each("retry_windows", ([reason, window]) => same(protocol.retryWindow(reason, null), window));
  return { failures, count };
}
