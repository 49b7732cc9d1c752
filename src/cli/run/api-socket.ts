import { writeTar } from "../../oci/tar/writer.ts";
import type { Call } from "../command.ts";
import { writeAuthEntry } from "../credentials/auth-entry.ts";
import { Credentials } from "../credentials/credentials.ts";
import type { CreateBody } from "./body.ts";

const SOCKET = "/var/run/docker.sock";
const FOLDER = "/run/secrets/docker";

/** `--use-api-socket`: the create request with the engine's socket mounted, and where clients then find credentials. */
export async function withApiSocket(call: Call, body: CreateBody): Promise<CreateBody> {
  const { endpoint } = call.client;
  const mount = {
    Type: "bind" as const,
    // On another host its socket is where Docker's is.
    Source: endpoint.kind === "unix" ? endpoint.path : SOCKET,
    Target: SOCKET,
    BindOptions: {},
  };
  const needsFolder =
    (await auths(call)) !== undefined && !(body.Env ?? []).some((entry) => /^DOCKER_CONFIG=/.test(entry));
  return {
    ...body,
    Env: needsFolder ? [...(body.Env ?? []), `DOCKER_CONFIG=${FOLDER}`] : body.Env,
    HostConfig: { ...body.HostConfig, Mounts: [...(body.HostConfig.Mounts ?? []), mount] },
  };
}

/** The user's credentials, those in the keeping of helpers too, as rows of a `config.json`; undefined without any. */
async function auths(call: Call): Promise<Readonly<Record<string, unknown>> | undefined> {
  const known = await new Credentials(call.settings).all();
  if (known.size === 0) return undefined;
  return Object.fromEntries([...known].map(([key, auth]) => [key, writeAuthEntry(auth, undefined)]));
}

/** Puts the user's credentials into the container that was created: what it has no helpers for it can't ask for. */
export async function copyCredentials(call: Call, id: string): Promise<void> {
  const known = await auths(call);
  if (known === undefined) return;
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
