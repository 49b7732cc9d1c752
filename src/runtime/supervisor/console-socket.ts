import { closeSync, rmSync } from "node:fs";
import { receiveFds } from "../../kernel/descriptor.ts";
import { Readiness } from "../../kernel/readiness.ts";
import { acceptUnix, listenUnix } from "../../kernel/unix-socket.ts";
import { within } from "./within.ts";

const TIMEOUT_MS = 5000;
let made = 0;

/** The socket over which a runtime hands the master of a new terminal to us. */
export class ConsoleSocket {
  readonly path: string;
  readonly #master: Promise<number>;
  readonly #listening: number;
  readonly #readiness: Readiness;
  #connection: { readonly fd: number; readonly readiness: Readiness } | undefined;

  constructor(execRoot: string) {
    // A short name: a socket's path may have 107 bytes only.
    this.path = `${execRoot}/tty${made++}`;
    rmSync(this.path, { force: true });
    this.#listening = listenUnix(this.path);
    const { promise, resolve } = Promise.withResolvers<number>();
    this.#master = promise;
    this.#readiness = new Readiness(this.#listening, () => this.#accept(resolve));
    this.#readiness.watch(true);
  }

  /**
   * The master, which the receiver owns. To be waited for before `close`, which would hang up a terminal that is still
   * under way.
   */
  receive(): Promise<number> {
    return within(this.#master, TIMEOUT_MS, "the runtime hands over no terminal");
  }

  close(): void {
    this.#readiness.close();
    closeSync(this.#listening);
    if (this.#connection !== undefined) {
      this.#connection.readiness.close();
      closeSync(this.#connection.fd);
    }
    rmSync(this.path, { force: true });
  }

  #accept(resolve: (master: number) => void): void {
    const fd = acceptUnix(this.#listening);
    if (fd === undefined) return;
    if (this.#connection !== undefined) {
      closeSync(fd);
      return;
    }
    const readiness = new Readiness(fd, () => {
      const got = receiveFds(fd);
      if (got === undefined) return;
      readiness.watch(false);
      const [master, ...others] = got.fds;
      for (const other of others) closeSync(other);
      if (master !== undefined) resolve(master);
    });
    this.#connection = { fd, readiness };
    readiness.watch(true);
  }
}
