import { Readable } from "node:stream";
import type { ProgressMessage } from "../../api/image.ts";
import { compareVersions } from "../../api/version.ts";
import { GantryError, isKind } from "../../base/errors.ts";
import type { ImageRegistry } from "../../images/image.ts";
import { pullName } from "../../images/pull-name.ts";
import type { Platform } from "../../oci/image.ts";
import { parsePlatform } from "../../oci/platform.ts";
import { formatReference, isNameOnly, parseNormalized, tagNameOnly, withTag } from "../../oci/reference.ts";
import { decodeRegistryConfig } from "../../remote/credentials.ts";
import type { Registries } from "../../remote/registry.ts";
import { type Answer, empty, json, stream } from "../answer.ts";
import { progressAnswer } from "../progress.ts";
import type { Handlers, RouteRequest } from "../route-request.ts";
import { platformOf } from "./platform-query.ts";
import { credentialsOrNobody } from "./registry.ts";

/** Bytes between two lines of progress. */
const PROGRESS_STEP = 1 << 20;

type ImageRoutes = Pick<Handlers, Extract<keyof Handlers, `image${string}`>>;

export function imageRoutes(images: ImageRegistry, registries: Pick<Registries, "download">): ImageRoutes {
  return {
    imageList: async ({ query }) => {
      // `filter` is what clients of before API 1.41 name a reference by.
      const filters = query.filter ? { ...query.filters, reference: [query.filter] } : query.filters;
      const { all, manifests } = query;
      return json(await images.list({ all, filters, sharedSize: query["shared-size"], manifests }));
    },
    imageInspect: ({ params, query }) => {
      const platform = platformOf(query.platform);
      if (query.manifests && platform !== undefined) {
        throw new GantryError("invalid", "conflicting options: manifests and platform options cannot both be set");
      }
      return json(images.inspect(params.name!, { manifests: query.manifests, platform }));
    },
    imageHistory: ({ params, query }) => json(images.history(params.name!, { platform: platformOf(query.platform) })),
    imageSave: ({ params, query }) => save(images, [params.name!], platformOf(query.platform)),
    imageSaveMany: ({ query }) => {
      if (query.names.length === 0) throw new GantryError("invalid", "no image was named: give at least one by names=");
      return save(images, query.names, platformOf(query.platform));
    },
    imageLoad: (request) => {
      const { query, signal } = request;
      const platform = platformOf(query.platform);
      return progressAnswer((onProgress) =>
        images.load(
          request.body(),
          { signal, onProgress: query.quiet ? quietly(onProgress) : onProgress },
          { platform },
        ),
      );
    },
    imageCreate: (request) => create(images, registries, request),
    imagePush: ({ header, params, query, signal }) => {
      const named = parseNormalized(params.name!);
      const reference = query.tag ? withTag(named, query.tag) : named;
      const platform = platformOf(query.platform);
      const credentials = credentialsOrNobody(header("x-registry-auth"));
      return progressAnswer((onProgress) =>
        images.push(formatReference(reference), { platform, credentials }, { signal, onProgress }),
      );
    },
    imagePrune: async ({ query }) => {
      const { deleted, spaceReclaimed } = await images.prune(query.filters);
      return json({ ImagesDeleted: deleted.length === 0 ? null : deleted, SpaceReclaimed: spaceReclaimed });
    },
    imageTag: ({ params, query }) => {
      images.tag(params.name!, query.repo ?? "", query.tag ?? "");
      return empty(201);
    },
    imageRemove: async ({ params, query }) => {
      const platforms = query.platforms.flatMap((text) => platformOf(text) ?? []);
      return json(await images.remove(params.name!, { force: query.force, prune: !query.noprune, platforms }));
    },
    imageCopy: (request) => copy(images, request),
    imagePullPlan: async ({ header, query, signal }) => {
      if (!query.fromImage) throw new GantryError("invalid", "no image was named: give one by fromImage=");
      const name = formatReference(pullName(query.fromImage, query.tag ?? ""));
      const platform = query.platform ? parsePlatform(query.platform) : undefined;
      return json(
        await images.planPull(name, { platform, credentials: credentialsOrNobody(header("x-registry-auth")) }, signal),
      );
    },
    imageBootstrap: ({ query, signal }) =>
      progressAnswer(async (onProgress) => {
        await images.bootstrap(query.name ?? "", { signal, onProgress });
      }),
  };
}

function create(
  images: ImageRegistry,
  registries: Pick<Registries, "download">,
  request: RouteRequest<"imageCreate">,
): Promise<Answer> {
  const { query, signal } = request;
  if (query.fromImage) return pull(images, request, query.fromImage);
  const source = query.fromSrc ?? "";
  const options = {
    changes: query.changes,
    message: query.message ?? "",
    source,
    reference: importName(query.repo ?? "", query.tag ?? ""),
    platform: query.platform || undefined,
  };
  return progressAnswer(async (onProgress) => {
    if (source === "-") {
      await images.import(request.body(), options, { signal, onProgress });
      return;
    }
    const { url, size, pieces } = await registries.download(source, { signal });
    await onProgress({ status: `Downloading from ${url}` });
    const archive = Readable.from(counted(pieces, size, onProgress), { objectMode: false });
    await images.import(archive, { ...options, source: url }, { signal, onProgress });
  });
}

function pull(images: ImageRegistry, request: RouteRequest<"imageCreate">, fromImage: string): Promise<Answer> {
  const { header, query, signal, version } = request;
  const reference = pullName(fromImage, query.tag ?? "");
  const options = {
    platform: query.platform ? parsePlatform(query.platform) : undefined,
    allTags: isNameOnly(reference),
    credentials: credentialsOrNobody(header("x-registry-auth")),
    lazy: query.lazy,
  };
  return progressAnswer(async (onProgress) => {
    try {
      await images.pull(formatReference(reference), options, { signal, onProgress });
    } catch (error) {
      throw isKind(error, "unauthenticated") && compareVersions(version, "1.51") < 0 ? withoutPrompt(error) : error;
    }
  });
}

/** Older docker CLIs answer a 401 by asking for the password of Docker Hub, and wait for it where nobody is. */
function withoutPrompt(error: GantryError): GantryError {
  return new GantryError("internal", error.message, { cause: error });
}

function copy(images: ImageRegistry, { header, query, signal }: RouteRequest<"imageCopy">): Promise<Answer> {
  if (!query.from || !query.to) {
    throw new GantryError("invalid", "cannot copy: from= and to= have to name an image and where it is to go");
  }
  const named = parseNormalized(query.from);
  const from = query.all && isNameOnly(named) ? named : tagNameOnly(named);
  const options = {
    platforms: query.platform.map(parsePlatform),
    allTags: query.all,
    signatures: query.signatures,
    insecure: query.insecure,
    credentialsOf: decodeRegistryConfig(header("x-registry-config")),
  };
  const to = parseNormalized(query.to);
  return progressAnswer((onProgress) => images.copy(from, to, options, { signal, onProgress }));
}

/** A tag takes the place of the one that the repository has. */
function importName(repository: string, tag: string): string {
  if (repository === "") return "";
  const reference = parseNormalized(repository);
  if (reference.digest !== undefined) throw new GantryError("invalid", "cannot import digest reference");
  return formatReference(tag === "" ? reference : withTag(reference, tag));
}

async function* counted(
  pieces: AsyncIterable<Uint8Array>,
  total: number | undefined,
  onProgress: (message: ProgressMessage) => void,
): AsyncGenerator<Uint8Array> {
  let current = 0;
  let told = 0;
  for await (const piece of pieces) {
    current += piece.length;
    if (current - told >= PROGRESS_STEP || current === total) {
      told = current;
      onProgress({ status: "Importing", progressDetail: { current, ...(total !== undefined && { total }) } });
    }
    yield piece;
  }
}

/** Leaves out what draws progress bars; says still what was loaded. */
function quietly<M extends { progressDetail?: unknown }>(onProgress: (message: M) => void): (message: M) => void {
  return (message) => {
    if (message.progressDetail === undefined) onProgress(message);
  };
}

/** Waits for the first piece, so that an image that isn't there is a status and not a broken archive. */
async function save(images: ImageRegistry, names: readonly string[], platform: Platform | undefined): Promise<Answer> {
  const pieces = images.save(names, { platform })[Symbol.asyncIterator]();
  const first = await pieces.next();
  return stream("application/x-tar", resume(first, pieces));
}

/** No generator: ended before its first piece was asked for, one would not end what it reads. */
function resume<T>(first: IteratorResult<T>, rest: AsyncIterator<T>): AsyncIterableIterator<T> {
  let isGiven = false;
  return {
    [Symbol.asyncIterator]() {
      return this;
    },
    next() {
      if (isGiven) return rest.next();
      isGiven = true;
      return Promise.resolve(first);
    },
    async return() {
      await rest.return?.();
      return { done: true, value: undefined };
    },
  };
}
