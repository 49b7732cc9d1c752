import { spawn } from "node:child_process";
import { closeSync } from "node:fs";
import { setTimeout as after } from "node:timers/promises";
import { GantryError, messageOf } from "../../base/errors.ts";
import { unixSocketPair } from "../../kernel/unix-socket.ts";
import { ControlConnection } from "../../runtime/control-connection.ts";
import type {
  FromKeeper,
  FromServer,
  HelloAnswer,
  LayerOrder,
  ServedLayer,
  ServedRow,
  ToKeeper,
  ToServer,
} from "../protocol.ts";

const RESTART_MS = 200;
/** Numbers of layers are never used twice, also by the keepers of one mount that follow one another. */
const FIRST_YEAR = 1_700_000_000;

type Served = Extract<FromServer, { readonly size: number }>;
type Reply = Extract<FromServer, { readonly reply: number }>;

/**
 * Holds the file system's descriptor and what is served in it, for engines that come and go, and sees to it that a
 * process serves it. It does nothing itself that could fail.
 */
export class Keeper {
  readonly #script: string;
  readonly #execRoot: string;
  readonly #quit: () => void;
  /** With their pids. */
  readonly #engines = new Map<ControlConnection, number | undefined>();
  readonly #rows = new Map<string, ServedRow>();
  readonly #pending = new Map<number, (answer: Reply) => void>();
  #fuse: number | undefined;
  #server: ControlConnection | undefined;
  #last = Math.max(1, Math.floor(Date.now() / 1000) - FIRST_YEAR);
  #request = 0;
  #isEnding = false;
  #startedAt = 0;

  constructor(execRoot: string, script: string, quit: () => void) {
    this.#execRoot = execRoot;
    this.#script = script;
    this.#quit = quit;
  }

  /** Takes the place of a keeper that died: a server lives, and tells what there is. */
  adopt(fuse: number, control: number): void {
    this.#fuse = fuse;
    this.#listen(control);
  }

  serve(fd: number): void {
    const connection = new ControlConnection(
      fd,
      (message, received) => void this.#answer(connection, message as ToKeeper, received),
      () => {
        this.#engines.delete(connection);
        this.#tellEngines();
      },
    );
    this.#engines.set(connection, undefined);
  }

  async #answer(connection: ControlConnection, message: ToKeeper, fd: number | undefined): Promise<void> {
    if (fd !== undefined && message.op !== "mounted") closeSync(fd);
    if (message.op === "shutdown") {
      this.#end();
      return;
    }
    let answer: FromKeeper;
    try {
      answer = { reply: message.request, value: (await this.#act(connection, message, fd)) ?? null };
    } catch (error) {
      const kind = error instanceof GantryError ? error.kind : "internal";
      answer = { reply: message.request, error: { kind, message: messageOf(error) } };
    }
    connection.send(answer);
  }

  async #act(
    connection: ControlConnection,
    message: Exclude<ToKeeper, { op: "shutdown" }>,
    fd: number | undefined,
  ): Promise<unknown> {
    switch (message.op) {
      case "hello":
        this.#engines.set(connection, message.pid);
        this.#tellEngines();
        return {
          isMounted: this.#fuse !== undefined,
          served: [...this.#rows.values()].map(shownOf),
        } satisfies HelloAnswer;
      case "mounted":
        if (fd === undefined) throw new GantryError("invalid", "no descriptor came along");
        if (this.#fuse !== undefined) {
          closeSync(fd);
          throw new GantryError("conflict", "there is a mount");
        }
        this.#fuse = fd;
        this.#start();
        this.#server?.send({ op: "begin", resend: false } satisfies ToServer);
        return undefined;
      case "serve":
        return await this.#add(message.order);
      case "release":
        await this.#release(message.id);
        return undefined;
    }
  }

  async #add(order: LayerOrder): Promise<ServedLayer> {
    const known = this.#rows.get(order.id);
    if (known !== undefined) return shownOf(known);
    const served = { number: ++this.#last, order };
    const asked = this.#ask((request) => ({ op: "serve", request, served }));
    const { size, hasRoot } = await asked;
    const row = { ...served, size, hasRoot };
    this.#rows.set(order.id, row);
    return shownOf(row);
  }

  async #release(id: string): Promise<void> {
    const row = this.#rows.get(id);
    if (row === undefined) return;
    this.#rows.delete(id);
    await this.#ask((request) => ({ op: "release", request, number: row.number }));
  }

  async #ask(message: (request: number) => ToServer): Promise<Served> {
    if (this.#server === undefined) throw new GantryError("unavailable", "nothing is mounted");
    const request = ++this.#request;
    const { promise, resolve } = Promise.withResolvers<Reply>();
    this.#pending.set(request, resolve);
    this.#server.send(message(request));
    const answer = await promise;
    if ("error" in answer) throw new GantryError(answer.error.kind, answer.error.message);
    return answer;
  }

  #start(): void {
    if (this.#fuse === undefined) return;
    this.#startedAt = performance.now();
    const [own, its] = unixSocketPair();
    const args = ["--max-semi-space-size=4", this.#script, this.#execRoot, "serve"];
    const child = spawn(process.execPath, args, {
      cwd: "/",
      detached: true,
      stdio: ["ignore", "inherit", "inherit", this.#fuse, its],
    });
    child.on("error", (error) => process.stderr.write(`cannot start the lazy server: ${error.message}\n`));
    child.unref();
    closeSync(its);
    this.#listen(own);
    this.#tellEngines();
  }

  #tellEngines(): void {
    const pids = [...this.#engines.values()].filter((pid) => pid !== undefined);
    this.#server?.send({ op: "engines", pids } satisfies ToServer);
  }

  #listen(fd: number): void {
    const connection: ControlConnection = new ControlConnection(
      fd,
      (message, received) => {
        if (received !== undefined) closeSync(received);
        this.#received(message as FromServer);
      },
      () => void this.#lost(connection),
    );
    this.#server = connection;
  }

  #received(message: FromServer): void {
    if ("reply" in message) {
      this.#pending.get(message.reply)?.(message);
      this.#pending.delete(message.reply);
      return;
    }
    if (message.event === "table") {
      for (const row of message.rows) {
        this.#rows.set(row.order.id, row);
        this.#last = Math.max(this.#last, row.number);
      }
      return;
    }
    if (message.event === "unmounted") {
      // Engines that miss it begin anew, with another keeper and mount.
      process.stderr.write("the file system was taken away\n");
      this.#isEnding = true;
      this.#quit();
      return;
    }
    for (const engine of this.#engines.keys()) engine.send(message);
  }

  /** The server has died: another gets all it had, and then the requests that it left unanswered. */
  async #lost(connection: ControlConnection): Promise<void> {
    if (this.#server !== connection) return;
    this.#server = undefined;
    for (const [request, resolve] of this.#pending) {
      resolve({ reply: request, error: { kind: "unavailable", message: "the process that serves layers has died" } });
    }
    this.#pending.clear();
    if (this.#isEnding) return;
    if (this.#rows.size === 0) {
      // Unmounted, or of no use: with a new mount begins a new one.
      if (this.#fuse !== undefined) closeSync(this.#fuse);
      this.#fuse = undefined;
      return;
    }
    process.stderr.write("the process that serves layers has died: starting another\n");
    // One that can't even start is not to be started without a rest.
    if (performance.now() - this.#startedAt < RESTART_MS) await after(RESTART_MS);
    if (this.#isEnding) return;
    this.#start();
    const rows = [...this.#rows.values()];
    const asked = rows.map((row) =>
      this.#ask((request) => ({ op: "serve", request, served: row, known: row })).catch((error: unknown) =>
        process.stderr.write(`cannot serve layer ${row.order.blob.digest} again: ${messageOf(error)}\n`),
      ),
    );
    const started = this.#server;
    await Promise.all(asked);
    if (this.#server !== started || started === undefined) {
      // It died as well, and another follows.
      return;
    }
    (started as ControlConnection).send({ op: "begin", resend: true } satisfies ToServer);
    for (const engine of this.#engines.keys()) engine.send({ event: "restarted" } satisfies FromKeeper);
  }

  #end(): void {
    this.#isEnding = true;
    this.#server?.send({ op: "shutdown" } satisfies ToServer);
    setTimeout(() => this.#quit(), 20);
  }
}

function shownOf({ hasRoot, number, order, size }: ServedRow): ServedLayer {
  const { blob, credentials, id, reference } = order;
  return { id, blob, number, size, hasRoot, reference, credentials };
}
