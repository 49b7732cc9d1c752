import type { AuthConfig } from "../../api/registry.ts";
import { GantryError, hasCode, messageOf } from "../../base/errors.ts";

/** As a user name: the secret is an identity token. */
const TOKEN_USER = "<token>";
const NOT_FOUND = "credentials not found in native keychain";
const MOST_OUTPUT = 1 << 20;
const MOST_SHOWN = 200;
/** A keychain may first ask its user for a password. */
const TIME_LIMIT_S = 60;
/** After the program's end: its children may hold its output open. */
const DRAIN_MS = 500;

type Action = "get" | "store" | "erase" | "list";

const DOING: Readonly<Record<Action, string>> = {
  get: "getting",
  store: "storing",
  erase: "erasing",
  list: "listing",
};

interface Ended {
  readonly output: string;
  /** How it failed; undefined if it didn't. */
  readonly fault: string | undefined;
}

/** A program `docker-credential-<name>`, which keeps credentials where only it knows. */
export class CredentialHelper {
  readonly program: string;

  constructor(name: string) {
    if (!/^[^/\0]+$/.test(name)) {
      throw new GantryError("invalid", `credential helper ${JSON.stringify(name)} is no name of a program`);
    }
    this.program = `docker-credential-${name}`;
  }

  /** Undefined if the helper has none for this key. */
  async get(key: string): Promise<AuthConfig | undefined> {
    const { output, fault } = await this.#run("get", key);
    if (fault !== undefined) {
      if (output === NOT_FOUND) return undefined;
      throw failed("get", fault, output);
    }
    const { Username, Secret } = this.#fields("get", output);
    if (typeof Username !== "string" || typeof Secret !== "string") {
      throw failed("get", `${this.program} gave no user name and secret`);
    }
    if (Username === "" && Secret === "") return undefined;
    const none = { username: "", password: "", identitytoken: "", registrytoken: "", serveraddress: key };
    if (Username === TOKEN_USER) return { ...none, identitytoken: Secret };
    return { ...none, username: Username, password: Secret };
  }

  async store(key: string, auth: AuthConfig): Promise<void> {
    const isToken = auth.identitytoken !== "";
    const { output, fault } = await this.#run(
      "store",
      JSON.stringify({
        ServerURL: key,
        Username: isToken ? TOKEN_USER : auth.username,
        Secret: isToken ? auth.identitytoken : auth.password,
      }),
    );
    if (fault !== undefined) throw failed("store", fault, output);
  }

  /** What the helper hasn't is no failure; some say so only when they are asked for it, as that of `pass`. */
  async erase(key: string): Promise<void> {
    const { output, fault } = await this.#run("erase", key);
    if (fault === undefined || output === NOT_FOUND) return;
    const failure = failed("erase", fault, output);
    const isKept = await this.get(key).then(
      (kept) => kept !== undefined,
      () => true,
    );
    if (isKept) throw failure;
  }

  /** The names of users by the addresses of all that it keeps; a token has none. */
  async list(): Promise<ReadonlyMap<string, string>> {
    const { output, fault } = await this.#run("list", "unused");
    if (fault !== undefined) throw failed("list", fault, output);
    const rows = Object.entries(this.#fields("list", output));
    return new Map(rows.map(([address, user]) => [address, user === TOKEN_USER ? "" : String(user)]));
  }

  /** What was printed is never shown: half a secret is one still. */
  #fields(action: Action, output: string): Readonly<Record<string, unknown>> {
    let value: unknown;
    try {
      value = JSON.parse(output);
    } catch {
      throw failed(action, `${this.program} printed something that is not JSON`);
    }
    if (typeof value !== "object" || value === null || Array.isArray(value)) {
      throw failed(action, `${this.program} printed no JSON object`);
    }
    return value as Readonly<Record<string, unknown>>;
  }

  #run(action: Action, input: string): Promise<Ended> {
    const { spawn } = process.getBuiltinModule("node:child_process");
    const { promise, resolve } = Promise.withResolvers<Ended>();
    const pieces: Buffer[] = [];
    let size = 0;
    const settle = (fault: string | undefined, isWhole = true): void => {
      clearTimeout(timer);
      clearTimeout(draining);
      resolve({ output: isWhole ? Buffer.concat(pieces).toString("utf8").trim() : "", fault });
    };
    const limitS = timeLimit();
    const missing = (error: unknown): string =>
      hasCode(error, "ENOENT")
        ? `exec: "${this.program}": executable file not found in $PATH`
        : `exec: "${this.program}": ${messageOf(error)}`;
    let draining: NodeJS.Timeout | undefined;
    let child: ReturnType<typeof spawn> | undefined;
    const end = (fault: string | undefined, isWhole = false): void => {
      settle(fault, isWhole);
      child?.stdout?.destroy();
      child?.stdin?.destroy();
      child?.kill("SIGKILL");
    };
    const timer = setTimeout(() => end(`${this.program} did not answer within ${limitS} s`), limitS * 1000);
    try {
      child = spawn(this.program, [action], { stdio: ["pipe", "pipe", "inherit"] });
    } catch (error) {
      settle(missing(error));
      return promise;
    }
    child.once("error", (error) => settle(missing(error)));
    // It may end without reading what it was sent.
    child.stdin?.on("error", () => {});
    child.stdin?.end(input);
    child.stdout?.on("data", (piece: Buffer) => {
      size += piece.length;
      if (size > MOST_OUTPUT) end(`${this.program} printed more than ${MOST_OUTPUT} bytes`);
      else pieces.push(piece);
    });
    const outcome = (code: number | null, signal: NodeJS.Signals | null): string | undefined => {
      if (code === 0) return undefined;
      return code === null ? `signal: ${signal}` : `exit status ${code}`;
    };
    child.once("exit", (code, signal) => {
      draining = setTimeout(() => end(outcome(code, signal), true), DRAIN_MS);
    });
    child.once("close", (code, signal) => settle(outcome(code, signal)));
    return promise;
  }
}

/** Docker's words. `output` is what the program printed where it failed: its reasons. */
function failed(action: Action, why: string, output?: string): GantryError {
  const said = output === undefined ? "" : `, out: \`${output.replace(/\s+/g, " ").slice(0, MOST_SHOWN)}\``;
  return new GantryError("unavailable", `error ${DOING[action]} credentials - err: ${why}${said}`);
}

function timeLimit(): number {
  const given = Number(process.env.GANTRY_CREDENTIALS_TIMEOUT);
  return Number.isFinite(given) && given > 0 ? given : TIME_LIMIT_S;
}
