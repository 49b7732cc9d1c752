import assert from "node:assert/strict";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, beforeEach, test } from "node:test";
import type { AuthConfig } from "../../api/registry.ts";
import { readConfigFile } from "../config-file.ts";
import { HUB_KEY, keyOf } from "./address.ts";
import { Credentials } from "./credentials.ts";
import { examineCredentials } from "./examine.ts";
import { encoded } from "./headers.ts";

const { PATH, GANTRY_CREDENTIALS_TIMEOUT } = process.env;
let root = "";
let folder = "";
let programs = "";

before(() => {
  root = mkdtempSync(join(tmpdir(), "gantry-credentials-"));
});

beforeEach(() => {
  folder = mkdtempSync(join(root, "config-"));
  programs = join(folder, "bin");
  mkdirSync(programs);
  process.env.PATH = `${programs}:/usr/bin:/bin`;
  delete process.env.GANTRY_CREDENTIALS_TIMEOUT;
});

after(() => {
  process.env.PATH = PATH;
  if (GANTRY_CREDENTIALS_TIMEOUT !== undefined) process.env.GANTRY_CREDENTIALS_TIMEOUT = GANTRY_CREDENTIALS_TIMEOUT;
  rmSync(root, { recursive: true, force: true });
});

function file(): Record<string, unknown> {
  return JSON.parse(readFileSync(join(folder, "config.json"), "utf8")) as Record<string, unknown>;
}

/** Writes `config.json`, and reads it as each command does at its start. */
function credentials(config?: unknown): Credentials {
  if (config !== undefined) writeFileSync(join(folder, "config.json"), JSON.stringify(config), { mode: 0o644 });
  return new Credentials({ configFolder: folder, config: () => readConfigFile(folder) });
}

/** A credential helper that keeps a file for each key, and a log of what it was called with. */
function helper(name: string, script?: string): void {
  const path = join(programs, `docker-credential-${name}`);
  const keeping = `
    input=$(cat)
    echo "$1 $input" >>"${folder}/calls"
    path="${folder}/kept-$(echo "$input" | sed 's/.*"ServerURL":"\\([^"]*\\)".*/\\1/' | tr '/:' '__')"
    case $1 in
      store) echo "$input" >"$path" ;;
      get) cat "$path" 2>/dev/null || { echo "credentials not found in native keychain"; exit 1; } ;;
      erase) rm "$path" 2>/dev/null || { echo "credentials not found in native keychain"; exit 1; } ;;
      list) echo '{"registry.example:5000":"joe"}' ;;
    esac`;
  writeFileSync(path, `#!/bin/sh\n${script ?? keeping}\n`);
  chmodSync(path, 0o755);
}

function auth(username: string, password: string, key = "registry.example:5000"): AuthConfig {
  return { username, password, serveraddress: key, identitytoken: "", registrytoken: "" };
}

const HOST = "registry.example:5000";

test("every spelling of a registry's address has one key, and other hosts and ports have others", () => {
  for (const address of [HOST, `http://${HOST}`, `https://${HOST}/v1/`, `https://joe@${HOST}/v2/?x#y`]) {
    assert.equal(keyOf(address), HOST);
  }
  for (const address of [
    "docker.io",
    "index.docker.io",
    "registry-1.docker.io",
    HUB_KEY,
    "https://index.docker.io/v2/",
  ]) {
    assert.equal(keyOf(address), HUB_KEY);
  }
  assert.notEqual(keyOf("registry.example"), HOST);
  assert.notEqual(keyOf("docker.io.example"), HUB_KEY);
  assert.notEqual(keyOf("docker.io:5000"), HUB_KEY);
  assert.equal(keyOf("evil.example/registry.example:5000"), "evil.example");
});

test("a header is base64 of the URL's alphabet with its padding", () => {
  assert.equal(encoded({ a: "\u{3f}\u{3f}>>~~" }), "eyJhIjoiPz8-Pn5-In0=");
});

test("what is kept is found again, and is in the file as docker writes it, readable to nobody else", async () => {
  assert.equal(
    await credentials({ auths: {}, later: { a: [1] }, detachKeys: "ctrl-p" }).store(HOST, auth("joe", "s:e")),
    true,
  );
  assert.deepEqual(file(), {
    auths: { [HOST]: { auth: Buffer.from("joe:s:e").toString("base64") } },
    later: { a: [1] },
    detachKeys: "ctrl-p",
  });
  assert.equal(statSync(join(folder, "config.json")).mode & 0o777, 0o600);
  assert.deepEqual(await credentials().get(HOST), auth("joe", "s:e"));
  assert.equal(await credentials().get("registry.example"), undefined);
  assert.equal(await credentials().get(HUB_KEY), undefined);
  assert.equal(await credentials().store(HOST, auth("joe", "s:e")), false, "nothing new");
});

test("a folder that is not there is made for its owner alone", async () => {
  const own = join(folder, "new/config");
  const kept = new Credentials({ configFolder: own, config: () => readConfigFile(own) });
  await kept.store(HOST, auth("joe", "secret"));
  assert.equal(statSync(own).mode & 0o777, 0o700);
  assert.equal(statSync(join(own, "config.json")).mode & 0o777, 0o600);
});

test("a file that is a link stays one, also where nothing is at its end yet", async () => {
  mkdirSync(join(folder, "kept"));
  symlinkSync("kept/own.json", join(folder, "config.json"));
  const kept = new Credentials({ configFolder: folder, config: () => readConfigFile(folder) });
  await kept.store(HOST, auth("joe", "secret"));
  await kept.store("other.example", auth("ann", "secret"));
  assert.equal(readlinkSync(join(folder, "config.json")), "kept/own.json");
  assert.deepEqual(Object.keys(file().auths as object), [HOST, "other.example"]);
  assert.equal(statSync(join(folder, "kept/own.json")).mode & 0o777, 0o600);
});

test("an identity token takes the password's place", async () => {
  const token = { ...auth("joe", ""), identitytoken: "t0k" };
  assert.equal(await credentials({}).store(HOST, token), false, "no password to warn of");
  assert.deepEqual(file().auths, {
    [HOST]: { auth: Buffer.from("joe:").toString("base64"), identitytoken: "t0k" },
  });
  assert.deepEqual(await credentials().get(HOST), token);
});

test("rows that other programs wrote are read: plain names and passwords, URLs, further fields", async () => {
  const config = {
    auths: {
      [`https://${HOST}/v1/`]: { username: "joe", password: "secret", email: "joe@registry.example" },
      "docker.io": { auth: Buffer.from("hub:pw").toString("base64") },
      "empty.example": {},
    },
  };
  const kept = credentials(config);
  assert.deepEqual(await kept.get(HOST), auth("joe", "secret"));
  assert.deepEqual(await kept.get(HUB_KEY), auth("hub", "pw", HUB_KEY));
  assert.equal(await kept.get("empty.example"), undefined);
  assert.deepEqual([...(await kept.all()).keys()], [HOST, HUB_KEY]);
  await kept.erase(HOST);
  assert.deepEqual(Object.keys(file().auths as object), ["docker.io", "empty.example"]);
});

test("a row that cannot be read is a sentence without its content, and harms no other", async () => {
  const rows = { a: { auth: "???" }, b: { auth: "c2VjcmV0" }, c: { username: 3 }, d: { auth: "OnNlY3JldA==" } };
  const kept = credentials({ auths: { ...rows, [HOST]: { username: "joe", password: "secret" } } });
  await assert.rejects(kept.get("a"), { message: "the auth of a is not base64" });
  await assert.rejects(kept.get("b"), {
    message: "invalid auth configuration file: the auth of b is not name:password",
  });
  await assert.rejects(kept.get("c"), { message: "the username of c is no text" });
  await assert.rejects(kept.get("d"), {
    message: "invalid auth configuration file: the auth of d is not name:password",
  });
  assert.deepEqual(await kept.get(HOST), auth("joe", "secret"));
  assert.deepEqual([...(await kept.all()).keys()], [HOST]);
});

test("a file that is no JSON is left as it is", async () => {
  writeFileSync(join(folder, "config.json"), '{"auths": {');
  await assert.rejects(
    credentials().store(HOST, auth("joe", "secret")),
    /^GantryError: cannot change .*config\.json: /,
  );
  assert.equal(readFileSync(join(folder, "config.json"), "utf8"), '{"auths": {');
});

test("a credential helper keeps the secret, and the file only says that there is one", async () => {
  helper("box");
  const config = { credsStore: "box" };
  assert.equal(await credentials(config).store(HOST, auth("joe", 'se"cret')), false);
  assert.deepEqual(file(), { auths: { [HOST]: {} }, credsStore: "box" });
  assert.deepEqual(await credentials().get(HOST), auth("joe", 'se"cret'));
  assert.equal(await credentials().get("registry.example"), undefined);
  assert.deepEqual([...(await credentials().all()).keys()], [HOST]);
  await credentials().erase(HOST);
  assert.deepEqual(file(), { auths: {}, credsStore: "box" });
  assert.equal(await credentials().get(HOST), undefined);
  const calls = readFileSync(join(folder, "calls"), "utf8");
  assert.match(calls, /^store \{"ServerURL":"registry\.example:5000","Username":"joe","Secret":"se\\"cret"\}$/m);
  assert.match(calls, /^erase registry\.example:5000\nerase http:\/\/registry\.example:5000\nerase https:/m);
});

test("a helper keeps an identity token under docker's name for it", async () => {
  helper("box");
  await credentials({ credsStore: "box" }).store(HOST, { ...auth("joe", ""), identitytoken: "t0k" });
  assert.match(readFileSync(join(folder, "calls"), "utf8"), /"Username":"<token>","Secret":"t0k"/);
  assert.deepEqual(await credentials().get(HOST), { ...auth("", ""), identitytoken: "t0k" });
});

test("a registry's own helper goes before the store, and the empty one is the file", async () => {
  helper("box");
  helper("own", `echo '{"ServerURL":"x","Username":"own","Secret":"pw"}'`);
  const config = {
    auths: { "plain.example": { username: "p", password: "q" } },
    credsStore: "box",
    credHelpers: { [`https://${HOST}`]: "own", "plain.example": "" },
  };
  const kept = credentials(config);
  assert.deepEqual(await kept.get(HOST), auth("own", "pw"));
  assert.deepEqual(await kept.get("plain.example"), auth("p", "q", "plain.example"));
  assert.equal(await kept.get("other.example"), undefined);
  assert.match(readFileSync(join(folder, "calls"), "utf8"), /^get other\.example$/m);
});

test("where nothing is configured the platform's own helper is used if it is installed", async () => {
  helper("secretservice");
  writeFileSync(join(programs, "pass"), "");
  await credentials({ detachKeys: "ctrl-p" }).store(HOST, auth("joe", "secret"));
  assert.deepEqual(file(), { auths: { [HOST]: {} }, detachKeys: "ctrl-p", credsStore: "secretservice" });
  assert.deepEqual(await credentials().get(HOST), auth("joe", "secret"));
});

const FAULTS: readonly (readonly [string, string | undefined, string])[] = [
  ["is not installed", undefined, 'err: exec: "docker-credential-bad": executable file not found in $PATH'],
  ["fails", 'echo "no \\"bus\\""; exit 3', 'err: exit status 3, out: `no "bus"`'],
  ["is killed", "kill -9 $$", "err: signal: SIGKILL, out: ``"],
  [
    "prints rubbish",
    'echo \'{"Username":"joe","Secret":"hid\'',
    "err: docker-credential-bad printed something that is not JSON",
  ],
  ["prints a list", "echo '[\"hidden\"]'", "err: docker-credential-bad printed no JSON object"],
  ["prints other fields", 'echo \'{"user":"hidden"}\'', "err: docker-credential-bad gave no user name and secret"],
  ["never stops printing", "exec yes hidden", "err: docker-credential-bad printed more than 1048576 bytes"],
  ["hangs", "exec sleep 600", "err: docker-credential-bad did not answer within 0.3 s"],
  ["leaves a child with its output", "sleep 600 & echo $! >kept; exit 1", "err: exit status 1, out: ``"],
];

for (const [what, script, expected] of FAULTS) {
  test(`a helper that ${what} is one sentence, without what it printed of a secret`, async () => {
    if (what === "hangs") process.env.GANTRY_CREDENTIALS_TIMEOUT = "0.3";
    if (script !== undefined) helper("bad", `cd "${folder}"; ${script}`);
    try {
      await assert.rejects(credentials({ credsStore: "bad" }).get(HOST), (error: Error) => {
        assert.ok(error.message.startsWith(`error getting credentials - ${expected}`), error.message);
        assert.doesNotMatch(error.message, /hid/);
        return true;
      });
    } finally {
      const kept = join(folder, "kept");
      if (existsSync(kept)) process.kill(Number(readFileSync(kept, "utf8")), "SIGKILL");
    }
  });
}

test("a helper that fails to erase what it hasn't fails nothing, and one that still has it does", async () => {
  const script = (found: string): string => `
    read key
    case $1 in
      erase) echo "$key is not in the store"; exit 1 ;;
      get) ${found} ;;
    esac`;
  for (const answer of [
    'echo "credentials not found in native keychain"; exit 1',
    `echo '{"Username":"","Secret":""}'`,
  ]) {
    helper("odd", script(answer));
    await credentials({ auths: { [HOST]: {} }, credsStore: "odd" }).erase(HOST);
    assert.deepEqual(file(), { auths: {}, credsStore: "odd" });
  }
  helper("odd", script(`echo '{"Username":"joe","Secret":"hidden"}'`));
  await assert.rejects(credentials({ auths: { [HOST]: {} }, credsStore: "odd" }).erase(HOST), {
    message: `error erasing credentials - err: exit status 1, out: \`${HOST} is not in the store\``,
  });
  assert.deepEqual(file(), { auths: { [HOST]: {} }, credsStore: "odd" });
});

test("a look at what is kept tells what is amiss, and how to mend it", async () => {
  const look = async (config: unknown, mode = 0o600): Promise<readonly string[]> => {
    writeFileSync(join(folder, "config.json"), JSON.stringify(config));
    chmodSync(join(folder, "config.json"), mode);
    const settings = { configFolder: folder, config: () => readConfigFile(folder) };
    const { Status, Found, Mend } = await examineCredentials(settings);
    return [Status, Found, Mend];
  };
  const path = join(folder, "config.json");
  const auths = { [HOST]: { username: "joe", password: "secret" } };
  assert.deepEqual(await look({}), ["ok", "none are kept", ""]);
  assert.deepEqual(await look({ auths }), ["ok", HOST, ""]);
  const readable = `${path} has passwords, and others may read it`;
  assert.deepEqual(await look({ auths }, 0o644), ["warning", readable, `chmod 600 ${path}`]);
  assert.deepEqual(await look({ credHelpers: { [HOST]: "away" } }), [
    "warning",
    "docker-credential-away is not installed: what it keeps can't be had",
    `Install docker-credential-away, or take it out of ${path}`,
  ]);
  helper("box", "echo locked; exit 1");
  assert.match((await look({ credsStore: "box" }))[1] ?? "", /^error listing credentials - err: exit status 1/);
  process.env.GANTRY_AUTH_CONFIG = "{}";
  try {
    assert.equal((await look({}))[1], "GANTRY_AUTH_CONFIG is set, and gives no credentials");
  } finally {
    delete process.env.GANTRY_AUTH_CONFIG;
  }
});

test("the name of a helper is no path", async () => {
  await assert.rejects(credentials({ credsStore: "../../bin/sh" }).get(HOST), {
    message: 'credential helper "../../bin/sh" is no name of a program',
  });
});
