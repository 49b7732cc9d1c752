import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { type Answer, type Asked, ask, bytesOf } from "../both-engines.ts";
import { findProgram, finish } from "../command.ts";
import { NO_DOCKERD, TestDockerd } from "../dockerd.ts";
import { NO_DOCKER, startEngine, type TestEngine } from "../engine.ts";
import { artifact, indexOfOthers } from "../faulty-images.ts";
import { imageOf, indexOf, layerOf, pushTo, type TestImage } from "../oci-image.ts";
import { registryMissing, startRegistry, type TestRegistry } from "../registry.ts";

/**
 * What is pulled from and pushed to the same registries, by Gantry and by Docker's own engine: statuses, refusals, and
 * the lines of progress with their keys and their order. What is meant to differ says why.
 */
interface Step extends Asked {
  /** What Gantry says instead of Docker's answer, and why. */
  readonly differs?: { readonly ours: RegExp; readonly why: string };
}

/** The oldest, one of before platforms could be asked for, the peer's own, and later ones, of which it has none. */
const VERSIONS = ["1.24", "1.32", "1.41", "1.43", "1.48", "1.51"];
const NEWEST_OF_PEER = 1.41;

/** Those in which everything is tried; in the others, the pulls that tell versions apart or that clients live by. */
const WHOLE: readonly string[] = ["1.24", "1.41", "1.51"];

const ARM = { os: "linux", architecture: process.arch === "arm64" ? "amd64" : "arm64" };
const ZEROS = `sha256:${"0".repeat(64)}`;

const CLIENTS_FAULT = "20.10 says 500 for what the client did wrong";
const NEWER = "as newer Docker says it";
const NAMES_PLATFORMS = "one sees what to ask for";

/** In base64 with its padding, as Docker wants it. */
function authOf(auth: unknown): Record<string, string> {
  const text = Buffer.from(JSON.stringify(auth)).toString("base64");
  return { "X-Registry-Auth": text.replaceAll("+", "-").replaceAll("/", "_") };
}

/** Digests of what the registries have for one version. */
interface Stock {
  readonly app: string;
  readonly index: string;
}

const NOBODY = authOf({});
const JOE = authOf({ username: "joe", password: "secret" });
const WRONG = authOf({ username: "joe", password: "wrong" });

describe("registries asked by Gantry and by Docker", { skip: NO_DOCKERD || registryMissing() }, () => {
  let engine: TestEngine;
  let docker: TestDockerd;
  let plain: TestRegistry;
  let users: TestRegistry;
  let tokens: TestRegistry;
  let tls: TestRegistry;

  before(async () => {
    plain = await startRegistry();
    users = await startRegistry({ htpasswd: { joe: "secret" } });
    tokens = await startRegistry({ token: true });
    tls = await startRegistry({ tls: true });
    engine = await startEngine();
    docker = await TestDockerd.start();
    const archive = await bytesOf(engine.socket, "GET", "/images/get?names=busybox");
    await bytesOf(docker.socket, "POST", "/images/load", archive);
  });
  after(async () => {
    for (const each of [docker, engine, plain, users, tokens, tls]) await each?.[Symbol.asyncDispose]();
  });

  const pull = (fromImage: string, tag = "", headers: Asked["headers"] = {}, platform?: string): Step => ({
    line: `POST /images/create?fromImage=${fromImage}&tag=${tag}${platform === undefined ? "" : `&platform=${platform}`}`,
    headers,
  });
  const push = (name: string, tag: string, headers: Asked["headers"] = JOE): Step => ({
    line: `POST /images/${name}/push?tag=${tag}`,
    headers,
  });
  const look = (name: string, headers: Asked["headers"] = {}): Step => ({
    line: `GET /distribution/${name}/json`,
    headers,
  });
  const logIn = (body: unknown): Step => ({ line: "POST /auth", body });
  const but = (step: Step, ours: RegExp, why: string): Step => ({ ...step, differs: { ours, why } });

  async function both(step: Step, version: string): Promise<void> {
    const theirs = Number(version) <= NEWEST_OF_PEER ? version : String(NEWEST_OF_PEER);
    const answers = await Promise.all([ask(engine.socket, step, version), ask(docker.socket, step, theirs)]);
    const [mine, other] = answers.map((answer) => toldBy(answer, addresses()));
    assert.ok(mine !== undefined && other !== undefined);
    const shown = `v${version} ${step.line}\n`;
    if (step.differs === undefined) return assert.deepEqual(mine, other, `${shown}${JSON.stringify([mine, other])}`);
    assert.notDeepEqual(mine, other, `${shown}they agree meanwhile: take the reason away (${step.differs.why})`);
    assert.match(`${mine.status} ${mine.rest.join("\n")}`, step.differs.ours, shown);
  }

  /** Ports are of no interest where an answer is shown, and both name the same ones. */
  const addresses = (): ReadonlyMap<string, string> =>
    new Map([plain, users, tokens, tls].map(({ host }, at) => [host, `registry-${at}`]));

  /** Made anew for each version, as what is pulled is there afterwards. */
  async function stock(name: string): Promise<Stock> {
    let app = "";
    for (const registry of [plain, users, tokens, tls]) {
      app = await pushTo(registry, `${name}/app:1`, imageSaying(`${name} 1`));
      await pushTo(registry, `${name}/app:2`, imageSaying(`${name} 2`));
    }
    await pushTo(plain, `${name}/oci:1`, imageSaying(`${name} oci`, "oci"));
    const members = [imageSaying(`${name} index`), imageOf({ mediaTypes: "docker", platform: ARM })];
    const index = await pushTo(plain, `${name}/index:1`, indexOf(members, { mediaTypes: "docker" }));
    await pushTo(plain, `${name}/others:1`, indexOfOthers());
    await pushTo(plain, `${name}/artifact:1`, artifact());
    return { app, index };
  }

  for (const version of VERSIONS) {
    const name = `v${version.replace(".", "-")}`;
    const at = (registry: TestRegistry, rest: string): string => `${registry.host}/${name}/${rest}`;
    let stocked: Promise<Stock> | undefined;
    /** Docker's own CLI asks for a password then, unless it is as new as this. */
    const unproven = (step: Step): Step =>
      version === "1.51" ? but(step, /^401 .*unauthorized: (authentication required|incorrect)/, NEWER) : step;
    const digests = (): Promise<Stock> => {
      stocked ??= stock(name);
      return stocked;
    };

    test(`pulls, API ${version}`, async () => {
      const { app, index } = await digests();
      const steps: readonly Step[] = [
        pull(at(plain, "app"), "1"),
        pull(at(plain, "app"), "1"),
        pull(at(plain, `index@${index}`)),
        pull(at(plain, "index"), "1"),
        pull(at(plain, "index"), "1", {}, `linux/${ARM.architecture}`),
        ...(version === "1.24"
          ? [pull(at(plain, "index"), "1", {}, "bogus//")]
          : [
              but(pull(at(plain, "index"), "1", {}, "linux/s390x"), /entries: there is one for /, NAMES_PLATFORMS),
              but(pull(at(plain, "index"), "1", {}, "bogus//"), /^400 "" is an invalid component of "bogus/, NEWER),
            ]),
        pull(at(plain, "nobody"), "1"),
        pull(at(plain, "app"), "-"),
        pull(at(users, "app"), "1"),
        unproven(pull(at(users, "app"), "1", WRONG)),
        pull(at(tokens, "app"), "1"),
        unproven(pull(at(tokens, "app"), "1", WRONG)),
        pull(at(tokens, "app"), "1", JOE),
      ];
      const more: readonly Step[] = [
        pull(at(plain, "app:2")),
        pull(at(plain, "app:2"), "1"),
        pull(at(plain, "app")),
        pull(at(plain, "app:")),
        pull(at(plain, "app"), app),
        pull(at(plain, `app@${app}`)),
        pull(at(plain, `app:1@${app}`)),
        pull(at(plain, "oci"), "1"),
        pull(at(tls, "app"), "1"),
        but(pull(at(plain, "others"), "1"), /^200 .*entries: there is one for linux/s, NAMES_PLATFORMS),
        but(pull(at(plain, "artifact"), "1"), /^200 .*is an artifact and not an image/s, "it says what it is"),
        // What isn't there, and what is no name.
        pull(at(plain, "nobody")),
        pull(at(plain, "app"), "none"),
        pull(at(plain, "app"), ZEROS),
        pull(at(plain, "app"), "sha256:00"),
        pull(":", "1"),
        but(pull(at(plain, "UPPER"), "1"), /^400 .*\(v[-\d]+\/UPPER\) must be lowercase$/, NEWER),
        but(pull("127.0.0.1:1/x", "1"), /^500 .*: dial tcp 127.0.0.1:1: connect: connection refused$/, "no ping first"),
        // Who asks.
        unproven(pull(at(users, "app"), "", WRONG)),
        pull(at(users, "app"), "1", { "X-Registry-Auth": "%%%" }),
        pull(at(users, "nobody"), "1", JOE),
        pull(at(users, "app"), "1", JOE),
        pull(at(users, "app"), "1"),
        pull(at(users, "app"), "", JOE),
        pull(at(tokens, "app")),
        unproven(pull(at(tokens, "app"), "1", authOf({ identitytoken: "of nobody" }))),
        unproven(pull(at(tokens, "app"), "1", authOf({ registrytoken: "of-nobody" }))),
        pull(at(tokens, "nobody"), "1", JOE),
        pull(at(tokens, "nobody"), "", JOE),
        { line: `POST /containers/create`, body: { Image: at(plain, "absent:1") } },
        { line: `POST /containers/create`, body: { Image: at(plain, `absent@${app}`) } },
      ];
      for (const step of WHOLE.includes(version) ? [...steps, ...more] : steps) await both(step, version);
    });

    if (!WHOLE.includes(version)) continue;

    test(`pushes, API ${version}`, async () => {
      const tag = (repo: string, tagged: string): Step => ({
        line: `POST /images/busybox/tag?repo=${repo}&tag=${tagged}`,
      });
      const steps: readonly Step[] = [
        tag(at(plain, "pushed"), "1"),
        push(at(plain, "pushed"), "1"),
        push(at(plain, "pushed"), "1"),
        tag(at(plain, "pushed"), "2"),
        push(at(plain, "pushed"), ""),
        push(at(plain, "pushed:1"), ""),
        push(at(plain, "pushed:2"), "1"),
        tag(at(plain, "other"), "1"),
        push(at(plain, "other"), "1"),
        push(at(plain, "pushed"), "none"),
        push(at(plain, "nobody"), "1"),
        push(at(plain, "nobody"), ""),
        but(push(at(plain, "pushed"), "-"), /^400 invalid tag format$/, CLIENTS_FAULT),
        but(push(at(plain, "UPPER"), "1"), /^400 .*must be lowercase$/, CLIENTS_FAULT),
        but(push(at(plain, "pushed"), "1", {}), /^200 /, "the header may be left out, as newer Docker's engine has it"),
        tag(at(users, "pushed"), "1"),
        push(at(users, "pushed"), "1", NOBODY),
        push(at(users, "pushed"), "1", WRONG),
        push(at(users, "pushed"), "1", JOE),
        tag(at(tokens, "pushed"), "1"),
        push(at(tokens, "pushed"), "1", NOBODY),
        push(at(tokens, "pushed"), "1", WRONG),
        push(at(tokens, "pushed"), "1", JOE),
        tag("127.0.0.1:1/x", "1"),
        push("127.0.0.1:1/x", "1"),
        { line: `DELETE /images/${at(plain, "other")}:1` },
      ];
      for (const step of steps) await both(step, version);
    });

    test(`lookups, logins and searches, API ${version}`, async () => {
      const { app } = await digests();
      const search = (query: string): Step => ({ line: `GET /images/search?${query}` });
      const capital = "a capital letter of 20.10's";
      const steps: readonly Step[] = [
        look(at(plain, "app:1")),
        look(at(plain, "app")),
        look(at(plain, `app@${app}`)),
        look(at(plain, "index:1")),
        look(at(plain, "artifact:1")),
        but(look(at(plain, "oci:1")), /^200 /, "its platform, where Docker says null"),
        look(at(plain, "nobody:1")),
        look(at(plain, `app@${ZEROS}`)),
        look(at(plain, "app:1"), { "X-Registry-Auth": "%%%" }),
        look(ZEROS),
        look(at(plain, "app:b@d")),
        look(at(users, "app:1")),
        look(at(users, "app:1"), WRONG),
        look(at(users, "app:1"), JOE),
        look(at(tokens, "app:1")),
        but(
          look(at(tokens, "app:1"), WRONG),
          /^401 Get .*: unauthorized: incorrect username or password$/,
          CLIENTS_FAULT,
        ),
        look(at(tokens, "app:1"), JOE),
        look(at(tokens, "nobody:1"), JOE),
        logIn({ username: "joe", password: "secret", serveraddress: users.host }),
        logIn({ username: "joe", password: "secret", serveraddress: `http://${users.host}/v2/` }),
        logIn({ username: "joe", password: "wrong", serveraddress: users.host }),
        logIn({ serveraddress: users.host }),
        logIn({ username: "joe", password: "secret", serveraddress: tokens.host }),
        but(
          logIn({ username: "joe", password: "wrong", serveraddress: tokens.host }),
          /^401 .*: unauthorized: incorrect username or password$/,
          CLIENTS_FAULT,
        ),
        logIn({ username: "joe", password: "secret", serveraddress: plain.host }),
        logIn({ username: "joe", password: "secret", serveraddress: `https://${tls.host}` }),
        logIn({ username: "joe", password: "secret", serveraddress: "127.0.0.1:1" }),
        but(search(`term=${plain.host}/app`), /^200 /, "the catalog is looked through"),
        but(search(`term=${plain.host}/app&limit=101`), /^400 limit 101 is outside the range of \[1, 100\]$/, capital),
        but(search(`term=${plain.host}/app&limit=y`), /^400 strconv.Atoi: parsing "y": invalid syntax$/, CLIENTS_FAULT),
        but(search(`term=x&filters={"bogus":["1"]}`), /^400 invalid filter 'bogus'$/, capital),
        but(
          search(`term=x&filters={"stars":["y"]}`),
          /^400 invalid filter 'stars=y': strconv.Atoi: parsing "y": invalid syntax$/,
          NEWER,
        ),
      ];
      for (const step of steps) await both(step, version);
    });
  }

  test("the docker CLI prints the same of both, and ends with the same codes", { skip: NO_DOCKER }, async () => {
    const { app } = await stock("cli");
    const at = (registry: TestRegistry, rest: string): string => `${registry.host}/cli/${rest}`;
    const docker28 = findProgram("docker") ?? "docker";
    const homes = [engine, docker].map(({ root, socket }) => {
      const config = join(root, "cli");
      mkdirSync(config);
      return { config, env: { ...process.env, DOCKER_HOST: `unix://${socket}`, DOCKER_CONFIG: config, HOME: config } };
    });
    const isolated = ["--network", "none"];
    const logIn = (registry: TestRegistry): readonly string[] => [
      ...["login", "-u", "joe", "--password-stdin"],
      registry.host,
    ];
    /** What is typed, and what is given to its input. */
    const lines: readonly (readonly [readonly string[], string?])[] = [
      [["pull", at(plain, "app:1")]],
      [["pull", at(plain, "app:1")]],
      [["pull", "-q", at(plain, "app:2")]],
      [["pull", at(plain, "app")]],
      [["pull", "-a", at(plain, "app")]],
      [["pull", at(plain, `app@${app}`)]],
      [["pull", at(plain, "nobody:1")]],
      [["pull", "-a", at(plain, "nobody")]],
      [["pull", "--platform", `linux/${ARM.architecture}`, at(plain, "index:1")]],
      // Docker lists images of one age by chance: one at a time.
      [["images", "--digests", at(plain, "app:1")]],
      [["inspect", "-f", "{{.RepoDigests}}{{.RepoTags}}", at(plain, "app:1")]],
      [["history", "--no-trunc", at(plain, "app:1")]],
      [["rmi", at(plain, "app:1"), at(plain, "app:2")]],
      [["pull", at(plain, `app@${app}`)]],
      [["images", "--digests", at(plain, "app")]],
      [["rmi", at(plain, `app@${app}`)]],
      [["run", "--rm", ...isolated, at(plain, "app:9"), "x"]],
      [["run", "--rm", ...isolated, at(plain, "nobody"), "x"]],
      [["create", "--pull", "never", at(plain, "app:1"), "x"]],
      [["create", "--pull", "always", ...isolated, "--name", "one", at(plain, "app:1"), "x"]],
      [["create", ...isolated, "--name", "two", at(plain, "app:2"), "x"]],
      [["rm", "one", "two"]],
      [["pull", at(tokens, "app:1")]],
      [["run", "--rm", ...isolated, at(tokens, "app:2"), "x"]],
      [["push", at(plain, "nobody")]],
      [["push", at(plain, `app@${app}`)]],
      [["tag", "busybox", at(users, "bb:1")]],
      [["push", at(users, "bb:1")]],
      [["tag", "busybox", at(tokens, "bb:1")]],
      [["push", at(tokens, "bb:1")]],
      [logIn(users), "wrong"],
      [logIn(users), "secret"],
      [logIn(tokens), "wrong"],
      [logIn(tokens), "secret"],
      [["login", users.host]],
      [["pull", at(users, "app:1")]],
      [["pull", "-q", at(tokens, "app:1")]],
      [["push", at(users, "bb:1")]],
      [["push", "-q", at(tokens, "bb:1")]],
      [["push", "-a", at(users, "bb")]],
      [["push", at(users, "bb:none")]],
      [["manifest", "inspect", "--insecure", `${plain.directHost}/cli/index:1`]],
      [["manifest", "inspect", "--insecure", `${plain.directHost}/cli/nobody:1`]],
      [
        [
          "manifest",
          "create",
          "--insecure",
          ...["list", "app", "oci"].map((each) => `${plain.directHost}/cli/${each}:1`),
        ],
      ],
      [["manifest", "push", "--insecure", `${plain.directHost}/cli/list:1`]],
      [["pull", `${plain.directHost}/cli/list:1`]],
      [["rmi", "-f", at(users, "bb:1"), "nobody"]],
      [["logout", users.host]],
      [["images", "-q", "--filter", `reference=${plain.host}/cli/ap*:1`]],
    ];
    for (const [args, input] of lines) {
      const said: unknown[] = [];
      // One after the other: manifests the client pushes by itself, and to the same name.
      for (const { config, env } of homes) {
        const { code, stderr, stdout } = await finish(docker28, args, { env, ...(input !== undefined && { input }) });
        said.push({ code, stdout: printed(stdout, config), stderr: printed(stderr, config) });
      }
      assert.deepEqual(said[0], said[1], args.join(" "));
    }
  });
});

/** A layer's line. */
const ROW = /^[0-9a-f]{12}: (?!digest)/;

/** What a tool printed, without what moves, where it keeps its files, and ids of containers. */
function printed(text: string, config: string): readonly string[] {
  const lines = text.replaceAll(config, "HOME").split("\n");
  return lines
    .filter((line) => !ROW.test(line))
    .map((line) =>
      line
        .replace(/^[0-9a-f]{64}$/, "a container")
        .replace(/( digest: | [^ ]*@)sha256:[0-9a-f]{64}( size: \d+)?$/, "$1its own"),
    );
}

function imageSaying(text: string, mediaTypes: "docker" | "oci" = "docker"): TestImage {
  const layers = ["a", "b"].map((name) => layerOf([{ name, body: `${text} ${name}` }], { mediaTypes }));
  return imageOf({ mediaTypes, layers });
}

/** An answer as far as two engines must agree on it. */
interface Told {
  readonly status: number;
  /** Each layer's steps, in the order in which the layers were named, with the keys of each line. */
  readonly rows: readonly (readonly string[])[];
  /** All other lines, in their order, or the refusal. */
  readonly rest: readonly string[];
}

/** Steps of a layer that are passed in a moment, or take long, as it happens. */
const FLEETING = /^(Waiting|Downloading|Verifying Checksum|Download complete|Extracting|Pushing|Retrying in .*)$/;

function toldBy({ status, text }: Answer, addresses: ReadonlyMap<string, string>): Told {
  const plain = [...addresses].reduce((known, [host, name]) => known.replaceAll(host, name), text);
  const rows = new Map<string, string[]>();
  const rest: string[] = [];
  for (const line of plain.split("\n").filter((each) => each.trim() !== "")) {
    const value = parsed(line);
    const { id, message, progressDetail, status: step } = value as Record<string, string | undefined>;
    if (id !== undefined && progressDetail !== undefined) {
      const row = rows.get(id) ?? [];
      rows.set(id, row);
      if (!FLEETING.test(step ?? ""))
        row.push(`${Object.keys(value as object).join()}: ${step?.replace(/ from .*/, "")}`);
    } else rest.push(indifferent(message ?? line.trim()));
  }
  // Whose layer is mounted is each engine's choice; Docker looks at what is to be pushed side by side.
  return { status, rows: [...rows].sort().map(([id, steps]) => [id, ...steps]), rest };
}

/** Without what no two engines have in common, and with one word for the two ways of looking at a manifest. */
function indifferent(text: string): string {
  return text
    .replaceAll(/"IdentityToken":"[^"]+"/g, '"IdentityToken":"a token"')
    .replaceAll(/(: digest: )sha256:[0-9a-f]{64} size: \d+/g, "$1of its own")
    .replaceAll(/"Digest":"sha256:[0-9a-f]{64}","Size":\d+/g, '"Digest":"of its own"')
    .replaceAll(/("Untagged":"[^"]*@)sha256:[0-9a-f]{64}/g, "$1its own")
    .replaceAll(/^Head "/g, 'Get "');
}

function parsed(line: string): unknown {
  try {
    return JSON.parse(line) ?? {};
  } catch {
    return {};
  }
}
