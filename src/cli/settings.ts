import { readFileSync } from "node:fs";
import { join } from "node:path";
import { GantryError, hasCode, messageOf } from "../base/errors.ts";
import { type Endpoint, parseEndpoint, type TlsSettings } from "../client/client.ts";
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
  /** `config.json`, read when first asked for; an unreadable one is an empty one. */
  readonly config: () => ConfigFile;
}

/** The fields of `~/.docker/config.json` that commands here look at. */
export interface ConfigFile {
  readonly psFormat?: string;
  readonly imagesFormat?: string;
  readonly networksFormat?: string;
  readonly volumesFormat?: string;
  readonly detachKeys?: string;
  readonly proxies?: Readonly<Record<string, Readonly<Record<string, string>>>>;
}

/** The value of `GANTRY_<name>`, else of `DOCKER_<name>`. */
export function fromEnvironment(name: string): string | undefined {
  return process.env[`GANTRY_${name}`] || process.env[`DOCKER_${name}`] || undefined;
}

export function settingsFrom(flags: ParsedFlags): Settings {
  const home = process.env.HOME ?? "/root";
  const configFolder = flags.text("config") || fromEnvironment("CONFIG") || join(home, ".docker");
  const context = flags.text("context") || (flags.changed("host") ? "" : (fromEnvironment("CONTEXT") ?? ""));
  if (flags.list("host").length > 1) throw new Error("specify only one -H");
  if (flags.changed("host") && flags.changed("context")) {
    throw new Error("conflicting options: either specify --host or --context, not both");
  }
  let config: ConfigFile | undefined;
  return {
    configFolder,
    context: context === "" ? "default" : context,
    debug: flags.bool("debug"),
    apiVersion: fromEnvironment("API_VERSION")?.replace(/^v/, ""),
    endpoint: async () => {
      const host = flags.list("host")[0] ?? (flags.changed("context") ? undefined : fromEnvironment("HOST"));
      if (host === undefined && context !== "" && context !== "default") {
        // Its hash needs node:crypto, which would cost every other start a millisecond.
        const { contextEndpoint } = await import("./context.ts");
        return contextEndpoint(configFolder, context);
      }
      return parseEndpoint(host ?? defaultHost(), tlsFrom(flags, configFolder));
    },
    config: () => {
      config ??= readConfig(join(configFolder, "config.json"));
      return config;
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

function readConfig(path: string): ConfigFile {
  try {
    const value: unknown = JSON.parse(readFileSync(path, "utf8"));
    return typeof value === "object" && value !== null ? (value as ConfigFile) : {};
  } catch {
    return {};
  }
}
