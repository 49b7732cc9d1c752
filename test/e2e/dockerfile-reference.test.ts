import assert from "node:assert/strict";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { gitPrograms } from "../../src/build/sources/git-server.fixture.ts";
import { startEngine, type TestEngine } from "../engine.ts";
import { configOf, linesOver, readSavedImages, type SavedImage, type Tree } from "../image-tree.ts";
import { buildCase } from "../reference/built.ts";
import { LATEST_KEPT, type ReferenceCase } from "../reference/case.ts";
import { REFERENCE_CASES } from "../reference/cases.ts";
import { MEANT, type MeantDifference } from "../reference/meant.ts";
import { withoutIds } from "../reference/record.ts";
import { RECORDING, settled } from "../reference/recording.ts";
import { ReferenceServer } from "../reference/server.ts";

const AT_ONCE = 3;
const EMPTY: Tree = new Map();

interface Built {
  readonly tag: string;
  readonly error: string | undefined;
}

describe("a Dockerfile of the reference", { timeout: 300_000 }, () => {
  let engine: TestEngine;
  let server: ReferenceServer;
  let base: SavedImage;
  const built = new Map<ReferenceCase, Built>();
  let images: ReadonlyMap<string, SavedImage>;

  before(async () => {
    engine = await startEngine();
    server = await ReferenceServer.start(join(engine.root, "served"));
    const hasGit = gitPrograms() !== undefined;
    const cases = REFERENCE_CASES.filter(
      ({ isBuilt, name }) => isBuilt && (hasGit || !/^ADD of a repository/.test(name)),
    );
    const left = [...cases.entries()];
    const work = async (): Promise<void> => {
      for (let next = left.shift(); next !== undefined; next = left.shift()) {
        const tag = `reference:${next[0]}`;
        const error = await buildCase(engine, server.serve(next[1]), tag);
        built.set(next[1], { tag, error: server.plain(error) });
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, work));
    const tags = [...built.values()].filter(({ error }) => error === undefined).map(({ tag }) => tag);
    const archive = join(engine.root, "images.tar");
    await engine.ok("save", "-o", archive, "busybox", ...tags);
    images = await readSavedImages(archive, LATEST_KEPT);
    base = images.get("busybox:latest")!;
  });
  after(async () => {
    await server?.[Symbol.asyncDispose]();
    await engine?.[Symbol.asyncDispose]();
  });

  test("makes the files and the config that BuildKit makes, or fails as it does", () => {
    const found: unknown[] = [];
    const seen = new Set<MeantDifference>();
    for (const [one, { tag, error }] of built) {
      const theirs = RECORDING.cases[one.name]!;
      const image = images.get(tag);
      const below = /^from busybox/im.test(one.dockerfile) ? base.tree : EMPTY;
      const expected = theirs.error && settled(theirs.error.message);
      const rows = {
        error: [error && inNewWords(withoutIds(error), expected), expected],
        files: [image && linesOver(below, image.tree), theirs.files],
        config: [image && sorted(configOf(image)), theirs.config && sorted(theirs.config)],
      };
      for (const [field, [mine, other]] of Object.entries(rows)) {
        if (JSON.stringify(mine) === JSON.stringify(other)) continue;
        const meant = MEANT.find((row) => row.of.test(one.name) && (row.in as readonly string[]).includes(field));
        if (meant !== undefined) {
          seen.add(meant);
          continue;
        }
        found.push({ case: one.name, dockerfile: one.dockerfile, field, ours: mine, theirs: other });
      }
    }
    assert.deepEqual(found, []);
    const names = [...built.keys()].map(({ name }) => name);
    const tried = MEANT.filter((row) => row.by === "build" && names.some((name) => row.of.test(name)));
    const unseen = tried.filter((row) => !seen.has(row)).map(({ why }) => why);
    assert.deepEqual(unseen, [], "what is said to differ does not");
    assert.ok(built.size > 200, "the recording is not whole");
  });
});

/** The classic protocol's clients are told in the classic builder's; some of it says less, and the rest is as expected. */
function inNewWords(error: string, expected = ""): string {
  const missing =
    /^(?:COPY|ADD) failed: file not found in build context or excluded by .dockerignore: stat (.*): /.exec(error);
  if (missing !== null) {
    return `failed to compute cache key: failed to calculate checksum of ref …: "/${missing[1]}": not found`;
  }
  const target = /^failed to reach build target (.*) in Dockerfile$/.exec(error)?.[1];
  if (target !== undefined && expected.startsWith(`target stage "${target}" could not be found`)) return expected;
  // Which URL failed is told besides.
  if (expected !== "" && error.startsWith("cannot fetch ") && error.endsWith(`: ${expected}`)) return expected;
  if (/^OCI runtime create failed: crun create failed: unable to start container process: /.test(error)) {
    return /^process ".*" did not complete successfully: exit code: 1$/s.test(expected) ? expected : error;
  }
  const [, command, code] = /^The command '(.*)' returned a non-zero code: (\d+)$/s.exec(error) ?? [];
  if (command === undefined) return error.replace(/^(dockerfile parse error) (?=line )/, "$1 on ");
  return `process ${JSON.stringify(command)} did not complete successfully: exit code: ${code}`;
}

function sorted(config: Readonly<Record<string, unknown>>): unknown {
  return Object.fromEntries(Object.entries(config).sort(([a], [b]) => (a < b ? -1 : 1)));
}
