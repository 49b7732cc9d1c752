import { readFileSync, statSync } from "node:fs";
import type { DoctorFinding } from "../../api/doctor.ts";
import { hasCode, messageOf } from "../../base/errors.ts";
import { type Endpoint, EngineError } from "../../client/client.ts";

const START = "Start the engine, or name another by -H; to check the machine without one, as root: gantryd doctor";

/** The engine, or the way to it, was given this long and did not answer. */
export class NoAnswer extends Error {
  override readonly name = "NoAnswer";

  constructor(patienceMs: number) {
    super(`no answer within ${patienceMs / 1000} seconds`);
  }
}

/** What stands between this client and the engine, found by what the attempt said and by looking at the socket. */
export async function whyUnreachable(endpoint: Endpoint, error: unknown): Promise<DoctorFinding> {
  const [Found, Mend] = reasonOf(endpoint, error);
  return { ID: "client.connection", Title: "connection", Status: "failure", Found, Mend };
}

function reasonOf(endpoint: Endpoint, error: unknown): readonly [string, string] {
  if (error instanceof EngineError) return refusalOf(endpoint, error);
  const message = messageOf(error);
  if (error instanceof NoAnswer) {
    return endpoint.kind === "unix"
      ? [
          `${endpoint.path} takes connections and gives ${message}: the engine hangs, or something else listens`,
          "Look into its log and restart it (containers go on); to check the machine meanwhile, as root: gantryd doctor",
        ]
      : [`${endpoint.url} gives ${message}`, "Look whether the host is up and no firewall is in between."];
  }
  const cause = error instanceof Error ? error.cause : undefined;
  if (endpoint.kind === "unix") return socketReason(endpoint.path, cause, message);
  if (endpoint.kind === "ssh") {
    const login = endpoint.user === "" ? endpoint.host : `${endpoint.user}@${endpoint.host}`;
    const port = endpoint.port === undefined ? "" : `-p ${endpoint.port} `;
    return [message, `Try it by hand until it works without a question: ssh ${port}${login} gantry version`];
  }
  if (message.includes("without TLS?")) {
    return [
      `${endpoint.url} gives no answer that could be understood: it may want TLS`,
      "Use TLS: --tlsverify, with --tlscacert, --tlscert and --tlskey",
    ];
  }
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
  // Not what the environment says, which Bun believes: it may tell of another user.
  const uid = process.getuid?.() ?? 0;
  const user = nameIn("/etc/passwd", uid);
  const who = user ?? `user ${uid}`;
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
  const name = nameIn("/etc/group", group);
  return [
    `${who} may not use ${path}: only members of the group ${name ?? group} may`,
    `Join it, then log in anew: sudo usermod -aG ${name ?? `"$(getent group ${group} | cut -d: -f1)"`} ${user ?? "$USER"}`,
  ];
}

/** The first field of the line whose third is `id`. */
function nameIn(file: string, id: number): string | undefined {
  try {
    const rows = readFileSync(file, "utf8").split("\n");
    return rows.map((row) => row.split(":")).find((fields) => fields[2] === String(id))?.[0];
  } catch {
    return undefined;
  }
}
