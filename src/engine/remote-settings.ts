import type { RemoteSettings } from "../remote/settings.ts";
import type { EngineConfig } from "./options.ts";
import { ENGINE_VERSION } from "./version.ts";

/** Docker's own comes second, so that what is configured for it holds here too. */
const CERTIFICATE_FOLDERS: readonly string[] = ["/etc/gantry/certs.d", "/etc/docker/certs.d"];

type Wanted = Pick<
  EngineConfig,
  | "insecureRegistries"
  | "registryMirrors"
  | "registries"
  | "minTransferRate"
  | "maxDownloadRate"
  | "maxUploadRate"
  | "certsDir"
  | "registryTimeout"
  | "httpProxy"
  | "httpsProxy"
  | "noProxy"
  | "maxConcurrentDownloads"
  | "maxConcurrentUploads"
  | "maxDownloadAttempts"
>;

/** The configuration as far as it concerns registries; proxies that it doesn't name are the environment's. */
export function remoteSettings(config: Wanted, environment: NodeJS.ProcessEnv): RemoteSettings {
  const named = (given: string, name: string): string =>
    given || environment[name] || environment[name.toLowerCase()] || "";
  return {
    insecureRegistries: config.insecureRegistries,
    mirrors: config.registryMirrors,
    registries: config.registries,
    minTransferRate: config.minTransferRate,
    maxDownloadRate: config.maxDownloadRate,
    maxUploadRate: config.maxUploadRate,
    silence: config.registryTimeout * 1000,
    certificateFolders: config.certsDir === "" ? CERTIFICATE_FOLDERS : [config.certsDir, ...CERTIFICATE_FOLDERS],
    proxies: {
      http: named(config.httpProxy, "HTTP_PROXY"),
      https: named(config.httpsProxy, "HTTPS_PROXY"),
      exceptions: named(config.noProxy, "NO_PROXY"),
    },
    maxConcurrentDownloads: config.maxConcurrentDownloads,
    maxConcurrentUploads: config.maxConcurrentUploads,
    maxDownloadAttempts: config.maxDownloadAttempts,
    userAgent: `gantry/${ENGINE_VERSION} (linux)`,
  };
}
