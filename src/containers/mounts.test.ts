import assert from "node:assert/strict";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, it } from "node:test";
import type { HostConfig } from "../api/container.ts";
import { EventBus } from "../events/bus.ts";
import { openMemory } from "../state/memory.ts";
import { LocalVolumes } from "../volumes/local.ts";
import { Volumes } from "../volumes/volumes.ts";
import { planMounts, settleMounts } from "./mounts.ts";
import type { ResolvedMount } from "./record.ts";
import { aHostConfig } from "./request.fixture.ts";

const folder = mkdtempSync(join(tmpdir(), "gantry-mounts-"));
after(() => rmSync(folder, { recursive: true, force: true }));
const volumes = new Volumes({
  local: new LocalVolumes({
    root: join(folder, "volumes"),
    store: openMemory(),
    events: new EventBus(),
    usersOf: () => [],
  }),
});

function resolve(wanted: Partial<HostConfig>, anonymous: string[] = [], others: ResolvedMount[] = []): ResolvedMount[] {
  const hostConfig = { ...aHostConfig(), ...wanted };
  const plan = planMounts({ hostConfig, anonymous, mountsOf: () => others, dataRoot: join(folder, "data") });
  const prepared = { volumes: new Map(), images: new Map() };
  return settleMounts({ plan, prepared, volumes, imageFolder: (destination) => `/images${destination}` });
}

describe("mounts", () => {
  it("binds a host path, read-only and with propagation when told to, and makes the folder", () => {
    const source = join(folder, "made");
    const [mount] = resolve({ Binds: [`${source}:/data:ro,rshared`] });
    assert.ok(existsSync(source));
    assert.deepEqual(
      [mount?.type, mount?.destination, mount?.readonly, mount?.propagation],
      ["bind", "/data", true, "rshared"],
    );
  });

  it("makes a named volume, and an anonymous one for a path alone", () => {
    const [named, nameless] = resolve({ Binds: ["data:/a", "/b"] });
    assert.equal(named?.name, "data");
    assert.equal(nameless?.anonymous, true);
    assert.ok(existsSync(nameless?.source ?? ""));
  });

  it("gives the image's volumes only where nothing else is mounted", () => {
    const mounts = resolve({ Binds: ["data:/a"], Tmpfs: { "/t": "size=1m" } }, ["/a", "/t", "/v"]);
    assert.deepEqual(
      mounts.map((m) => [m.destination, m.type, m.anonymous]),
      [
        ["/a", "volume", false],
        ["/t", "tmpfs", false],
        ["/v", "volume", true],
      ],
    );
  });

  it("mounts what lies below after what lies above", () => {
    const destinations = resolve({ Tmpfs: { "/a/b/c": "", "/a": "", "/a/b": "" } }).map((m) => m.destination);
    assert.deepEqual(destinations, ["/a", "/a/b", "/a/b/c"]);
  });

  it("takes another container's volumes, read-only when told to", () => {
    const theirs = resolve({ Binds: ["shared:/s"] });
    const [mount] = resolve({ VolumesFrom: ["other:ro"] }, [], theirs);
    assert.deepEqual([mount?.name, mount?.readonly], ["shared", true]);
  });

  const refused: [Partial<HostConfig>, RegExp][] = [
    [{ Binds: ["a:b:c:d"] }, /^invalid volume specification: 'a:b:c:d'$/],
    [{ Binds: ["/a:/"] }, /destination can't be '\/'/],
    [{ Binds: ["/a:rel"] }, /mount path must be absolute/],
    [{ Binds: [":/a"] }, /^invalid volume specification/],
    [{ Binds: ["/tmp:/a:rx"] }, /^invalid mode: rx$/],
    [{ Binds: ["/tmp:/a:ro,rw"] }, /^invalid mode: ro,rw$/],
    [
      { Binds: ["v:/a:shared"] },
      /^invalid volume specification: 'v:\/a:shared': invalid mount config for type "volume": field BindOptions must not be specified$/,
    ],
    [{ Binds: ["bad/name:/a"] }, /includes invalid characters for a local volume name/],
    [{ Binds: ["/tmp:/a", "/var:/a/"] }, /^Duplicate mount point: \/a$/],
    [
      { Mounts: [{ Type: "bind", Source: "/no/such/path", Target: "/a" }] },
      /^invalid mount config for type "bind": bind source path does not exist: \/no\/such\/path$/,
    ],
    [{ Mounts: [{ Type: "bind", Target: "/a" }] }, /field Source must not be empty/],
    [{ Mounts: [{ Type: "tmpfs", Source: "x", Target: "/a" }] }, /field Source must not be specified/],
    [{ Mounts: [{ Type: "volume", Target: "/" }] }, /destination can't be '\/'/],
    [
      { Mounts: [{ Type: "bind", Source: "/tmp", Target: "/a", TmpfsOptions: {} }] },
      /field TmpfsOptions must not be specified/,
    ],
    [{ Mounts: [{ Type: "npipe", Source: "x", Target: "/a" }] }, /mount type unknown: "npipe"/],
    [{ Mounts: [{ Type: "cluster", Source: "x", Target: "/a" }] }, /mount type unknown: "cluster"/],
    [
      { Mounts: [{ Type: "image", Target: "/a" }] },
      /^invalid mount config for type "image": field Source must not be empty$/,
    ],
    [
      { Mounts: [{ Type: "image", Source: "x", Target: "/a", ImageOptions: { Subpath: "../b" } }] },
      /subpath must be a relative path within the volume$/,
    ],
    [
      { Mounts: [{ Type: "volume", Source: "v", Target: "/a", VolumeOptions: { Subpath: "a\0b" } }] },
      /subpath must be a relative path within the volume$/,
    ],
    [
      { Mounts: [{ Type: "bind", Source: "/tmp", Target: "/a", BindOptions: { ReadOnlyNonRecursive: true } }] },
      /^mount options conflict: !ReadOnly && BindOptions\.ReadOnlyNonRecursive$/,
    ],
    [
      {
        Mounts: [
          {
            Type: "bind",
            Source: "/tmp",
            Target: "/a",
            ReadOnly: true,
            BindOptions: { ReadOnlyNonRecursive: true, ReadOnlyForceRecursive: true },
          },
        ],
      },
      /^mount options conflict: ReadOnlyNonRecursive && BindOptions\.ReadOnlyForceRecursive$/,
    ],
    [{ Binds: [`${join(folder, "data")}/x:/a:shared`] }, /must use either propagation mode "rslave" or "rshared"/],
    [{ VolumesFrom: ["a:b:c"] }, /^invalid mode: b:c$/],
  ];
  for (const [wanted, message] of refused) {
    it(`refuses ${JSON.stringify(wanted)}`, () => {
      assert.throws(
        () => resolve(wanted),
        (error: Error & { kind: string }) => error.kind === "invalid" && message.test(error.message),
      );
    });
  }

  it("follows what the engine mounts below its own folder, and only there", () => {
    const data = join(folder, "data");
    const sources = [data, `${data}/volumes`, folder, "/", `${folder}/data-of-another`];
    assert.deepEqual(
      sources.map((source) => resolve({ Binds: [`${source}:/a`] })[0]?.propagation),
      ["rslave", "rslave", "rslave", "rslave", "rprivate"],
    );
  });

  it("leaves no volume behind when it refuses", async () => {
    const before = volumes.list().length;
    assert.throws(() => resolve({ Binds: ["brandnew:/a", "/b", "/tmp:/a"] }));
    await new Promise(setImmediate);
    assert.equal(volumes.list().length, before);
  });
});
