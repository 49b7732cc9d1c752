import { setTimeout as after } from "node:timers/promises";
import type { ContainerSummary } from "../../api/container.ts";
import { parseEvent } from "../../api/event.ts";
import type { ContainerStats } from "../../api/stats.ts";
import { bytesSize, humanSize } from "../../base/units.ts";
import { jsonLines } from "../../client/json-lines.ts";
import { type Call, type Command, ExitError } from "../command.ts";
import { errorLine } from "../error-line.ts";
import { boolFlag, textFlag } from "../flags/spec.ts";
import { listingText, type Row } from "../output/format.ts";
import { print } from "../output/print.ts";
import { FORMAT_USAGE, shortId } from "../output/text.ts";
import { figuresOf, type UsageFigures } from "../output/usage-figures.ts";
import { segment } from "./lifecycle.ts";

const HEADINGS = {
  Container: "CONTAINER",
  ID: "CONTAINER ID",
  Name: "NAME",
  CPUPerc: "CPU %",
  MemUsage: "MEM USAGE / LIMIT",
  MemPerc: "MEM %",
  NetIO: "NET I/O",
  BlockIO: "BLOCK I/O",
  PIDs: "PIDS",
};

const REDRAW_MS = 500;
/** A container that nothing was heard of for so long is shown without figures. */
const SILENT_MS = 2000;

const HOME = "\x1b[H";
const ERASE_LINE = "\x1b[K";
const ERASE_BELOW = "\x1b[J";

export const stats: Command = {
  usage: "[OPTIONS] [CONTAINER...]",
  args: { rule: "at-least", count: 0 },
  flags: [
    boolFlag("a,all", "Show all containers (default shows just running)"),
    textFlag("format", FORMAT_USAGE),
    boolFlag("no-stream", "Print the first figures and end"),
    boolFlag("no-trunc", "Don't truncate output"),
  ],
  async run(call) {
    const { flags } = call;
    const show = async (subjects: readonly Subject[]) =>
      listingText({
        format: flags.text("format") || (call.settings.config().statsFormat ?? ""),
        columns: ["ID", "Name", "CPUPerc", "MemUsage", "MemPerc", "NetIO", "BlockIO", "PIDs"],
        headings: HEADINGS,
        type: "*container.statsContext",
        rows: subjects.map((subject) => rowOf(subject, flags.bool("no-trunc"))),
      });
    const board = new Board(call, !flags.bool("no-stream"));
    await using _ = board;
    await board.fill();
    if (flags.bool("no-stream")) {
      print(await show(board.subjects()));
      return 0;
    }
    const ended = new AbortController();
    for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => ended.abort());
    while (!ended.signal.aborted) {
      const text = await show(board.subjects());
      // Written over what stands there, line by line: erasing it first would flicker.
      print(`${HOME}${text.replaceAll("\n", `${ERASE_LINE}\n`)}${ERASE_BELOW}`);
      if (board.isOver()) return 0;
      await after(REDRAW_MS, undefined, { signal: ended.signal }).catch(() => {});
    }
    return 0;
  },
};

/** One row of the table. */
interface Subject {
  /** As it was named, or its id cut short. */
  readonly container: string;
  readonly stop: AbortController;
  id: string;
  name: string;
  figures: UsageFigures | undefined;
  heardAt: number;
}

/** The containers that are watched: those that were named, or all that there are as they come and go. */
class Board implements AsyncDisposable {
  readonly #call: Call;
  readonly #follows: boolean;
  readonly #subjects = new Map<string, Subject>();
  readonly #end = new AbortController();
  #failure: unknown;

  constructor(call: Call, follows: boolean) {
    this.#call = call;
    this.#follows = follows;
  }

  /** Resolves when each container was heard of once. Throws what the engine says of those that were named. */
  async fill(): Promise<void> {
    const { args, client, flags } = this.#call;
    if (args.length > 0) {
      const results = await Promise.allSettled(args.map((name) => this.#add(name, name)));
      const failures = results.filter((result) => result.status === "rejected").map(({ reason }) => errorLine(reason));
      if (failures.length > 0) throw new ExitError(1, failures.join("\n"));
      return;
    }
    // Before the list is asked for, so that nothing falls in between.
    if (this.#follows) await this.#followEvents(flags.bool("all"));
    const query = { all: flags.bool("all") };
    const listed = await client.json<ContainerSummary[]>("GET", "/containers/json", { query });
    // One that is gone by the time it is asked for is none to show.
    await Promise.allSettled(listed.map(({ Id }) => this.#add(Id, shortId(Id))));
  }

  subjects(): Subject[] {
    if (this.#failure !== undefined) throw this.#failure;
    return [...this.#subjects.values()];
  }

  /** Nothing is left of those that were named. */
  isOver(): boolean {
    return this.#call.args.length > 0 && this.#subjects.size === 0;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#end.abort();
    for (const subject of this.#subjects.values()) subject.stop.abort();
  }

  async #add(id: string, container: string): Promise<void> {
    if (this.#subjects.has(id)) return;
    const subject: Subject = {
      container,
      stop: new AbortController(),
      id: "",
      name: "",
      figures: undefined,
      heardAt: Date.now(),
    };
    this.#subjects.set(id, subject);
    try {
      const path = `/containers/${segment(id)}/stats`;
      const query = { stream: this.#follows ? "1" : "0" };
      const { body } = await this.#call.client.stream("GET", path, { query, signal: subject.stop.signal });
      const samples = jsonLines<ContainerStats>(body);
      const first = await samples.next();
      if (first.done !== true) hear(subject, first.value);
      if (this.#follows) void this.#listen(id, subject, samples);
    } catch (error) {
      this.#subjects.delete(id);
      throw error;
    }
  }

  async #listen(id: string, subject: Subject, samples: AsyncIterable<ContainerStats>): Promise<void> {
    try {
      for await (const sample of samples) hear(subject, sample);
    } catch {
      // Its stream broke off: as if it had ended.
    }
    if (this.#subjects.get(id) === subject) this.#subjects.delete(id);
  }

  /** Lets containers appear and vanish; with `all` they vanish when they are removed, else when they end. */
  async #followEvents(all: boolean): Promise<void> {
    const filters = JSON.stringify({
      type: ["container"],
      event: all ? ["create", "start", "destroy"] : ["start", "die"],
    });
    const { body } = await this.#call.client.stream("GET", "/events", { query: { filters }, signal: this.#end.signal });
    const follow = async () => {
      for await (const { Action, Actor } of jsonLines(body, parseEvent)) {
        if (Action === "start" || Action === "create") void this.#add(Actor.ID, shortId(Actor.ID)).catch(() => {});
        else this.#remove(Actor.ID);
      }
      throw new ExitError(1, "the engine has ended");
    };
    follow().catch((error: unknown) => {
      if (!this.#end.signal.aborted) this.#failure = error;
    });
  }

  #remove(id: string): void {
    this.#subjects.get(id)?.stop.abort();
    this.#subjects.delete(id);
  }
}

function hear(subject: Subject, sample: ContainerStats): void {
  subject.id = sample.id;
  subject.name = sample.name;
  subject.figures = figuresOf(sample);
  subject.heardAt = Date.now();
}

function rowOf(subject: Subject, full: boolean): Row {
  const { id, name, heardAt } = subject;
  const figures = Date.now() - heardAt > SILENT_MS ? undefined : subject.figures;
  const of = (text: (figures: UsageFigures) => string, none = "--") => (figures === undefined ? none : text(figures));
  const pair = (one: number, other: number, size: (bytes: number) => string) => `${size(one)} / ${size(other)}`;
  const moved = (bytes: number) => humanSize(bytes, 3);
  return {
    Container: subject.container,
    Name: name.length > 1 ? name.slice(1) : "--",
    ID: full ? id : shortId(id),
    CPUPerc: of(({ cpuPercent }) => `${cpuPercent.toFixed(2)}%`),
    MemUsage: of(({ memory, memoryLimit }) => pair(memory, memoryLimit, bytesSize), "-- / --"),
    MemPerc: of(({ memoryPercent }) => `${memoryPercent.toFixed(2)}%`),
    NetIO: of(({ received, sent }) => pair(received, sent, moved)),
    BlockIO: of(({ read, written }) => pair(read, written, moved)),
    PIDs: of(({ pids }) => String(pids)),
  };
}
