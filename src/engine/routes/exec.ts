import { decodeJson } from "../../api/decode.ts";
import { asDimension } from "../../api/query.ts";
import { execConfig, execStartRequest } from "../../api/request.ts";
import { compareVersions } from "../../api/version.ts";
import { GantryError } from "../../base/errors.ts";
import type { ContainerController } from "../../containers/controller.ts";
import { empty, HIJACKED, json } from "../answer.ts";
import type { Handlers } from "../route-request.ts";

type ExecRoutes = Pick<Handlers, Extract<keyof Handlers, `exec${string}`>>;

export function execRoutes(containers: ContainerController): ExecRoutes {
  return {
    execCreate: async (request) => {
      const config = decodeJson(execConfig, await request.document());
      if (config.Cmd === null || config.Cmd.length === 0) {
        throw new GantryError("invalid", "No exec command specified");
      }
      return json(await containers.execCreate(request.params.id!, config), 201);
    },
    execStart: async (request) => {
      const document = await request.document();
      const options = document === "" ? execStartRequest.zero() : decodeJson(execStartRequest, document);
      const sized = options.Tty && compareVersions(request.version, "1.42") >= 0;
      const shared = { tty: options.Tty, consoleSize: sized ? options.ConsoleSize : undefined };
      if (options.Detach) {
        await containers.execStart(request.params.id!, { detach: true, ...shared });
        return empty(200);
      }
      const { hijack, signal } = request;
      await containers.execStart(request.params.id!, { detach: false, ...shared, hijack, signal });
      return HIJACKED;
    },
    execResize: async ({ params, query }) => {
      const rows = asDimension("height", query.h);
      await containers.execResize(params.id!, rows, asDimension("width", query.w));
      return empty(200);
    },
    execInspect: async ({ params }) => json(await containers.execInspect(params.id!)),
  };
}
