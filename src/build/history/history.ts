import { createHash } from "node:crypto";
import { createReadStream, mkdirSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { untilAborted } from "../../base/abort.ts";
import { GantryError, hasCode, messageOf } from "../../base/errors.ts";
import { failpoint } from "../../base/failpoint.ts";
import type { Logger } from "../../base/log.ts";
import type { Collection, Store } from "../../state/store.ts";
import type { BuildAttachment, BuildHistory, BuildRecord } from "../builder.ts";
import { parseEventLine } from "../event-line.ts";
import type { BuildEvent } from "../progress.ts";
import { readAttachment, writeAttachments } from "./attachments.ts";
import { Recording } from "./recording.ts";

export interface HistoryLimits {
  /** Builds that are kept; 0 keeps none that has ended. */
  readonly records: number;
  /** Milliseconds since its end that one is kept. */
  readonly ageMs: number;
  /** Bytes of output that are kept of one. */
  readonly output: number;
}

export interface HistoryPorts {
  readonly store: Store;
  /** For the events: a folder of its own below the data root. */
  readonly folder: string;
  readonly log: Logger;
  readonly limits: () => HistoryLimits;
}

type Change = Partial<Omit<BuildRecord, "id" | "createdAt">>;
type Listener = Parameters<BuildHistory["watch"]>[0];

/** Lines longer than this are no events. */
const LONGEST_LINE = 8 << 20;

/** What was built, with what it told: a record each, and a file of events. */
export class History implements BuildHistory {
  readonly #ports: HistoryPorts;
  readonly #collection: Collection<BuildRecord>;
  /** In the order of their begin. */
  readonly #records = new Map<string, BuildRecord>();
  readonly #recordings = new Map<string, Recording>();
  readonly #listeners = new Set<Listener>();

  constructor(ports: HistoryPorts) {
    this.#ports = ports;
    this.#collection = ports.store.collection("build-history");
    mkdirSync(ports.folder, { recursive: true, mode: 0o700 });
    const records = this.#collection.list().map(({ value }) => value);
    for (const record of records.sort((a, b) => a.createdAt - b.createdAt)) this.#records.set(record.id, record);
  }

  /** Ends the records of builds that the last engine did not bring to their end; removes files of none. */
  recover(): void {
    const completedAt = Date.now();
    const error = "the engine ended while it was building";
    for (const record of [...this.#records.values()]) {
      if (record.completedAt === undefined) this.#put({ ...record, completedAt, error });
    }
    const known = new Set([...this.#records.keys()].flatMap((id) => [fileName(id), attachmentsName(id)]));
    for (const name of readdirSync(this.#ports.folder)) {
      if (!known.has(name)) rmSync(join(this.#ports.folder, name), { recursive: true, force: true });
    }
    this.#drop();
  }

  list(): readonly BuildRecord[] {
    return [...this.#records.values()].toReversed();
  }

  get(id: string): BuildRecord | undefined {
    return this.#records.get(id);
  }

  /** A build begins. One of the same id that has ended is replaced; one that runs is a conflict. */
  begin(record: BuildRecord): {
    readonly add: (event: BuildEvent) => void | Promise<void>;
    readonly end: (change: Change, attachments?: readonly BuildAttachment[]) => void;
  } {
    const former = this.#records.get(record.id);
    if (former !== undefined && former.completedAt === undefined) {
      throw new GantryError("conflict", `a build ${record.id} is under way`);
    }
    if (former !== undefined) this.#removeFiles(record.id);
    this.#records.delete(record.id);
    const recording = new Recording(this.#path(record.id), this.#ports.log, this.#ports.limits().output);
    this.#recordings.set(record.id, recording);
    this.#put(record);
    failpoint("build.history.begun");
    this.#tell(record, "started");
    return {
      add: (event) => recording.add(event),
      end: (change, attachments = []) => {
        const now = this.#records.get(record.id);
        void recording.end().then(() => {
          if (this.#recordings.get(record.id) === recording) this.#recordings.delete(record.id);
          if (this.#records.get(record.id) === undefined) this.#removeFiles(record.id);
        });
        // Removed while it ran.
        if (now === undefined) return;
        const ended = { ...now, ...change, ...this.#attach(record.id, attachments), completedAt: Date.now() };
        // One write for all that changes.
        this.#write(() => {
          this.#put(ended);
          failpoint("build.history.ended");
          this.#drop();
        });
        this.#tell(ended, "complete");
      },
    };
  }

  async *events(id: string, signal?: AbortSignal): AsyncGenerator<BuildEvent> {
    if (!this.#records.has(id)) throw notFound(id);
    const recording = this.#recordings.get(id);
    let offset = 0;
    for (;;) {
      // Asked for before reading: what is written meanwhile is read in the next round.
      const isEnded = recording?.isEnded ?? true;
      const more = recording?.more();
      await recording?.flush();
      for await (const { event, end } of readEvents(this.#path(id), offset)) {
        offset = end;
        if (event !== undefined) yield event;
      }
      if (isEnded) return;
      if (more !== undefined) await untilAborted(more, signal);
    }
  }

  async attachment(id: string, digest: string): Promise<Uint8Array> {
    const kept = this.#records.get(id)?.attachments?.find((one) => one.digest === digest);
    if (kept === undefined) throw new GantryError("not-found", `build ${id.slice(0, 100)} has no attachment ${digest}`);
    return readAttachment(this.#attachmentsPath(id), kept);
  }

  async remove(id: string): Promise<void> {
    const record = this.#records.get(id);
    if (record === undefined) throw notFound(id);
    if (record.completedAt === undefined) {
      throw new GantryError("conflict", `cannot remove build ${id} from the history: it is under way`);
    }
    await this.#recordings.get(id)?.flush();
    this.#remove(record);
  }

  watch(listener: Listener): Disposable {
    this.#listeners.add(listener);
    return { [Symbol.dispose]: () => void this.#listeners.delete(listener) };
  }

  /** All that was told is in the files when this resolves. */
  async close(): Promise<void> {
    await Promise.all([...this.#recordings.values()].map((recording) => recording.flush()));
  }

  /** Removes what is too old, or too many. */
  #drop(): void {
    const { ageMs, records } = this.#ports.limits();
    const ended = [...this.#records.values()].filter(({ completedAt }) => completedAt !== undefined);
    const oldest = Date.now() - ageMs;
    const excess = Math.max(0, ended.length - records);
    for (const [index, record] of ended.entries()) {
      if (index < excess || record.completedAt! < oldest) this.#remove(record);
    }
  }

  #remove(record: BuildRecord): void {
    this.#records.delete(record.id);
    this.#write(() => this.#collection.delete(record.id));
    failpoint("build.history.removed");
    this.#removeFiles(record.id);
    this.#tell(record, "deleted");
  }

  #put(record: BuildRecord): void {
    this.#records.set(record.id, record);
    this.#write(() => this.#collection.put(record.id, record));
  }

  /** A record that can't be written, as on a full disk, is no reason for a build to fail. */
  #write(act: () => void): void {
    try {
      this.#ports.store.relaxed(act);
    } catch (error) {
      this.#ports.log.warn(`cannot keep the history of a build: ${messageOf(error)}`);
    }
  }

  #tell(record: BuildRecord, kind: Parameters<Listener>[1]): void {
    for (const listener of this.#listeners) listener(record, kind);
  }

  /** Written before the record that names them: without it they are removed at the next start. */
  #attach(id: string, attachments: readonly BuildAttachment[]): Pick<BuildRecord, "attachments"> {
    if (attachments.length === 0) return {};
    try {
      return { attachments: writeAttachments(this.#attachmentsPath(id), attachments) };
    } catch (error) {
      this.#ports.log.warn(`cannot keep what is known of a build: ${messageOf(error)}`);
      return {};
    }
  }

  #removeFiles(id: string): void {
    rmSync(this.#path(id), { force: true });
    rmSync(this.#attachmentsPath(id), { force: true });
  }

  #path(id: string): string {
    return join(this.#ports.folder, fileName(id));
  }

  #attachmentsPath(id: string): string {
    return join(this.#ports.folder, attachmentsName(id));
  }
}

/** Ids are the clients': they are no names of files. */
function stemOf(id: string): string {
  return createHash("sha256").update(id).digest("hex").slice(0, 32);
}

function fileName(id: string): string {
  return `${stemOf(id)}.jsonl`;
}

function attachmentsName(id: string): string {
  return `${stemOf(id)}.attached`;
}

function notFound(id: string): GantryError {
  return new GantryError("not-found", `no build ${id.slice(0, 100)} in the history`);
}

/** The events of a file from an offset on, each with where the next one begins. */
async function* readEvents(
  path: string,
  offset: number,
): AsyncGenerator<{ readonly event: BuildEvent | undefined; readonly end: number }> {
  let rest: Buffer = Buffer.alloc(0);
  let end = offset;
  try {
    for await (const chunk of createReadStream(path, { start: offset, highWaterMark: 256 << 10 })) {
      rest = rest.length === 0 ? (chunk as Buffer) : Buffer.concat([rest, chunk as Buffer]);
      for (let line = rest.indexOf(10); line >= 0; line = rest.indexOf(10)) {
        end += line + 1;
        yield { event: parseEventLine(rest.toString("utf8", 0, line)), end };
        rest = rest.subarray(line + 1);
      }
      if (rest.length > LONGEST_LINE) return;
    }
  } catch (error) {
    if (!hasCode(error, "ENOENT")) throw error;
  }
}
