import { closeSync, openSync, rmSync, statSync, writeSync } from "node:fs";
import type { ContainerCreateResponse } from "../../api/container.ts";
import { hasCode, messageOf } from "../../base/errors.ts";
import { EngineError } from "../../client/client.ts";
import type { Call } from "../command.ts";
import { complain } from "../output/print.ts";
import { type CreateBody, createBody } from "./body.ts";
import { refuseContentTrust } from "./content-trust.ts";
import { proxyVariables } from "./environment.ts";
import { defaultPlatform } from "./platform.ts";
import { familiarReference } from "./reference.ts";

/** The image isn't there, or not for the platform that was asked for. */
const NO_IMAGE = /No such image|does not match the specified platform/i;

/** The create request of a command line, with what the configuration file adds. */
export async function requestOf(call: Call): Promise<CreateBody> {
  refuseContentTrust(call.flags);
  const pull = call.flags.text("pull");
  if (!["always", "missing", "never", ""].includes(pull)) {
    throw new Error(`invalid pull option: '${pull}': must be one of "always", "missing" or "never"`);
  }
  const body = createBody(call.flags, call.args);
  const proxies = proxyVariables(call.settings.config().proxies, call.client.endpoint.url, body.Env ?? []);
  const complete = proxies.length === 0 ? body : { ...body, Env: [...(body.Env ?? []), ...proxies] };
  return call.flags.bool("use-api-socket") ? (await import("./api-socket.ts")).withApiSocket(call, complete) : complete;
}

/** Creates the container, pulling its image if the policy says so; writes `--cidfile`. Resolves to the id. */
export async function createContainer(call: Call, body: CreateBody): Promise<string> {
  const { flags, client } = call;
  const reference = familiarReference(body.Image);
  const local = body.HostConfig.Dns?.find((address) => /^127\.|^::1$/.test(address));
  if (local !== undefined) complain(`WARNING: Localhost DNS (${local}) may fail in containers.`);
  const idFile = flags.text("cidfile") === "" ? undefined : new IdFile(flags.text("cidfile"));
  try {
    const platform = flags.text("platform") || defaultPlatform();
    // Loaded here: most containers are of images that are there.
    const pull = async (): Promise<void> =>
      (await import("./pull.ts")).pullImage(call, body.Image, platform, flags.bool("quiet"));
    const create = (): Promise<ContainerCreateResponse> =>
      client.json("POST", "/containers/create", { query: { name: flags.text("name"), platform }, json: body });
    if (flags.text("pull") === "always") await pull();
    let response: ContainerCreateResponse;
    try {
      response = await create();
    } catch (error) {
      const missing = error instanceof EngineError && error.status === 404 && NO_IMAGE.test(error.message);
      if (!missing || reference === undefined || flags.text("pull") !== "missing") throw error;
      if (!flags.bool("quiet")) complain(`Unable to find image '${reference}' locally`);
      await pull();
      response = await create();
    }
    for (const warning of response.Warnings ?? []) complain(`WARNING: ${warning}`);
    if (flags.bool("use-api-socket")) await (await import("./api-socket.ts")).copyCredentials(call, response.Id);
    idFile?.write(response.Id);
    return response.Id;
  } finally {
    idFile?.close();
  }
}

/** The file of `--cidfile`: made before the container, and gone again if there is none. */
class IdFile {
  readonly #path: string;
  readonly #fd: number;
  #written = false;

  constructor(path: string) {
    if (exists(path))
      throw new Error(`container ID file found, make sure the other container isn't running or delete ${path}`);
    this.#path = path;
    try {
      this.#fd = openSync(path, "wx", 0o644);
    } catch (error) {
      throw new Error(`failed to create the container ID file: ${messageOf(error)}`);
    }
  }

  write(id: string): void {
    writeSync(this.#fd, id);
    this.#written = true;
  }

  close(): void {
    closeSync(this.#fd);
    if (!this.#written) rmSync(this.#path, { force: true });
  }
}

function exists(path: string): boolean {
  try {
    statSync(path);
    return true;
  } catch (error) {
    return !hasCode(error, "ENOENT", "ENOTDIR");
  }
}
