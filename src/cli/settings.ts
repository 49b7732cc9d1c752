import { readFileSync } from "node:fs";
import { join } from "node:path";
import { GantryError, hasCode, messageOf } from "../base/errors.ts";
import { type Endpoint, parseEndpoint, type TlsSettings } from "../client/client.ts";
import { type ConfigFile, readConfigFile } from "./config-file.ts";
import { defaultHost, pemSettings } from "./default-host.ts";
import type { ParsedFlags } from "./flags/parse.ts";

/** What the user set outside the command: global flags, environment and the configuration file. */
export interface Settings {
  readonly configFolder: string;
  readonly context: string;
  readonly debug: boolean;
  /** The API version that the environment demands. */
  readonly apiVersion: string | undefined;
  readonly endpoint: () => Promise<Endpoint>;
  /** `config.json`, read when first asked for; an unreadable one is warned of and is an empty one. */
  readonly config: () => ConfigFile;
}

/** The value of `GANTRY_<name>`, else of `DOCKER_<name>`. */
export function fromEnvironment(name: string): string | undefined {
  return process.env[`GANTRY_${name}`] || process.env[`DOCKER_${name}`] || undefined;
}

/** The name of the context that applies, in Docker's order; "default" is what host flag and environment say. */
function contextName(flags: ParsedFlags, config: () => ConfigFile): string {
  if (flags.text("context") !== "") return flags.text("context");
  if (flags.changed("host") || fromEnvironment("HOST") !== undefined) return "default";
  return fromEnvironment("CONTEXT") ?? (config().currentContext || "default");
}

export function settingsFrom(flags: ParsedFlags): Settings {
  const configFolder =
    flags.text("config") || fromEnvironment("CONFIG") || join(process.env.HOME || "/root", ".docker");
  if (flags.list("host").length > 1) throw new Error("specify only one -H");
  if (flags.changed("host") && flags.changed("context")) {
    throw new Error("conflicting options: cannot specify both --host and --context");
  }
  let file: ConfigFile | undefined;
  const config = (): ConfigFile => {
    file ??= readConfigFile(configFolder);
    return file;
  };
  const context = contextName(flags, config);
  return {
    configFolder,
    context,
    debug: flags.bool("debug"),
    apiVersion: fromEnvironment("API_VERSION")?.replace(/^v/, ""),
    config,
    endpoint: async () => {
      if (context !== "default") {
        // Its hash needs node:crypto, which would cost every other start a millisecond.
        const { contextEndpoint } = await import("./contexts/endpoint.ts");
        return contextEndpoint(configFolder, context);
      }
      return parseEndpoint(
        flags.list("host")[0] ?? fromEnvironment("HOST") ?? defaultHost(),
        tlsFrom(flags, configFolder),
      );
    },
  };
}

function tlsFrom(flags: ParsedFlags, configFolder: string): TlsSettings | undefined {
  const verify = flags.changed("tlsverify") ? flags.bool("tlsverify") : (fromEnvironment("TLS_VERIFY") ?? "") !== "";
  if (!verify && !flags.bool("tls")) return undefined;
  const folder = fromEnvironment("CERT_PATH") ?? configFolder;
  const read = (flag: string, file: string): string | undefined => {
    const path = flags.text(flag) || join(folder, file);
    try {
      return readFileSync(path, "utf8");
    } catch (error) {
      if (!flags.changed(flag) && hasCode(error, "ENOENT")) return undefined;
      throw new GantryError("invalid", `could not read ${file}: ${messageOf(error)}`);
    }
  };
  return pemSettings(verify, read("tlscacert", "ca.pem"), read("tlscert", "cert.pem"), read("tlskey", "key.pem"));
}
