import koffi from "koffi";

/** What koffi hands over: its types leave out the first argument, libuv's status (0 or a negative errno). */
type PollCallback = (status: number, events: { readonly readable: boolean; readonly writable: boolean }) => void;
interface PollHandle {
  start(options: { readable: boolean; writable: boolean }, callback: PollCallback): void;
  stop(): void;
  close(): void;
  ref(): void;
  unref(): void;
}
const poll = koffi.node.poll as unknown as (
  fd: number,
  options: { readable: boolean; writable: boolean },
  callback: PollCallback,
) => PollHandle;

// A handle that the collector takes stops watching: keep each until it is closed.
const watching = new Set<Readiness>();

/**
 * Calls `act` whenever a pollable descriptor (pipe, terminal, socket, pidfd) can be read or written, level-triggered,
 * on the event loop, until `close`; the descriptor stays the caller's and is closed after this. It is made
 * non-blocking. `act` is called outside of Node's callback scope: promises that it settles go on at the next turn of
 * the loop only because this asks for one.
 */
export class Readiness {
  readonly #fd: number;
  readonly #act: (events: { readonly readable: boolean; readonly writable: boolean }) => void;
  readonly #callback: PollCallback;
  #handle: PollHandle | undefined;
  #readable = false;
  #writable = false;
  #closed = false;

  constructor(fd: number, act: (events: { readonly readable: boolean; readonly writable: boolean }) => void) {
    this.#fd = fd;
    this.#act = act;
    this.#callback = (status, events) => this.#called(status, events);
  }

  /** What to watch for from now on; neither stops watching. */
  watch(readable: boolean, writable = false): void {
    if (this.#closed || (readable === this.#readable && writable === this.#writable)) return;
    this.#readable = readable;
    this.#writable = writable;
    if (!readable && !writable) this.#handle?.stop();
    else if (this.#handle === undefined) {
      this.#handle = poll(this.#fd, { readable, writable }, this.#callback);
      watching.add(this);
    } else this.#handle.start({ readable, writable }, this.#callback);
  }

  /** As `watch`, leaving alone whether it is watched for reading. */
  watchWriting(writable: boolean): void {
    this.watch(this.#readable, writable);
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#handle?.close();
    watching.delete(this);
  }

  /** Lets the process end while this is watching. */
  unref(): void {
    this.#handle?.unref();
  }

  ref(): void {
    this.#handle?.ref();
  }

  #called(status: number, events: { readonly readable: boolean; readonly writable: boolean }): void {
    if (this.#closed) return;
    // An error of the descriptor shows itself at the next read or write.
    const seen = status < 0 ? { readable: this.#readable, writable: this.#writable } : events;
    try {
      this.#act(seen);
    } catch (error) {
      setImmediate(() => {
        throw error;
      });
    }
    setImmediate(turn);
  }
}

function turn(): void {}
