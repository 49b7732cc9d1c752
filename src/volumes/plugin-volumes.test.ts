import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, test } from "node:test";
import type { EventMessage } from "../api/event.ts";
import { GantryError } from "../base/errors.ts";
import { Logger } from "../base/log.ts";
import { EventBus } from "../events/bus.ts";
import { openMemory } from "../state/memory.ts";
import type { Store } from "../state/store.ts";
import { LocalVolumes } from "./local.ts";
import { FolderPlugin, type PluginBehaviour } from "./plugin.fixture.ts";
import { Plugins } from "./plugin.ts";
import { PluginDirectory } from "./plugin-directory.ts";
import { PluginVolumes } from "./plugin-volumes.ts";
import { Volumes } from "./volumes.ts";

const PATIENCE = { longMs: 300, shortMs: 300, askAllMs: 300, retryMs: 60 };

let root = "";
let folder = "";
let users: Record<string, string[]> = {};
let seen: EventMessage[] = [];
let logged: string[] = [];
let store: Store;
let volumes: Volumes;
const open: FolderPlugin[] = [];

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "gantry-plugins-"));
  folder = join(root, "plugins");
  users = {};
  seen = [];
  logged = [];
  store = openMemory();
  volumes = assemble();
});

afterEach(async () => {
  for (const plugin of open.splice(0)) await plugin[Symbol.asyncDispose]();
  rmSync(root, { recursive: true, force: true });
});

/** Anew on the same records, as an engine that was started again. */
function assemble(patience = PATIENCE): Volumes {
  const events = new EventBus();
  events.subscribe((event) => seen.push(event));
  const usersOf = (name: string) => users[name] ?? [];
  const log = new Logger("debug", (line) => logged.push(line));
  const plugins = new Plugins(new PluginDirectory(() => [join(root, "first"), folder]), patience);
  return new Volumes({
    local: new LocalVolumes({ root: join(root, "volumes"), store, events, usersOf }),
    plugins: new PluginVolumes({ plugins, store, events, log, usersOf, leaveMs: 200 }),
  });
}

async function plug(name = "folders", behaviour: PluginBehaviour = {}): Promise<FolderPlugin> {
  const plugin = await FolderPlugin.listen(join(folder, `${name}.sock`), join(root, `of-${name}`), behaviour);
  open.push(plugin);
  return plugin;
}

function refusal(kind: string, message: string | RegExp): (error: unknown) => boolean {
  return (error) => {
    assert.ok(error instanceof GantryError, String(error));
    if (typeof message === "string") assert.deepEqual([error.kind, error.message], [kind, message]);
    else assert.ok(error.kind === kind && message.test(error.message), `${error.kind}: ${error.message}`);
    assert.doesNotMatch(error.message, /\n/);
    return true;
  };
}

test("a volume of a plugin is made, shown, mounted, released and removed in the protocol's words", async () => {
  const plugin = await plug("folders", { scope: "global" });
  const made = await volumes.make({
    name: "data",
    driver: "folders",
    options: { size: "1g" },
    labels: { a: "b" },
  });
  assert.deepEqual(made, {
    Name: "data",
    Driver: "folders",
    Mountpoint: "",
    CreatedAt: "2024-01-02T03:04:05Z",
    Labels: { a: "b" },
    Options: { size: "1g" },
    Scope: "global",
  });
  assert.equal(plugin.methods()[0], "Plugin.Activate");
  assert.deepEqual(plugin.options.get("data"), { size: "1g" });
  assert.equal(await volumes.mount("data", "one"), join(plugin.root, "data"));
  assert.equal(await volumes.mount("data", "one"), join(plugin.root, "data"), "held once, however often it is mounted");
  await volumes.mount("data", "two");
  assert.equal(plugin.mounted.get("data")?.size, 2);
  const shown = await volumes.inspect("data");
  assert.deepEqual([shown?.Mountpoint, shown?.Status], [join(plugin.root, "data"), { holders: 2 }]);
  await volumes.release("one");
  await volumes.release("two");
  await volumes.release("two");
  assert.equal(plugin.mounted.size, 0);
  assert.equal(plugin.methods().filter((method) => method === "VolumeDriver.Unmount").length, 2);
  users = { data: ["c1"] };
  await assert.rejects(
    volumes.remove("data", { force: false }),
    refusal("conflict", "remove data: volume is in use - [c1]"),
  );
  users = {};
  await volumes.remove("data", { force: false });
  assert.equal(plugin.options.size, 0);
  assert.equal(await volumes.inspect("data"), undefined);
  assert.deepEqual(
    seen.map(({ Action, Actor }) => [Action, Actor.ID, Actor.Attributes.driver]),
    [
      ["create", "data", "folders"],
      ["destroy", "data", "folders"],
    ],
  );
});

test("a name belongs to one driver, and one made through the plugin itself is found", async () => {
  const plugin = await plug();
  const other = await plug("other");
  await volumes.make({ name: "mine", driver: "folders" });
  await volumes.make({ name: "local-one" });
  const text = (driver: string, name: string) =>
    `create ${name}: driver '${driver}' already has volume '${name}': volume name must be unique`;
  await assert.rejects(volumes.make({ name: "mine", driver: "other" }), refusal("conflict", text("folders", "mine")));
  await assert.rejects(volumes.make({ name: "mine", driver: "local" }), refusal("conflict", text("folders", "mine")));
  await assert.rejects(
    volumes.make({ name: "local-one", driver: "other" }),
    refusal("conflict", text("local", "local-one")),
  );
  assert.equal((await volumes.make({ name: "mine" })).Driver, "folders", "without a word on the driver it is that one");
  other.options.set("foreign", {});
  assert.equal((await volumes.inspect("foreign"))?.Driver, "other");
  assert.equal(await volumes.prepare({ name: "nobodys" }), undefined);
  assert.equal((await volumes.make({ name: "foreign" })).Driver, "other");
  assert.deepEqual(other.methods().includes("VolumeDriver.Create"), false, "what is there is not made again");
  const { volumes: listed, warnings } = await volumes.listAll();
  assert.deepEqual(
    listed.map(({ Name, Driver }) => `${Driver}/${Name}`),
    ["local/local-one", "other/foreign", "folders/mine"],
  );
  assert.deepEqual(warnings, []);
  assert.deepEqual(await volumes.drivers(), ["local", "folders", "other"]);
  plugin.options.delete("mine");
  users = { mine: ["c1"] };
  await assert.rejects(volumes.make({ name: "mine", driver: "folders" }), refusal("conflict", /found references to/));
  users = {};
  await volumes.make({ name: "mine", driver: "folders" });
  assert.ok(plugin.options.has("mine"), "what is gone at the plugin is made anew");
});

test("a volume without a name is the plugin's where one is asked for", async () => {
  const plugin = await plug();
  const { Name, Labels } = await volumes.make({ driver: "folders" });
  assert.match(Name, /^[0-9a-f]{64}$/);
  assert.deepEqual(Labels, { "com.docker.volume.anonymous": "" });
  assert.ok(volumes.isAnonymous(Name) && plugin.options.has(Name));
});

const GARBAGE: readonly [string, PluginBehaviour["answer"], string, RegExp][] = [
  ["says no by Err", at("Create", { Err: "no\nspace" }), "internal", /^create v: no space$/],
  [
    "answers no JSON",
    at("Create", "<html>"),
    "unavailable",
    /^create v: the volume plugin "bad" failed at VolumeDriver\.Create: its answer is no JSON object$/,
  ],
  ["answers a list", at("Create", "[1]"), "unavailable", /its answer is no JSON object$/],
  ["hangs", at("Create", "hang"), "unavailable", /failed at VolumeDriver\.Create: no answer within 0\.3 seconds$/],
  ["drops the line", at("Create", "drop"), "unavailable", /failed at VolumeDriver\.Create: /],
  ["floods", at("Create", `{"Err":"${"x".repeat(5 << 20)}"}`), "unavailable", /answer is longer than 4194304 bytes$/],
  [
    "greets with nonsense",
    (call) => (call.method === "Plugin.Activate" ? "{}" : undefined),
    "unavailable",
    /failed at Plugin\.Activate: it answered with nothing for Implements$/,
  ],
  [
    "is for something else",
    (call) => (call.method === "Plugin.Activate" ? { Implements: ["authz"] } : undefined),
    "not-found",
    /^create v: plugin does not implement the requested driver: plugin="bad", requested implementation="VolumeDriver"$/,
  ],
];

function at(method: string, answer: object | string): PluginBehaviour["answer"] {
  return (call) => (call.method === `VolumeDriver.${method}` ? answer : undefined);
}

for (const [what, answer, kind, message] of GARBAGE) {
  test(`a plugin that ${what} is told of in one sentence`, async () => {
    await plug("bad", answer === undefined ? {} : { answer });
    await assert.rejects(volumes.make({ name: "v", driver: "bad" }), refusal(kind, message));
    assert.equal(volumes.get("v"), undefined);
  });
}

const FOLDERS: readonly [unknown, RegExp][] = [
  ["relative/path", /it answered with "relative\/path" for Mountpoint, which is no absolute path$/],
  ["", /for Mountpoint, which is no absolute path$/],
  [7, /it answered with 7 for Mountpoint/],
  ["/a\0b", /for Mountpoint, which is no absolute path$/],
];

for (const [Mountpoint, message] of FOLDERS) {
  test(`a plugin that mounts at ${JSON.stringify(Mountpoint)} is not believed`, async () => {
    const plugin = await plug("liar", { answer: at("Mount", { Mountpoint }) });
    await volumes.make({ name: "v", driver: "liar" });
    await assert.rejects(volumes.mount("v", "c"), refusal("internal", message));
    plugin.behaviour = {};
    assert.equal(await volumes.mount("v", "c"), join(plugin.root, "v"));
  });
}

test("names that are paths or nothing find no plugin", async () => {
  const plugin = await plug();
  symlinkSync(plugin.socket, join(root, "outside.sock"));
  for (const driver of ["../outside", "/etc/passwd", "folders/../folders", "nobody", "a\0b", ".", "x".repeat(500)]) {
    await assert.rejects(
      volumes.make({ name: "v", driver }),
      refusal(
        "not-found",
        `create v: error looking up volume plugin ${driver}: plugin ${JSON.stringify(driver)} not found`,
      ),
    );
  }
});

test("one plugin that hangs holds up neither the others nor those who ask next", async () => {
  await plug();
  await plug("stuck", { answer: () => "hang" });
  await volumes.make({ name: "fine", driver: "folders" });
  const { volumes: listed, warnings } = await volumes.listAll();
  assert.deepEqual(
    listed.map(({ Name }) => Name),
    ["fine"],
  );
  assert.deepEqual(warnings, [
    'list stuck: the volume plugin "stuck" failed at Plugin.Activate: no answer within 0.3 seconds',
  ]);
  const began = performance.now();
  for (let turn = 0; turn < 20; turn++) await volumes.listAll();
  assert.ok(performance.now() - began < 20 * 300, "it is left out for a while");
  assert.deepEqual(await volumes.drivers(), ["local", "folders"]);
});

test("a plugin that comes back is reached again, and what was mounted before a crash is let go of", async () => {
  volumes = assemble({ ...PATIENCE, retryMs: 5_000 });
  const plugin = await plug();
  await volumes.make({ name: "v", driver: "folders" });
  await volumes.mount("v", "stays");
  await volumes.mount("v", "gone");
  await plugin.close();
  const mounting = volumes.mount("v", "later");
  await plugin.listen();
  assert.equal(await mounting, join(plugin.root, "v"));
  const again = assemble();
  await again.adopt(new Map([["stays", ["v"]]]));
  // Each volume's changes wait for one another: this one comes after what was let go of.
  await again.mount("v", "stays");
  assert.equal(plugin.mounted.get("v")?.size, 1);
  await again.release("stays");
  assert.equal(plugin.mounted.size, 0);
});

test("a plugin that is gone for good keeps nobody from forgetting its volume by force", async () => {
  const plugin = await plug();
  await volumes.make({ name: "v", driver: "folders" });
  await volumes.mount("v", "c");
  await plugin.close();
  await volumes.release("c");
  assert.match(logged.join(""), /cannot unmount a plugin's volume: error looking up volume plugin folders/);
  await assert.rejects(
    volumes.inspect("v"),
    refusal("unavailable", /^get v: error looking up volume plugin folders: plugin "folders" not found$/),
  );
  assert.deepEqual(
    (await volumes.listAll()).volumes.map(({ Name }) => Name),
    ["v"],
    "what is recorded is listed all the same",
  );
  await assert.rejects(volumes.remove("v", { force: false }), refusal("unavailable", /^remove v: /));
  await volumes.remove("v", { force: true });
  assert.equal(volumes.get("v"), undefined);
});

test("specs name a plugin's address, the first folder's first", async () => {
  const first = join(root, "first");
  mkdirSync(join(first, "nested"), { recursive: true });
  mkdirSync(folder, { recursive: true });
  const plugin = await FolderPlugin.listen(join(root, "elsewhere.sock"), join(root, "of"));
  open.push(plugin);
  writeFileSync(join(first, "text.spec"), `unix://${plugin.socket}\n`);
  writeFileSync(join(first, "nested/nested.json"), JSON.stringify({ Name: "nested", Addr: `unix://${plugin.socket}` }));
  writeFileSync(join(folder, "text.spec"), "unix:///nowhere.sock");
  for (const driver of ["text", "nested"]) await volumes.make({ name: `of-${driver}`, driver });
  assert.deepEqual([...plugin.options.keys()], ["of-text", "of-nested"]);
  const bad: readonly [string, string, RegExp][] = [
    ["a.spec", "gopher://x", /"gopher:\/\/x" is none of unix:\/\/, tcp:\/\/, http:\/\/ and https:\/\/$/],
    ["b.spec", "", /is none of unix/],
    ["c.json", "{", /it is no valid JSON$/],
    ["d.json", "null", /it has no "Addr"$/],
    ["e.json", '{"Addr":"tcp://x:1","TLSConfig":7}', /"TLSConfig" must be an object$/],
    ["f.spec", `unix:///${"x".repeat(70_000)}`, /it is longer than 65536 bytes$/],
    ["g.spec", "tcp://", /is no address$/],
  ];
  for (const [file, text, message] of bad) {
    writeFileSync(join(first, file), text);
    await assert.rejects(volumes.make({ name: "v", driver: file.slice(0, 1) }), refusal("invalid", message));
  }
  const { warnings } = await volumes.listAll();
  assert.equal(warnings.length, bad.length, "each is told of, none keeps the others from being listed");
});

test("a status that no answer can hold is told of", async () => {
  const deep = `{"a":${"[".repeat(200_000)}${"]".repeat(200_000)}}`;
  const plugin = await plug();
  await volumes.make({ name: "deep", driver: "folders" });
  plugin.behaviour = {
    answer: ({ method }) => (method === "VolumeDriver.Get" ? `{"Volume":{"Name":"deep","Status":${deep}}}` : undefined),
  };
  await assert.rejects(volumes.inspect("deep"), /failed at VolumeDriver\.Get: it answered with .* for Status/);
});

test("who lets go, and a start after it, wait little for a plugin that hangs, and nothing stays mounted", async () => {
  const patient = { ...PATIENCE, shortMs: 20_000 };
  const plugin = await plug();
  volumes = assemble(patient);
  await volumes.make({ name: "slow", driver: "folders" });
  await volumes.mount("slow", "first");
  plugin.behaviour = { answer: ({ method }) => (method === "VolumeDriver.Unmount" ? "hang" : undefined) };
  const before = Date.now();
  await volumes.release("first");
  volumes = assemble(patient);
  await volumes.adopt(new Map());
  await volumes.release("first");
  assert.ok(Date.now() - before < 10_000);
  plugin.behaviour = {};
  await plugin.close();
  await plugin.listen();
  volumes = assemble();
  await volumes.adopt(new Map());
  while (plugin.mounted.size > 0) await new Promise((resolve) => setTimeout(resolve, 10));
});
