import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { GantryError, hasCode, messageOf } from "../base/errors.ts";
import { type Endpoint, parseEndpoint } from "../client/client.ts";
import { defaultHost, pemSettings } from "./default-host.ts";

/** The engine that a docker context of this name points to. */
export function contextEndpoint(configFolder: string, name: string): Endpoint {
  // Asked for here: as an import, the bundle would load it at the start of every command, for 3 ms.
  const { createHash } = process.getBuiltinModule("node:crypto");
  const id = createHash("sha256").update(name).digest("hex");
  const path = join(configFolder, "contexts", "meta", id, "meta.json");
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    const why = hasCode(error, "ENOENT") ? `open ${path}: no such file or directory` : messageOf(error);
    throw new GantryError(
      "not-found",
      `unable to resolve docker endpoint: context ${JSON.stringify(name)}: context not found: ${why}`,
    );
  }
  const meta = (JSON.parse(text) as { Endpoints?: { docker?: { Host?: string; SkipTLSVerify?: boolean } } }).Endpoints
    ?.docker;
  const read = (file: string): string | undefined => {
    const pem = join(configFolder, "contexts", "tls", id, "docker", file);
    return existsSync(pem) ? readFileSync(pem, "utf8") : undefined;
  };
  const ca = read("ca.pem");
  const cert = read("cert.pem");
  const secure = ca !== undefined || cert !== undefined || meta?.SkipTLSVerify === true;
  const tls = secure ? pemSettings(meta?.SkipTLSVerify !== true, ca, cert, read("key.pem")) : undefined;
  return parseEndpoint(meta?.Host ?? defaultHost(), tls);
}
