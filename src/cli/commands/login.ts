import type { AuthConfig, AuthResponse } from "../../api/registry.ts";
import { messageOf } from "../../base/errors.ts";
import { EngineError } from "../../client/client.ts";
import { type Call, type Command, ExitError } from "../command.ts";
import { HUB_KEY, keyOf } from "../credentials/address.ts";
import { Credentials } from "../credentials/credentials.ts";
import { authVariable, environmentAuths } from "../credentials/environment.ts";
import { askForLogin } from "../credentials/prompt.ts";
import { errorLine, printable } from "../error-line.ts";
import { boolFlag, textFlag } from "../flags/spec.ts";
import { printListing } from "../output/format.ts";
import { note, warning } from "../output/note.ts";
import { complain, printLine } from "../output/print.ts";
import { FORMAT_USAGE } from "../output/text.ts";
import { defaultRegistry } from "../run/registry-name.ts";

const MOST_PASSWORD = 1 << 20;

export const login: Command = {
  usage: "[OPTIONS] [SERVER]",
  args: { rule: "at-most", count: 1 },
  long: "Authenticate to a registry.\nWithout a server it is the engine's default registry, as a rule Docker Hub.",
  flags: [
    textFlag("format", `With --list: ${FORMAT_USAGE[0]?.toLowerCase()}${FORMAT_USAGE.slice(1)}`),
    boolFlag("l,list", "List the registries that there are credentials for, and where these are kept"),
    textFlag("p,password", "Password or access token"),
    boolFlag("password-stdin", "Read the password or access token from standard input"),
    textFlag("u,username", "User name"),
  ],
  async run(call) {
    if (call.flags.bool("list")) return await listLogins(call);
    if (call.flags.changed("format")) throw new ExitError(1, "--format goes with --list");
    const given = await givenLogin(call);
    tellOfEnvironment();
    const key = await keyOfServer(call);
    const credentials = new Credentials(call.settings);
    let known: AuthConfig | undefined;
    if (given.username === "" && given.password === "") {
      known = await credentials.get(key).catch((error: unknown) => {
        complain(`WARNING: ${printable(messageOf(error))}`);
        return undefined;
      });
      if (known !== undefined && known.username !== "" && (await hasProven(call, credentials, known))) return 0;
    }
    const asked = await askForLogin({ key, ...given, known: known?.username ?? "" });
    const auth = { ...asked, serveraddress: key, identitytoken: "", registrytoken: "" };
    await prove(call, credentials, auth);
    return 0;
  },
};

export const logout: Command = {
  usage: "[SERVER]",
  args: { rule: "at-most", count: 1 },
  long: "Log out from a registry.\nWithout a server it is the engine's default registry, as a rule Docker Hub.",
  flags: [],
  async run(call) {
    tellOfEnvironment();
    const key = await keyOfServer(call);
    printLine(`Removing login credentials for ${printable(key)}`);
    try {
      await new Credentials(call.settings).erase(key);
    } catch (error) {
      complain(`WARNING: could not erase credentials:\n${printable(key)}: ${printable(messageOf(error))}`);
    }
    return 0;
  },
};

/** What `login` and `logout` change is not what is used as long as the environment gives something else. */
function tellOfEnvironment(): void {
  const name = authVariable();
  if (name === undefined) return;
  const rest = `Unset ${name} to restore the CLI auth behaviour.`;
  warning(2, `${name} is set and takes precedence.`, rest, "");
}

/** Without a question to the engine or a registry, and without a secret. */
async function listLogins(call: Call): Promise<number> {
  const { args, flags, settings } = call;
  const other = ["password", "password-stdin", "username"].find((flag) => flags.changed(flag));
  if (other !== undefined || args.length > 0) {
    throw new ExitError(1, `--list takes no ${other === undefined ? "server" : `--${other}`}`);
  }
  let code = 0;
  const kept = await new Credentials(settings).list((fault) => {
    complain(`WARNING: ${printable(messageOf(fault))}`);
    code = 1;
  });
  await printListing({
    format: flags.text("format"),
    columns: ["Registry", "Username", "KeptIn"],
    headings: { Registry: "REGISTRY", Username: "USERNAME", KeptIn: "KEPT IN" },
    type: "*formatter.loginContext",
    rows: kept
      .map(({ key, username, place }) => ({
        Registry: printable(key === HUB_KEY ? "docker.io" : key),
        Username: printable(username),
        KeptIn: printable(place),
      }))
      .sort((a, b) => (a.Registry < b.Registry ? -1 : 1)),
  });
  return code;
}

/** The key of the server that is named, else of the engine's default registry. */
async function keyOfServer({ args, client }: Call): Promise<string> {
  const [server = ""] = args;
  const key = keyOf(server === "" ? await defaultRegistry(client).catch(() => HUB_KEY) : server);
  if (key === "") throw new ExitError(1, `${JSON.stringify(server)} is no address of a registry`);
  return key;
}

/** What flags and standard input give. Throws for what contradicts itself. */
async function givenLogin({ flags }: Call): Promise<{ readonly username: string; readonly password: string }> {
  const [username, password] = [flags.text("username"), flags.text("password")];
  const isPiped = flags.bool("password-stdin");
  if (flags.changed("password") && isPiped) {
    throw new ExitError(1, "conflicting options: cannot specify both --password and --password-stdin");
  }
  if (flags.changed("username") && username === "") throw new ExitError(1, "username is empty");
  if (flags.changed("password") && password === "") throw new ExitError(1, "password is empty");
  if (!isPiped) {
    if (password !== "") complain("WARNING! Using --password via the CLI is insecure. Use --password-stdin.");
    return { username, password };
  }
  if (username === "") throw new ExitError(1, "the --password-stdin option requires --username to be set");
  const pieces: Buffer[] = [];
  let size = 0;
  for await (const piece of process.stdin as AsyncIterable<Buffer>) {
    size += piece.length;
    if (size > MOST_PASSWORD) throw new ExitError(1, "the password on standard input is too long");
    pieces.push(piece);
  }
  return {
    username,
    password: Buffer.concat(pieces)
      .toString("utf8")
      .replace(/\r?\n$/, ""),
  };
}

/** Tries what is kept; false, and why, if it doesn't do any more. */
async function hasProven(call: Call, credentials: Credentials, known: AuthConfig): Promise<boolean> {
  complain(`Authenticating with existing credentials... [Username: ${printable(known.username)}]`);
  note(2, "To login with a different account, run 'gantry logout' followed by 'gantry login'");
  complain("\n");
  try {
    await prove(call, credentials, known);
    return true;
  } catch (error) {
    if (!(error instanceof EngineError)) throw error;
    const isStale = error.status === 401;
    complain(isStale ? "Stored credentials invalid or expired" : `Login did not succeed, error: ${errorLine(error)}`);
    return false;
  }
}

/** Has the engine prove them at the registry, and keeps them. */
async function prove(call: Call, credentials: Credentials, auth: AuthConfig): Promise<void> {
  const { Status, IdentityToken } = await call.client.json<AuthResponse>("POST", "/auth", { json: auth });
  // The token stands for the password from now on, which then is kept nowhere.
  const proven = IdentityToken ? { ...auth, password: "", identitytoken: IdentityToken } : auth;
  // What the environment gives is only proven, and written nowhere.
  if (environmentAuths().get(auth.serveraddress) === auth) return printLine(Status || "Login Succeeded");
  let isReadable: boolean;
  try {
    isReadable = await credentials.store(auth.serveraddress, proven);
  } catch (error) {
    throw new ExitError(1, `Error saving credentials: ${printable(messageOf(error))}`);
  }
  if (isReadable) {
    complain(
      `\nWARNING! Your credentials are stored unencrypted in '${call.settings.configFolder}/config.json'.\nConfigure a credential helper to remove this warning. See\nhttps://docs.docker.com/go/credential-store/\n`,
    );
  }
  printLine(Status || "Login Succeeded");
}
