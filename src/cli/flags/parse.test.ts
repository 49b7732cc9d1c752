import assert from "node:assert/strict";
import { test } from "node:test";
import { parseFlags } from "./parse.ts";
import { boolFlag, durationFlag, intFlag, listFlag, textFlag } from "./spec.ts";

const SPECS = [
  boolFlag("rm", ""),
  boolFlag("i,interactive", ""),
  boolFlag("t,tty", ""),
  listFlag("e,env", ""),
  textFlag("name", ""),
  intFlag("n,last", "", { initial: "-1" }),
  durationFlag("wait", ""),
];

function parsed(line: string, interspersed = true): unknown {
  const flags = parseFlags(SPECS, line.split(" "), interspersed);
  const values = Object.fromEntries(
    SPECS.filter((spec) => flags.changed(spec.name)).map((spec) => [spec.name, flags.list(spec.name).join("|")]),
  );
  return [values, flags.args.join(" ")];
}

const VECTORS: readonly (readonly [string, Record<string, string>, string])[] = [
  ["--rm img", { rm: "true" }, "img"],
  ["--rm=false img", { rm: "false" }, "img"],
  ["--rm false", { rm: "true" }, "false"],
  ["-it img", { interactive: "true", tty: "true" }, "img"],
  ["-e=A img", { env: "A" }, "img"],
  ["-eA=1 -e B=2 img", { env: "A=1|B=2" }, "img"],
  ["-ite A=1 img", { interactive: "true", tty: "true", env: "A=1" }, "img"],
  ["img --rm sh", { rm: "true" }, "img sh"],
  ["--name x --name=y img", { name: "x|y" }, "img"],
  ["--name= img", { name: "" }, "img"],
  ["-n5 a", { last: "5" }, "a"],
  ["-n -1 a", { last: "-1" }, "a"],
  ["-n 0x10 a", { last: "16" }, "a"],
  ["--wait 1m0.5s a", { wait: "60500000000" }, "a"],
  ["-- --rm -x", {}, "--rm -x"],
  ["- --rm", { rm: "true" }, "-"],
];

for (const [line, values, args] of VECTORS) {
  test(`${line} parses as pflag parses it`, () => assert.deepEqual(parsed(line), [values, args]));
}

test("the first argument ends the flags of run and exec", () => {
  assert.deepEqual(parsed("--rm img --rm -e A", false), [{ rm: "true" }, "img --rm -e A"]);
});

const FAULTS: readonly (readonly [string, string])[] = [
  ["--x", "unknown flag: --x"],
  ["-x", "unknown shorthand flag: 'x' in -x"],
  ["-itx", "unknown shorthand flag: 'x' in -x"],
  ["--name", "flag needs an argument: --name"],
  ["-e", "flag needs an argument: 'e' in -e"],
  ["---rm", "bad flag syntax: ---rm"],
  ["--=x", "bad flag syntax: --=x"],
  ["--rm=maybe", 'invalid argument "maybe" for "--rm" flag: strconv.ParseBool: parsing "maybe": invalid syntax'],
  ["-n x", 'invalid argument "x" for "-n, --last" flag: strconv.ParseInt: parsing "x": invalid syntax'],
];

for (const [line, message] of FAULTS) {
  test(`${line} is refused in pflag's words`, () => assert.throws(() => parsed(line), { message }));
}
