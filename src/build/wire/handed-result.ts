import { randomBytes } from "node:crypto";
import { untilAborted } from "../../base/abort.ts";
import { GantryError } from "../../base/errors.ts";
import type { Platform } from "../../oci/image.ts";
import { formatPlatform } from "../../oci/platform.ts";
import type { BuildOptions, BuildResult } from "../builder.ts";
import type { LowLevelDefinition } from "../definition/definition.ts";
import type { BuildInput, MadeTarget } from "../made.ts";
import type { FrontendOptions } from "./options.ts";
import type { Named } from "./request.ts";

/** What a frontend is asked for: the options of a build, and the results that it has for contexts. */
export interface FrontendRequest {
  readonly frontend: string;
  readonly options: FrontendOptions;
  readonly cacheImports: readonly Named[];
  readonly inputs: ReadonlyMap<string, BuildInput>;
  /** What is wanted in the place of what a frontend would make. */
  readonly definition?: LowLevelDefinition;
  /** It is only for another one to stand on: nothing else is made of it, and it has no record. */
  readonly isInput?: boolean;
}

/** Builds what was asked for; makes nothing of it, and holds it, until `onMade` resolves. */
export type RunPaused = (
  asked: FrontendRequest,
  onMade: NonNullable<BuildOptions["onMade"]>,
  signal: AbortSignal,
) => Promise<BuildResult>;

/**
 * A result that a client was given before anything was built. It is built when somebody looks at it, once, and stops
 * before its exporters: they go on when the client returns it. Whoever uses it, as another build does that has it for a
 * context, keeps what was made until the last one has ended.
 */
export class HandedResult implements BuildInput {
  readonly token: string = randomBytes(16).toString("hex");
  readonly asked: FrontendRequest;
  readonly #run: RunPaused;
  readonly #controller = new AbortController();
  readonly #released = Promise.withResolvers<"unwanted" | "wanted">();
  #isMade = false;
  readonly #made = Promise.withResolvers<readonly MadeTarget[]>();
  #result: Promise<BuildResult> | undefined;
  #users = 1;

  constructor(asked: FrontendRequest, run: RunPaused) {
    this.asked = asked;
    this.#run = run;
    // Nobody may be waiting for it.
    this.#made.promise.catch(() => {});
  }

  /** Builds it, without its exporters. */
  async evaluate(): Promise<readonly MadeTarget[]> {
    void this.#start();
    return await this.#made.promise;
  }

  /** Lets the exporters go on. */
  finish(): Promise<BuildResult> {
    this.#released.resolve("wanted");
    return this.#start();
  }

  made(platform: Platform, signal: AbortSignal): Promise<MadeTarget> {
    return untilAborted(this.madeFor(formatPlatform(platform)), signal);
  }

  /** What was made for a platform, by its name; where that is none of them, the first. */
  async madeFor(wanted: string): Promise<MadeTarget> {
    const all = await this.evaluate();
    const found = all.find(({ target }) => formatPlatform(target.platform) === wanted) ?? all[0];
    if (found === undefined) throw new GantryError("invalid", "a build that makes nothing is no context");
    return found;
  }

  /** Another one who uses it, and ends that once. */
  use(): Disposable {
    if (this.#users === 0) throw new GantryError("not-found", "the build whose result this is has ended");
    this.#users++;
    return { [Symbol.dispose]: () => this.end() };
  }

  /**
   * One user less. What nobody uses and nobody returned isn't built any further. Where its client is done with it, what
   * is made was built well, though nothing comes of it.
   */
  end(isDone = false): void {
    if (--this.#users > 0) return;
    if (isDone && this.#isMade) this.#released.resolve("unwanted");
    else this.#controller.abort();
    void this.#made.promise.then(
      (made) => Promise.all(made.map(({ root }) => root?.[Symbol.asyncDispose]())),
      () => {},
    );
  }

  #start(): Promise<BuildResult> {
    if (this.#result !== undefined) return this.#result;
    const { signal } = this.#controller;
    const keep = (made: readonly MadeTarget[]): Promise<"unwanted" | "wanted"> => {
      this.#isMade = true;
      this.#made.resolve(made.map((one) => ({ ...one, root: one.root?.share() })));
      return untilAborted(this.#released.promise, signal);
    };
    this.#result = this.#users === 0 ? Promise.reject(ended()) : this.#run(this.asked, keep, signal);
    this.#result.then(
      () => this.#made.resolve([]),
      (error: unknown) => this.#made.reject(error),
    );
    return this.#result;
  }
}

function ended(): GantryError {
  return new GantryError("not-found", "the build whose result this is has ended");
}
