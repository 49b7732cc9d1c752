import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { gzipSync, zstdCompressSync } from "node:zlib";
import { isKind, messageOf } from "../../base/errors.ts";
import { ContentStore } from "../../content/content-store.ts";
import { sha256Of } from "../../oci/digest.ts";
import { OverlaySnapshotter } from "../../snapshots/overlay.ts";
import type { Snapshotter } from "../../snapshots/snapshotter.ts";
import { VfsSnapshotter } from "../../snapshots/vfs.ts";
import { Claims } from "../claims.ts";
import type { LayerSettings, LayerStep, LayerWish, OpenBlob } from "../ports.ts";
import { gatheredTar } from "./layer-fetcher.fixture.ts";
import { LayerFetcher } from "./layer-fetcher.ts";

const GZIP = "application/vnd.oci.image.layer.v1.tar+gzip";

interface Made {
  readonly wish: LayerWish;
  readonly bytes: Buffer;
}

/** Hands a blob out in pieces, from wherever it is asked to begin, and counts what it gave. */
class Source {
  readonly asked: number[] = [];
  given = 0;
  readonly #bytes: Buffer;
  readonly #piece: number;

  constructor(bytes: Buffer, piece = 1 << 16) {
    this.#bytes = bytes;
    this.#piece = piece;
  }

  readonly open: OpenBlob = (_descriptor, offset, signal) => this.#pieces(offset, signal);

  async *#pieces(offset: number, signal: AbortSignal): AsyncGenerator<Buffer> {
    this.asked.push(offset);
    for (let at = offset; at < this.#bytes.length; at += this.#piece) {
      await new Promise((resolve) => setImmediate(resolve));
      if (signal.aborted) throw signal.reason;
      const piece = this.#bytes.subarray(at, at + this.#piece);
      this.given += piece.length;
      yield piece;
    }
  }
}

for (const driver of ["overlay2", "vfs"] as const) {
  describe(`layers are brought to ${driver}`, { skip: process.getuid?.() !== 0 && "needs root" }, () => {
    let root: string;
    let content: ContentStore;
    let snapshots: Snapshotter;
    let claims: Claims;
    let layers: LayerFetcher;
    let settings: LayerSettings;
    const spent = new Map<string, number>();
    const moved = new Map<string, number>();
    let cpuMs = 0;
    beforeEach(() => {
      root = mkdtempSync(join(tmpdir(), "gantry-layers-"));
      settings = { maxDownloads: 3, maxUnpackRatio: 200 };
      spent.clear();
      moved.clear();
      cpuMs = 0;
      reopen();
    });
    afterEach(async () => {
      await layers.close();
      rmSync(root, { recursive: true, force: true });
    });

    function reopen(): void {
      content = new ContentStore({ root: join(root, "content") });
      content.recover();
      const at = join(root, "snapshots");
      snapshots = driver === "vfs" ? new VfsSnapshotter({ root: at }) : new OverlaySnapshotter({ root: at });
      claims = new Claims();
      layers = new LayerFetcher({
        content,
        snapshots,
        claims,
        sizeOf: (chainId) => snapshots.usage(chainId),
        settings: () => settings,
        times: {
          spent: (part, ms) => spent.set(part, (spent.get(part) ?? 0) + ms),
          usedByThreads: (ms) => {
            cpuMs += ms;
          },
          moved: (what, bytes) => moved.set(what, (moved.get(what) ?? 0) + bytes),
        },
        workerScript: fileURLToPath(new URL("worker.ts", import.meta.url)),
      });
    }
    const partials = (): string[] => readdirSync(join(root, "content/ingest"));
    /** Folders of snapshots, committed or not. */
    const folders = (): string[] => readdirSync(join(root, "snapshots/l"));
    const fileOf = (chainId: string, name: string): string =>
      readFileSync(
        join(snapshots.describe(chainId).UpperDir ?? join(root, "snapshots/l", folders().at(-1)!, "fs"), name),
        "utf8",
      );

    async function made(
      files: Readonly<Record<string, string | Buffer>>,
      pack: (tar: Buffer) => Buffer = (tar) => gzipSync(tar),
      below?: Made & { readonly ready?: Promise<unknown> },
    ): Promise<Made> {
      const tar = await gatheredTar(files);
      const bytes = pack(tar);
      const diffId = sha256Of(tar);
      const parent = below?.wish.chainId;
      const chainId = parent === undefined ? diffId : sha256Of(`${parent} ${diffId}`);
      const descriptor = { mediaType: GZIP, digest: sha256Of(bytes), size: bytes.length };
      const parentReady = below?.ready ?? Promise.resolve();
      return { bytes, wish: { descriptor, diffId, chainId, parent, parentReady } };
    }

    async function bring(
      layer: Made,
      open: OpenBlob = new Source(layer.bytes).open,
      options: { signal?: AbortSignal; onProgress?: (step: LayerStep, current: number) => void } = {},
    ) {
      using scope = await claims.open();
      return await layers.fetch(scope, layer.wish, open, options);
    }

    async function refused(layer: Made, message: string, open?: OpenBlob): Promise<void> {
      await assert.rejects(bring(layer, open), (error) => {
        assert.equal(messageOf(error), message);
        return true;
      });
      assert.equal(content.has(layer.wish.descriptor.digest), false);
      assert.deepEqual([partials(), folders()], [[], []]);
    }

    it("says what a layer's time went to, and no more than there was", async () => {
      const layer = await made({ "etc/one": randomBytes(3_000_000), "etc/two": "two" });
      const began = performance.now();
      await bring(layer);
      const ms = performance.now() - began;
      for (const part of ["read", "digest", "expand", "tar-digest", "extract", "network", "store", "sync"] as const) {
        assert.ok((spent.get(part) ?? 0) > 0, part);
      }
      // The engine's thread fetches and stores beside the parts of the layer's thread.
      const beside = (spent.get("network") ?? 0) + (spent.get("store") ?? 0);
      const sum = [...spent.values()].reduce((all, one) => all + one, 0) - beside;
      assert.ok(beside < ms && sum < ms && sum > 0, `${beside} and ${sum} of ${ms} ms`);
      assert.ok(cpuMs > 0);
      assert.equal(moved.get("received"), layer.bytes.length);
      assert.ok((moved.get("unpacked") ?? 0) > 3_000_000);
    });

    it("verifies, extracts and commits, whatever it is packed by", async () => {
      const random = randomBytes(3_000_000);
      const packs: Record<string, (tar: Buffer) => Buffer> = {
        none: (tar) => tar,
        gzip: (tar) => gzipSync(tar),
        members: (tar) => Buffer.concat([gzipSync(tar.subarray(0, 1_000_000)), gzipSync(tar.subarray(1_000_000))]),
        zstd: (tar) => Buffer.concat([zstdCompressSync(tar.subarray(0, 5000)), zstdCompressSync(tar.subarray(5000))]),
      };
      for (const [name, pack] of Object.entries(packs)) {
        const layer = await made({ name, random }, pack);
        const steps: LayerStep[] = [];
        const record = await bring(layer, undefined, { onProgress: (step) => steps.push(step) });
        assert.deepEqual(record, {
          blob: layer.wish.descriptor,
          diffId: layer.wish.diffId,
          chainId: layer.wish.chainId,
          size: random.length + name.length,
        });
        assert.equal(content.size(layer.wish.descriptor.digest), layer.bytes.length);
        assert.equal(snapshots.info(layer.wish.chainId)?.kind, "committed");
        assert.equal(fileOf(layer.wish.chainId, "name"), name);
        assert.deepEqual([steps[0], steps.at(-1)], ["downloading", "done"]);
        const again: LayerStep[] = [];
        await bring(layer, undefined, { onProgress: (step) => again.push(step) });
        assert.deepEqual(again, ["exists"]);
      }
      assert.deepEqual(partials(), []);
    });

    it("extracts what has come while the rest is still on its way", {
      skip: driver === "vfs" && "it extracts onto what lies below, when the blob is whole",
    }, async () => {
      const layer = await made({ early: "early", random: randomBytes(3_000_000) });
      const isExtracted = (): boolean =>
        folders().some((folder) => {
          const path = join(root, "snapshots/l", folder, "fs/early");
          return existsSync(path) && readFileSync(path, "utf8") === "early";
        });
      const deadline = Date.now() + 20_000;
      const open = async function* (): AsyncGenerator<Buffer> {
        yield layer.bytes.subarray(0, 2_000_000);
        while (!isExtracted() && Date.now() < deadline) await new Promise((resolve) => setTimeout(resolve, 5));
        assert.ok(isExtracted(), "nothing is extracted before all has come");
        yield layer.bytes.subarray(2_000_000);
      };
      await bring(layer, open);
      assert.equal(fileOf(layer.wish.chainId, "early"), "early");
    });

    it("extracts layers in any order and commits them from the bottom up", async () => {
      const bottom = await made({ a: "bottom" });
      const gate = Promise.withResolvers<void>();
      const top = await made({ b: "top" }, undefined, { ...bottom, ready: gate.promise });
      const isDone = bring(top);
      await assert.rejects(Promise.race([isDone, Promise.reject(new Error("still waiting"))]), /still waiting/);
      await bring(bottom);
      assert.equal(snapshots.has(top.wish.chainId), false);
      gate.resolve();
      await isDone;
      assert.equal(snapshots.info(top.wish.chainId)?.parent, bottom.wish.chainId);
    });

    it("takes back what it extracted when the layer below does not come about", async () => {
      const bottom = await made({ a: "bottom" });
      const top = await made({ b: "top" }, undefined, { ...bottom, ready: Promise.reject(new Error("no bottom")) });
      await assert.rejects(bring(top), /no bottom/);
      assert.deepEqual(folders(), []);
    });

    it("brings a layer once for all who ask, and each sees its progress", async () => {
      const layer = await made({ random: randomBytes(3_000_000) });
      const source = new Source(layer.bytes);
      const steps: LayerStep[][] = [[], [], []];
      const own = steps.map((list) => ({ onProgress: (step: LayerStep) => void list.push(step) }));
      await Promise.all(own.map((options) => bring(layer, source.open, options)));
      assert.deepEqual([source.asked, source.given], [[0], layer.bytes.length]);
      for (const list of steps) assert.equal(list.at(-1), "done");
    });

    it("brings a blob once for two chains, and a chain once for two blobs", async () => {
      const bottom = await made({ a: "bottom" });
      await bring(bottom);
      const one = await made({ b: "same" });
      const other = await made({ b: "same" }, undefined, bottom);
      const source = new Source(one.bytes);
      await Promise.all([bring(one, source.open), bring(other, source.open)]);
      assert.deepEqual(source.asked, [0]);
      const gzip = await made({ c: "chain" });
      const zstd = await made({ c: "chain" }, (tar) => zstdCompressSync(tar));
      const before = folders().length;
      await Promise.all([bring(gzip), bring(zstd)]);
      assert.equal(folders().length, before + 1);
      assert.ok(content.has(gzip.wish.descriptor.digest) && content.has(zstd.wish.descriptor.digest));
    });

    it("goes on for the others when one gives up, and ends when all have", async () => {
      const layer = await made({ random: randomBytes(8_000_000) });
      const source = new Source(layer.bytes, 10_000);
      const quitter = new AbortController();
      const first = bring(layer, source.open, { signal: quitter.signal, onProgress: () => quitter.abort() });
      const second = bring(layer, source.open);
      await assert.rejects(first, (error) => isKind(error, "cancelled"));
      await second;
      assert.deepEqual(source.asked, [0]);
      const next = await made({ random: randomBytes(8_000_000) });
      const last = new AbortController();
      const before = folders();
      const cut = new Source(next.bytes, 10_000);
      const alone = bring(
        next,
        async function* (descriptor, offset, signal) {
          for await (const piece of cut.open(descriptor, offset, signal)) {
            if (cut.given > 5_000_000) last.abort();
            yield piece as Buffer;
          }
        },
        { signal: last.signal },
      );
      await assert.rejects(alone, (error) => isKind(error, "cancelled"));
      assert.deepEqual(
        folders().filter((name) => !before.includes(name)),
        [],
      );
      assert.equal(partials().length, 1);
      // What has come is not fetched again.
      const rest = new Source(next.bytes);
      await bring(next, rest.open);
      assert.ok(rest.asked[0]! > 2_000_000);
      assert.equal(rest.asked[0]! + rest.given, next.bytes.length);
    });

    it("goes on from what an earlier process had, and begins again where that was bad", async () => {
      const layer = await made({ random: randomBytes(3_000_000) });
      const name = `${layer.wish.descriptor.digest.replace(":", "-")}.part`;
      writeFileSync(join(root, "content/ingest", name), layer.bytes.subarray(0, 1_000_000));
      const good = new Source(layer.bytes);
      await bring(layer, good.open);
      assert.deepEqual(good.asked, [1_000_000]);
      const other = await made({ random: randomBytes(3_000_000) });
      const damaged = Buffer.from(other.bytes);
      damaged.fill(0, 500, 600);
      for (const beginning of [damaged.subarray(0, 1_000_000), damaged, Buffer.concat([damaged, damaged])]) {
        await content.delete(other.wish.descriptor.digest);
        if (snapshots.has(other.wish.chainId)) await snapshots.remove(other.wish.chainId);
        writeFileSync(
          join(root, "content/ingest", `${other.wish.descriptor.digest.replace(":", "-")}.part`),
          beginning,
        );
        const source = new Source(other.bytes);
        await bring(other, source.open);
        assert.equal(source.asked.at(-1), 0);
      }
      assert.deepEqual(partials(), []);
    });

    it("keeps what has come when the rest does not, and takes another asker's way", async () => {
      const layer = await made({ random: randomBytes(3_000_000) });
      const cut = async function* (_: unknown, offset: number): AsyncGenerator<Buffer> {
        yield layer.bytes.subarray(offset, 1_500_000);
        throw new Error("connection reset");
      };
      await assert.rejects(bring(layer, cut), /connection reset/);
      assert.deepEqual(partials().length, 1);
      assert.deepEqual(folders(), []);
      const source = new Source(layer.bytes);
      await Promise.all([bring(layer, cut), bring(layer, source.open)]);
      assert.deepEqual(source.asked, [1_500_000]);
    });

    it("does not let one asker fail for what another's registry has wrong or refuses", async () => {
      const layer = await made({ random: randomBytes(3_000_000) });
      const wrong = new Source(randomBytes(layer.bytes.length));
      const source = new Source(layer.bytes);
      const said = /^filesystem layer verification failed for digest/;
      const ended = await Promise.allSettled([bring(layer, wrong.open), bring(layer, source.open)]);
      assert.match(String((ended[0] as PromiseRejectedResult).reason.message), said);
      assert.equal(ended[1].status, "fulfilled");
      assert.deepEqual(source.asked, [0]);
      const long = await made({ random: randomBytes(3_000_000) });
      const endless = new Source(Buffer.concat([long.bytes, long.bytes]));
      const good = new Source(long.bytes);
      const [first, second] = await Promise.allSettled([bring(long, endless.open), bring(long, good.open)]);
      assert.match(String((first as PromiseRejectedResult).reason.message), said);
      assert.equal(second.status, "fulfilled");
      assert.deepEqual(partials(), []);
    });

    it("believes no manifest about what is there: neither how long it is nor what it unpacks to", async () => {
      const [one, other] = [await made({ a: "one" }), await made({ b: "other" })];
      for (const each of [one, other]) await bring(each);
      const { digest, size } = one.wish.descriptor;
      const on = await made({ a: "one" }, undefined, other);
      for (const { wish } of [one, on]) {
        for (const told of [size + 100, size - 1]) {
          const lie = { ...wish, descriptor: { ...wish.descriptor, size: told } };
          await assert.rejects(
            bring({ bytes: one.bytes, wish: lie }),
            new RegExp(`verification failed for digest ${digest}: it has ${size} bytes where ${told} were told$`),
          );
        }
      }
      const swapped = { ...one, wish: { ...one.wish, descriptor: other.wish.descriptor } };
      await assert.rejects(bring(swapped), /^GantryError: layers from manifest don't match image configuration$/);
      // After a restart nobody remembers what belongs together.
      reopen();
      await assert.rejects(bring(swapped), /^GantryError: layers from manifest don't match image configuration$/);
      await bring(one, new Source(Buffer.alloc(0)).open);
    });

    it("refuses in Docker's words what isn't the layer that was asked for", async () => {
      const layer = await made({ a: "a" });
      const { digest, size } = layer.wish.descriptor;
      const said = `filesystem layer verification failed for digest ${digest}`;
      await refused(layer, said, new Source(randomBytes(size)).open);
      await refused(
        layer,
        `${said}: there are more than its ${size} bytes`,
        new Source(Buffer.concat([layer.bytes, layer.bytes])).open,
      );
      const other = await made({ a: "b" });
      const wrong = { ...layer, wish: { ...layer.wish, diffId: other.wish.diffId } };
      await refused(wrong, "layers from manifest don't match image configuration");
      const text = Buffer.from("no archive at all".repeat(100));
      const noArchive = await made({}, () => gzipSync(text));
      const wish = { ...noArchive.wish, diffId: sha256Of(text) };
      await assert.rejects(bring({ ...noArchive, wish }), /archive\/tar: invalid tar header/);
      assert.deepEqual(folders(), []);
      const short = await made({ a: "a".repeat(100_000) }, (tar) => gzipSync(tar).subarray(0, -9));
      await refused(short, `cannot extract layer ${short.wish.descriptor.digest}: unexpected EOF`);
      await assert.rejects(bring(layer, new Source(layer.bytes.subarray(0, 9)).open), /unexpected EOF after 9 of/);
    });

    it("bounds what a layer unpacks to", async () => {
      settings = { maxDownloads: 3, maxUnpackRatio: 2 };
      const zeros = Buffer.alloc(1 << 20);
      const member = gzipSync(zeros, { level: 1 });
      // The header of a file of 1100 MiB, and so many zeros.
      const head = (await gatheredTar({ bomb: Buffer.alloc(0) })).subarray(0, 512);
      head.write((1100 * 2 ** 20).toString(8).padStart(11, "0"), 124);
      head.fill(" ", 148, 156);
      head.write(
        `${head
          .reduce((sum, byte) => sum + byte, 0)
          .toString(8)
          .padStart(6, "0")}\0 `,
        148,
      );
      const bytes = Buffer.concat([gzipSync(head), ...Array.from({ length: 1101 }, () => member)]);
      const layer = await made({}, () => bytes);
      const limit = Math.max(2 ** 30, 2 * bytes.length);
      await refused(
        layer,
        `cannot extract layer ${sha256Of(bytes)}: its ${bytes.length} bytes unpack to more than ${limit}; the engine's setting max-unpack-ratio (2) allows no more`,
      );
    });

    it("downloads no more at a time than the setting says", async () => {
      settings = { maxDownloads: 2, maxUnpackRatio: 200 };
      let now = 0;
      let most = 0;
      const all = await Promise.all(
        Array.from({ length: 6 }, (_, n) => made({ n: `${n}`, random: randomBytes(500_000) })),
      );
      const waited = new Set<number>();
      // Nobody is done before all have come.
      const allWait = Promise.withResolvers<void>();
      await Promise.all(
        all.map((layer, n) =>
          bring(
            layer,
            async function* (descriptor, offset, signal) {
              most = Math.max(most, ++now);
              await allWait.promise;
              yield* new Source(layer.bytes).open(descriptor, offset, signal) as AsyncIterable<Buffer>;
              now--;
            },
            {
              onProgress: (step) => {
                if (step === "waiting" && waited.add(n).size === 4) allWait.resolve();
              },
            },
          ),
        ),
      );
      assert.equal(most, 2);
      assert.equal(waited.size, 4);
    });

    it("says so when the disk is full, and leaves nothing of the layer", async () => {
      const layer = await made({ random: randomBytes(3_000_000) });
      const full = async function* (): AsyncGenerator<Buffer> {
        yield layer.bytes.subarray(0, 2_000_000);
        throw Object.assign(new Error("ENOSPC: no space left on device, write"), { code: "ENOSPC" });
      };
      await refused(layer, `cannot store layer ${layer.wish.descriptor.digest}: no space left on device`, full);
    });

    it("is killed anywhere without losing what came or keeping what was half done", {
      skip: driver === "vfs" && "overlay2 takes every step of it",
    }, async () => {
      const points = [
        "content.partial.append",
        "layers.unpacked",
        "layers.synced",
        "content.partial.whole",
        "content.partial.synced",
        "content.renamed",
        "snapshots.commit.synced",
        "snapshots.commit.renamed",
        "snapshots.commit.durable",
        "layers.committed",
      ];
      for (const point of points) {
        const layer = await made({ point, random: randomBytes(3_000_000) });
        const { digest, size } = layer.wish.descriptor;
        writeFileSync(join(root, "blob"), layer.bytes);
        const { parentReady: _, ...wish } = layer.wish;
        const script = fileURLToPath(new URL("crash.fixture.ts", import.meta.url));
        const end = spawnSync(process.execPath, [script, root, join(root, "blob"), JSON.stringify(wish)], {
          env: { ...process.env, GANTRY_FAILPOINTS: `${point}=kill` },
          timeout: 20_000,
        });
        assert.equal(end.signal, "SIGKILL", `${point}: ${end.stderr}`);
        await layers.close();
        reopen();
        await snapshots.recover(new Set());
        // A name is there with all that it stands for, or not at all.
        assert.equal(folders().length, snapshots.list().length, point);
        const committed = ["snapshots.commit.renamed", "snapshots.commit.durable", "layers.committed"].includes(point);
        assert.equal(snapshots.has(layer.wish.chainId), committed, point);
        const published = points.indexOf(point) >= points.indexOf("content.renamed");
        assert.equal(content.has(digest), published, point);
        assert.equal(partials().length, published ? 0 : 1, point);
        const source = new Source(layer.bytes);
        await bring(layer, source.open);
        assert.deepEqual(source.asked, point === "content.partial.append" ? [0] : [], point);
        assert.equal(content.size(digest), size);
        assert.equal(fileOf(layer.wish.chainId, "point"), point);
        await snapshots.remove(layer.wish.chainId);
        assert.deepEqual(partials(), []);
      }
    });

    it("tells of a disk that fails below the thread that extracts", {
      skip: driver === "vfs" && "overlay2 takes every step of it",
    }, async () => {
      const layer = await made({ random: randomBytes(3_000_000) });
      const { parentReady: _, ...wish } = layer.wish;
      writeFileSync(join(root, "blob"), layer.bytes);
      const script = fileURLToPath(new URL("crash.fixture.ts", import.meta.url));
      for (const [code, said] of [
        ["ENOSPC", "no space left on device"],
        ["EIO", "EIO"],
      ] as const) {
        const end = spawnSync(process.execPath, [script, root, join(root, "blob"), JSON.stringify(wish)], {
          env: { ...process.env, GANTRY_FAILPOINTS: `layers.unpacked=error:${code}` },
          encoding: "utf8",
          timeout: 20_000,
        });
        assert.match(end.stderr, new RegExp(`cannot store layer ${layer.wish.descriptor.digest}: ${said}`));
        assert.deepEqual([partials(), folders()], [[], []], code);
      }
    });
  });
}
