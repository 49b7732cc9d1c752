import { writeTar } from "../../oci/tar/writer.ts";
import type { Call } from "../command.ts";
import type { CreateBody } from "./body.ts";

const SOCKET = "/var/run/docker.sock";
const FOLDER = "/run/secrets/docker";

/** `--use-api-socket`: the create request with the engine's socket mounted, and where clients then find credentials. */
export function withApiSocket(call: Call, body: CreateBody): CreateBody {
  const { endpoint } = call.client;
  const mount = {
    Type: "bind" as const,
    // On another host its socket is where Docker's is.
    Source: endpoint.kind === "unix" ? endpoint.path : SOCKET,
    Target: SOCKET,
    BindOptions: {},
  };
  const needsFolder =
    Object.keys(auths(call)).length > 0 && !(body.Env ?? []).some((entry) => /^DOCKER_CONFIG=/.test(entry));
  return {
    ...body,
    Env: needsFolder ? [...(body.Env ?? []), `DOCKER_CONFIG=${FOLDER}`] : body.Env,
    HostConfig: { ...body.HostConfig, Mounts: [...(body.HostConfig.Mounts ?? []), mount] },
  };
}

function auths(call: Call): Readonly<Record<string, unknown>> {
  return call.settings.config().auths ?? {};
}

/** Puts the credentials of the configuration file into the container that was created. */
export async function copyCredentials(call: Call, id: string): Promise<void> {
  const known = auths(call);
  if (Object.keys(known).length === 0) return;
  const data = Buffer.from(`${JSON.stringify({ auths: known }, null, "\t")}\n`);
  const archive = writeTar([
    ...["run", "run/secrets", "run/secrets/docker"].map((name) => ({
      entry: { name, type: "directory" as const, mode: name === "run" ? 0o755 : 0o700 },
    })),
    {
      entry: { name: `${FOLDER.slice(1)}/config.json`, type: "file", mode: 0o600, size: data.length },
      body: [data],
    },
  ]);
  await call.client.stream("PUT", `/containers/${id}/archive`, {
    query: { path: "/" },
    headers: { "Content-Type": "application/x-tar" },
    upload: archive,
  });
}
