import assert from "node:assert/strict";
import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { gunzipSync } from "node:zlib";
import { readRpmHeader } from "./rpm.ts";
import { berkeleyHeaders, ndbHeaders } from "./rpm-files.ts";

// Made by Berkeley DB 5.3 with pages of 512 bytes, in both byte orders: two packages, one of them over several pages.
const LITTLE =
  "H4sIAAAAAAACA+2Vy0rDUBCG//HkVrS4cl8EcZVgtFSX3blx4QuopBBaMGBJolR8hr6TryC4E5cVb5uCdCMUOcnkooUuBCGS8y+G" +
  "fBPO4WT+zBkAIKTyNgw05MMKACvNmVhUdNsC5sBHfHL/EKU5Ku0jpQG4Gw9Of+aVqqdF7yaE5ifNaEoTZd7/lxCbUwFgywJINjeJ" +
  "suXELV/43038v6Er6tLv+h816f+sdk1APAMwirx4YV6V3B/27eFl79y/hlvUXwewvWSpzvzK3GCeMa8zz5lbknteNEDb2YXr+ME+" +
  "Do+P7D1nx74I7cCL/RCjg85Zpw2i0jeI0r1NeKLk4tcA83HJ6QzmN15oMb/zuzXJgRf2fbjJXIn9UdxSoUIh81/jf0DP/VfVqUNA" +
  "6SLS8paW/qvq1CFk/mfDxsz9V9WpQ8j8N7+N+DFgVu2USn+hL2TYYwoAEAAA";
const BIG =
  "H4sIAAAAAAACA+1VvUrDUBg9X35btDg5FJcs4pRgtFTHDkIXBxdXJYWQgoGWNJaK4Bv0ncQ38AHEqcW/xaWLUOQmN+ltkYLgEMk9" +
  "w0nOl9xwc8797gUSUMLGtgegCihABRlMrGB4bwFzoH7ycP48yMuUfyeFdtEdP/5QlygeljPSaIIafdGMPmkizfn3UHfueuwCVHZJ" +
  "YVGrKz3J7hUh/1aS/y0NqSXUf9f/KEP/Z8bVAPWFbaGLuvrK9QbTQT+w+9edK/8G7sJ/HcDemqE6129cV7mecb3F9Zxri+mON+ii" +
  "4RzAdfzwCO2zU/vQ2bd7kR16sR9hdNy8bDZAtPwbapY+iKbJrq8B5tOa2Rlcv6fvJmcG0x/82SbToRcFPlw2Von9UWxJKhAJ+Wt8" +
  "Dehp/tKdMpCQv87XgJHmL90pAwn5Z+eNmeYv3SkDCfmb+SlPGMMs4Cwl/hzf3rn3sQAQAAA=";

const unpacked = (text: string): Buffer => gunzipSync(Buffer.from(text, "base64"));

/** Names and versions of the packages in a file of these bytes. */
function packagesOf(bytes: Buffer, headers: typeof berkeleyHeaders): string[] {
  const folder = mkdtempSync(join(tmpdir(), "gantry-rpm-"));
  const path = join(folder, "Packages");
  writeFileSync(path, bytes);
  const fd = openSync(path, "r");
  try {
    const found = [...headers(fd)].flatMap((header) => readRpmHeader(header, path, undefined));
    return found.map(({ name, version }) => `${name} ${version}`).sort();
  } finally {
    closeSync(fd);
    rmSync(folder, { recursive: true });
  }
}

/** Changed in one place. */
function damaged(bytes: Buffer, at: number, value: number): Buffer {
  const copy = Buffer.from(bytes);
  copy[at] = value;
  return copy;
}

for (const [order, text] of [
  ["little", LITTLE],
  ["big", BIG],
] as const) {
  test(`packages of a Berkeley DB of the ${order} byte order are read, also over several pages`, () => {
    assert.deepEqual(packagesOf(unpacked(text), berkeleyHeaders), ["bash 4.2-1.el7", "large 1"]);
  });
}

/** rpm's own format with these headers, a slot each. */
function ndb(...headers: readonly Buffer[]): Buffer {
  const file = Buffer.alloc(4096 + headers.reduce((sum, { length }) => sum + 32 + Math.ceil(length / 16) * 16, 0));
  file.write("RpmP", 0, "latin1");
  file.writeUInt32LE(1, 12);
  for (let at = 32; at < 4096; at += 16) file.write("Slot", at, "latin1");
  let block = 256;
  for (const [index, header] of headers.entries()) {
    file.writeUInt32LE(index + 1, 32 + index * 16 + 4);
    file.writeUInt32LE(block, 32 + index * 16 + 8);
    file.write("BlbS", block * 16, "latin1");
    file.writeUInt32LE(index + 1, block * 16 + 4);
    file.writeUInt32LE(header.length, block * 16 + 12);
    header.copy(file, block * 16 + 16);
    block += 2 + Math.ceil(header.length / 16);
  }
  return file;
}

test("packages of rpm's own format are read", () => {
  const folder = mkdtempSync(join(tmpdir(), "gantry-rpm-"));
  writeFileSync(join(folder, "x"), unpacked(LITTLE));
  const fd = openSync(join(folder, "x"), "r");
  const headers = [...berkeleyHeaders(fd)];
  closeSync(fd);
  rmSync(folder, { recursive: true });
  assert.deepEqual(packagesOf(ndb(...headers), ndbHeaders), ["bash 4.2-1.el7", "large 1"]);
  assert.throws(() => packagesOf(damaged(ndb(...headers), 40, 255), ndbHeaders), /a package is damaged|it is cut off/);
  assert.throws(() => packagesOf(ndb().subarray(0, 100), ndbHeaders), /it is cut off/);
});

test("a damaged file ends with a reason, wherever it is damaged", () => {
  const whole = unpacked(LITTLE);
  assert.throws(() => packagesOf(Buffer.from("x"), berkeleyHeaders), { message: "it is cut off" });
  assert.throws(() => packagesOf(damaged(whole, 12, 0), berkeleyHeaders), { message: "it is no hash of Berkeley DB" });
  assert.throws(() => packagesOf(damaged(whole, 21, 3), berkeleyHeaders), { message: "its pages have no size" });
  let refused = 0;
  for (let at = 0; at < whole.length; at += 5) {
    for (const value of [0, 255]) {
      try {
        assert.ok(packagesOf(damaged(whole, at, value), berkeleyHeaders).length <= 3);
      } catch (error) {
        assert.match(String(error), /^Error: (?:it|its|a|an) /);
        refused++;
      }
    }
  }
  assert.ok(refused > 10);
});

test("a chain of pages that leads back to itself has an end", () => {
  const whole = unpacked(LITTLE);
  for (let page = 512; page < whole.length; page += 512) {
    // Overflow pages are followed by themselves, in a header that is said to be as large as the file.
    if (whole[page + 25] === 7) whole.writeUInt32LE(page / 512, page + 16);
  }
  assert.ok(packagesOf(whole, berkeleyHeaders).length <= 2);
});
