import { VERSION } from "../base/version.ts";
import { API_VERSION } from "../client/client.ts";
import type { Call } from "./command.ts";

/** What the client says of itself, with the keys that Docker's says. */
export function clientVersion(call: Call): Readonly<Record<string, string>> {
  return {
    Version: VERSION,
    ApiVersion: call.client.version,
    DefaultAPIVersion: API_VERSION,
    GitCommit: "",
    GoVersion: "",
    Os: process.platform,
    Arch: process.arch === "x64" ? "amd64" : process.arch,
    BuildTime: "",
    Context: call.settings.context,
  };
}
