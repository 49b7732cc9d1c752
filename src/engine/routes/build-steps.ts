import type { BuildShell } from "../../api/build-shell.ts";
import { asDimension } from "../../api/query.ts";
import type { CacheArchives, FailedSteps } from "../../build/builder.ts";
import { empty, HIJACKED, json, stream } from "../answer.ts";
import type { Handlers } from "../route-request.ts";

type StepRoutes = Pick<Handlers, Extract<keyof Handlers, `buildShell${string}` | `buildCacheMount${string}`>>;

/** What is left of builds' steps: the one that failed, and the folders that they keep. */
export function buildStepRoutes(failed: FailedSteps, caches: CacheArchives): StepRoutes {
  return {
    buildShellStart: async ({ params, query, hijack }) => {
      const rows = query.h === undefined ? 0 : asDimension("height", query.h);
      const columns = query.w === undefined ? 0 : asDimension("width", query.w);
      const request = { args: query.cmd, rows, columns };
      await failed.openShell(params.id!, request, () => hijack({ multiplexed: false }));
      return HIJACKED;
    },
    buildShellResize: async ({ params, query }) => {
      await failed.resize(params.id!, asDimension("height", query.h), asDimension("width", query.w));
      return empty(200);
    },
    buildShellInspect: ({ params }) => {
      const state = failed.shell(params.id!);
      const shell: BuildShell = { Status: state.status, ExitCode: state.status === "ended" ? state.exitCode : null };
      return json(shell);
    },
    buildCacheMountExport: ({ params }) => stream("application/x-tar", caches.read(params.id!)),
    buildCacheMountImport: async (request) => {
      await caches.write(request.params.id!, request.body(), request.signal);
      return empty(204);
    },
  };
}
