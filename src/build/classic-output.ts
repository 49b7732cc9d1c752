import { StringDecoder } from "node:string_decoder";
import type { PlannedBuild } from "./builder.ts";
import { type ClassicStep, classicSteps } from "./classic/steps.ts";
import type { VertexId } from "./graph.ts";
import type { BuildEvent, VertexState, VertexStatus } from "./progress.ts";

/** A line of the classic builder's answer. */
export type ClassicMessage =
  | { readonly stream: string }
  | {
      readonly status: string;
      readonly id: string;
      readonly progressDetail: { readonly current?: number; readonly total?: number };
    };

/** So much of what a step prints is kept while earlier ones are being told. */
const MOST_KEPT = 2 << 20;
const CLIPPED = "[output clipped, log limit 2MiB reached]\n";
const CLASSIC_WARNING = "[Warning] ";
const RED = "\u001b[91m";
const PLAIN = "\u001b[0m";
const STDERR = 2;

interface Work {
  state: VertexState | undefined;
  readonly kept: Buffer[];
  keptBytes: number;
  readonly decoders: readonly [StringDecoder, StringDecoder];
}

/**
 * Tells a build as the classic builder did: a step after the other, as they are written, each with its own output,
 * whichever order they are done in.
 */
export class ClassicOutput {
  readonly #write: (message: ClassicMessage) => void | Promise<void>;
  readonly #keepsContainers: boolean;
  readonly #work = new Map<VertexId, Work>();
  #steps: readonly ClassicStep[] = [];
  #at = -1;
  /** The last step of the stage that did anything came from the cache. */
  #isCached = false;
  #hasRunning = false;
  readonly #warnings: string[] = [];

  /** `keepsContainers` leaves out what is said of removed ones. */
  constructor(
    write: (message: ClassicMessage) => void | Promise<void>,
    options: { readonly keepsContainers: boolean },
  ) {
    this.#write = write;
    this.#keepsContainers = options.keepsContainers;
  }

  plan(planned: PlannedBuild): void {
    this.#steps = classicSteps(planned);
    for (const { vertices } of this.#steps) for (const id of vertices) this.#workOf(id);
    this.#next();
    this.#advance();
  }

  /** Resolves when there is room for more. */
  event(event: BuildEvent): void | Promise<void> {
    if (event.type === "vertex") {
      const work = this.#work.get(event.vertex.digest);
      if (work === undefined) return undefined;
      work.state = event.vertex;
      this.#advance();
    } else if (event.type === "log") return this.#log(event.log.vertex, event.log.stream, event.log.data);
    else if (event.type === "status") return this.#status(event.status);
    // The lint's are told to those who ask for them: the classic builder had none.
    else if (event.warning.short.startsWith(CLASSIC_WARNING)) this.#warnings.push(event.warning.short);
    return undefined;
  }

  /** All steps are done: tells what is left of them. `id` is the image's, `sha256:…`. */
  end(id: string): void {
    while (this.#at < this.#steps.length && this.#at >= 0) this.#finish(id);
    for (const warning of this.#warnings) this.#say(`${RED}${warning}\n${PLAIN}`);
  }

  /** The step that is being told has failed. */
  fail(forceRemove: boolean): void {
    const step = this.#steps[this.#at];
    if (step !== undefined && this.#hasRunning && forceRemove)
      this.#say(`Removing intermediate container ${step.id}\n`);
  }

  #workOf(id: VertexId): Work {
    let work = this.#work.get(id);
    if (work === undefined) {
      work = { state: undefined, kept: [], keptBytes: 0, decoders: [new StringDecoder(), new StringDecoder()] };
      this.#work.set(id, work);
    }
    return work;
  }

  /** Of what is short: nobody waits for it. */
  #say(text: string): void {
    void this.#write({ stream: text });
  }

  /** Begins to tell the next step. */
  #next(): void {
    const step = this.#steps[++this.#at];
    this.#hasRunning = false;
    if (step === undefined) return;
    if (step.isFrom) this.#isCached = false;
    this.#say(`Step ${this.#at + 1}/${this.#steps.length} : ${step.code}`);
    this.#say("\n");
  }

  /** Tells as much as is known. */
  #advance(): void {
    for (let step = this.#steps[this.#at]; step !== undefined; step = this.#steps[this.#at]) {
      const states = step.vertices.map((id) => this.#workOf(id).state);
      const hasFailed = states.some((state) => state?.error !== undefined);
      if (hasFailed || states.some((state) => state?.completed === undefined)) {
        if (hasFailed || states.some((state) => state?.started !== undefined)) this.#begin(step);
        return;
      }
      // The last one's image is the build's, which is known at the end.
      if (this.#at === this.#steps.length - 1) {
        if (!this.#isFromCache(step)) this.#begin(step);
        return;
      }
      this.#finish(undefined);
    }
  }

  /** What a step prints comes after this. */
  #begin(step: ClassicStep): void {
    if (step.isRun && !this.#hasRunning && !this.#isFromCache(step)) {
      this.#hasRunning = true;
      this.#say(` ---> Running in ${step.id}\n`);
    }
    for (const id of step.vertices) {
      const { kept } = this.#workOf(id);
      for (const text of kept.splice(0)) this.#say(text.toString());
    }
  }

  #finish(imageId: string | undefined): void {
    const step = this.#steps[this.#at]!;
    const isFromCache = this.#isFromCache(step);
    if (!isFromCache) this.#begin(step);
    if (this.#hasRunning && !this.#keepsContainers) this.#say(`Removing intermediate container ${step.id}\n`);
    if (isFromCache && !step.isFrom) this.#say(" ---> Using cache\n");
    if (!step.isFrom) this.#isCached = isFromCache;
    const isLast = this.#at === this.#steps.length - 1;
    this.#say(` ---> ${isLast && imageId !== undefined ? shortImageId(imageId) : step.id}\n`);
    this.#next();
  }

  #isFromCache(step: ClassicStep): boolean {
    if (step.vertices.length === 0) return this.#isCached;
    return step.vertices.every((id) => this.#workOf(id).state?.cached === true);
  }

  #log(id: VertexId, stream: 1 | 2, data: Uint8Array): void | Promise<void> {
    const work = this.#work.get(id);
    if (work === undefined) return undefined;
    // What prints is running, whoever is told so later.
    const text = work.decoders[stream === STDERR ? 1 : 0].write(Buffer.from(data));
    if (text === "") return undefined;
    const shown = stream === STDERR ? `${RED}${text}${PLAIN}` : text;
    const step = this.#steps[this.#at];
    if (step?.vertices.includes(id) === true) {
      this.#begin(step);
      return this.#write({ stream: shown });
    }
    if (work.keptBytes > MOST_KEPT) return undefined;
    work.keptBytes += Buffer.byteLength(shown);
    work.kept.push(Buffer.from(work.keptBytes > MOST_KEPT ? CLIPPED : shown));
    return undefined;
  }

  /** Bars are of what the step that is told waits for. */
  #status({ id, name, current, total, completed, vertex }: VertexStatus): void | Promise<void> {
    if (this.#steps[this.#at]?.vertices.includes(vertex) !== true) return undefined;
    const status = completed === undefined ? name : `${name} done`;
    const progressDetail = completed === undefined && total > 0 ? { current, total } : {};
    return this.#write({ status, id: id.replace(/^sha256:/, "").slice(0, 12), progressDetail });
  }
}

/** As people are shown it. */
export function shortImageId(id: string): string {
  return id.replace(/^sha256:/, "").slice(0, 12);
}
