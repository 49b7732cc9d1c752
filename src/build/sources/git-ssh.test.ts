import assert from "node:assert/strict";
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { type AddressInfo, connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Duplex } from "node:stream";
import { after, before, describe, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { endChild, findProgram } from "../../../test/command.ts";
import { FakeSession, folderRoots } from "../contexts/fake-session.fixture.ts";
import { DenyRanges } from "../deny-ranges.ts";
import type { GitOperation } from "../graph.ts";
import { GitRepository, gitPrograms } from "./git-server.fixture.ts";
import { GitSource } from "./git-source.ts";

const PROGRAMS = ["sshd", "ssh", "ssh-agent", "ssh-add", "unshare"].map(findProgram);
const MISSING = PROGRAMS.includes(undefined) || gitPrograms() === undefined ? "OpenSSH or git is not installed" : false;

/** A client with an agent. */
class AgentSession extends FakeSession {
  readonly #socket: string;

  constructor(socket: string) {
    super({});
    this.#socket = socket;
  }

  override checkAgent(): Promise<never> {
    return Promise.resolve() as Promise<never>;
  }

  override agent(): Promise<never> {
    return Promise.resolve(connect(this.#socket) as Duplex) as Promise<never>;
  }
}

describe("repositories behind OpenSSH's server", { skip: MISSING }, () => {
  let folder = "";
  const own = (name: string) => join(folder, name);
  const children: ChildProcess[] = [];
  let remote = "";

  before(async () => {
    folder = mkdtempSync(join(tmpdir(), "gantry-git-ssh-"));
    for (const key of ["host", "key"]) execFileSync("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-f", own(key)]);
    const repository = new GitRepository(own("app.git"));
    writeFileSync(join(repository.folder, "file"), "by ssh\n");
    repository.commit("first");
    const port = await freePort();
    remote = `ssh://root@127.0.0.1:${port}${repository.folder}`;
    writeFileSync(
      own("sshd_config"),
      `Port ${port}
ListenAddress 127.0.0.1
HostKey ${own("host")}
AuthorizedKeysFile ${own("key.pub")}
StrictModes no
UsePAM no
PidFile none
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
SetEnv GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=safe.directory GIT_CONFIG_VALUE_0=*
`,
    );
    // Its folder below /run, without which it does not start, in a mount namespace of its own.
    const script = 'mount -t tmpfs tmpfs /run && mkdir -m 0755 /run/sshd && exec "$@"';
    const sshd = ["sh", findProgram("sshd") ?? "", "-D", "-e", "-f", own("sshd_config")];
    children.push(spawn("unshare", ["-m", "sh", "-c", script, ...sshd], { stdio: "ignore" }));
    children.push(spawn("ssh-agent", ["-D", "-a", own("agent")], { stdio: "ignore" }));
    await until(() => existsSync(own("agent")));
    execFileSync("ssh-add", ["-q", own("key")], { env: { ...process.env, SSH_AUTH_SOCK: own("agent") } });
    await until(() => answers(port));
  });
  after(async () => {
    // An agent removes its socket when it ends: not while the folder is removed.
    for (const child of children) await endChild(child, "SIGTERM", 5000);
    rmSync(folder, { recursive: true, force: true });
  });

  async function opened(name: string): Promise<GitSource> {
    const settings = () => ({ proxies: { http: "", https: "", exceptions: "" } });
    mkdirSync(own(name), { recursive: true });
    const source = new GitSource({ root: own(`${name}/git`), roots: folderRoots(), settings });
    await source.recover();
    return source;
  }

  const operation = (): GitOperation => ({ kind: "git", remote, ref: "", subdir: "", keepGitDir: false });
  const { signal } = new AbortController();

  test("the client's agent opens them, nothing else does", async () => {
    const source = await opened("agent-test");
    const options = { deny: new DenyRanges([]), signal };
    await assert.rejects(source.resolve(operation(), { ...options, session: undefined }), /Permission denied/);
    const session = new AgentSession(own("agent"));
    await using held = await (await source.resolve(operation(), { ...options, session })).root();
    assert.equal(readFileSync(join(held?.folder ?? "", "file"), "utf8"), "by ssh\n");
    await assert.rejects(source.resolve(operation(), { ...options, session, deny: new DenyRanges(["private"]) }), {
      kind: "forbidden",
    });
    const elsewhere = { ...options, session, deny: new DenyRanges(["10.0.0.0/8"]) };
    assert.ok((await source.resolve(operation(), elsewhere)).key !== undefined, "by the address that was checked");
  });

  test("a host that shows another key than before is refused", async () => {
    const source = await opened("known-test");
    const options = { deny: new DenyRanges([]), signal, session: new AgentSession(own("agent")) };
    await source.resolve(operation(), options);
    const known = own("known-test/git-known-hosts");
    const [host = ""] = readFileSync(known, "utf8").split(" ");
    const other = readFileSync(own("key.pub"), "utf8").split(" ").slice(0, 2).join(" ");
    writeFileSync(known, `${host} ${other}\n`);
    await assert.rejects(source.resolve(operation(), options), /Host key verification failed/);
  });
});

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

function answers(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    socket.once("connect", () => resolve(true)).once("error", () => resolve(false));
    socket.once("connect", () => socket.destroy());
  });
}

async function until(isSo: () => boolean | Promise<boolean>): Promise<void> {
  for (const deadline = Date.now() + 15_000; !(await isSo()); await delay(50)) {
    assert.ok(Date.now() < deadline, "it did not start");
  }
}
