import assert from "node:assert/strict";
import { test } from "node:test";
import type { ImageProcess } from "../oci/image.ts";
import { applyChanges } from "./config-change.ts";

const change = (...changes: string[]): ImageProcess => applyChanges({}, changes);

test("commands are read in the shell's form and in JSON's", () => {
  assert.deepEqual(change('CMD ["sh", "-l"]').Cmd, ["sh", "-l"]);
  assert.deepEqual(change("cmd echo  hi").Cmd, ["/bin/sh", "-c", "echo  hi"]);
  assert.deepEqual(change("CMD ['sh']").Cmd, ["/bin/sh", "-c", "['sh']"]);
  assert.deepEqual(applyChanges({ Shell: ["bash", "-ec"] }, ["ENTRYPOINT x"]).Entrypoint, ["bash", "-ec", "x"]);
  assert.deepEqual(change("ENTRYPOINT []").Entrypoint, null);
});

test("an entrypoint drops the command that was there, unless these changes set it", () => {
  assert.equal(applyChanges({ Cmd: ["old"] }, ["ENTRYPOINT /x"]).Cmd, null);
  assert.deepEqual(change('CMD ["new"]', "ENTRYPOINT /x").Cmd, ["new"]);
});

test("ENV is read in the new form and the old, quoted, escaped and with variables", () => {
  assert.deepEqual(change(`ENV A=1 B="two words" C=three\\ words D='$A'`).Env, [
    "A=1",
    "B=two words",
    "C=three words",
    "D=$A",
  ]);
  assert.deepEqual(change("ENV A some text here").Env, ["A=some text here"]);
  assert.deepEqual(change("ENV A=1", "ENV B=${A}2 C=${X:-none} D=${A:+yes} E=$A$X", "ENV A=9").Env, [
    "A=9",
    "B=12",
    "C=none",
    "D=yes",
    "E=1",
  ]);
  assert.deepEqual(applyChanges({ Env: ["PATH=/bin"] }, ["ENV PATH=$PATH:/x"]).Env, ["PATH=/bin:/x"]);
});

test("ports are exposed alone, as ranges, and by protocol", () => {
  assert.deepEqual(Object.keys(change("EXPOSE 80 8000-8002/udp 53/UDP", "EXPOSE 80/tcp").ExposedPorts ?? {}), [
    "53/udp",
    "80/tcp",
    "8000/udp",
    "8001/udp",
    "8002/udp",
  ]);
  assert.deepEqual(Object.keys(change('ENV P="1 2"', "EXPOSE $P").ExposedPorts ?? {}), ["1/tcp", "2/tcp"]);
});

test("the other instructions set what they name", () => {
  const config = change(
    'LABEL a=1 b.c="x y"',
    "USER nobody:nogroup",
    "WORKDIR /a",
    "WORKDIR b/../c",
    'VOLUME ["/d", "/e f"]',
    "VOLUME /g /h",
    "STOPSIGNAL SIGRTMIN+3",
    "ONBUILD RUN make \\\n  all",
    "HEALTHCHECK --interval=1m30s --retries=3 CMD curl -f x",
  );
  assert.deepEqual(
    { ...config, Labels: { ...config.Labels }, Volumes: { ...config.Volumes } },
    {
      Labels: { a: "1", "b.c": "x y" },
      User: "nobody:nogroup",
      WorkingDir: "/a/c",
      Volumes: { "/d": {}, "/e f": {}, "/g": {}, "/h": {} },
      StopSignal: "SIGRTMIN+3",
      OnBuild: ["RUN make   all"],
      Healthcheck: { Interval: 90e9, Retries: 3, Test: ["CMD-SHELL", "curl -f x"] },
    },
  );
  assert.deepEqual(change("HEALTHCHECK NONE").Healthcheck, { Test: ["NONE"] });
});

test("what is wrong is refused in Docker's words", () => {
  const table: readonly (readonly [string, string])[] = [
    ["RUN make", "RUN is not a valid change command"],
    ["Fro m", "Fro is not a valid change command"],
    ["ENV", "ENV requires at least one argument"],
    ["ENV A", "ENV must have two arguments"],
    ["ENV =x", "ENV names can not be blank"],
    ["ENV A=1 B", `Syntax error - can't find = in "B". Must be of the form: name=value`],
    ["LABEL a", "LABEL must have two arguments"],
    ["CMD [1]", "when using JSON array syntax, arrays must be comprised of strings only"],
    ["EXPOSE", "EXPOSE requires at least one argument"],
    ["EXPOSE 70000", "invalid containerPort: 70000"],
    ["EXPOSE 80/foo", 'invalid port: "80/foo": invalid proto: foo'],
    ["EXPOSE 9-8", "invalid containerPort: 9-8"],
    ["ONBUILD ONBUILD RUN x", "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed"],
    ["ONBUILD from x", "FROM isn't allowed as an ONBUILD trigger"],
    ["STOPSIGNAL SIGFOO", "invalid signal: SIGFOO"],
    ["USER", "USER requires exactly one argument"],
    ["WORKDIR", "WORKDIR requires exactly one argument"],
    ["VOLUME", "VOLUME requires at least one argument"],
    ['VOLUME [""]', "VOLUME specified can not be an empty string"],
    ["HEALTHCHECK wrong", 'Unknown type "WRONG" in HEALTHCHECK (try CMD)'],
    [
      `ENV A="x`,
      String.raw`failed to process "\"x": unexpected end of statement while looking for matching double-quote`,
    ],
    [`ENV A=${"${B:-".repeat(50)}`, `failed to process "${"${B:-".repeat(50)}": substitutions are nested too deeply`],
  ];
  for (const [text, message] of table) assert.throws(() => change(text), { kind: "invalid", message }, text);
});

test("a label or variable named as a property of every object is a name like any other", () => {
  assert.deepEqual(Object.entries(change("LABEL __proto__=x constructor=y").Labels ?? {}), [
    ["__proto__", "x"],
    ["constructor", "y"],
  ]);
  assert.deepEqual(change("ENV A=${constructor}").Env, ["A="]);
  assert.throws(() => change("constructor x"), /constructor is not a valid change command/);
});
