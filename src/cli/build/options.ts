import { csvFields } from "../../base/csv.ts";
import { GantryError } from "../../base/errors.ts";
import { parseBool } from "../../base/parse-bool.ts";
import type { Asked } from "./asked.ts";
import { pair } from "./typed.ts";

/** What is asked for besides places, as options of the frontend. */
export function frontendOptions(asked: Asked, env: NodeJS.ProcessEnv): Record<string, string> {
  const options: Record<string, string> = {};
  const set = (name: string, value: string): void => {
    if (value !== "") options[name] = value;
  };
  set("target", asked.target);
  set("platform", asked.platforms.flatMap((list) => list.split(",")).join(","));
  set("force-network-mode", asked.network === "default" ? "" : asked.network);
  set("cgroup-parent", asked.cgroupParent);
  set("shm-size", asked.shmSize === 0 ? "" : String(asked.shmSize));
  set("ulimit", asked.ulimits.join(","));
  set("add-hosts", asked.hosts.map(hostRow).join(","));
  set("image-resolve-mode", asked.pull ? "pull" : "");
  set("gantry:deny", asked.deny.join(","));
  set(
    "requestid",
    { build: "", check: "frontend.lint", outline: "frontend.outline", targets: "frontend.targets" }[asked.call],
  );
  if (asked.noCache && asked.noCacheFilter.length > 0) {
    throw new GantryError("invalid", "--no-cache and --no-cache-filter cannot currently be used together");
  }
  if (asked.noCache) options["no-cache"] = "";
  set("no-cache", asked.noCacheFilter.join(","));
  options["gantry:explain"] = String(asked.explain);
  if (asked.keepFailed) options["gantry:keep-failed"] = "true";
  if (asked.squash) options["gantry:squash"] = "true";
  for (const [name, value] of asked.limits) options[name] = value;
  const epoch = env.SOURCE_DATE_EPOCH;
  if (epoch !== undefined && epoch !== "") options["build-arg:SOURCE_DATE_EPOCH"] = epoch;
  for (const given of asked.buildArgs) assign(given, env, options);
  for (const given of asked.labels) {
    const [name, value] = pair(given);
    options[`label:${name}`] = value ?? "";
  }
  for (const given of asked.attest) {
    const [type, ...rest] = attestation(given);
    if (rest.some((field) => field.startsWith("disabled=") && parseBool(field.slice("disabled=".length)) !== false))
      delete options[`attest:${type}`];
    else options[`attest:${type}`] = rest.filter((field) => !field.startsWith("disabled=")).join(",");
  }
  return options;
}

/** A name without a value takes the environment's, and is left out where that has none. An empty value stays. */
function assign(given: string, env: NodeJS.ProcessEnv, options: Record<string, string>): void {
  const [name, own] = pair(given);
  if (name === "")
    throw new GantryError("invalid", `invalid build argument ${JSON.stringify(given)}: it has to be NAME=VALUE`);
  const value = own ?? env[name];
  if (value !== undefined) options[`build-arg:${name}`] = value;
}

function attestation(given: string): readonly string[] {
  const fields = csvFields(given);
  const type = fields.find((field) => field.startsWith("type="))?.slice("type=".length) ?? "";
  if (type !== "provenance" && type !== "sbom") {
    throw new GantryError(
      "invalid",
      `unknown attestation ${JSON.stringify(given)}: there are type=provenance and type=sbom`,
    );
  }
  return [type, ...fields.filter((field) => !field.startsWith("type="))];
}

function hostRow(given: string): string {
  const [, name = "", address = ""] = /^([^=:]+)[=:](.+)$/.exec(given) ?? [];
  if (name === "") throw new GantryError("invalid", `bad format for add-host: ${JSON.stringify(given)}`);
  return `${name}=${address.replace(/^\[(.*)\]$/, "$1")}`;
}
