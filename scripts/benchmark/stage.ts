import { spawn } from "node:child_process";
import { once } from "node:events";
import { realpathSync } from "node:fs";
import { setTimeout as after } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { endChild, findProgram, finish } from "../../test/command.ts";
import { IMAGE } from "./measure.ts";
import type { Peer } from "./peer.ts";

/** Where the server's ports are published: its answers, what counts what is sent, and iperf3's. */
export const PORTS = { answers: 8080, counts: 8081, iperf: 5201 } as const;
export const SERVER = "server";
/** Of the peer on the link to the client outside. */
export const OUTSIDE = "198.18.0.1";
const CLIENT = "198.18.0.2";
const NETWORK = "stage";
const READY_MS = 20_000;
const END_MS = 2_000;
const NODE = ["/node", "--disable-warning=ExperimentalWarning", "/load.ts"] as const;
const HERE = [process.execPath, NODE[1], fileURLToPath(new URL("load.ts", import.meta.url))] as const;

/** The machine's own, where it is installed. */
export const iperf: string | undefined = findProgram("iperf3");

/** Where a load comes from: a machine beyond a link, the peer's host itself, a neighbour of the server's. */
export type From = "outside" | "host" | "neighbour";

/**
 * A network with a server whose ports are published, a container beside it, and a namespace beyond a link that plays
 * another machine. The programs in the containers are the machine's own, bound in.
 */
export class Stage implements AsyncDisposable {
  readonly #peer: Peer;
  readonly #ended = new AsyncDisposableStack();
  #outside = 0;

  private constructor(peer: Peer) {
    this.#peer = peer;
  }

  static async set(peer: Peer): Promise<Stage> {
    const stage = new Stage(peer);
    try {
      await stage.#setUp();
    } catch (error) {
      await stage[Symbol.asyncDispose]();
      throw error;
    }
    return stage;
  }

  /** What load.ts prints in this mode. */
  async load(from: From, ...args: readonly (string | number)[]): Promise<Readonly<Record<string, number>>> {
    const program = from === "neighbour" ? NODE : HERE;
    return JSON.parse(await this.#output(from, [...program, ...args.map(String)])) as Record<string, number>;
  }

  /** Gigabits a second of one stream of iperf3's. */
  async iperf(from: From, host: string, seconds: number): Promise<number> {
    const args = ["-J", "-c", host, "-p", String(PORTS.iperf), "-t", String(seconds)];
    const said = JSON.parse(await this.#output(from, ["iperf3", ...args])) as {
      end: { sum_received: { bits_per_second: number } };
    };
    return said.end.sum_received.bits_per_second / 1e9;
  }

  async #output(from: From, command: readonly string[]): Promise<string> {
    if (from === "neighbour") return this.#peer.output("exec", "neighbour", ...command);
    return ok("nsenter", ["-t", String(from === "host" ? this.#peer.pid : this.#outside), "-n", ...command]);
  }

  async #setUp(): Promise<void> {
    const peer = this.#peer;
    await peer.output("network", "create", NETWORK);
    this.#undo("network", "rm", NETWORK);
    const files = [
      ["-v", `${process.execPath}:/node:ro`, "-v", `${HERE[2]}:/load.ts:ro`],
      ...["/usr", "/lib", "/lib64"].map((path) => ["-v", `${realpathSync(path)}:${path}:ro`]),
    ].flat();
    const run = ["run", "-d", "--network", NETWORK, ...files];
    const published = Object.values(PORTS).flatMap((port) => ["-p", `${port}:${port}`]);
    await peer.output(...run, "--name", SERVER, ...published, IMAGE, ...NODE, "serve", String(PORTS.answers));
    this.#undo("rm", "-f", SERVER);
    await peer.output(...run, "--name", "neighbour", IMAGE, "sleep", "1000000");
    this.#undo("rm", "-f", "neighbour");
    if (iperf !== undefined) await peer.output("exec", "-d", SERVER, "iperf3", "-s", "-p", String(PORTS.iperf));
    await this.#link();
    const deadline = Date.now() + READY_MS;
    for (;;) {
      try {
        await this.load("outside", "ask", OUTSIDE, PORTS.answers, 1, 1);
        return;
      } catch (error) {
        if (Date.now() > deadline) throw error;
        await after(100);
      }
    }
  }

  #undo(...args: readonly string[]): void {
    this.#ended.defer(async () => {
      await this.#peer.output(...args);
    });
  }

  /** The namespace outside ends with its only process, which ends with the bench, and the link goes with it. */
  async #link(): Promise<void> {
    const holder = spawn("unshare", ["--net", "sh", "-c", "ip link set lo up && echo ready && exec cat"], {
      stdio: ["pipe", "pipe", "inherit"],
    });
    this.#ended.defer(() => endChild(holder, "SIGKILL", END_MS));
    await once(holder.stdout, "data", { signal: AbortSignal.timeout(READY_MS) });
    this.#outside = holder.pid ?? 0;
    const inside = (pid: number, ...args: readonly string[]) => ok("nsenter", ["-t", String(pid), "-n", "ip", ...args]);
    const peer = ["peer", "name", "near", "netns", String(this.#peer.pid)];
    await inside(this.#outside, "link", "add", "far", "type", "veth", ...peer);
    for (const [pid, name, address] of [
      [this.#outside, "far", CLIENT],
      [this.#peer.pid, "near", OUTSIDE],
    ] as const) {
      await inside(pid, "addr", "add", `${address}/30`, "dev", name);
      await inside(pid, "link", "set", name, "up");
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#ended.disposeAsync();
  }
}

async function ok(program: string, args: readonly string[]): Promise<string> {
  const end = await finish(program, args);
  if (end.code !== 0)
    throw new Error(`${program} ${args.join(" ")}: exit code ${end.code}: ${end.stderr.slice(-1000)}`);
  return end.stdout;
}
