import assert from "node:assert/strict";
import { test } from "node:test";
import { Logger } from "./log.ts";

test("a line is one JSON object: time, level, message, then the fields", () => {
  const lines: string[] = [];
  new Logger("info", (line) => lines.push(line)).warn("it\nbroke", { container: "c1", level: "hidden", count: 2 });
  assert.equal(lines.length, 1);
  assert.match(lines[0] ?? "", /^\{"time":"[^"]+Z","level":"warn","msg":"it\\nbroke","container":"c1","count":2\}\n$/);
});

test("as text it is pairs, quoted where they need it", () => {
  const lines: string[] = [];
  const log = new Logger("info", (line) => lines.push(line), "text");
  log.info("ready to serve", { hosts: ["unix:///x"], pid: 7, path: "/a b" });
  log.debug("not told");
  assert.match(
    lines.join(""),
    /^time="[^"]+Z" level=info msg="ready to serve" hosts="\[\\"unix:\/\/\/x\\"\]" pid=7 path="\/a b"\n$/,
  );
});
