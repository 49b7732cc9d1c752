import { type ContainerPathStat, PATH_STAT_HEADER } from "../../api/archive.ts";
import { containerConfig, decodeCreateRequest, updateBody } from "../../api/create-request.ts";
import { decodeJson } from "../../api/decode.ts";
import { olderCreateRequest, readonlyWasShallow } from "../../api/older-requests.ts";
import { asDimension } from "../../api/query.ts";
import { compareVersions, JOINED_FRAMES, MULTIPLEXED_STREAM, RAW_STREAM } from "../../api/version.ts";
import { GantryError } from "../../base/errors.ts";
import type { ContainerController } from "../../containers/controller.ts";
import { empty, HIJACKED, json, later, stream } from "../answer.ts";
import type { Handlers, RouteRequest } from "../route-request.ts";

type ContainerRoutes = Pick<Handlers, Extract<keyof Handlers, `container${string}`>>;

export function containerRoutes(containers: ContainerController): ContainerRoutes {
  return {
    containerList: async ({ query }) => {
      const { all, limit, size, filters } = query;
      return json(
        await containers.list({ all, limit: limit !== undefined && limit > 0 ? limit : undefined, size, filters }),
      );
    },
    containerCreate: async (request) => {
      const { name, platform } = request.query;
      const body = olderCreateRequest(request.version, decodeCreateRequest(await request.document()));
      const options = { platform, shallowReadonly: readonlyWasShallow(request.version) };
      return json(await containers.create(name === "" ? undefined : name, body, options), 201);
    },
    containerPrune: async ({ query }) => json(await containers.prune(query.filters)),
    containerInspect: async ({ params, query }) => json(await containers.inspect(params.id!, { size: query.size })),
    containerTop: async ({ params, query }) => json(await containers.top(params.id!, query.ps_args ?? "")),
    containerHealthcheck: async ({ params }) => json(await containers.healthcheck(params.id!)),
    containerStats: (request) => stats(containers, request),
    containerLogs: (request) => logs(containers, request),
    containerStart: async ({ params, query, contentLength }) => {
      // Clients of old sent a HostConfig; the least that says anything has seven bytes. To ignore it would mislead.
      if (contentLength === undefined || contentLength > 7) {
        const why = "was deprecated since API v1.22 and removed in v1.24";
        throw new GantryError("invalid", `starting container with non-empty request body ${why}`);
      }
      if (query.checkpoint) throw new GantryError("invalid", "checkpoint is only supported in experimental mode");
      await containers.start(params.id!);
      return empty();
    },
    containerStop: async ({ params, query }) => {
      await containers.stop(params.id!, { signal: query.signal || undefined, timeoutSeconds: query.t });
      return empty();
    },
    containerRestart: async ({ params, query }) => {
      await containers.restart(params.id!, { signal: query.signal || undefined, timeoutSeconds: query.t });
      return empty();
    },
    containerKill: async ({ params, query }) => {
      await containers.kill(params.id!, query.signal ?? "");
      return empty();
    },
    containerPause: async ({ params }) => {
      await containers.pause(params.id!);
      return empty();
    },
    containerUnpause: async ({ params }) => {
      await containers.unpause(params.id!);
      return empty();
    },
    containerWait: (request) => wait(containers, request),
    containerRename: async ({ params, query }) => {
      await containers.rename(params.id!, query.name ?? "");
      return empty();
    },
    containerUpdate: async (request) => {
      const body = decodeJson(updateBody, await request.document());
      return json(await containers.update(request.params.id!, body));
    },
    containerResize: async ({ params, query }) => {
      const rows = asDimension("height", query.h);
      await containers.resize(params.id!, rows, asDimension("width", query.w));
      return empty(200);
    },
    containerAttach: async ({ params, query, hijack, signal }) => {
      await containers.attach(params.id!, { ...query, detachKeys: query.detachKeys || undefined, hijack, signal });
      return HIJACKED;
    },
    containerAttachSocket: async ({ params, query, version, hijack, signal }) => {
      const { logs, stream, detachKeys } = query;
      // Clients of before 1.42 couldn't choose: they get all.
      const chosen = compareVersions(version, "1.42") >= 0 ? query : { stdin: true, stdout: true, stderr: true };
      const { stdin, stdout, stderr } = chosen;
      const streams = { stdin, stdout, stderr, logs, stream };
      await containers.attach(params.id!, { ...streams, detachKeys: detachKeys || undefined, hijack, signal });
      return HIJACKED;
    },
    containerChanges: async ({ params }) => {
      const changes = await containers.changes(params.id!);
      return json(changes.length === 0 ? null : changes);
    },
    containerExport: async ({ params }) => stream("application/octet-stream", await containers.export(params.id!)),
    containerPathStat: async ({ params, query }) =>
      empty(200, statHeader(await containers.statPath(params.id!, query.path ?? ""))),
    containerArchive: async ({ params, query }) => {
      const answer = await containers.readArchive(params.id!, query.path ?? "");
      return stream("application/x-tar", answer.stream, statHeader(answer.stat));
    },
    containerExtract: async (request) => {
      const { params, query, signal } = request;
      await containers.writeArchive(params.id!, query.path ?? "", request.body(), {
        copyUidGid: query.copyUIDGID,
        noOverwriteDirNonDir: query.noOverwriteDirNonDir,
        signal,
      });
      return empty(200);
    },
    containerCommit: (request) => commit(containers, request),
    containerRemove: async ({ params, query }) => {
      if (query.link) await containers.removeLink(params.name!);
      else await containers.remove(params.name!, { force: query.force, volumes: query.v });
      return empty();
    },
  };
}

function statHeader(stat: ContainerPathStat): Record<string, string> {
  return { [PATH_STAT_HEADER]: Buffer.from(JSON.stringify(stat)).toString("base64") };
}

async function commit(containers: ContainerController, request: RouteRequest<"containerCommit">) {
  const { query, signal } = request;
  const document = await request.document();
  if (!query.container) throw new GantryError("invalid", 'invalid name or ID supplied: ""');
  const Id = await containers.commit(query.container ?? "", {
    config: document === "" ? undefined : decodeJson(containerConfig, document),
    changes: query.changes,
    repository: query.repo ?? "",
    tag: query.tag ?? "",
    author: query.author ?? "",
    comment: query.comment ?? "",
    pause: query.pause,
    signal,
  });
  return json({ Id }, 201);
}

async function stats(containers: ContainerController, request: RouteRequest<"containerStats">) {
  const { query, signal, version } = request;
  const id = request.params.id!;
  const oneShot = query["one-shot"] && compareVersions(version, "1.41") >= 0;
  if (!query.stream) return json(await containers.stats(id, { oneShot, signal }));
  if (oneShot) throw new GantryError("invalid", "cannot have stream=true and one-shot=true");
  return stream("application/json", lines(containers.statsStream(id, signal)));
}

async function* lines(values: AsyncIterable<unknown>): AsyncGenerator<string> {
  for await (const value of values) yield `${JSON.stringify(value)}\n`;
}

async function logs(containers: ContainerController, request: RouteRequest<"containerLogs">) {
  const { query, signal, version } = request;
  if (!query.stdout && !query.stderr) {
    throw new GantryError("invalid", "Bad parameters: you must choose at least one stream");
  }
  // Whatever isn't a count asks for everything, `all` as well as nothing.
  const tail = /^\d{1,15}$/.test(query.tail ?? "") ? Number(query.tail) : undefined;
  const joined = request.header("accept") === JOINED_FRAMES;
  const { tty, stream: body } = await containers.logs(request.params.id!, { ...query, tail, joined, signal });
  return stream(!tty && compareVersions(version, "1.42") >= 0 ? MULTIPLEXED_STREAM : RAW_STREAM, body);
}

/** The headers leave once the container is watched: what a client does after them can't be missed. */
async function wait(containers: ContainerController, request: RouteRequest<"containerWait">) {
  const condition = request.query.condition ?? "not-running";
  const watched = Promise.withResolvers<void>();
  const options = { signal: request.signal, ready: watched.resolve };
  const result = containers.wait(request.params.id!, condition, options);
  await Promise.race([watched.promise, result]);
  return later(result);
}
