import { statSync } from "node:fs";
import { userInfo } from "node:os";
import type { DoctorFinding } from "../../api/doctor.ts";
import { hasCode, messageOf } from "../../base/errors.ts";
import { type Endpoint, EngineError } from "../../client/client.ts";

const START = "Start the engine, or name another by -H; to check the machine without one, as root: gantryd doctor";

/** What stands between this client and the engine, found by what the attempt said and by looking at the socket. */
export async function whyUnreachable(endpoint: Endpoint, error: unknown): Promise<DoctorFinding> {
  const [Found, Mend] = reasonOf(endpoint, error);
  return { ID: "client.connection", Title: "connection", Status: "failure", Found, Mend };
}

function reasonOf(endpoint: Endpoint, error: unknown): readonly [string, string] {
  if (error instanceof EngineError) return refusalOf(endpoint, error);
  const message = messageOf(error);
  const cause = error instanceof Error ? error.cause : undefined;
  if (endpoint.kind === "unix") return socketReason(endpoint.path, cause, message);
  if (/certificate|self.signed|CERT_|altname|ssl|tls/i.test(`${message} ${codeOf(cause)}`)) {
    return [
      `the connection to ${endpoint.url} is not trusted: ${message}`,
      "Give the CA, the certificate and the key that the engine was set up with: --tlsverify --tlscacert --tlscert --tlskey",
    ];
  }
  if (hasCode(cause, "ECONNREFUSED")) return [`nothing listens at ${endpoint.url}`, START];
  return [message, "Look whether the host is up and no firewall is in between."];
}

function codeOf(error: unknown): string {
  return String((error as { code?: unknown } | undefined)?.code ?? "");
}

function refusalOf({ url }: Endpoint, error: EngineError): readonly [string, string] {
  if (error.status === 404) {
    return [
      `the engine at ${url} has no doctor: it is another, or an older one`,
      "Name Gantry's socket by -H or GANTRY_HOST.",
    ];
  }
  if (/client version \S+ is too/.test(error.message)) {
    return [error.message, "Unset DOCKER_API_VERSION and GANTRY_API_VERSION, or upgrade the older of the two."];
  }
  if (/HTTP request to an HTTPS server/i.test(error.message)) return [error.message, "Use TLS: --tlsverify"];
  return [`the engine at ${url} refuses: ${error.message}`, "Look into its log."];
}

function socketReason(path: string, cause: unknown, message: string): readonly [string, string] {
  if (hasCode(cause, "EACCES", "EPERM")) return permissionReason(path);
  try {
    if (!statSync(path).isSocket()) return [`${path} is no socket`, "Name the engine's by -H or GANTRY_HOST."];
  } catch (error) {
    if (hasCode(error, "EACCES")) return permissionReason(path);
    if (hasCode(error, "ENOENT", "ENOTDIR"))
      return [`there is no socket at ${path}: no engine runs, or another one is meant`, START];
  }
  if (hasCode(cause, "ECONNREFUSED")) return [`nobody listens at ${path}: the engine ended and left its socket`, START];
  return [message, START];
}

function permissionReason(path: string): readonly [string, string] {
  const who = userInfo().username;
  let group: number | undefined;
  try {
    group = statSync(path).gid;
  } catch {
    // Not even its folder may be looked into.
  }
  if (group === undefined || group === 0) {
    return [
      `${who} may not use ${path}: it is root's alone`,
      "Use sudo, or start the engine with --group NAME and join it: sudo usermod -aG NAME $USER",
    ];
  }
  return [
    `${who} may not use ${path}: only members of the group ${group} may`,
    `Join it, then log in anew: sudo usermod -aG "$(getent group ${group} | cut -d: -f1)" ${who}`,
  ];
}
