import { randomBytes } from "node:crypto";
import { closeSync, mkdirSync, openSync, readdirSync, readFileSync, readSync, rmSync } from "node:fs";
import { readFile, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { writeFileAtomic } from "../../base/atomic-file.ts";
import { messageOf } from "../../base/errors.ts";
import { failpoint } from "../../base/failpoint.ts";
import { KeyedLock } from "../../base/keyed-lock.ts";
import type { Logger } from "../../base/log.ts";
import { sha256Of } from "../../oci/digest.ts";
import { removeTree } from "../../snapshots/remove-tree.ts";
import type { CacheUsage } from "../builder.ts";
import type { CacheHolder } from "../parts.ts";
import type { Root } from "../root.ts";
import type { Roots } from "../roots.ts";
import type { BuildSession, SyncRequest } from "../session.ts";
import { applyDifference } from "./apply.ts";
import { StatIndex } from "./stat-index.ts";
import { type Difference, SyncReceiver } from "./sync-receiver.ts";

const MAGIC = "gantry context 1\n";
/** States of one folder that are kept: one for each choice of its files, such as of several Dockerfiles in it. */
const MOST_STATES = 4;
/** Indexes stay in memory between builds up to so many bytes. */
const MOST_IDLE_INDEXES = 32 << 20;
const NOTHING = new StatIndex(Buffer.alloc(0));

/** What a client's folder was when it was last sent. */
interface State {
  readonly name: string;
  /** Which of the folder's files were asked for. */
  readonly choice: string;
  /** Bytes of files that are no other state's. */
  bytes: number;
  index: StatIndex | undefined;
  holders: number;
  usedAt: number;
}

interface Entry {
  readonly id: string;
  readonly meta: Meta;
  /** False for one that goes with its build. */
  readonly isKept: boolean;
  /** The latest first. */
  states: State[];
  /** Syncs under way. */
  syncs: number;
}

interface Meta {
  readonly description: string;
  readonly createdAt: number;
  lastUsedAt: number;
  usageCount: number;
}

export interface ContextPorts {
  /** A folder of its own. */
  readonly root: string;
  readonly roots: Pick<Roots, "folder">;
  readonly log?: Logger;
  /** What tells this boot of the machine from others. */
  readonly boot?: string;
}

/** Called with the bytes that have come. */
export type OnBytes = (bytes: number) => void;

/**
 * Folders of clients, kept between builds: of the next only what changed is sent. A state that a build reads never
 * changes; one that nobody reads is brought up to date where it is. A state has an index while it is whole: it is taken
 * away before the first change and written after the last, so that what a crash leaves in between is removed.
 */
export class ContextStore implements CacheHolder {
  readonly #root: string;
  readonly #roots: Pick<Roots, "folder">;
  readonly #log: Logger | undefined;
  readonly #entries = new Map<string, Entry>();
  readonly #lock = new KeyedLock();
  readonly #boot: string;

  constructor({ root, roots, log, boot }: ContextPorts) {
    this.#root = root;
    this.#roots = roots;
    this.#log = log;
    this.#boot = boot ?? readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
  }

  /** Takes up what is whole and removes the rest. Files aren't synced to the disk: a reboot ends them. */
  async recover(): Promise<void> {
    mkdirSync(this.#root, { recursive: true, mode: 0o700 });
    for (const id of readdirSync(this.#root)) {
      const entry = this.#read(id);
      if (entry === undefined) await this.#removeTree(this.#root, id);
      else {
        const kept = new Set(["entry.json", ...entry.states.map(({ name }) => name)]);
        for (const name of readdirSync(join(this.#root, id)))
          if (!kept.has(name)) await this.#removeTree(join(this.#root, id), name);
        this.#entries.set(id, entry);
      }
    }
  }

  /**
   * Brings a folder of the client's up to date; the root that it resolves with is the caller's. Folders of a client
   * without a shared key are not kept.
   */
  async sync(
    session: BuildSession,
    request: SyncRequest,
    signal: AbortSignal,
    onBytes: OnBytes = () => {},
  ): Promise<Root> {
    const isKept = session.sharedKey !== "";
    const key = isKept ? [session.sharedKey, request.name, request.exclude] : [randomBytes(16).toString("hex")];
    const id = sha256Of(JSON.stringify(key)).slice("sha256:".length, "sha256:".length + 32);
    const choice = sha256Of(JSON.stringify([request.include, request.followPaths])).slice(-32);
    const entry = await this.#entry(id, request.name, isKept);
    const root = await this.#receive(entry, choice, session, request, { signal, onBytes }).finally(() => {
      entry.syncs--;
      return isKept && entry.states.length > 0 ? undefined : this.remove(id);
    });
    return root;
  }

  async #receive(
    entry: Entry,
    choice: string,
    session: BuildSession,
    request: SyncRequest,
    { signal, onBytes }: { readonly signal: AbortSignal; readonly onBytes: OnBytes },
  ): Promise<Root> {
    const { id, isKept } = entry;
    const folder = join(this.#root, id);
    const incoming = `incoming-${randomBytes(6).toString("hex")}`;
    const staging = join(folder, incoming);
    const base = await this.#lock.run(id, () => this.#hold(entry, choice));
    let held = base;
    try {
      const receiver = new SyncReceiver(base?.index ?? NOTHING, staging, onBytes);
      try {
        await session.sync(request, receiver, signal);
      } finally {
        receiver.close();
      }
      const { difference } = receiver;
      const state = await this.#lock.run(id, () => this.#take(entry, base, choice, difference, staging));
      held = state;
      if (base !== undefined && state !== base) await this.#release(entry, base);
      this.#touch(entry, state);
      const onEnd = async () => {
        await this.#release(entry, state);
        if (!isKept) await this.remove(id);
      };
      return this.#roots.folder(this.#tree(entry, state), { index: state.index!, onEnd });
    } catch (error) {
      if (held !== undefined) await this.#release(entry, held);
      throw error;
    } finally {
      await this.#removeTree(folder, incoming);
    }
  }

  async usage(): Promise<readonly CacheUsage[]> {
    return [...this.#entries.values()]
      .filter(({ isKept, states }) => isKept && states.length > 0)
      .map(({ id, meta, states }) => ({
        id,
        parents: [],
        type: "source.local",
        description: meta.description,
        inUse: states.some(({ holders }) => holders > 0),
        shared: false,
        size: states.reduce((total, { bytes }) => total + bytes, 0),
        createdAt: meta.createdAt,
        lastUsedAt: meta.lastUsedAt,
        usageCount: meta.usageCount,
      }));
  }

  async remove(id: string): Promise<number | undefined> {
    return this.#lock.run(id, async () => {
      const entry = this.#entries.get(id);
      if (entry === undefined || entry.syncs > 0 || entry.states.some(({ holders }) => holders > 0)) return undefined;
      const freed = entry.states.reduce((total, { bytes }) => total + bytes, 0);
      // Its indexes are gone first: what a crash leaves of it has none.
      for (const { name } of entry.states) rmSync(this.#indexOf(id, name), { force: true });
      this.#entries.delete(id);
      await this.#removeTree(this.#root, id);
      return freed;
    });
  }

  async #entry(id: string, name: string, isKept: boolean): Promise<Entry> {
    return this.#lock.run(id, () => {
      const known = this.#entries.get(id);
      if (known !== undefined) {
        known.syncs++;
        return known;
      }
      const now = Date.now();
      const meta = { description: `local source for ${name}`, createdAt: now, lastUsedAt: now, usageCount: 0 };
      const entry: Entry = { id, meta, isKept, states: [], syncs: 1 };
      mkdirSync(join(this.#root, id), { mode: 0o700 });
      this.#entries.set(id, entry);
      return entry;
    });
  }

  /** The state to compare with: that of the same choice of files, else the latest. */
  async #hold(entry: Entry, choice: string): Promise<State | undefined> {
    const ordered = [...entry.states].sort(
      (one, other) => Number(other.choice === choice) - Number(one.choice === choice) || other.usedAt - one.usedAt,
    );
    for (const state of ordered) {
      try {
        state.index ??= await this.#readIndex(entry.id, state.name);
        state.holders++;
        return state;
      } catch (error) {
        this.#log?.warn("a client's folder is sent anew: what is kept of it can't be read", {
          cause: messageOf(error),
        });
        await this.#drop(entry, state);
      }
    }
    return undefined;
  }

  /** The state that is what the client has now, held. */
  async #take(
    entry: Entry,
    base: State | undefined,
    choice: string,
    difference: Difference,
    staging: string,
  ): Promise<State> {
    const { former, index } = difference;
    if (base !== undefined && index === former) return base;
    if (base !== undefined && base.choice === choice && base.holders === 1) {
      await this.#update(entry, base, difference, staging);
      return base;
    }
    return this.#fork(entry, base, choice, difference, staging);
  }

  /** Changes a state that nobody else reads. */
  async #update(entry: Entry, state: State, difference: Difference, staging: string): Promise<void> {
    rmSync(this.#indexOf(entry.id, state.name));
    failpoint("build.contexts.opened");
    try {
      await applyDifference(this.#tree(entry, state), staging, difference, undefined);
      state.index = difference.index;
      state.bytes = Math.min(state.bytes + difference.bytes, await difference.index.size());
      await this.#writeIndex(entry.id, state);
    } catch (error) {
      await this.#drop(entry, state);
      throw error;
    }
  }

  async #fork(
    entry: Entry,
    base: State | undefined,
    choice: string,
    difference: Difference,
    staging: string,
  ): Promise<State> {
    const state: State = {
      name: `state-${randomBytes(6).toString("hex")}`,
      choice,
      bytes: difference.bytes,
      index: difference.index,
      holders: 1,
      usedAt: Date.now(),
    };
    const tree = this.#tree(entry, state);
    mkdirSync(tree, { recursive: true, mode: 0o755 });
    try {
      await applyDifference(tree, staging, difference, base === undefined ? undefined : this.#tree(entry, base));
      await this.#writeIndex(entry.id, state);
    } catch (error) {
      await this.#removeTree(join(this.#root, entry.id), state.name);
      throw error;
    }
    entry.states.unshift(state);
    return state;
  }

  async #release(entry: Entry, state: State): Promise<void> {
    state.holders--;
    await this.#lock.run(entry.id, async () => {
      // Of one choice of files the latest is enough, and of several choices a few.
      const sameChoice = entry.states.find(({ choice }) => choice === state.choice);
      if (sameChoice !== state && state.holders === 0 && entry.states.includes(state)) await this.#drop(entry, state);
      for (const old of entry.states.slice(MOST_STATES)) if (old.holders === 0) await this.#drop(entry, old);
    });
    this.#forgetIndexes();
  }

  async #drop(entry: Entry, state: State): Promise<void> {
    entry.states = entry.states.filter((one) => one !== state);
    rmSync(this.#indexOf(entry.id, state.name), { force: true });
    await this.#removeTree(join(this.#root, entry.id), state.name);
  }

  #touch({ id, meta, states }: Entry, state: State): void {
    meta.lastUsedAt = Date.now();
    meta.usageCount++;
    state.usedAt = meta.lastUsedAt;
    // The one that was used last is the first.
    states.sort((one, other) => other.usedAt - one.usedAt);
    writeFileAtomic(join(this.#root, id, "entry.json"), JSON.stringify(meta), { durable: false });
  }

  /** Lets go of the indexes that were used longest ago. */
  #forgetIndexes(): void {
    const idle = [...this.#entries.values()]
      .flatMap(({ states }) => states)
      .filter(({ holders, index }) => holders === 0 && index !== undefined)
      .sort((one, other) => other.usedAt - one.usedAt);
    let total = 0;
    for (const state of idle) {
      total += state.index!.bytes.length;
      if (total > MOST_IDLE_INDEXES) state.index = undefined;
    }
  }

  #tree({ id }: Entry, { name }: State): string {
    return join(this.#root, id, name, "tree");
  }

  #indexOf(id: string, state: string): string {
    return join(this.#root, id, state, "index");
  }

  async #writeIndex(id: string, state: State): Promise<void> {
    const path = this.#indexOf(id, state.name);
    const head = JSON.stringify({ boot: this.#boot, choice: state.choice, bytes: state.bytes, usedAt: state.usedAt });
    await writeFile(`${path}.new`, [Buffer.from(`${MAGIC}${head}\n`), state.index!.bytes], { mode: 0o600 });
    failpoint("build.contexts.written");
    await rename(`${path}.new`, path);
  }

  async #readIndex(id: string, state: string): Promise<StatIndex> {
    const bytes = await readFile(this.#indexOf(id, state));
    return new StatIndex(bytes.subarray(bytes.indexOf("\n", MAGIC.length) + 1));
  }

  /** What is on the disk of one folder; undefined where nothing is whole. */
  #read(id: string): Entry | undefined {
    try {
      const meta = JSON.parse(readFileSync(join(this.#root, id, "entry.json"), "utf8")) as Meta;
      const states = readdirSync(join(this.#root, id)).flatMap((name) => this.#readState(id, name) ?? []);
      states.sort((one, other) => other.usedAt - one.usedAt);
      return states.length === 0 ? undefined : { id, meta, isKept: true, states, syncs: 0 };
    } catch {
      return undefined;
    }
  }

  #readState(id: string, name: string): State | undefined {
    if (!name.startsWith("state-")) return undefined;
    try {
      const head = headOf(this.#indexOf(id, name));
      if (head?.boot !== this.#boot) return undefined;
      const { choice, bytes, usedAt } = head;
      return { name, choice, bytes, index: undefined, holders: 0, usedAt };
    } catch {
      return undefined;
    }
  }

  async #removeTree(folder: string, name: string): Promise<void> {
    const fd = openSync(folder, "r");
    try {
      await removeTree(fd, name);
    } finally {
      closeSync(fd);
    }
  }
}

interface Head {
  readonly boot: string;
  readonly choice: string;
  readonly bytes: number;
  readonly usedAt: number;
}

/** The first lines of an index's file; undefined for what is none. */
function headOf(path: string): Head | undefined {
  const fd = openSync(path, "r");
  try {
    const start = Buffer.alloc(1024);
    const text = start.toString("utf8", 0, readSync(fd, start, 0, start.length, 0));
    if (!text.startsWith(MAGIC)) return undefined;
    return JSON.parse(text.slice(MAGIC.length, text.indexOf("\n", MAGIC.length))) as Head;
  } finally {
    closeSync(fd);
  }
}
