import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { Duplex } from "node:stream";
import { GantryError, hasCode, messageOf } from "../base/errors.ts";
import type { Endpoint } from "./endpoint.ts";

const CONNECT_TIMEOUT_S = 30;
/** What is kept of the words of the ssh client, for the message of a failure. */
const MOST_WORDS = 4096;

type SshEndpoint = Endpoint & { kind: "ssh" };

/** The arguments of the OpenSSH client that reach the engine: one connection, whatever engine is on the other side. */
export function sshArguments(endpoint: SshEndpoint): readonly string[] {
  const host = endpoint.path === "" ? "" : ` --host ${shellQuoted(`unix://${endpoint.path}`)}`;
  const own = `gantry${host} system dial-stdio`;
  const remote = `if command -v gantry >/dev/null 2>&1; then exec ${own}; else exec docker${own.slice("gantry".length)}; fi`;
  return [
    "-o",
    `ConnectTimeout=${CONNECT_TIMEOUT_S}`,
    "-T",
    ...(endpoint.user === "" ? [] : ["-l", endpoint.user]),
    ...(endpoint.port === undefined ? [] : ["-p", String(endpoint.port)]),
    "--",
    endpoint.host,
    // The login shell of the other side may be one that knows no `if … fi`.
    `sh -c ${shellQuoted(remote)}`,
  ];
}

function shellQuoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

/** A connection through a process of the OpenSSH client, which ends with it. */
export function dialSsh(endpoint: SshEndpoint): Duplex {
  return new ProcessStream(endpoint, spawn("ssh", sshArguments(endpoint), { stdio: ["pipe", "pipe", "pipe"] }));
}

/** The two pipes of a process as one stream. Its end before anything was heard is an error that says why. */
class ProcessStream extends Duplex {
  readonly #endpoint: SshEndpoint;
  readonly #child: ChildProcessWithoutNullStreams;
  #words = "";
  #heard = false;

  constructor(endpoint: SshEndpoint, child: ChildProcessWithoutNullStreams) {
    super({ allowHalfOpen: true });
    this.#endpoint = endpoint;
    this.#child = child;
    child.stdout.on("data", (chunk: Buffer) => {
      this.#heard = true;
      if (!this.push(chunk)) child.stdout.pause();
    });
    child.stderr.on("data", (chunk: Buffer) => {
      if (this.#words.length < MOST_WORDS) this.#words += chunk.toString();
    });
    // The other side may be gone before all is sent; what it said, or its end, is the news.
    child.stdin.on("error", () => {});
    child.once("error", (error) => this.destroy(this.#failure(error)));
    child.once("close", (code, signal) => {
      if (!this.#heard) this.destroy(this.#failure(new Error(`has exited with ${signal ?? `exit status ${code}`}`)));
      else this.push(null);
    });
  }

  override _read(): void {
    this.#child.stdout.resume();
  }

  override _write(chunk: Uint8Array, _: BufferEncoding, done: (error?: Error | null) => void): void {
    this.#child.stdin.write(chunk, () => done());
  }

  override _final(done: () => void): void {
    this.#child.stdin.end(done);
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    this.#child.stdin.destroy();
    this.#child.stdout.destroy();
    this.#child.stderr.destroy();
    this.#child.kill();
    done(error);
  }

  #failure(error: Error): GantryError {
    if (hasCode(error, "ENOENT")) {
      const text = `error during connect: ${this.#endpoint.url}: the ssh program is not on the PATH`;
      return new GantryError("unavailable", text, { cause: error });
    }
    const words = this.#words.trim();
    const text = `error during connect: ${this.#endpoint.url}: ssh ${messageOf(error)}, make sure that the URL is valid and that gantry or docker is installed on the other host${words === "" ? "" : `: stderr=${words}`}`;
    return new GantryError("unavailable", text, { cause: error });
  }
}
