// What a connection that comes back does next. It decides and does not wait: instants (in ms, of any clock that runs forward) and
// randomness come from outside, connections and events are the driver's. Whoever drives it calls `tick` when `due` has come.

import type { LongwireEventMap, Told } from "./events.js";
import type { ConnectionEnd, Data, LongwireOptions } from "./options.js";
import { delay, isTemporary } from "./policy.js";
import { Queue } from "./queue.js";

export const CONNECTING = 0;
export const OPEN = 1;
export const CLOSING = 2;
export const CLOSED = 3;

/** A connection that lived so long (ms) was a success: the next delay is drawn from the first window again. */
const PROVEN = 10_000;
/** How long (ms) an open connection may take to end after its `error` event. */
const DYING = 1_000;
/** How long (ms) an attempt that began without a network may take once there is one. */
const REVIVED = 2_000;
/** Who looks later (ms) than it was due has stood still, and may find the answer behind the timer. */
export const LATE = 100;

/** What the machine has done outside. An event is always the last thing of a step, since its listeners may call the machine again. */
export interface Driver {
  /** Begins the connection of this attempt. What becomes of it is told by `opened`, `failed` and `ended`. */
  dial(attempt: number, offers?: string[]): void;
  /** Gives the connection up at once: nobody listens to it any more. */
  drop(): void;
  /** As `drop`, but sends no Close: what the connection was for goes on. */
  leave(): void;
  /** Closes what was left. */
  tidy(): void;
  /** Sends, or says that the connection is not open. Null: it is open, and there is no room. */
  transmit(data: Data): boolean | null;
  /** Bytes that were sent and did not leave yet. */
  buffered(): number;
  /** Begins the closing handshake. */
  shut(code?: number, reason?: string): void;
  emit<Type extends keyof LongwireEventMap>(type: Type, told: Told<Type>): void;
  /** An exception of the application's. */
  report(error: unknown): void;
}

/** A machine, or a shell around one that keeps some of its connections and messages to itself. */
export type MachineLike = { [Key in keyof Omit<Machine, "opened" | "failed">]: Machine[Key] } & {
  /** `protocol` is the subprotocol that the server chose. */
  opened(attempt: number, now: number, protocol: string): void;
  /** `isRefused`: there was a connection, or a server that refused one. */
  failed(attempt: number, error: unknown, now: number, isRefused?: boolean): void;
};
export type MakeMachine = (options: LongwireOptions, driver: Driver, random: () => number) => MachineLike;

export class Machine {
  /** 0 while there is no connection but will be, and 3 only at the end. */
  readyState: 0 | 1 | 2 | 3 = CONNECTING;
  /** When `tick` has something to do. */
  due = Infinity;
  readonly queue: Queue;
  #options;
  #driver: Driver;
  #random: () => number;
  #attempt = 0;
  /** The attempt whose connection lives; 0 while none does. What others tell comes too late and means nothing. */
  #current = 0;
  #failures = 0;
  #dialledAt = 0;
  #openedAt = 0;
  #askedAt = 0;
  /** How often a heartbeat was sent without anything heard since. */
  #unanswered = 0;
  /** What did not leave yet when somebody last looked for an answer. */
  #buffered = 0;
  /** What to tell, where nobody tells a better end in time. */
  #end: Omit<ConnectionEnd, "attempt"> | undefined;

  constructor(options: LongwireOptions, driver: Driver, random: () => number) {
    const { connectTimeout = 10_000, minDelay = 500, maxDelay = 30_000 } = options;
    this.#options = { ...options, connectTimeout, minDelay, maxDelay };
    this.queue = new Queue(options.queue ?? { messages: 0 });
    this.#driver = driver;
    this.#random = random;
  }

  isCurrent(attempt: number): boolean {
    return attempt === this.#current;
  }

  /** Begins an attempt. */
  dial(now: number): void {
    this.#current = ++this.#attempt;
    this.#dialledAt = now;
    this.due = now + this.#options.connectTimeout;
    this.#driver.dial(this.#current);
  }

  opened(attempt: number, now: number): void {
    if (!this.isCurrent(attempt) || this.readyState) return;
    this.readyState = OPEN;
    this.#openedAt = this.#askedAt = now;
    this.#unanswered = 0;
    this.due = this.#nextBeat(now);
    this.#flush();
    this.#driver.emit("open", { attempt, resumed: false });
  }

  /** Whether a message that came is one for the application. */
  heard(attempt: number, event: MessageEvent, now: number): boolean {
    if (!this.isCurrent(attempt)) return false;
    // Any message shows that the server lives.
    if (this.#unanswered && !this.#end) {
      this.#unanswered = 0;
      this.due = this.#nextBeat(now);
    }
    return !this.#try(() => this.#options.heartbeat?.isReply?.(event));
  }

  /** An `error` event, or an exception of what should have connected. */
  failed(attempt: number, error: unknown, now: number): void {
    if (!this.isCurrent(attempt)) return;
    // Some WebSockets (Node 20's own) fire no `close` after the `error` of a handshake that failed.
    if (!this.readyState) this.#lost({ ...lost("connection failed"), error }, now);
    else if (this.readyState === OPEN && !this.#end) {
      this.#end = lost("connection lost");
      this.due = now + DYING;
    }
  }

  ended(attempt: number, { code, reason, wasClean }: Told<"close">, now: number): void {
    if (this.isCurrent(attempt)) this.#lost({ code, reason, wasClean }, now);
  }

  /** Does what is due. */
  tick(now: number): void {
    if (now < this.due) return;
    if (this.#end) this.#lost(this.#end, now);
    else if (!this.#current) this.dial(now);
    else if (!this.readyState) this.#lost(lost("connect timeout"), now);
    else this.#beat(now);
  }

  /** The network is back, or somebody looks at the page again: the world may have changed since the last failure. */
  wake(now: number): void {
    const { heartbeat, minDelay } = this.#options;
    if (!this.readyState) {
      // A network that flaps causes no burst of attempts.
      if (!this.#current) this.due = Math.min(this.due, Math.max(now, this.#dialledAt + minDelay));
      // What was sent into a network that was away may never be answered.
      else if (this.#failures) this.due = Math.min(this.due, now + REVIVED);
      this.#failures = 0;
    } else if (this.readyState === OPEN && heartbeat && !this.#unanswered && !this.#end) this.due = now;
  }

  /** Whether the message was taken. What was handed to a connection is never sent again. */
  send(data: Data): boolean {
    if (this.readyState === OPEN && this.#driver.transmit(data)) return true;
    if (this.readyState > OPEN) return false;
    const isTaken = this.queue.add(data);
    if (!isTaken && this.#options.queue?.overflow === "error") this.#driver.emit("error", {});
    return isTaken;
  }

  /** Ends it for good. The `close` event follows, never within this call. */
  close(now: number, code?: number, reason = ""): void {
    if (this.readyState > OPEN) return;
    if (this.readyState) {
      this.#driver.shut(code, reason);
      this.#end = lost("close timeout");
      this.due = now + this.#options.connectTimeout;
    } else {
      this.#current = 0;
      this.#driver.drop();
      this.#end = { code: code ?? 1005, reason, wasClean: false };
      this.due = now;
    }
    this.readyState = CLOSING;
  }

  /** When to ask again for a sign of life. */
  #nextBeat(now: number): number {
    const { heartbeat } = this.#options;
    return heartbeat ? Math.max(now, this.#askedAt + (heartbeat.interval ?? 25_000)) : Infinity;
  }

  /** Asks for a sign of life, or finds that none came. */
  #beat(now: number): void {
    const { message, timeout = 10_000 } = this.#options.heartbeat!;
    const isLate = now - this.due > LATE;
    const buffered = this.#driver.buffered();
    this.due = now + timeout;
    if (this.#unanswered && buffered < this.#buffered) {
      // The question is behind a large message, and that one moves.
      this.#buffered = buffered;
      return;
    }
    // That the answer has slept too is believed once.
    if (this.#unanswered > (isLate ? 1 : 0)) return this.#lost(lost("no heartbeat"), now);
    this.#askedAt = now;
    const isAsked = this.#try(() => this.#driver.transmit(typeof message === "function" ? message() : message));
    // What found no room is no question.
    if (isAsked != null) this.#unanswered++;
    this.#buffered = this.#driver.buffered();
  }

  /** Sends what waits. What the connection refuses is given up, or it would be in the way for ever. */
  #flush(): void {
    for (let data: Data | undefined; (data = this.queue.first()) !== undefined; ) {
      const isSent = this.#try(() => this.#driver.transmit(data!) ?? false);
      if (isSent === false) return;
      this.queue.take();
      if (!isSent) this.queue.dropped++;
    }
  }

  /** What a call says that may be the application's own. An exception is reported. */
  #try<T>(call: () => T): T | undefined {
    try {
      return call();
    } catch (error) {
      this.#driver.report(error);
      return undefined;
    }
  }

  /** This connection is over: another one follows, or the end. */
  #lost(end: Omit<ConnectionEnd, "attempt">, now: number): void {
    const { minDelay, maxDelay } = this.#options;
    const wasOpen = this.readyState;
    const attempt = this.#current;
    this.#current = 0;
    this.#driver.drop();
    if (wasOpen === CLOSING || !this.#isWorthAnother({ ...end, attempt })) return this.#finish(end);
    if (wasOpen && now - this.#openedAt >= PROVEN) this.#failures = 0;
    const retryIn = delay(end.code, this.#failures++, minDelay, maxDelay, this.#random);
    this.readyState = CONNECTING;
    this.#end = undefined;
    this.due = now + retryIn;
    const { code, error } = end;
    const reason = end.reason || (!wasOpen ? "connection failed" : end.wasClean ? "closed" : "connection lost");
    this.#driver.emit("down", { reason, code, retryIn, attempt, error });
  }

  #isWorthAnother(end: ConnectionEnd): boolean {
    const isWorth = this.#try(() => this.#options.shouldReconnect?.(end));
    // The question may have closed it.
    return this.readyState <= OPEN && (isWorth ?? isTemporary(end.code));
  }

  #finish({ code, reason, wasClean }: Told<"close">): void {
    const isOrdered = this.readyState === CLOSING;
    this.readyState = CLOSED;
    this.#current = 0;
    this.due = Infinity;
    this.queue.clear();
    if (!wasClean && !isOrdered) this.#driver.emit("error", {});
    this.#driver.emit("close", { code, reason, wasClean });
  }
}

export const lost = (reason: string) => ({ code: 1006, reason, wasClean: false });
