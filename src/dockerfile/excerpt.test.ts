import assert from "node:assert/strict";
import { test } from "node:test";
import { parseDockerfile } from "./dockerfile.ts";
import { excerptOf } from "./excerpt.ts";
import { DockerfileError } from "./source.ts";

function refusal(text: string): { message: string; excerpt: string } {
  try {
    parseDockerfile({ name: "Dockerfile", text });
  } catch (error) {
    assert.ok(error instanceof DockerfileError, String(error));
    return { message: error.message.replace("dockerfile parse error on ", ""), excerpt: excerptOf(error.place) };
  }
  return assert.fail(`${text} was read`);
}

test("an error shows its lines, those around them, and what of them is wrong", () => {
  const { excerpt } = refusal("FROM a\nRUN x\n\tCOPY --form=b \\\n  c d\nRUN y\nRUN z");
  assert.equal(
    excerpt,
    `Dockerfile:3
--------------------
   2 |     RUN x
   3 | >>> \tCOPY --form=b \\
     |     \t     ^^^^^^
   4 | >>>   c d
   5 |     RUN y
--------------------
`,
  );
});

test("an excerpt is short and steers no terminal, whatever the file is", () => {
  const place = {
    source: { name: "f", text: `${"x".repeat(10_000)}\u001b[2J\n`.repeat(1000) },
    range: { start: 1, end: 1000 },
  };
  const text = excerptOf(place);
  assert.equal(text.length < 50_000, true);
  assert.equal(
    excerptOf({ ...place, source: { name: "f", text: "a\u001b[2Jb" }, range: { start: 1, end: 1 } }).includes("\u001b"),
    false,
  );
  assert.equal(excerptOf({ range: { start: 1, end: 1 } }), "");
  assert.equal(excerptOf({ ...place, range: { start: 5000, end: 5000 } }), "");
});

test("what can't be understood is refused in BuildKit's words", () => {
  const table: readonly (readonly [line: string, message: string])[] = [
    ["FORM a", "unknown instruction: FORM (did you mean FROM?)"],
    ["rnu a", "unknown instruction: rnu (did you mean run?)"],
    ["NOTHING a", "unknown instruction: NOTHING"],
    ["FROM a b", "FROM requires either one or three arguments"],
    ["FROM a AS 1b", 'invalid name for build stage: "1b", name can\'t start with a number or contain symbols'],
    ["COPY a", "COPY requires at least two arguments, but only one was provided. Destination could not be determined"],
    ["COPY --chonw=x a b", "unknown flag: --chonw (did you mean chown?)"],
    ["COPY --from a b", "missing a value on flag: --from"],
    ["COPY --link=maybe a b", "expecting boolean value for flag --link, not: maybe"],
    ["COPY --link= a b", "missing a value on flag: --link"],
    ["COPY --chown=a --chown=b c d", "duplicate flag specified: --chown"],
    ["COPY a <<b\nb", "COPY cannot accept a heredoc as a destination"],
    ["RUN --network=x y", 'invalid network mode "x"'],
    ["RUN --security=x y", 'security "x" is not valid'],
    ["RUN --device=a,name=b y", "device name already set to a"],
    ["RUN --device=a,b y", "invalid field 'b' must be a key=value pair"],
    ["RUN --device=name=a,requird=1 y", "unexpected key 'requird' in 'requird=1' (did you mean required?)"],
    ["RUN --device=a,required=maybe y", "invalid value for required: maybe"],
    ["ENV", "ENV requires at least one argument"],
    ["ENV =x", "ENV names can not be blank"],
    ["ARG =x", "ARG names can not be blank"],
    ["ARG", "ARG requires at least one argument"],
    ["SHELL a", "SHELL requires the arguments to be in JSON form"],
    ["SHELL []", "SHELL requires at least one argument"],
    ["USER", "USER requires exactly one argument"],
    ["EXPOSE", "EXPOSE requires at least one argument"],
    ['VOLUME [" "]', "VOLUME specified can not be an empty string"],
    ["HEALTHCHECK", "HEALTHCHECK requires at least one argument"],
    ["HEALTHCHECK NONE x", "HEALTHCHECK NONE takes no arguments"],
    ["HEALTHCHECK CMD", "Missing command after HEALTHCHECK CMD"],
    ["HEALTHCHECK what", 'Unknown type "WHAT" in HEALTHCHECK (try CMD)'],
    ["HEALTHCHECK --interval=1us CMD a", 'Interval "interval" cannot be less than 1ms'],
    ["HEALTHCHECK --timeout=x CMD a", 'time: invalid duration "x"'],
    ["HEALTHCHECK --retries=-1 CMD a", "--retries cannot be negative (-1)"],
    ["HEALTHCHECK --retries=x CMD a", 'strconv.ParseInt: parsing "x": invalid syntax'],
    ["ONBUILD", "ONBUILD requires at least one argument"],
    ["ONBUILD ONBUILD RUN a", "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed"],
    ["ONBUILD FROM a", "FROM isn't allowed as an ONBUILD trigger"],
    ["ONBUILD INCLUDE a", "INCLUDE isn't allowed as an ONBUILD trigger"],
  ];
  for (const [line, message] of table) {
    const { message: said, excerpt } = refusal(`FROM scratch\n${line}`);
    assert.equal(said, `line 2: ${message}`, line);
    assert.match(excerpt, /^Dockerfile:2\n/, line);
  }
  assert.equal(refusal("RUN a").message, "no build stage in current context");
  for (const include of [
    "INCLUDE",
    "INCLUDE ../x",
    "INCLUDE a/../b",
    "INCLUDE a/",
    "INCLUDE $a",
    "INCLUDE a AS 1",
    "INCLUDE a b",
    "INCLUDE --x a",
  ]) {
    assert.match(refusal(`${include}\nFROM a`).message, /^line 1: /, include);
  }
});

test("an included file is named by context, path and prefix", () => {
  const { includes } = parseDockerfile({
    name: "D",
    text: "ARG A=1\nINCLUDE x\ninclude y.z/a/Dockerfile.b as P\nFROM a",
  });
  assert.deepEqual(
    includes.map(({ context, path, prefix }) => [context, path, prefix]),
    [
      ["x", "Dockerfile", ""],
      ["y.z", "a/Dockerfile.b", "p"],
    ],
  );
});
