import assert from "node:assert/strict";
import { describe, it } from "node:test";
import packet from "dns-packet";
import { RCODE, readQuery, writeAnswer, writeFailure } from "./dns-message.ts";

const query = (name: string, type: packet.RecordType, additionals: packet.Answer[] = []) =>
  packet.encode({ type: "query", id: 7, flags: 0x0100, questions: [{ name, type }], additionals });

const EDNS = { type: "OPT", name: ".", udpPayloadSize: 1232, flags: 0, options: [] } as unknown as packet.Answer;

function read(bytes: Buffer) {
  const found = readQuery(bytes);
  assert.ok(found !== undefined && "query" in found);
  return found.query;
}

/** Numbers that are the same in every run. */
function numbers(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

describe("a query", () => {
  it("is read as it was asked, with what its client takes", () => {
    const plain = read(query("Web.Example", "A"));
    assert.deepEqual([plain.name, plain.type, plain.udpSize, plain.hasEdns], ["Web.Example", "A", 512, false]);
    const sized = read(query("web", "AAAA", [EDNS]));
    assert.deepEqual([sized.type, sized.udpSize, sized.hasEdns], ["AAAA", 1232, true]);
    assert.deepEqual([read(query("web", "MX")).type, read(query(".", "PTR")).name], ["UNKNOWN_15", ""]);
  });

  it("that can't be read is refused by its own id, and a response is not answered", () => {
    const whole = query("web", "A");
    const twice = Buffer.from(whole);
    twice.writeUInt16BE(2, 4);
    const pointing = Buffer.concat([whole.subarray(0, 12), Buffer.from([0xc0, 0, 0, 1, 0, 1])]);
    const long = Buffer.concat([whole.subarray(0, 12), Buffer.alloc(256, "\u0001a"), Buffer.from([0, 0, 1, 0, 1])]);
    for (const bytes of [whole.subarray(0, -1), twice, pointing, long]) {
      const found = readQuery(bytes);
      assert.ok(found !== undefined && "refusal" in found);
      assert.equal(found.refusal.readUInt16BE(0), 7);
      assert.equal(found.refusal.readUInt16BE(2) & 0xf, RCODE.formatError);
    }
    assert.equal(readQuery(Buffer.concat([Buffer.from([0, 7, 0x80, 0]), Buffer.alloc(20)])), undefined);
    assert.equal(readQuery(Buffer.alloc(11)), undefined);
  });

  it("made of anything is read, refused or passed over, and what is answered is a message", () => {
    const number = numbers(1);
    const seeds = [query("web", "A"), query("peer", "AAAA", [EDNS]), query("2.0.18.172.in-addr.arpa", "PTR")];
    let queries = 0;
    for (let round = 0; round < 10_000; round++) {
      let bytes = Buffer.from(seeds[number(seeds.length)]!);
      if (number(4) === 0) bytes = Buffer.from(Array.from({ length: number(120) }, () => number(256)));
      else
        for (let edits = number(6); edits > 0; edits--) bytes[number(bytes.length)] = [0, 0xc0, 12, 63, 64][number(5)]!;
      if (number(4) === 0) bytes = bytes.subarray(0, number(bytes.length));
      const found = readQuery(bytes);
      if (found === undefined) continue;
      const reply = "refusal" in found ? found.refusal : writeFailure(found.query.bytes, RCODE.serverFailure);
      assert.ok(reply.length >= 12 && reply.length <= Math.max(12, bytes.length));
      assert.equal(reply.readUInt16BE(0), bytes.readUInt16BE(0));
      if ("refusal" in found || /[^a-z0-9.-]/.test(found.query.name) || found.query.name.includes("..")) continue;
      queries++;
      const answer = writeAnswer(found.query, { type: "A", addresses: ["10.0.0.1"] }, found.query.udpSize);
      assert.equal(packet.decode(answer).questions?.length, 1);
    }
    assert.ok(queries > 500, `only ${queries} of them were queries`);
  });

  it("of thousands of records and names that point at each other costs no more than another", () => {
    const record = (name: number) => Buffer.from([name >> 8, name & 0xff, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0]);
    const question = query("peer", "A");
    for (const at of [6, 8, 10]) {
      const chain = Array.from({ length: 5000 }, (_, n) => record(0xc000 | Math.min(0x3fff, 12 + n * 12)));
      const bytes = Buffer.concat([question, ...chain]);
      bytes.writeUInt16BE(5000, at);
      const began = performance.now();
      for (let round = 0; round < 1000; round++) assert.equal(read(bytes).name, "peer");
      assert.ok(performance.now() - began < 1000);
    }
  });
});
