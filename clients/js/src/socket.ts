// The WebSocket that an application holds: it drives the machine with real connections, timers and events.

import type { LongwireEventMap, Told } from "./events.js";
import { CLOSED, CLOSING, CONNECTING, type Driver, Machine, type MachineLike, type MakeMachine, OPEN } from "./machine.js";
import type { Data, LongwireOptions, Source, WebSocketConstructor, WebSocketLike } from "./options.js";

/** The longest wait of a timer, in ms: a longer one would fire at once. */
const LONGEST_TIMER = 2 ** 31 - 1;

// So loose that a LongwireSocket can stand where TypeScript wants a `WebSocket`.
type Listener<E> = ((this: any, event: E) => unknown) | null;

// Those of the web, which the types of Node do not have.
type AnyListener = ((event: Event) => void) | { handleEvent(event: Event): void } | null;
type ListenerOptions = boolean | { capture?: boolean; once?: boolean; passive?: boolean; signal?: AbortSignal };

// An interface of the class's name adds to it: listeners learn the type of their event.
export interface LongwireSocket {
  addEventListener<Type extends keyof LongwireEventMap>(
    type: Type,
    listener: (this: LongwireSocket, event: LongwireEventMap[Type]) => unknown,
    options?: ListenerOptions,
  ): void;
  addEventListener(type: string, listener: AnyListener, options?: ListenerOptions): void;
  removeEventListener<Type extends keyof LongwireEventMap>(
    type: Type,
    listener: (this: LongwireSocket, event: LongwireEventMap[Type]) => unknown,
    options?: ListenerOptions,
  ): void;
  removeEventListener(type: string, listener: AnyListener, options?: ListenerOptions): void;
}

/** A `WebSocket` that comes back. */
export class LongwireSocket extends EventTarget {
  /** The build gives its classes shorter ones. */
  static override readonly name = "LongwireSocket";
  static readonly CONNECTING = CONNECTING;
  static readonly OPEN = OPEN;
  static readonly CLOSING = CLOSING;
  static readonly CLOSED = CLOSED;
  readonly CONNECTING = CONNECTING;
  readonly OPEN = OPEN;
  readonly CLOSING = CLOSING;
  readonly CLOSED = CLOSED;

  onopen: Listener<Event & Partial<Told<"open">>> = null;
  onmessage: Listener<LongwireEventMap["message"]> = null;
  ondown: Listener<LongwireEventMap["down"]> = null;
  onerror: Listener<LongwireEventMap["error"]> = null;
  onresync: Listener<LongwireEventMap["resync"]> = null;
  onclose: Listener<LongwireEventMap["close"]> = null;

  #machine: MachineLike;
  #url: Source<string | URL>;
  #protocols: Source<string | string[]>;
  #WebSocket: WebSocketConstructor;
  #native: WebSocketLike | undefined;
  #left: WebSocketLike[] = [];
  #binaryType: string | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #armedFor = Infinity;
  /** Takes away all that outlives a connection. */
  #over = new AbortController();

  /**
   * Connects, and connects again whenever the connection is lost.
   *
   * @param url Where to. A function is asked before each attempt, for a fresh token for example.
   * @param protocols The subprotocols to offer, or a function as for `url`.
   * @param make Makes what decides. Only for entries of this package.
   * @throws as a `WebSocket` does, where neither `url` nor `protocols` is a function and they cannot be used
   */
  constructor(
    url: Source<string | URL>,
    protocols: Source<string | string[]> = [],
    options: LongwireOptions = {},
    make?: MakeMachine,
  ) {
    super();
    if (!make && (options as { resume?: unknown }).resume) throw new TypeError('import "longwire-client/resume" for the option resume');
    make ??= (...words) => new Machine(...words);
    this.#url = url;
    this.#protocols = protocols;
    this.#WebSocket = options.WebSocket ?? globalThis.WebSocket;
    if (!this.#WebSocket) throw new TypeError("no global WebSocket here: hand one in as options.WebSocket");
    for (const type of ["open", "message", "down", "resync", "error", "close"] as const) {
      super.addEventListener(type, (event) => this[`on${type}`]?.call(this, event as never));
    }
    this.#machine = make(options, this.#driver(), Math.random);
    const { signal } = options;
    this.#until(signal, "abort", () => this.close());
    const wake = () => this.#step((now) => this.#machine.wake(now));
    this.#until(globalThis, "online", wake);
    this.#until(globalThis, "pageshow", wake);
    this.#until(globalThis.document, "visibilitychange", () => document.visibilityState === "visible" && wake());
    try {
      if (signal?.aborted) this.close();
      else this.#step((now) => this.#machine.dial(now));
    } catch (error) {
      this.#over.abort();
      clearTimeout(this.#timer);
      throw error;
    }
  }

  get readyState(): 0 | 1 | 2 | 3 {
    return this.#machine.readyState;
  }

  /** The URL of the last attempt; empty before a function has told one. */
  get url(): string {
    return this.#native?.url ?? (typeof this.#url === "function" ? "" : `${this.#url}`);
  }

  get protocol(): string {
    return this.#native?.protocol ?? "";
  }

  get extensions(): string {
    return this.#native?.extensions ?? "";
  }

  /** Bytes that were sent and did not leave yet, those in the queue among them. */
  get bufferedAmount(): number {
    return this.#machine.queue.bytes + (this.readyState ? (this.#native?.bufferedAmount ?? 0) : 0);
  }

  /** Messages that the queue had taken and gave up: for newer ones, or at the end. */
  get dropped(): number {
    return this.#machine.queue.dropped;
  }

  get binaryType(): "blob" | "arraybuffer" {
    return (this.#native?.binaryType ?? this.#binaryType ?? "blob") as "blob";
  }

  set binaryType(type: "blob" | "arraybuffer") {
    this.#binaryType = type;
    if (this.#native) this.#native.binaryType = type;
  }

  /** Sends, or puts into the queue. Returns whether the message was taken: what was not will never be sent. */
  send(data: Data): boolean {
    return this.#step(() => this.#machine.send(data));
  }

  /** Closes for good. */
  close(code?: number, reason?: string): void {
    // A text of digits is a number to a WebSocket.
    const number = code === undefined ? code : Number(code);
    if (number !== undefined && number !== 1000 && !(number >= 3000 && number <= 4999)) {
      throw new DOMException(`${code} is neither 1000 nor from 3000 to 4999`, "InvalidAccessError");
    }
    if (new TextEncoder().encode(reason).length > 123) {
      throw new DOMException("the reason is longer than 123 bytes", "SyntaxError");
    }
    this.#step((now) => this.#machine.close(now, number, reason));
  }

  /** Listens until the end. Some worlds have no such target. */
  #until(target: Partial<EventTarget> | undefined, type: string, listener: () => void): void {
    target?.addEventListener?.(type, listener, { signal: this.#over.signal });
  }

  #driver(): Driver {
    const driver: Driver = {
      dial: (attempt, offers) => this.#dial(attempt, offers),
      // The closing handshake of a dead connection would wait for its timeout, and keep a process alive.
      drop: () => (this.#native?.terminate ? this.#native.terminate() : this.#native?.close()),
      leave: () => {
        const native = this.#native;
        // Only the Close of an open connection reaches a server.
        if (native && !native.terminate && native.readyState === OPEN) this.#left.push(native);
        else driver.drop();
      },
      tidy: () => this.#left.splice(0).forEach((native) => native.close()),
      transmit: (data) => {
        if (this.#native?.readyState !== OPEN) return false;
        this.#native.send(data);
        return true;
      },
      buffered: () => this.#native?.bufferedAmount ?? 0,
      // A reason without a code is none.
      shut: (code, reason) => (code === undefined ? this.#native?.close() : this.#native?.close(code, reason)),
      emit: (type, told) => {
        if (type === "close") this.#over.abort();
        this.dispatchEvent(Object.assign(new Event(type), told));
      },
      report: (error) =>
        queueMicrotask(() => {
          throw error;
        }),
    };
    return driver;
  }

  #dial(attempt: number, offers?: string[]): void {
    const url = this.#url;
    const protocols = this.#protocols;
    const ask = async () => {
      // Until then its maker has the socket, and may have closed it.
      await undefined;
      if (!this.#machine.isCurrent(attempt)) return;
      this.#connect(attempt, offers, ...(await Promise.all([told(url), told(protocols)])));
    };
    const fail = (error: unknown) => this.#step((now) => this.#machine.failed(attempt, error, now));
    if (typeof url === "function" || typeof protocols === "function") {
      ask().catch(fail);
      return;
    }
    try {
      this.#connect(attempt, offers, url, protocols);
    } catch (error) {
      // What a WebSocket refuses at first is a mistake of its caller, who is still there to hear of it.
      if (attempt === 1) throw error;
      fail(error);
    }
  }

  #connect(attempt: number, offers: string[] | undefined, url: string | URL, protocols: string | string[]): void {
    const machine = this.#machine;
    if (!machine.isCurrent(attempt)) return;
    const native = new this.#WebSocket(url, offers ? [protocols, offers].flat() : protocols);
    this.#native = native;
    if (this.#binaryType) native.binaryType = this.#binaryType;
    // They stay when the connection is dropped: the `error` of one that nobody listens to ends a process of Node.
    const on = (type: string, step: (event: any, now: number) => void) =>
      native.addEventListener(type, (event: unknown) => this.#step((now) => step(event, now)));
    on("open", (_, now) => machine.opened(attempt, now, native.protocol));
    on("error", (event, now) => machine.failed(attempt, event.error ?? event, now, true));
    on("close", (event, now) => machine.ended(attempt, event, now));
    on("message", (event, now) => {
      const { data, origin } = event;
      if (machine.heard(attempt, event, now)) this.dispatchEvent(new MessageEvent("message", { data, origin }));
    });
  }

  /** Steps the machine, and sets the timer for what it wants to do next. */
  #step<T>(step: (now: number) => T): T {
    try {
      return step(performance.now());
    } finally {
      const { due } = this.#machine;
      if (due !== this.#armedFor) {
        clearTimeout(this.#timer);
        this.#armedFor = due;
        if (due < Infinity) {
          this.#timer = setTimeout(
            () => {
              this.#armedFor = NaN;
              this.#step((now) => this.#machine.tick(now));
            },
            Math.min(Math.ceil(due - performance.now()), LONGEST_TIMER),
          );
        }
      }
    }
  }
}

const told = async <T extends string | string[] | URL>(source: Source<T>): Promise<T> =>
  typeof source === "function" ? source() : source;
