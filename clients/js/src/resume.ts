// The entry `longwire-client/resume`.

import type { LongwireOptions as PlainOptions, Source } from "./options.js";
import { Resuming } from "./resuming.js";
import { OFFER } from "./session.js";
import { LongwireSocket as PlainSocket } from "./socket.js";

export type { DownEvent, FinalCloseEvent, LongwireEventMap, OpenEvent } from "./events.js";
export type { ConnectionEnd, Data, HeartbeatOptions, QueueOptions, Source, WebSocketConstructor, WebSocketLike } from "./options.js";

export interface LongwireOptions extends PlainOptions {
  /** Asks the server for a session that outlives its connections. Only longwire has them. Default: false. */
  resume?: boolean | undefined;
}

/** A `WebSocket` that comes back, to the session that it had. */
export class LongwireSocket extends PlainSocket {
  static override readonly name = "LongwireSocket";
  #resuming: Resuming | undefined;

  /** As that of `longwire-client`, with one option more. */
  constructor(url: Source<string | URL>, protocols: Source<string | string[]> = [], options: LongwireOptions = {}) {
    let made: Resuming | undefined;
    super(url, protocols, options, options.resume ? (...words) => (made = new Resuming(...words)) : undefined);
    this.#resuming = made;
  }

  override get protocol(): string {
    const chosen = super.protocol;
    return chosen.startsWith(OFFER) ? (this.#resuming?.protocol ?? "") : chosen;
  }

  override get bufferedAmount(): number {
    return super.bufferedAmount + (this.#resuming?.waiting ?? 0);
  }
}
