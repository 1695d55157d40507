// What an application is told.

/** At each opening. */
export interface OpenEvent extends Event {
  /** The number of the attempt that succeeded: 1 for the first of this object, and it only grows. */
  readonly attempt: number;
  /** Whether the server goes on where it was. Else an application asks anew for what it may have missed. */
  readonly resumed: boolean;
  /**
   * How many messages `send` had taken in a session that has ended since the last opening, of which nobody knows whether they arrived.
   * Only where `resume` is on. Undefined after a connection without a session: nobody counts what that loses.
   */
  readonly lost?: number | undefined;
}

/** The connection is lost, or an attempt failed, and there will be another attempt. */
export interface DownEvent extends Event {
  /** The reason of the server's Close; without one, the library's words for what happened. */
  readonly reason: string;
  /** The close code: 1006 where the server sent none. */
  readonly code: number;
  /** In how many ms the next attempt begins. */
  readonly retryIn: number;
  /** The number of the attempt that had opened the connection, or failed. */
  readonly attempt: number;
  /** Why an attempt failed, where that is known. */
  readonly error?: unknown;
}

/** The end: there will be no other attempt. */
export interface FinalCloseEvent extends Event {
  readonly code: number;
  readonly reason: string;
  readonly wasClean: boolean;
  /** As that of `open`. */
  readonly lost?: number | undefined;
}

export interface LongwireEventMap {
  open: OpenEvent;
  message: MessageEvent;
  down: DownEvent;
  /** The server has lost its own side for a moment, and messages with it. Only where `resume` is on. */
  resync: Event;
  error: Event;
  close: FinalCloseEvent;
}

/** An event's own properties. */
export type Told<Type extends keyof LongwireEventMap> = Omit<LongwireEventMap[Type], keyof Event>;
