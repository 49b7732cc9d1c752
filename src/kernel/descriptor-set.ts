import { closeSync } from "node:fs";
import { check, libc } from "./libc.ts";
import { Readiness } from "./readiness.ts";

const epollCreate = libc("int epoll_create1(int flags)");
const epollControl = libc("int epoll_ctl(int epoll, int operation, int fd, void *event)");
const epollWait = libc("int epoll_wait(int epoll, void *events, int most, int timeout)");

const EPOLL_CLOEXEC = 0o2000000;
const ADD = 1;
const REMOVE = 2;
const EPOLLIN = 1;
const MOST = 64;
/** struct epoll_event is packed on x86-64 alone: 32 bits of events, then 64 of one's own. */
const [SIZE, DATA] = process.arch === "x64" ? [12, 4] : [16, 8];

/**
 * Watches any number of descriptors by one handle of the event loop, so that an idle one costs next to nothing.
 * `act` is called while its descriptor can be read, level-triggered. The descriptors stay the caller's: take one out
 * before it is closed. It doesn't keep the process alive.
 */
export class DescriptorSet {
  readonly #acts = new Map<number, () => void>();
  readonly #events = Buffer.alloc(SIZE * MOST);
  #epoll = -1;
  #readiness: Readiness | undefined;

  add(fd: number, act: () => void): void {
    this.#open();
    const event = Buffer.alloc(SIZE);
    event.writeUInt32LE(EPOLLIN, 0);
    event.writeInt32LE(fd, DATA);
    check("epoll_ctl", epollControl(this.#epoll, ADD, fd, event), "add");
    this.#acts.set(fd, act);
  }

  /** No error for what isn't in it. The last one takes the handle along. */
  remove(fd: number): void {
    if (!this.#acts.delete(fd)) return;
    check("epoll_ctl", epollControl(this.#epoll, REMOVE, fd, null), "remove");
    if (this.#acts.size > 0) return;
    this.#readiness?.close();
    closeSync(this.#epoll);
    this.#readiness = undefined;
    this.#epoll = -1;
  }

  #open(): void {
    if (this.#readiness !== undefined) return;
    this.#epoll = check("epoll_create1", epollCreate(EPOLL_CLOEXEC));
    this.#readiness = new Readiness(this.#epoll, () => this.#look());
    this.#readiness.watch(true);
    this.#readiness.unref();
  }

  #look(): void {
    const count = epollWait(this.#epoll, this.#events, MOST, 0) as number;
    for (let row = 0; row < count; row++) {
      // One that an earlier row has taken out is not called.
      this.#acts.get(this.#events.readInt32LE(row * SIZE + DATA))?.();
    }
  }
}
