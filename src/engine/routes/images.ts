import { GantryError } from "../../base/errors.ts";
import type { ImageRegistry } from "../../images/image.ts";
import { type Answer, empty, json, stream } from "../answer.ts";
import { progressAnswer } from "../progress.ts";
import type { Handlers, RouteRequest } from "../route-request.ts";

type ImageRoutes = Pick<Handlers, Extract<keyof Handlers, `image${string}`>>;

export function imageRoutes(images: ImageRegistry): ImageRoutes {
  return {
    imageList: async ({ query }) => {
      // `filter` is what clients of before API 1.41 name a reference by.
      const filters = query.filter ? { ...query.filters, reference: [query.filter] } : query.filters;
      return json(await images.list({ all: query.all, filters, sharedSize: query["shared-size"] }));
    },
    imageInspect: ({ params }) => json(images.inspect(params.name!)),
    imageHistory: ({ params }) => json(images.history(params.name!)),
    imageSave: ({ params, query }) => save(images, [params.name!], query.platform),
    imageSaveMany: ({ query }) => {
      if (query.names.length === 0) throw new GantryError("invalid", "no image was named: give at least one by names=");
      return save(images, query.names, query.platform);
    },
    imageLoad: (request) => {
      const { signal } = request;
      return progressAnswer((onProgress) =>
        images.load(request.body(), { signal, onProgress: request.query.quiet ? quietly(onProgress) : onProgress }),
      );
    },
    imageCreate: (request) => create(images, request),
    imagePrune: async ({ query }) => {
      const { deleted, spaceReclaimed } = await images.prune(query.filters);
      return json({ ImagesDeleted: deleted.length === 0 ? null : deleted, SpaceReclaimed: spaceReclaimed });
    },
    imageTag: ({ params, query }) => {
      images.tag(params.name!, query.repo ?? "", query.tag ?? "");
      return empty(201);
    },
    imageRemove: async ({ params, query }) =>
      json(await images.remove(params.name!, { force: query.force, prune: !query.noprune })),
    imageBootstrap: ({ query, signal }) =>
      progressAnswer(async (onProgress) => {
        await images.bootstrap(query.name ?? "", { signal, onProgress });
      }),
  };
}

function create(images: ImageRegistry, request: RouteRequest<"imageCreate">): Promise<Answer> {
  const { query, signal } = request;
  if (query.fromImage) {
    const name = query.tag ? `${query.fromImage}${query.tag.includes(":") ? "@" : ":"}${query.tag}` : query.fromImage;
    throw new GantryError("unavailable", `cannot pull ${name}: this engine has no registry client yet`);
  }
  if (query.fromSrc !== "-") {
    throw new GantryError(
      "unsupported",
      `cannot import from ${JSON.stringify(query.fromSrc ?? "")}: an archive is read from the request's body only ("-")`,
    );
  }
  const reference = query.repo ? `${query.repo}${query.tag ? `:${query.tag}` : ""}` : "";
  return progressAnswer(async (onProgress) => {
    await images.import(
      request.body(),
      { changes: query.changes, message: query.message ?? "", reference, platform: query.platform || undefined },
      { signal, onProgress },
    );
  });
}

/** Leaves out what draws progress bars; says still what was loaded. */
function quietly<M extends { progressDetail?: unknown }>(onProgress: (message: M) => void): (message: M) => void {
  return (message) => {
    if (message.progressDetail === undefined) onProgress(message);
  };
}

/** Waits for the first piece, so that an image that isn't there is a status and not a broken archive. */
async function save(images: ImageRegistry, names: readonly string[], platform: string | undefined): Promise<Answer> {
  const pieces = images.save(names, platform ? { platform } : {})[Symbol.asyncIterator]();
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
