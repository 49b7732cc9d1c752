import { setTimeout as after } from "node:timers/promises";
import { cancelled, throwIfAborted, untilAborted } from "../base/abort.ts";
import { GantryError, isKind, messageOf } from "../base/errors.ts";
import { failpoint } from "../base/failpoint.ts";
import type { LentLayer } from "../lazy/lazy-layers.ts";
import { MAX_DOCUMENT } from "../oci/image-config.ts";
import { familiarString, parseNormalized } from "../oci/reference.ts";
import { ANONYMOUS, type Credentials } from "../remote/credentials.ts";
import { readManifest } from "../remote/document.ts";
import type { SnapshotLoan } from "../snapshots/snapshotter.ts";
import { publishImageEvent } from "./event.ts";
import { wantedLayer } from "./lazy-start.ts";
import type { ImageContext, RestPulls } from "./ports.ts";
import { describeImage, fetchImage } from "./pull-image.ts";
import type { ImageRecord, UnderWay } from "./record.ts";
import { sweep, withClaims } from "./sweep.ts";

/** The rest is pulled when nobody has waited for a part of a layer for so long, and after so long in any case. */
const QUIET_MS = 1500;
const MOST_QUIET_MS = 20_000;
const FIRST_RETRY_MS = 1000;
const LONGEST_RETRY_MS = 300_000;
/** At a start layers are served again within this time, or later. */
const BOOT_MS = 10_000;
/** Between two looks whether layers that nothing is made of any more are still mounted. */
const LOOK_MS = 300;

interface Run {
  readonly controller: AbortController;
  readonly done: Promise<void>;
  credentials: Credentials;
  /** What the last try failed for; undefined while one goes on. */
  failure: string | undefined;
  /** Ends the wait for the next try. */
  wake: () => void;
}

/**
 * Images that can be started and whose rest is pulled meanwhile: lends their layers to the snapshots, pulls them whole
 * in the background, goes on after a restart, and gives layers back when nothing is mounted of them.
 */
export class UnderWayPulls implements RestPulls {
  readonly #context: () => ImageContext;
  readonly #runs = new Map<string, Run>();
  readonly #loans = new Map<string, { readonly lent: LentLayer; loan: Disposable }>();
  /** Layers of pulls that may yet become images under way. */
  readonly #held = new Map<string, number>();
  /** Served, and needed by no image any more. */
  readonly #leftover = new Set<string>();
  readonly #waiters = new Map<string, PromiseWithResolvers<void>>();
  #tidying: Promise<void> | undefined;
  #timer: NodeJS.Timeout | undefined;
  #isClosed = false;

  constructor(context: () => ImageContext) {
    this.#context = context;
  }

  /**
   * Serves again what was under way when the last engine ended. Called before anything looks at containers' root
   * filesystems, which may stand on these layers.
   */
  async resume(): Promise<void> {
    const { lazy, log, records } = this.#context();
    records.onWhole = (id) => this.#settled(id);
    const all = records.allUnderWay();
    const early: LentLayer[] = [];
    try {
      early.push(...((await lazy?.adopt()) ?? []));
    } catch (error) {
      log?.error(`cannot find what is served of layers: ${messageOf(error)}`);
    }
    lazy?.onMoved((lent) => this.#move(lent));
    for (const { chainId } of early) this.#leftover.add(chainId);
    const served = all.map((underWay) => this.#serveAgain(underWay, early));
    const late = new AbortController();
    await Promise.race([
      Promise.all(served),
      after(BOOT_MS, undefined, { signal: late.signal, ref: false }).catch(() => {}),
    ]);
    late.abort();
    // What another engine served of images that are whole by now ends with the containers that have it.
    this.#tidyLater();
  }

  /** Goes on pulling what is under way. */
  begin(): void {
    const { records } = this.#context();
    for (const underWay of records.allUnderWay()) {
      if (underWay.broken === undefined) this.pull(underWay, this.#credentialsOf(underWay));
    }
  }

  /** Layers that are served for a pull: they stay until the result is disposed of, and then if an image has them. */
  hold(chains: readonly string[]): Disposable & { lend(image: ImageRecord, layers: readonly LentLayer[]): void } {
    for (const chain of chains) this.#held.set(chain, (this.#held.get(chain) ?? 0) + 1);
    return {
      lend: (image, layers) => this.#lend(image, layers),
      [Symbol.dispose]: () => {
        for (const chain of chains) {
          const left = (this.#held.get(chain) ?? 1) - 1;
          if (left === 0) this.#held.delete(chain);
          else this.#held.set(chain, left);
          this.#leftover.add(chain);
        }
        this.#tidyLater();
      },
    };
  }

  /** Pulls the rest of an image; of one that is being pulled, with these credentials from now on. */
  pull({ image: { id } }: Pick<UnderWay, "image">, credentials: Credentials): void {
    const run = this.#runs.get(id);
    if (run !== undefined) {
      run.credentials = credentials;
      run.wake();
      return;
    }
    const controller = new AbortController();
    const { promise, resolve } = Promise.withResolvers<void>();
    const begun: Run = { controller, done: promise, credentials, failure: undefined, wake: () => {} };
    this.#runs.set(id, begun);
    void this.#run(id, begun)
      .catch((error: unknown) => this.#context().log?.error(`cannot pull the rest of ${id}: ${messageOf(error)}`))
      .finally(() => {
        if (this.#runs.get(id) === begun) this.#runs.delete(id);
        resolve();
      });
  }

  /** Ends what goes on for an image whose record has gone, and keeps nothing of it for a next pull. */
  async drop({ id, manifest }: Pick<ImageRecord, "id" | "manifest">): Promise<void> {
    const run = this.#runs.get(id);
    run?.controller.abort();
    this.#waiters.get(id)?.reject(new GantryError("not-found", `No such image: ${id}`));
    this.#waiters.delete(id);
    await run?.done;
    this.#context().leases.drop(manifest.digest);
    this.#settleLoans();
  }

  async whole(id: string, what: string, options: { readonly signal?: AbortSignal } = {}): Promise<void> {
    for (;;) {
      const underWay = this.#context().records.underWay(id);
      if (underWay === undefined) return;
      throwIfAborted(options.signal);
      const name = familiarString(parseNormalized(underWay.reference));
      if (underWay.broken !== undefined) {
        throw new GantryError("conflict", `cannot ${what}: its image ${name} can't be had whole: ${underWay.broken}`);
      }
      const failure = this.#runs.get(id)?.failure;
      if (failure !== undefined) {
        throw new GantryError("unavailable", `cannot ${what}: its image ${name} is not whole yet: ${failure}`);
      }
      let waiter = this.#waiters.get(id);
      if (waiter === undefined) {
        waiter = Promise.withResolvers();
        waiter.promise.catch(() => {});
        this.#waiters.set(id, waiter);
      }
      await untilAborted(waiter.promise, options.signal);
    }
  }

  list(): { readonly name: string; readonly problem: string | undefined }[] {
    const all = this.#context().records.allUnderWay();
    return all.map(({ broken, image, reference }) => ({
      name: familiarString(parseNormalized(reference)),
      problem: broken ?? this.#runs.get(image.id)?.failure,
    }));
  }

  /** To be called when a container ended or was removed: what only it had of layers may go. */
  looked(): void {
    if (this.#leftover.size > 0 || this.#context().records.allUnderWay().length > 0) this.#tidyLater(0);
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    clearTimeout(this.#timer);
    for (const { controller } of this.#runs.values()) controller.abort();
    await Promise.all([...this.#runs.values()].map(({ done }) => done));
    await this.#tidying?.catch(() => {});
  }

  #credentialsOf({ served }: UnderWay): Credentials {
    for (const chain of served) {
      const found = this.#loans.get(chain)?.lent.credentials;
      if (found !== undefined) return found;
    }
    return ANONYMOUS;
  }

  async #serveAgain(underWay: UnderWay, early: readonly LentLayer[]): Promise<void> {
    const { lazy, log } = this.#context();
    const { image, reference, served } = underWay;
    const known = new Map(early.map((lent) => [lent.chainId, lent]));
    // Until they are served nothing that stands on them is mounted, or taken for an orphan.
    for (const chainId of served) {
      const { blob } = image.layers.find((layer) => layer.chainId === chainId)!;
      const lent = known.get(chainId) ?? { size: 0, hasRoot: false, credentials: ANONYMOUS, folder: "", chainId, blob };
      const missing = known.has(chainId) ? undefined : "it is not whole yet, and its layers are not served";
      this.#lend(image, [lent], underWay.broken ?? missing);
    }
    if (underWay.broken !== undefined) return;
    try {
      if (lazy === undefined) throw new GantryError("unsupported", "this engine serves no layers");
      const layers = image.layers.filter(({ chainId }) => served.includes(chainId));
      const lent = await Promise.all(
        layers.map(({ blob, chainId }) =>
          lazy.serve(
            wantedLayer(
              this.#context(),
              { chainId, descriptor: blob },
              { reference, credentials: known.get(chainId)?.credentials },
            ),
          ),
        ),
      );
      if (this.#context().records.underWay(image.id)?.broken === undefined) this.#lend(image, lent);
    } catch (error) {
      log?.error(`cannot serve the layers of ${reference} before they are whole: ${messageOf(error)}`);
    }
  }

  #lend(image: ImageRecord, layers: readonly LentLayer[], refusal?: string): void {
    const { snapshots } = this.#context();
    for (const lent of layers) {
      const index = image.layers.findIndex(({ chainId }) => chainId === lent.chainId);
      const loan: SnapshotLoan = {
        fs: lent.folder,
        parent: image.layers[index - 1]?.chainId,
        hasRoot: lent.hasRoot,
        refusal: refusal === undefined ? undefined : `cannot use image ${image.id.slice(0, 19)}: ${refusal}`,
      };
      this.#leftover.delete(lent.chainId);
      this.#loans.set(lent.chainId, { lent, loan: snapshots.lend(lent.chainId, loan) });
    }
  }

  /** Served elsewhere now. */
  #move(lent: LentLayer): void {
    const { records } = this.#context();
    for (const { broken, image, served } of records.allUnderWay()) {
      if (broken === undefined && served.includes(lent.chainId)) this.#lend(image, [lent]);
    }
  }

  async #run(id: string, run: Run): Promise<void> {
    const { signal } = run.controller;
    const { lazy, log, records } = this.#context();
    try {
      await lazy?.quiet(QUIET_MS, MOST_QUIET_MS, signal);
      for (let pause = FIRST_RETRY_MS; ; pause = Math.min(2 * pause, LONGEST_RETRY_MS)) {
        const underWay = records.underWay(id);
        if (underWay === undefined) return;
        try {
          run.failure = undefined;
          await this.#fetch(underWay, run.credentials, signal);
          return;
        } catch (error) {
          if (signal.aborted || records.underWay(id) === undefined) return;
          if (isKind(error, "invalid")) {
            await this.#break(underWay, messageOf(error));
            return;
          }
          run.failure = messageOf(error);
          log?.warn(`cannot pull the rest of ${underWay.reference} yet: ${run.failure}`);
          this.#waiters.get(id)?.resolve();
          this.#waiters.delete(id);
        }
        await this.#pause(run, pause);
      }
    } catch (error) {
      if (!isKind(error, "cancelled")) throw error;
    }
  }

  async #pause(run: Run, milliseconds: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    run.wake = resolve;
    const timer = setTimeout(resolve, milliseconds);
    timer.unref();
    try {
      await untilAborted(promise, run.controller.signal);
    } finally {
      clearTimeout(timer);
      run.wake = () => {};
    }
  }

  async #fetch(underWay: UnderWay, credentials: Credentials, signal: AbortSignal): Promise<void> {
    const context = this.#context();
    const { content, leases, records, registries } = context;
    const reference = parseNormalized(underWay.reference);
    const { manifest } = underWay.image;
    const progress = { signal, onProgress: () => {} };
    await registries.reading(reference, credentials, (repository) =>
      withClaims(context, async (scope) => {
        const bytes = await content.readBlob(manifest.digest, MAX_DOCUMENT);
        const document = readManifest(bytes, manifest.mediaType, underWay.reference);
        if (document.kind !== "image") throw new GantryError("internal", `${manifest.digest} is no image`);
        const pulled = await describeImage(repository, document, progress);
        const image = await fetchImage(context, scope, repository, reference, pulled, progress);
        throwIfAborted(signal);
        if (records.underWay(image.id) === undefined) throw cancelled();
        failpoint("images.lazy.fetched");
        records.add([image], [], { also: () => leases.erase(manifest.digest) });
        failpoint("images.lazy.recorded");
        leases.drop(manifest.digest);
      }),
    );
  }

  /** An image that is not what its manifest says: nothing is started of it any more, and what runs is told of. */
  async #break(underWay: UnderWay, why: string): Promise<void> {
    const context = this.#context();
    const { events, inUse, log, records } = context;
    const { image, reference } = underWay;
    const users = (inUse().get(image.id) ?? []).map(({ containerId }) => containerId);
    const name = familiarString(parseNormalized(reference));
    log?.error(`image ${name} is not what its manifest says, and is used no more: ${why}`, {
      image: image.id,
      containers: users,
    });
    records.breakUnderWay(image.id, why);
    const attributes = { ...image.config.config?.Labels, name, error: why, containers: users.join(",") };
    events.publish({ type: "image", action: "broken", id: image.id, attributes });
    this.#waiters.get(image.id)?.resolve();
    this.#waiters.delete(image.id);
    const lent = underWay.served.flatMap((chain) => this.#loans.get(chain)?.lent ?? []);
    this.#lend(image, lent, why);
    this.#tidyLater();
  }

  #settled(id: string): void {
    this.#waiters.get(id)?.resolve();
    this.#waiters.delete(id);
    const { events, records } = this.#context();
    const image = records.get(id);
    const [name] = records.namesOf(id);
    if (image !== undefined)
      publishImageEvent(events, "whole", image, name === undefined ? id : familiarString(name.reference));
    this.#settleLoans();
  }

  /** Ends the loans of layers that no image under way has. */
  #settleLoans(): void {
    const needed = new Set(
      this.#context()
        .records.allUnderWay()
        .flatMap(({ served }) => served),
    );
    for (const [chain, { loan }] of this.#loans) {
      if (needed.has(chain) || this.#held.has(chain)) continue;
      loan[Symbol.dispose]();
      this.#loans.delete(chain);
      this.#leftover.add(chain);
    }
    this.#tidyLater();
  }

  #tidyLater(milliseconds = LOOK_MS): void {
    if (this.#isClosed || (this.#timer !== undefined && milliseconds > 0)) return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#tidying = this.#tidy().catch((error: unknown) => {
        this.#context().log?.warn(`cannot give back layers that were served: ${messageOf(error)}`);
        this.#tidyLater();
      });
    }, milliseconds);
    this.#timer.unref();
  }

  async #tidy(): Promise<void> {
    const context = this.#context();
    const { inUse, lazy, records } = context;
    for (const { broken, image } of records.allUnderWay()) {
      if (broken === undefined || (inUse().get(image.id) ?? []).length > 0) continue;
      records.remove(image.id);
      context.leases.drop(image.manifest.digest);
      publishImageEvent(context.events, "delete", image, image.id);
      await sweep(context, [image]);
      this.#settleLoans();
    }
    const needed = new Set(records.allUnderWay().flatMap(({ served }) => served));
    for (const chain of this.#leftover) {
      if (needed.has(chain) || this.#held.has(chain)) {
        this.#leftover.delete(chain);
        continue;
      }
      if (lazy?.isMounted(chain) === true) continue;
      const loan = this.#loans.get(chain);
      loan?.loan[Symbol.dispose]();
      this.#loans.delete(chain);
      await lazy?.release(chain);
      this.#leftover.delete(chain);
    }
    if (this.#leftover.size > 0) this.#tidyLater();
    else if (needed.size === 0 && this.#held.size === 0) await lazy?.sweep();
  }
}
