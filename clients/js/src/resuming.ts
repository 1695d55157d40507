// What a connection that comes back to its session does next: a shell around the machine, which decides and does not wait either. It asks
// the server for a session, keeps the texts that the two ends have for each other to itself, and brings back what was lost with a
// connection. docs/resume.md is the protocol.

import type { LongwireEventMap, Told } from "./events.js";
import { CLOSING, type Driver, LATE, lost, Machine, type MachineLike, OPEN } from "./machine.js";
import type { Data, LongwireOptions } from "./options.js";
import type { Queue } from "./queue.js";
import { isWhole, OFFER, readHello, Session } from "./session.js";

/** A connection that was silent for so many beats is dead. */
const BEATS = 2.5;
/** The longest silence (ms) that is waited for, where the beats allow less. */
const PATIENCE = 60_000;
/** The part of the time that the server waits in which a silence must be found, and that in which an attempt must begin. */
const FOUND = 0.75;
const BEGUN = 0.9;
/** How long (ms) a hello may take. */
const LATEST_HELLO = 10_000;
/** So many times in a row a server must open only what has no offer before it is not asked any more. */
const DOUBTS = 2;
/** How much longer (ms) who stood still waits for what stands behind the timer. */
const GRACE = 1_000;

/** Where a connection is. */
const DIALLING = 0;
/** The server has named our subprotocol, and has not shown yet that it knows what it means. */
const GREETING = 1;
/** One of a session. */
const LIVE = 2;
/** One without, as any server has it. */
const PLAIN = 3;

export class Resuming implements MachineLike {
  /** The application's, where the server named ours. */
  protocol = "";
  #machine: Machine;
  #driver: Driver;
  #options: LongwireOptions;
  #random: () => number;
  #session: Session | undefined;
  #phase = PLAIN;
  /** The machine's attempt, and how many of them the application does not count: an attempt of its own may take two. */
  #attempt = 0;
  #uncounted = 0;
  /** Whether this attempt makes the offer, whether it must not, and whether it takes the place of another. */
  #isOffered = false;
  #isBare = false;
  #isAgain = false;
  /** The server has opened a connection in spite of the offer. */
  #isProven = false;
  /** How often in a row the server opened only what had no offer, and how many attempts in a row failed, without a session. */
  #doubts = 0;
  #misses = 0;
  #isResumed = false;
  /** What to tell with the next opening or end. Undefined: there was a connection without a session, and nobody counted. */
  #lost: number | undefined = 0;
  #now = 0;
  #dialledAt = 0;
  /** When to come back to the session. Undefined: when the machine says. */
  #backAt: number | undefined;
  /** When the server has given the session up. */
  #expiresAt = Infinity;
  #heardAt = 0;
  /** When the connection has shown that it brings what is sent. */
  #provenAt = 0;
  /** Whether the session is new, and nothing was heard of it. */
  #isFresh = false;
  /** When to look whether the connection lives, and whether its time is over already. */
  #lookAt = Infinity;
  #isDoubted = false;
  /** How many beats may pass in silence: more after a connection that ended by it, since a large message is heard when it is whole. */
  #beats = BEATS;
  /** When the world may have changed. */
  #wokenAt = -Infinity;
  /** Closes for good, once the attempt has come to its end that is made only to tell the server. */
  #leave: (() => void) | undefined;

  constructor(options: LongwireOptions, driver: Driver, random: () => number) {
    const { shouldReconnect } = options;
    const counted = shouldReconnect && { shouldReconnect: this.#counting(shouldReconnect) };
    const shell: Driver = {
      ...driver,
      dial: (attempt) => this.#dialled(attempt),
      // A Close would end the session.
      drop: () => (this.#session ? driver.leave() : driver.drop()),
      transmit: (data) => this.#transmit(data),
      emit: (type, told) => this.#emit(type, told),
    };
    this.#machine = new Machine({ ...options, ...counted }, shell, random);
    this.#driver = driver;
    this.#options = options;
    this.#random = random;
  }

  get readyState(): 0 | 1 | 2 | 3 {
    const { readyState } = this.#machine;
    return this.#leave && readyState <= OPEN ? CLOSING : readyState;
  }

  get queue(): Queue {
    return this.#machine.queue;
  }

  /** Bytes that wait for a connection, beside those in the queue. */
  get waiting(): number {
    return this.readyState ? 0 : (this.#session?.bytes ?? 0);
  }

  get due(): number {
    if (this.#backAt !== undefined) return Math.min(this.#backAt, this.#expiresAt);
    return Math.min(this.#machine.due, this.#session?.tellAt ?? Infinity, this.#lookAt);
  }

  isCurrent(attempt: number): boolean {
    return this.#machine.isCurrent(attempt);
  }

  dial(now: number): void {
    this.#now = now;
    this.#machine.dial(now);
  }

  opened(attempt: number, now: number, protocol: string): void {
    if (!this.isCurrent(attempt)) return;
    this.#now = now;
    if (this.#isOffered && protocol.startsWith(OFFER)) {
      this.#phase = GREETING;
      this.#lookAt = now + LATEST_HELLO;
    } else this.#openPlain(this.#isOffered ? 0 : 1);
  }

  /** Whether a message that came is one for the application. */
  heard(attempt: number, event: MessageEvent, now: number): boolean {
    if (!this.isCurrent(attempt)) return false;
    this.#now = now;
    const { data } = event;
    if (this.#phase === GREETING) {
      if (this.#greeted(data)) return false;
    } else if (this.#phase === LIVE) {
      const session = this.#session!;
      this.#heardAt = now;
      this.#isDoubted = this.#isFresh = false;
      // Timers of a page that nobody sees are slow. The message before this one has been dispatched by now.
      this.#tell();
      const isControl = session.isControl(data);
      if (!isControl || now >= this.#provenAt) this.#beats = BEATS;
      this.#lookAt = Math.min(this.#lookAt, this.#deadline(session));
      if (isControl) {
        this.#obey(session, data.slice(session.hello.secret.length));
        return false;
      }
      if (!this.#leave) session.give(data, now);
    }
    // Who has closed while there was no connection hears nothing of the one that tells it.
    return !this.#leave && this.#machine.heard(attempt, event, now);
  }

  failed(attempt: number, error: unknown, now: number, isRefused?: boolean): void {
    if (this.#mayRepeat(attempt, now) && isRefused) this.#repeat(true);
    else this.#machine.failed(attempt, error, now);
  }

  ended(attempt: number, end: Told<"close">, now: number): void {
    // Other codes are told by who knows why.
    if (this.#mayRepeat(attempt, now) && (end.code === 1006 || end.code === 1002)) this.#repeat(true);
    else this.#machine.ended(attempt, end, now);
  }

  tick(now: number): void {
    this.#now = now;
    if (this.#backAt !== undefined) {
      if (now >= this.#expiresAt) this.#forget();
      if (now >= this.#backAt) this.#machine.dial(now);
      return;
    }
    this.#tell();
    if (this.#phase === GREETING) {
      // A server may echo the offer, and know nothing of it.
      const isLate = now >= Math.min(this.#machine.due, this.#lookAt);
      if (isLate && this.#mayRepeat(this.#attempt, now)) return this.#repeat(true);
      if (now >= this.#lookAt) return this.#machine.ended(this.#attempt, lost("connect timeout"), now);
    } else if (now >= this.#lookAt) return this.#look(now);
    this.#machine.tick(now);
  }

  wake(now: number): void {
    const { minDelay = 500 } = this.#options;
    if (this.#backAt !== undefined) this.#backAt = Math.min(this.#backAt, Math.max(now, this.#dialledAt + minDelay));
    const session = this.#session;
    if (session && this.readyState === OPEN && this.#wokenAt <= this.#heardAt) {
      this.#wokenAt = now;
      this.#lookAt = Math.min(this.#lookAt, this.#deadline(session));
    }
    this.#machine.wake(now);
  }

  /** Whether the message was taken. While a session waits for its client, its messages are kept as if it were there. */
  send(data: Data): boolean {
    if (this.#leave) return false;
    const session = this.readyState || this.queue.first() !== undefined ? undefined : this.#session;
    return session?.keep(data) || this.#machine.send(data);
  }

  close(now: number, code?: number, reason?: string): void {
    const isAway = !this.readyState && this.#session && now < this.#expiresAt;
    const isWaiting = this.#backAt !== undefined;
    this.#now = now;
    this.#backAt = undefined;
    if (isAway) {
      // The server keeps the session for a client that may come back. Only a Close on a connection of it says that none will.
      this.#leave = () => {
        this.#lookAt = Infinity;
        this.#machine.close(this.#now, code, reason);
      };
      if (isWaiting) this.#machine.dial(now);
      return;
    }
    this.#lookAt = Infinity;
    this.#machine.close(now, code, reason);
  }

  /** What the machine dials. */
  #dialled(attempt: number): void {
    const session = this.#session;
    this.#attempt = attempt;
    this.#dialledAt = this.#now;
    this.#backAt = undefined;
    this.#lookAt = Infinity;
    this.#phase = DIALLING;
    this.protocol = "";
    // Now and then an attempt does without, since a server that refuses it and one that is away look the same.
    const turns = this.#isProven ? 4 : 2;
    const isTurn = !session && this.#misses > 0 && this.#misses % turns === 0;
    this.#isOffered = !this.#isBare && !isTurn && this.#doubts < DOUBTS;
    this.#isBare = false;
    // By now nobody listens to the other, which may tell of its end within the call.
    if (this.#isAgain) this.#driver.drop();
    this.#isAgain = false;
    this.#driver.dial(attempt, this.#isOffered ? [OFFER, ...(session ? [session.offer()] : [])] : undefined);
  }

  /** Whether this is a first try, which may have failed for the offer alone. */
  #mayRepeat(attempt: number, now: number): boolean {
    if (!this.isCurrent(attempt)) return false;
    this.#now = now;
    return !this.readyState && this.#isOffered && !this.#isProven && !this.#misses;
  }

  /** Dials again within the same attempt of the application. */
  #repeat(isBare: boolean): void {
    this.#isBare = isBare;
    this.#isAgain = true;
    this.#uncounted++;
    this.#machine.dial(this.#now);
  }

  #openPlain(doubts: number): void {
    this.#forget();
    this.#isProven ||= this.#isOffered;
    this.#doubts += doubts;
    this.#misses = 0;
    this.#isResumed = false;
    this.#phase = PLAIN;
    this.#lookAt = Infinity;
    this.#machine.opened(this.#attempt, this.#now);
  }

  /** Whether the first message was a hello. */
  #greeted(data: unknown): boolean {
    const hello = readHello(data);
    this.protocol = hello?.protocol ?? "";
    if (hello) this.#doubts = 0;
    if (hello?.resume === "off" || !hello) {
      this.#openPlain(hello ? 0 : DOUBTS);
      return !!hello;
    }
    this.#isProven = true;
    if (!hello.resumed) this.#forget();
    // What is new has received nothing.
    if (!isWhole(hello) || (hello.resumed ? !this.#session?.resume(hello) : hello.received)) {
      this.#breach();
      return true;
    }
    const session = (this.#session ??= new Session(hello));
    this.#isResumed = hello.resumed;
    this.#phase = LIVE;
    this.#misses = 0;
    this.#expiresAt = Infinity;
    this.#heardAt = this.#now;
    this.#provenAt = this.#now + BEATS * hello.beat_ms;
    this.#isFresh = !hello.resumed;
    this.#lookAt = this.#deadline(session);
    // The server listens to them no more.
    this.#driver.tidy();
    this.#replay(session);
    this.#flush(session);
    this.#machine.opened(this.#attempt, this.#now);
    return true;
  }

  /** The server lies about what it has: there is nothing to go on with. */
  #breach(): void {
    const isAsked = !this.readyState && this.#session;
    this.#forget();
    if (isAsked) this.#repeat(false);
    else this.#machine.ended(this.#attempt, lost("wrong count"), this.#now);
  }

  #obey(session: Session, body: string): void {
    if (body === "resync") this.#driver.emit("resync", {});
    else if (/^\d{1,20}$/.test(body)) {
      if (session.confirm(Number(body))) this.#flush(session);
      else this.#breach();
    }
  }

  #tell(): void {
    const session = this.#session;
    if (session && this.#now >= session.tellAt) this.#driver.transmit(session.tell());
  }

  /** When a connection that stays silent is dead. Where the world may have changed, half of the time since then is enough. */
  #deadline({ hello: { beat_ms, for_ms } }: Session): number {
    // What is found too late cannot be resumed. Of a new session there is nothing to lose yet.
    const patience = this.#isFresh ? PATIENCE : Math.min(PATIENCE, FOUND * for_ms);
    const silence = Math.min(this.#beats * beat_ms, Math.max(patience, BEATS * beat_ms));
    const woken = this.#wokenAt > this.#heardAt ? this.#wokenAt + silence / 2 : Infinity;
    return Math.min(this.#heardAt + silence, woken);
  }

  /** Whether the connection is as silent as a dead one. */
  #look(now: number): void {
    const deadline = this.#deadline(this.#session!);
    if (now < deadline) this.#lookAt = deadline;
    else if (now - this.#lookAt > LATE && !this.#isDoubted) {
      this.#isDoubted = true;
      this.#lookAt = now + GRACE;
    } else {
      this.#beats *= 2;
      this.#machine.ended(this.#attempt, lost("no heartbeat"), now);
    }
  }

  /** What the machine sends: behind what waits for room. A connection that is about to end takes nothing, but its session does. */
  #transmit(data: Data): boolean | null {
    const session = this.#session;
    if (this.#phase !== LIVE || !session) return this.#driver.transmit(data);
    return (this.queue.first() === undefined && (session.keep(data, this.#driver.transmit) || session.keep(data))) || null;
  }

  /** Sends what the server does not have. */
  #replay(session: Session): void {
    const { kept } = session;
    for (let index = 0; index < kept.length; ) {
      const isSent = this.#try(() => this.#driver.transmit(kept[index]!.data));
      if (isSent === false) return;
      // What a connection refuses is given up, and gets no number.
      if (isSent) session.sent = Math.max(session.sent, session.confirmed + ++index);
      else this.queue.dropped += session.giveUp(index);
    }
  }

  /** Sends what waits, as far as there is room. */
  #flush(session: Session): void {
    for (let data: Data | undefined; (data = this.queue.first()) !== undefined; ) {
      const isSent = this.#try(() => session.keep(data!, this.#driver.transmit));
      if (isSent === false) return;
      this.queue.take();
      if (!isSent) this.queue.dropped++;
    }
  }

  #try<T>(call: () => T): T | undefined {
    try {
      return call();
    } catch (error) {
      this.#driver.report(error);
      return undefined;
    }
  }

  /** The session is over. What nobody will confirm any more is told with the next event; what no connection took is in time for the next. */
  #forget(): void {
    const session = this.#session;
    if (!session) return;
    this.#session = undefined;
    this.#expiresAt = this.#lookAt = Infinity;
    this.#driver.tidy();
    const unconfirmed = session.sent - session.confirmed;
    const unsent = session.kept.slice(unconfirmed).map((message) => message!);
    const isWaiting = this.readyState <= OPEN && this.queue.restore(unsent);
    this.#lost = (this.#lost ?? 0) + (isWaiting ? unconfirmed : session.kept.length);
  }

  #emit<Type extends keyof LongwireEventMap>(type: Type, event: Told<Type>): void {
    if (this.#leave && (type === "open" || type === "down")) return this.#leave();
    const told: any = { ...event };
    if (told.attempt) told.attempt = this.#number(told.attempt);
    if (type === "down") this.#down(told);
    if (type === "close") this.#forget();
    if (type === "open" || type === "close") {
      told.lost = this.#lost;
      this.#lost = this.#phase === PLAIN ? undefined : 0;
    }
    if (type === "open") told.resumed = this.#isResumed;
    this.#driver.emit(type, told);
  }

  /** After a Close, and after the time in which the server waits, there is nothing to come back to. */
  #down(told: { -readonly [Key in keyof Told<"down">]: Told<"down">[Key] }): void {
    // A Close in the place of the hello is a refusal, and not the end of what it asked for.
    if ((told.code !== 1006 && this.#phase !== GREETING) || this.#now >= this.#expiresAt) this.#forget();
    const session = this.#session;
    this.#lookAt = Infinity;
    if (!session) {
      if (this.#phase < LIVE) this.#misses++;
      return;
    }
    const { for_ms } = session.hello;
    const { maxDelay = 30_000 } = this.#options;
    session.tellAt = Infinity;
    this.#expiresAt = Math.min(this.#expiresAt, this.#now + for_ms);
    // The server may have noticed as soon as it was heard last. Who is too late for that tries on, in case it has not.
    const left = this.#heardAt + BEGUN * for_ms - this.#now;
    const most = left > 0 || this.#phase === LIVE ? Math.max(left, 0) : Infinity;
    // Who was woken for this connection need not be woken again.
    const window = this.#wokenAt > this.#heardAt ? 0 : Math.min(for_ms / 4, maxDelay, most);
    this.#wokenAt = -Infinity;
    told.retryIn = this.#random() * window;
    this.#backAt = this.#now + told.retryIn;
  }

  #number(attempt: number): number {
    return attempt - this.#uncounted;
  }

  #counting(shouldReconnect: NonNullable<LongwireOptions["shouldReconnect"]>): typeof shouldReconnect {
    return (end) => !!this.#leave || shouldReconnect({ ...end, attempt: this.#number(end.attempt) });
  }
}
