import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { plan } from "./plan.ts";
import { planInput, type World } from "./plan-input.fixture.ts";

/** Warnings as `Rule line: message`. */
async function lint(text: string, world: World = {}): Promise<string[]> {
  const request = { ...world.request, call: "check" as const };
  const { answer } = await plan(planInput(text, { ...world, request }));
  const { warnings, buildError } = JSON.parse(answer?.json ?? "") as {
    warnings: { ruleName: string; detail: string; location: { ranges: { start: { line: number } }[] } }[];
    buildError?: { message: string };
  };
  assert.equal(answer?.code, warnings.length > 0 || buildError !== undefined ? 1 : 0);
  return [
    ...warnings.map(({ ruleName, detail, location }) => `${ruleName} ${location.ranges[0]?.start.line}: ${detail}`),
    ...(buildError === undefined ? [] : [`error: ${buildError.message}`]),
  ];
}

describe("lint", () => {
  const table: readonly (readonly [text: string, ...warnings: string[]])[] = [
    ["FROM scratch AS Build", "StageNameCasing 1: Stage name 'Build' should be lowercase"],
    ["FROM scratch as build", "FromAsCasing 1: 'as' and 'FROM' keywords' casing do not match"],
    ["from scratch AS build", "FromAsCasing 1: 'AS' and 'from' keywords' casing do not match"],
    ["FROM alpine:3\nRUN a \\\n\n b", "NoEmptyContinuation 4: Empty continuation line"],
    [
      "FROM alpine:3\nRUN a\nrun b",
      "ConsistentInstructionCasing 3: Command 'run' should match the case of the command majority (uppercase)",
    ],
    [
      "from alpine:3\nrun a\nRun b",
      "ConsistentInstructionCasing 3: Command 'Run' should match the case of the command majority (lowercase)",
    ],
    [
      "FROM scratch AS a\nFROM scratch AS a",
      'DuplicateStageName 2: Duplicate stage name "a", stage names should be unique',
    ],
    [
      "FROM alpine:3 AS scratch",
      'ReservedStageName 1: Stage name should not use the same name as reserved stage "scratch"',
    ],
    [
      "FROM scratch\nCMD a b",
      "JSONArgsRecommended 2: JSON arguments recommended for CMD to prevent unintended behavior related to OS signals",
    ],
    ['FROM scratch\nSHELL ["s"]\nCMD a b\nENTRYPOINT c'],
    [
      "FROM scratch\nMAINTAINER me",
      "MaintainerDeprecated 2: Maintainer instruction is deprecated in favor of using label",
    ],
    [
      "ARG VERSION=3\nFROM alpine:${VERSON:-3}\nFROM alpine:$OTHER",
      "InvalidDefaultArgInFrom 3: Default value for ARG alpine:$OTHER results in empty or invalid base image name",
      "UndefinedArgInFrom 2: FROM argument 'VERSON' is not declared (did you mean VERSION?)",
      "UndefinedArgInFrom 3: FROM argument 'OTHER' is not declared",
      'error: failed to parse stage name "alpine:": invalid reference format',
    ],
    [
      "FROM alpine:3\nENV HOST=1\nENV A=$HSOT B=${C:-d}",
      "UndefinedVar 3: Usage of undefined variable '$HSOT' (did you mean $HOST?)",
      "UndefinedVar 3: Usage of undefined variable '$C'",
    ],
    ["FROM alpine:3\nARG A\nENV B=$A PATH=/x:$PATH"],
    [
      "FROM alpine:3\nCOPY $wat /\nLABEL a=$what",
      "UndefinedVar 2: Usage of undefined variable '$wat'",
      "UndefinedVar 3: Usage of undefined variable '$what'",
    ],
    [
      "FROM alpine:3\nWORKDIR a\nWORKDIR b",
      'WorkdirRelativePath 2: Relative workdir "a" can have unexpected results if the base image changes',
    ],
    ["FROM alpine:3\nWORKDIR /a\nWORKDIR b"],
    [
      'FROM scratch\nCMD ["a"]\nCMD ["b"]\nFROM scratch\nCMD ["c"]\nHEALTHCHECK NONE\nHEALTHCHECK NONE',
      "MultipleInstructionsDisallowed 2: Multiple CMD instructions should not be used in the same stage because only the last one will be used",
      "MultipleInstructionsDisallowed 6: Multiple HEALTHCHECK instructions should not be used in the same stage because only the last one will be used",
    ],
    [
      "FROM scratch\nENV a b\nLABEL c d",
      'LegacyKeyValueFormat 2: "ENV key=value" should be used instead of legacy "ENV key value" format',
      'LegacyKeyValueFormat 3: "LABEL key=value" should be used instead of legacy "LABEL key value" format',
    ],
    [
      "FROM --platform=$TARGETPLATFORM alpine:3",
      "RedundantTargetPlatform 1: Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is the default behavior",
    ],
    [
      "FROM --platform=linux/amd64 alpine:3 AS x",
      'FromPlatformFlagConstDisallowed 1: FROM --platform flag should not use constant value "linux/amd64"',
    ],
    ["FROM --platform=linux/amd64 alpine:3 AS x-amd64"],
    [
      "FROM scratch\nARG DB_PASSWORD PUBLIC_KEY\nENV TOKEN=1 TOKENIZER=2 KEY_FILE=3",
      'SecretsUsedInArgOrEnv 2: Do not use ARG or ENV instructions for sensitive data (ARG "DB_PASSWORD")',
      'SecretsUsedInArgOrEnv 3: Do not use ARG or ENV instructions for sensitive data (ENV "TOKEN")',
    ],
    [
      "ARG V\nFROM alpine:$V",
      "InvalidDefaultArgInFrom 2: Default value for ARG alpine:$V results in empty or invalid base image name",
    ],
    [
      "FROM scratch\nEXPOSE 80/TCP 127.0.0.1:81:82",
      "ExposeInvalidFormat 2: EXPOSE instruction should not define an IP address or host-port mapping, found '127.0.0.1:81:82'",
      "ExposeProtoCasing 2: Defined protocol '80/TCP' in EXPOSE instruction should be lowercase",
    ],
    [
      "# check=experimental=all\n# what is this\nFROM scratch AS base\n# bar this is\nARG foo=1",
      "InvalidDefinitionDescription 3: Comment for FROM should follow the format: `# base <description>`",
      "InvalidDefinitionDescription 5: Comment for ARG should follow the format: `# foo <description>`",
    ],
    ["# base is it\nFROM scratch AS base\n\n# not about foo\n#\nARG foo=1"],
  ];
  for (const [text, ...wanted] of table) {
    test(`tells of ${JSON.stringify(text).slice(0, 70)}`, async () => {
      const world = text.includes("alpine:$V") ? { args: { V: "3" } } : {};
      assert.deepEqual((await lint(text, world)).toSorted(), wanted.toSorted());
    });
  }

  test("tells of files that the ignore file leaves out, unless an exception might bring them back", async () => {
    const text = "FROM alpine:3\nCOPY a/b.log ok /\nADD *.tmp /\nCOPY . /\nCOPY --from=alpine:3 x.log /";
    assert.deepEqual(await lint(text, { ignore: ["**/*.log", "*.tmp"] }), [
      'CopyIgnoredFile 2: Attempting to Copy file "a/b.log" that is excluded by .dockerignore',
      'CopyIgnoredFile 3: Attempting to Add file "*.tmp" that is excluded by .dockerignore',
    ]);
    assert.deepEqual(await lint(text, { ignore: ["**/*.log", "*.tmp", "!x"] }), []);
    assert.deepEqual(await lint("FROM alpine:3\nCOPY . /", { ignore: ["*"] }), [
      'CopyIgnoredFile 2: Attempting to Copy file "." that is excluded by .dockerignore',
    ]);
  });

  test("skips what the directive, a build argument or a comment before the line says", async () => {
    const text = "FROM alpine:3 AS Aa\nMAINTAINER me\n";
    assert.equal((await lint(text)).length, 2);
    assert.deepEqual(await lint(`# check=skip=StageNameCasing,MaintainerDeprecated\n${text}`), []);
    assert.deepEqual(await lint(`# syntax=docker/dockerfile:1\n# check=skip=all\n${text}`), []);
    assert.deepEqual(await lint(text, { args: { BUILDKIT_DOCKERFILE_CHECK: "skip=all" } }), []);
    assert.equal((await lint(text.replace("MAINT", "# check=skip=MaintainerDeprecated\nMAINT"))).length, 1);
    assert.deepEqual(await lint(`# check=what\n${text}`), [
      'error: failed to parse check options: invalid check option "what"',
    ]);
  });

  test("fails a build where warnings are to, naming the rules", async () => {
    const text = "# check=error=true\nFROM scratch\nMAINTAINER me\nCMD a";
    await assert.rejects(plan(planInput(text)), {
      kind: "invalid",
      message: "lint violation found for rules: JSONArgsRecommended, MaintainerDeprecated",
    });
    assert.equal(
      (await lint(text)).at(-1),
      "error: lint violation found for rules: JSONArgsRecommended, MaintainerDeprecated",
    );
    assert.equal((await plan(planInput(text.replace("=true", "=0")))).warnings.length, 2);
  });

  test("looks at all stages, or at those that the target needs", async () => {
    const text = "FROM scratch AS a\nMAINTAINER me\nCMD x\nFROM scratch AS b\nCMD y";
    assert.equal((await lint(text)).filter((line) => line.startsWith("JSON")).length, 2);
    assert.equal((await lint(text, { request: { target: "b" } })).filter((line) => line.startsWith("JSON")).length, 1);
  });

  test("warnings of a build carry the rule, its page, the lines and the text", async () => {
    const text = "FROM scratch\nCMD a \\\n b";
    const { warnings } = await plan(planInput(text));
    assert.deepEqual(
      warnings.map(({ vertex: _, ...warning }) => warning),
      [
        {
          level: 1,
          short:
            "JSONArgsRecommended: JSON arguments recommended for CMD to prevent unintended behavior related to OS signals (line 2)",
          detail: [
            "JSON arguments recommended for ENTRYPOINT/CMD to prevent unintended behavior related to OS signals",
          ],
          url: "https://docs.docker.com/go/dockerfile/rule/json-args-recommended/",
          source: { file: "Dockerfile", start: 2, end: 3 },
          text,
        },
      ],
    );
  });
});

describe("answers", () => {
  const answer = async (text: string, call: "check" | "outline" | "targets", target = "") => {
    const { answer: given } = await plan(planInput(text, { request: { call, target } }));
    return given!;
  };

  test("say which targets there are", async () => {
    const { text, json, code } = await answer(
      "# base is the base\nFROM scratch AS base\nFROM --platform=linux/arm64 base\n",
      "targets",
    );
    assert.equal(text, "TARGET    DESCRIPTION\nbase      is the base\n(default) \n");
    assert.equal(code, 0);
    const { targets } = JSON.parse(json) as { targets: unknown[] };
    const at = (line: number) => ({ ranges: [{ start: { line }, end: { line } }] });
    assert.deepEqual(targets, [
      { name: "base", description: "is the base", base: "scratch", location: at(2) },
      { default: true, base: "base", platform: "linux/arm64", location: at(3) },
    ]);
  });

  test("say what a target can be given", async () => {
    const dockerfile = `# V the version
ARG V=3
ARG UNUSED=1
ARG IMAGE=alpine:$V
FROM $IMAGE AS dep
ARG DEP=x
FROM scratch AS other
ARG NOT=1
# out what is made
FROM dep AS out
# WHO greets
ARG WHO=me
RUN --mount=type=secret,id=tok,required --mount=type=ssh true
`;
    const { text, json } = await answer(dockerfile, "outline", "out");
    assert.equal(
      text,
      `TARGET:      out
DESCRIPTION: what is made

BUILD ARG   VALUE      DESCRIPTION
V           3          the version
IMAGE       alpine:3   
DEP         x          
WHO         me         greets

SECRET   REQUIRED
tok      true

SSH       REQUIRED
default   

`,
    );
    const { name, args, secrets, ssh } = JSON.parse(json) as Record<string, { name: string }[]>;
    assert.equal(name, "out");
    assert.deepEqual(
      [args, secrets, ssh].map((rows) => rows?.map((row) => row.name)),
      [["V", "IMAGE", "DEP", "WHO"], ["tok"], ["default"]],
    );
  });

  test("show warnings and the error with their lines", async () => {
    const { text, code } = await answer("FROM scratch\nMAINTAINER me\nRUM x\n", "check");
    assert.equal(code, 1);
    assert.equal(
      text,
      `
ERROR: dockerfile parse error on line 3: unknown instruction: RUM (did you mean RUN?)
Dockerfile:3
--------------------
   1 |     FROM scratch
   2 |     MAINTAINER me
   3 | >>> RUM x
     |     ^^^
   4 |     
--------------------
`,
    );
    const { text: warned } = await answer("FROM scratch\nMAINTAINER me\n", "check");
    assert.match(
      warned,
      /^\nWARNING: MaintainerDeprecated - https:\S+\nMaintainer instruction is deprecated[^\n]+\nDockerfile:2\n/,
    );
  });
});
