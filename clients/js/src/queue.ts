// What an application sends while there is no connection.

import type { Data, QueueOptions } from "./options.js";

export class Queue {
  /** Bytes of the messages that wait. */
  bytes = 0;
  /** Messages that were taken and will never be sent. */
  dropped = 0;
  #waiting: { data: Data; size: number }[] = [];
  #limits;

  constructor({ messages = 100, bytes = 65_536, overflow = "drop-newest" }: QueueOptions) {
    this.#limits = { messages, bytes, overflow };
  }

  /** Takes a message, or says that it could not. */
  add(data: Data): boolean {
    const { messages, bytes, overflow } = this.#limits;
    const owned = copied(data);
    const size = sizeOf(owned);
    // What never fits drives nothing out.
    if (messages < 1 || size > bytes) return false;
    while (this.#waiting.length >= messages || this.bytes + size > bytes) {
      if (overflow !== "drop-oldest") return false;
      this.take();
      this.dropped++;
    }
    this.#waiting.push({ data: owned, size });
    this.bytes += size;
    return true;
  }

  /** The oldest message. */
  first(): Data | undefined {
    return this.#waiting[0]?.data;
  }

  /** Takes the oldest message out. */
  take(): void {
    this.bytes -= this.#waiting.shift()?.size ?? 0;
  }

  /** Gives up all messages. */
  clear(): void {
    this.dropped += this.#waiting.length;
    this.#waiting = [];
    this.bytes = 0;
  }
}

/** As the data is now: an application may use its buffer again after `send`. What is no data becomes text, as with a WebSocket. */
function copied(data: Data): Data {
  if (ArrayBuffer.isView(data)) return new Uint8Array(data.buffer, data.byteOffset, data.byteLength).slice();
  if (data instanceof ArrayBuffer) return data.slice(0);
  return data instanceof Blob ? data : `${data}`;
}

function sizeOf(data: Data): number {
  return typeof data === "string" ? new TextEncoder().encode(data).length : ((data as Blob).size ?? (data as ArrayBuffer).byteLength);
}
