import { GantryError } from "../../base/errors.ts";
import type { HeldFailure } from "../builder.ts";
import { MOUNT_TYPES, NETWORKS, SECURITIES, SHARINGS } from "../definition/exec-kinds.ts";
import type { ExecMount, ExecOperation } from "../graph.ts";
import type { OpenRoot } from "../root.ts";

/** Each holds a root with all that is below it. */
const MOST = 4;
const PREFIX = "failed-";
/** Details of errors travel as headers. */
const LONGEST = 8 << 10;

/** Commands of a client's build that failed, as they were then, for as long as that goes on: the client may look into them. */
export class HeldFailures implements AsyncDisposable {
  readonly #held = new Map<string, HeldFailure>();
  readonly #open = new Map<string, Promise<OpenRoot>>();
  readonly #ended: Promise<void>[] = [];
  #count = 0;
  #isEnded = false;

  take(failure: HeldFailure): void {
    this.#held.set(`${PREFIX}${++this.#count}`, failure);
    const [oldest] = this.#held.keys();
    if (this.#isEnded || this.#held.size > MOST) this.#drop(oldest!);
  }

  /** How a client is told of a command: by its mounts, and what was in them before and after. */
  detailOf(vertex: string): unknown {
    const found = [...this.#held].findLast(([, failure]) => failure.vertex === vertex);
    if (found === undefined) return undefined;
    const [id, { operation }] = found;
    const inputs = [operation.root, ...operation.mounts.map((mount) => ("input" in mount ? mount.input : -1))];
    const inputIDs = inputs.map((input) => (input < 0 ? "" : `${id}/${input}`));
    const detail = { inputIDs, mountIDs: [id, ...inputIDs.slice(1)], op: { exec: execOf(operation) } };
    return JSON.stringify(detail).length > LONGEST ? undefined : detail;
  }

  /** What is told of one, by its name; undefined for what is none. */
  look(name: string): Promise<OpenRoot> | undefined {
    if (!name.startsWith(PREFIX)) return undefined;
    const [id = "", input] = name.split("/");
    const failure = this.#held.get(id);
    if (failure === undefined) throw new GantryError("not-found", `no such ref: ${name.slice(0, 200)}`);
    if (input === undefined) return Promise.resolve({ path: failure.root, [Symbol.asyncDispose]: async () => {} });
    const root = String(Number(input)) === input ? failure.inputs[Number(input)] : undefined;
    if (root === undefined) throw new GantryError("not-found", `no such ref: ${name.slice(0, 200)}`);
    const open = this.#open.get(name) ?? root.open();
    this.#open.set(name, open);
    return open;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isEnded = true;
    for (const id of [...this.#held.keys()]) this.#drop(id);
    await Promise.allSettled(this.#ended);
  }

  #drop(id: string): void {
    const failure = this.#held.get(id);
    this.#held.delete(id);
    const open = [...this.#open].filter(([name]) => name.startsWith(`${id}/`));
    for (const [name] of open) this.#open.delete(name);
    const ended = (async () => {
      // What could not be opened needs no end; what holds it does.
      for (const one of await Promise.allSettled(open.map(([, root]) => root))) {
        if (one.status === "fulfilled") await one.value[Symbol.asyncDispose]();
      }
      await failure?.[Symbol.asyncDispose]();
    })();
    this.#ended.push(ended);
    ended.catch(() => {});
  }
}

/** As protobuf's JSON has it: numbers of 64 bits are texts. */
function execOf({ args, cwd, env, hostname, mounts, network, root, security, user }: ExecOperation): unknown {
  return {
    meta: { args, env, cwd, user, ...(hostname !== undefined && { hostname }) },
    mounts: [{ input: String(root), dest: "/", output: "0" }, ...mounts.map(mountOf)],
    network: NETWORKS.indexOf(network),
    security: SECURITIES.indexOf(security),
  };
}

function mountOf(mount: ExecMount): unknown {
  const common = { dest: mount.target, output: "-1", mountType: MOUNT_TYPES.indexOf(mount.type), input: "-1" };
  switch (mount.type) {
    case "bind":
      return { ...common, input: String(mount.input), selector: mount.source, readonly: !mount.writable };
    case "cache": {
      const cacheOpt = { ID: mount.id, sharing: SHARINGS.indexOf(mount.sharing) };
      return { ...common, input: String(mount.input), selector: mount.source, readonly: mount.readonly, cacheOpt };
    }
    case "tmpfs":
      return { ...common, TmpfsOpt: { size: String(mount.size) } };
    case "secret":
      return { ...common, secretOpt: neededOf(mount) };
    case "ssh":
      return { ...common, SSHOpt: neededOf(mount) };
  }
}

function neededOf({ gid, id, mode, required, uid }: Extract<ExecMount, { type: "secret" | "ssh" }>): unknown {
  return { ID: id, uid, gid, mode, optional: !required };
}
