import assert from "node:assert/strict";
import { test } from "node:test";
import { BLOCK } from "./entry.ts";
import { parseHeader } from "./header.ts";

/** A v7 header whose name is `name`, with the checksum that `sum` makes of its bytes. */
function headerOf(name: Buffer, sum: (block: Buffer) => number): Buffer {
  const block = Buffer.alloc(BLOCK);
  name.copy(block);
  block.write("0000644\0", 100, "latin1");
  block.fill(" ", 148, 156);
  block.write(`${sum(block).toString(8).padStart(6, "0")}\0 `, 148, "latin1");
  return block;
}

const unsigned = (block: Buffer): number => block.reduce((all, byte) => all + byte, 0);
const signed = (block: Buffer): number => block.reduce((all, byte) => all + ((byte << 24) >> 24), 0);

test("adds up a header's bytes wherever it lies in memory, signed ones as old writers did", () => {
  for (const name of [Buffer.from("plain"), Buffer.from("é".repeat(2))]) {
    for (let at = 0; at < 8; at++) {
      const memory = Buffer.alloc(BLOCK + 16, 0xff);
      for (const sum of [unsigned, signed]) {
        headerOf(name, sum).copy(memory, at);
        assert.equal(parseHeader(memory, at).mode, 0o644);
      }
      headerOf(name, (block) => unsigned(block) + 1).copy(memory, at);
      assert.throws(() => parseHeader(memory, at), /invalid tar header: checksum/);
    }
  }
});

test("adds up a header of the highest bytes there are", () => {
  const full = Buffer.alloc(BLOCK, 0xff);
  full.fill(" ", 148, 156);
  full.write(`${unsigned(full).toString(8)}\0`, 148, "latin1");
  assert.equal(parseHeader(full, 0).mode, -1);
});
