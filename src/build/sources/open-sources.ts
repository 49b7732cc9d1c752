import { mkdirSync } from "node:fs";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { GantryError } from "../../base/errors.ts";
import type { Logger } from "../../base/log.ts";
import type { ImageStore } from "../../images/image-store.ts";
import type { Snapshotter } from "../../snapshots/snapshotter.ts";
import type { BuildOptions, BuildRequest, CacheUsage } from "../builder.ts";
import { type InputPorts, Inputs } from "../contexts/build-inputs.ts";
import { ContextStore } from "../contexts/context-store.ts";
import { KnownArchives } from "../contexts/known-archives.ts";
import { DenyRanges } from "../deny-ranges.ts";
import type { OperatorContext } from "../operator.ts";
import type { BuildInputs, BuildSources, CacheHolder } from "../parts.ts";
import type { Roots } from "../roots.ts";
import { BaseImages, type BaseImagesPorts } from "./base-images.ts";
import { gitContext } from "./git-remote.ts";
import { GitSource } from "./git-source.ts";
import { HttpSource } from "./http-source.ts";
import { resolveResult } from "./result-source.ts";
import type { SourceSettings } from "./settings.ts";
import { statusOf, type TellStatus } from "./told-step.ts";

export interface SourcesPorts {
  /** A folder of the sources' own, below the data root. */
  readonly root: string;
  readonly images: ImageStore;
  readonly admit?: BaseImagesPorts["admit"];
  readonly snapshots: Pick<Snapshotter, "has">;
  readonly roots: Roots;
  readonly settings: () => SourceSettings;
  readonly log?: Logger;
}

/** Puts together where builds begin: clients' folders, archives, repositories, URLs, images. */
export function openSources(ports: SourcesPorts): BuildSources {
  const { admit, images, roots, settings, snapshots } = ports;
  const log = ports.log === undefined ? {} : { log: ports.log };
  const place = (name: string) => join(ports.root, name);
  const store = new ContextStore({ root: place("contexts"), roots, ...log });
  const archives = new KnownArchives();
  const http = new HttpSource({ root: place("http"), roots, settings });
  const git = new GitSource({ root: place("git"), roots, settings });
  const bases = new BaseImages({ images, roots, snapshots, ...(admit !== undefined && { admit }) });
  const open = new Map<BuildRequest, Inputs>();
  const denied = (request: BuildRequest) => new DenyRanges([...settings().denyRanges, ...request.denyRanges]);

  const remote: InputPorts["remote"] = async (source, request, signal, tell) => {
    const options = { deny: denied(request), session: request.session, signal };
    const resolved =
      source.type === "git"
        ? await git.resolve(gitContext(source.url), options)
        : await http.resolve({ kind: "http", url: source.url }, { ...options, onBytes: telling(tell, source.url) });
    return resolved.root();
  };

  const begin = (request: BuildRequest, options: BuildOptions): BuildInputs => {
    const inputs = new Inputs(
      {
        ...{
          store,
          archives,
          roots,
          remote,
          temporary: place("temporary"),
          maxUnpackRatio: () => settings().maxUnpackRatio,
        },
        base: (...asked) => bases.base(...asked),
        lent: (...asked) => bases.lent(...asked),
        onEnd: () => void open.delete(request),
      },
      request,
      options,
    );
    open.set(request, inputs);
    return inputs;
  };

  return {
    operators: {
      image: bases.image,
      layout: bases.layout,
      result: { resolve: resolveResult },
      local: {
        resolve: async (operation, context) => {
          const inputs = open.get(context.request);
          if (inputs === undefined) throw new GantryError("internal", "cannot read a context: its build has ended");
          return inputs.resolve(operation, context);
        },
      },
      git: {
        resolve: (operation, { request, signal }) =>
          git.resolve(operation, { deny: denied(request), session: request.session, signal }),
      },
      http: {
        resolve: (operation, context) =>
          http.resolve(operation, {
            ...{ deny: denied(context.request), signal: context.signal },
            onBytes: telling(tellOf(context), operation.url),
          }),
      },
    },
    open: begin,
    cache: together([store, archives, http, git, bases]),
    recover: async () => {
      mkdirSync(ports.root, { recursive: true, mode: 0o700 });
      await rm(place("temporary"), { recursive: true, force: true });
      for (const holder of [store, http, git]) await holder.recover();
    },
  };
}

function tellOf({ onEvent, vertex }: OperatorContext): TellStatus {
  return statusOf(vertex.id, onEvent);
}

function telling(tell: TellStatus, url: string): (current: number, total: number) => void {
  const row = `downloading ${url.replace(/^(https?:\/\/)[^/@]*@/, "$1").replace(/[?#].*$/s, "")}`;
  return (current, total) => tell(row, current, total, current === total);
}

function together(holders: readonly CacheHolder[]): CacheHolder {
  return {
    usage: async () => (await Promise.all(holders.map((holder) => holder.usage()))).flat() satisfies CacheUsage[],
    remove: async (id) => {
      for (const holder of holders) {
        const freed = await holder.remove(id);
        if (freed !== undefined) return freed;
      }
      return undefined;
    },
  };
}
