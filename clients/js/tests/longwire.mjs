// A model of longwire as docs/resume.md tells it, without sockets and clocks. Whoever has a connection for it calls `greet`, then `hear` with
// each message and `lose` at its end. It answers by the connection's `send(data)` and `close(code, reason)`.

export const OFFER = "longwire.resume.v1";
const TERMS = { beat_ms: 10_000, replay: 65_536, for_ms: 30_000 };
const OVERHEAD = 16;

const sizeOf = (data) => (typeof data === "string" ? Buffer.byteLength(data) : data.byteLength) + OVERHEAD;
let made = 0;

/** One session: what the backend got and sent, and what of it the client has. */
class Session {
  // What the backend was given, in order.
  got = [];
  sent = 0;
  acked = 0;
  trimmed = 0;
  kept = [];
  bytes = 0;
  attempt = -1;
  connection;
  awaySince;
  isOver = false;
  pendingClose;
  // A hold began while the client was away.
  isHeld = false;

  constructor(terms) {
    this.terms = terms;
    this.token = `T-${++made}`;
    this.secret = `${`${made}`.padStart(22, "s")}:`;
  }

  /** Whether the backend may send: it is not read while its client is away and there is no room. */
  hasRoom(data) {
    return this.connection !== undefined || this.bytes + sizeOf(data) <= this.terms.replay;
  }

  say(data) {
    if (this.pendingClose) return;
    this.sent++;
    const size = sizeOf(data);
    if (size <= this.terms.replay) this.kept.push({ number: this.sent, data, size });
    this.bytes = this.kept.reduce((sum, kept) => sum + kept.size, 0);
    while (this.bytes > this.terms.replay) this.bytes -= this.kept.shift().size;
    const first = this.kept[0]?.number ?? this.sent + 1;
    this.trimmed = Math.max(this.trimmed, first - 1);
    if (size > this.terms.replay) {
      this.trimmed = this.sent;
      this.kept = [];
      this.bytes = 0;
    }
    this.connection?.send(data);
  }

  hear(data) {
    if (typeof data === "string" && data.length <= 125 && data.startsWith(this.secret)) {
      const count = Number(data.slice(this.secret.length));
      if (count > this.sent) return this.end(1002, "resume count");
      if (count > this.acked) this.forget(count);
      return;
    }
    this.got.push(data);
  }

  forget(count) {
    this.acked = count;
    while (this.kept[0]?.number <= count) this.bytes -= this.kept.shift().size;
  }

  control(body) {
    this.connection?.send(this.secret + body);
  }

  /** The backend closes: its client, if it is away, hears of it behind what it has missed. */
  finish(code, reason) {
    if (this.connection) this.end(code, reason);
    else this.pendingClose ??= [code, reason];
  }

  end(code, reason) {
    this.isOver = true;
    this.connection?.close(code, reason);
    this.connection = undefined;
  }
}

export class Longwire {
  sessions = [];
  /** `on`, `off`, `busy` (it refuses by a Close), or what another server does with an offer: `echo`, `ignore`, `refuse`. */
  mode = "on";
  /** What the next hello says instead. */
  lie = {};

  constructor(terms) {
    this.terms = { ...TERMS, ...terms };
  }

  /** What is answered to a handshake that offers these subprotocols: nothing where it is refused. */
  handshake(offered, now) {
    const ours = offered.filter((item) => item === OFFER || item.startsWith(`${OFFER}.`));
    const chosen = offered.find((item) => !ours.includes(item));
    if (!ours.length || this.mode === "ignore") return { protocol: chosen };
    if (this.mode === "refuse") return undefined;
    if (this.mode === "busy") return { protocol: OFFER, refusal: 1013 };
    if (this.mode === "echo") return { protocol: offered.at(-1) };
    if (this.mode === "off") {
      if (chosen) return { protocol: chosen };
      const nothing = { resume: "off", resumed: false, token: "", secret: "", protocol: null, received: 0, beat_ms: 0, replay: 0, for_ms: 0 };
      return { protocol: OFFER, hello: JSON.stringify({ longwire: 1, ...nothing }) };
    }
    const [token, attempt, count] = (ours.find((item) => item !== OFFER)?.slice(OFFER.length + 1) ?? "").split(".");
    let session = this.sessions.find((found) => found.token === token);
    if (session && Number(attempt) <= session.attempt) return undefined;
    if (session) session.attempt = Number(attempt);
    const isExpired = !session || session.isOver || now - (session.awaySince ?? now) >= this.terms.for_ms;
    const isResumed = !isExpired && Number(count) >= session.trimmed && Number(count) <= session.sent;
    if (!isResumed) {
      if (session) session.end(1001, "client lost");
      this.sessions.push((session = new Session(this.terms)));
    } else {
      session.connection?.close(1006);
      session.connection = undefined;
      session.awaySince ??= now;
      session.forget(Math.max(session.acked, Number(count)));
    }
    const { secret } = session;
    const told = { longwire: 1, resume: "on", resumed: isResumed, token: session.token, secret, protocol: chosen ?? null };
    const hello = { ...told, received: session.got.length, ...this.terms };
    // Another token or secret is a lie only where there was one before.
    if (isResumed || !("token" in this.lie || "secret" in this.lie)) Object.assign(hello, this.lie);
    this.lie = {};
    return { protocol: OFFER, session, hello: JSON.stringify(hello) };
  }

  /** The connection has its 101: the hello and the replay go out. */
  greet({ session, hello, refusal }, connection) {
    if (refusal) return connection.close(refusal, "sessions_per_client");
    if (hello) connection.send(hello);
    if (!session || session.isOver) return;
    session.connection = connection;
    session.awaySince = undefined;
    if (session.isHeld) session.control("resync");
    session.isHeld = false;
    for (const { data } of session.kept) connection.send(data);
    if (session.pendingClose) session.end(...session.pendingClose);
  }

  /** The connection is gone without a Close. */
  lose(session, connection, now) {
    if (session?.connection !== connection || session.isOver) return;
    session.connection = undefined;
    if (session.acked < session.trimmed) session.isOver = true;
    session.awaySince = now;
  }
}
