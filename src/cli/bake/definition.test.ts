import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, test } from "node:test";
import { type BakeAnswer, type BakeCase, bakeCases, layOut, recordedAnswers } from "../../../test/bakefiles.ts";
import { readBake, showBake } from "../../bake/bake.ts";
import { messageOf } from "../../base/errors.ts";
import { parseFlags } from "../flags/parse.ts";
import { textFlag } from "../flags/spec.ts";
import { bakeOptions, DEFINITION_FLAGS } from "./definition.ts";
import { namedFiles, readBakeFiles } from "./files.ts";
import { listed } from "./listing.ts";

/** Where buildx says something else, and why that is meant. */
const OTHERWISE: ReadonlyMap<string, unknown> = new Map<string, unknown>([
  // The words of another JSON reader; the place is the same.
  [
    "JSON that is none",
    "docker-bake.hcl:1,16-16: Invalid value; failed to convert variable V from JSON: Unexpected token 'a', " +
      '"[a" is not valid JSON',
  ],
  [
    "JSON that is cut off",
    "docker-bake.json:2,1-1: Invalid JSON; Expected property name or '}' in JSON at position 14 (line 2 column 1)",
  ],
  [
    "a failing function",
    'docker-bake.hcl:1,28-37: Error in function call; Call to function "parseint" failed: cannot parse "x" as a base 10 integer.',
  ],
  ["Compose that is wrong", "cannot read compose.yaml: build of service a has to be a mapping"],
  // No group has null for its members.
  ["no Compose", { group: { default: { targets: [] } }, target: {} }],
  // Numbers have 15 digits.
  [
    "numbers are exact",
    {
      group: { default: { targets: ["default"] } },
      target: {
        default: {
          context: ".",
          dockerfile: "Dockerfile",
          args: {
            a: "9007199254740992",
            b: "10000000000000000159028911097599180468360808563945281389781327557747838772170381060813469985856815104",
            c: "0.000001",
            d: "100000000000000008388608",
            e: "2.5",
            f: "0.10000000000000053",
            g: "0",
            h: "1",
          },
        },
      },
    },
  ],
]);

describe("definitions, as buildx understands them", () => {
  const recorded = recordedAnswers();
  let folder: string;
  const home = process.cwd();

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "gantry-bake-"));
    process.chdir(folder);
  });
  afterEach(() => {
    process.chdir(home);
    rmSync(folder, { recursive: true });
  });

  test("recordings and differences are of cases that there are", () => {
    const titles = bakeCases().map(({ title }) => title);
    assert.deepEqual([...recorded.keys()].toSorted(), titles.toSorted());
    assert.deepEqual(
      [...OTHERWISE.keys()].filter((title) => !titles.includes(title)),
      [],
    );
  });

  for (const one of bakeCases()) {
    test(one.title, () => {
      layOut(one, folder);
      const expected = recorded.get(one.title);
      assert.ok(expected, "there is no recording of it");
      const { error, printed } = answer(one);
      const otherwise = OTHERWISE.get(one.title);
      if (otherwise !== undefined) {
        assert.deepEqual(error ?? printed, otherwise);
        assert.notDeepEqual(otherwise, expected.error ?? expected.printed, "it is no longer otherwise");
      } else if (expected.error === undefined) {
        assert.deepEqual(printed, expected.printed, error);
      } else {
        // How many more there are is not said here; what there is instead, is.
        const said = expected.error.replace(/, and \d+ other diagnostic\(s\)$/, "");
        assert.equal(error?.slice(0, said.length), said, error);
      }
    });
  }
});

function answer({ args, env }: BakeCase): BakeAnswer {
  try {
    const flags = parseFlags([...DEFINITION_FLAGS, textFlag("list", "")], args);
    const files = readBakeFiles(namedFiles(flags.list("file"), env));
    if (flags.changed("list")) return { printed: jsonOf(listed(flags, files, env)) };
    return { printed: jsonOf(showBake(readBake(files, bakeOptions(flags, flags.args, env)))) };
  } catch (error) {
    return { error: messageOf(error) };
  }
}

function jsonOf(text: string): unknown {
  return /^[[{]/.test(text) ? JSON.parse(text) : text;
}
