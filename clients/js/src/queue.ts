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
    if (messages < 1) return false;
    // By its tag: a buffer of a frame, or of another context of Node, is of another class.
    const tag = Object.prototype.toString.call(data);
    const isView = ArrayBuffer.isView(data);
    const isBuffer = isView || tag === "[object ArrayBuffer]";
    // What is no data becomes text, as with a WebSocket.
    const owned = isBuffer || tag === "[object Blob]" || tag === "[object File]" ? data : `${data}`;
    const size = sizeOf(owned, bytes);
    // What never fits drives nothing out.
    if (size > bytes) return false;
    while (this.#waiting.length >= messages || this.bytes + size > bytes) {
      if (overflow !== "drop-oldest") return false;
      this.take();
      this.dropped++;
    }
    // As it is now: an application may use its buffer again after `send`.
    const copy = isView ? new Uint8Array(data.buffer, data.byteOffset, size).slice() : isBuffer ? (data as ArrayBuffer).slice(0) : owned;
    this.#waiting.push({ data: copy, size });
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

/** In bytes. A text that is too long by its letters alone is not encoded to learn more. */
function sizeOf(data: Data, limit: number): number {
  if (typeof data === "string") return data.length > limit ? Infinity : new TextEncoder().encode(data).length;
  return "size" in data ? data.size : data.byteLength;
}
