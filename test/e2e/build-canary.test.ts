import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { existsSync, lstatSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout } from "node:timers/promises";
import { GitRepository, GitServer, gitPrograms } from "../../src/build/sources/git-server.fixture.ts";
import { build, built, processesWith } from "../builds.ts";
import { endChild, findProgram } from "../command.ts";
import { NO_DOCKER, startEngine, type TestEngine } from "../engine.ts";
import { registryMissing, startRegistry } from "../registry.ts";

/** Debian's docker CLI, which has a client of BuildKit inside. */
const CLIENT = "/usr/bin/docker";

function missing(): string | false {
  if (NO_DOCKER !== false || !existsSync(CLIENT)) return "the docker CLI of the distribution is not installed";
  if (gitPrograms() === undefined) return "git or its server is not installed";
  if (findProgram("ssh-agent") === undefined) return "ssh-agent is not installed";
  return registryMissing();
}

/** Files below a folder that hold one of the texts. */
function holding(folder: string, texts: readonly string[]): string[] {
  const seen = new Set<number>();
  return readdirSync(folder, { recursive: true, withFileTypes: true }).flatMap((entry) => {
    const path = join(entry.parentPath, entry.name);
    const stat = lstatSync(path, { throwIfNoEntry: false });
    if (stat?.isFile() !== true || seen.has(stat.ino)) return [];
    seen.add(stat.ino);
    const bytes = readFileSync(path);
    return texts.filter((text) => bytes.includes(text)).map((text) => `${text} in ${path}`);
  });
}

function canary(name: string): string {
  return `canary-${name}-${randomBytes(12).toString("hex")}`;
}

/** A message of the agents' protocol: which keys there are. */
const LIST_KEYS = Buffer.from([0, 0, 0, 1, 11]);

async function askAgent(path: string): Promise<Buffer> {
  const { promise, resolve, reject } = Promise.withResolvers<Buffer>();
  const socket = connect(path, () => socket.write(LIST_KEYS));
  const parts: Buffer[] = [];
  socket.on("data", (bytes) => {
    parts.push(bytes);
    const all = Buffer.concat(parts);
    if (all.length >= 4 && all.length >= 4 + all.readUInt32BE(0)) resolve(all);
  });
  socket.on("error", reject);
  socket.on("close", () => reject(new Error("the agent closed the connection")));
  return promise.finally(() => socket.destroy());
}

async function withAgent<T>(engine: TestEngine, act: (socket: string, privateKey: string) => Promise<T>): Promise<T> {
  const key = join(engine.root, "key");
  const socket = join(engine.root, "agent.sock");
  assert.equal((await engine.run("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-C", "whose", "-f", key])).code, 0);
  const agent = spawn("ssh-agent", ["-D", "-a", socket], { stdio: "ignore" });
  try {
    while (!existsSync(socket)) await setTimeout(10);
    assert.equal((await engine.run("ssh-add", ["-q", key], { env: { SSH_AUTH_SOCK: socket } })).code, 0);
    return await act(socket, readFileSync(key, "utf8").split("\n")[3] ?? assert.fail());
  } finally {
    await endChild(agent, "SIGTERM", 5000);
  }
}

test("no secret that a build uses is in any file of the engine's, while it runs or after", {
  skip: missing(),
  timeout: 60_000,
}, async () => {
  await using engine = await startEngine();
  const [file, variable, password, token] = ["file", "variable", "password", "token"].map(canary) as string[];
  for (const [name, text] of Object.entries({ file, variable, token })) writeFileSync(join(engine.root, name), text!);
  await using registry = await startRegistry({ htpasswd: { joe: password! } });
  const image = `${registry.host}/team/base:1`;
  await engine.run("docker", ["login", "-u", "joe", "--password-stdin", registry.host], { input: password! });
  await engine.ok("tag", "busybox", image);
  await engine.ok("push", image);
  await engine.ok("rmi", image);
  const repositories = join(engine.root, "repositories");
  mkdirSync(repositories);
  const repository = new GitRepository(join(repositories, "app.git"));
  writeFileSync(join(repository.folder, "cloned"), "");
  repository.commit("first");
  await using server = await GitServer.start(repositories);
  const proof = Buffer.from(`x-access-token:${token}`).toString("base64");
  server.instead = (request, response) => {
    if (request.headers.authorization?.replace(/^basic /i, "") === proof) return false;
    response.writeHead(401, { "WWW-Authenticate": "Basic" }).end();
    return true;
  };
  await withAgent(engine, async (agent, privateKey) => {
    const login = Buffer.from(`joe:${password}`).toString("base64");
    const texts = [file!, variable!, password!, token!, proof, login, privateKey];
    const dockerfile = `FROM ${image}
ADD ${server.url}/app.git /app
RUN --mount=type=secret,id=file,target=/secret --mount=type=secret,id=variable,env=VARIABLE --mount=type=ssh,target=/agent.sock \\
  grep -q canary-file /secret && test "\${VARIABLE#canary-variable}" != "$VARIABLE" && test -S "$SSH_AUTH_SOCK" && sleep 4717
RUN test -e /app/cloned && test ! -e /secret
`;
    const secrets = ["id=file,src=file", "id=variable,src=variable", "id=GIT_AUTH_TOKEN,src=token"].flatMap((each) => [
      "--secret",
      each.replace("src=", `src=${engine.root}/`),
    ]);
    const args = [...secrets, "--ssh", `default=${agent}`, "--progress=plain", "-t", "made"];
    const building = build(engine, dockerfile, { program: CLIENT, args });
    building.catch(() => {});
    let ended = false;
    void building.finally(() => {
      ended = true;
    });
    let pid: string | undefined;
    while (pid === undefined && !ended) {
      [pid] = processesWith("sleep", "4717");
      await setTimeout(20);
    }
    if (ended) assert.fail((await building).stderr);
    assert.match((await askAgent(`/proc/${pid}/root/agent.sock`)).toString("latin1"), /whose/);
    assert.deepEqual(holding(engine.dataRoot, texts), []);
    process.kill(Number(pid), "SIGKILL");
    assert.notEqual((await building).code, 0);
    assert.deepEqual(holding(engine.dataRoot, texts), []);
    await built(engine, dockerfile.replace(" && sleep 4717", ""), { program: CLIENT, args });
    assert.deepEqual(holding(engine.dataRoot, texts), []);
    await engine.restart();
    // What the client itself wrote down is its own.
    assert.deepEqual(holding(engine.dataRoot, texts), []);
    assert.deepEqual(
      texts.filter((text) => engine.log.includes(text)),
      [],
    );
    assert.deepEqual(holding(engine.execRoot, texts), []);
    const saved = join(engine.root, "saved");
    mkdirSync(saved);
    await engine.ok("save", "-o", join(saved, "made.tar"), "made");
    assert.deepEqual(holding(saved, texts), []);
  });
});
