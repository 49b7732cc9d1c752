import assert from "node:assert/strict";
import { Readable } from "node:stream";
import { text } from "node:stream/consumers";
import { it } from "node:test";
import { isKind, messageOf } from "../base/errors.ts";
import { chainId, DigestStream, sha256Of } from "./digest.ts";
import { isDigest, parseDigest } from "./digest-format.ts";

const HELLO = "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";

it("takes digests apart and refuses what is none with Docker's texts", () => {
  assert.deepEqual(parseDigest(HELLO), { algorithm: "sha256", hex: HELLO.slice(7) });
  assert.equal(parseDigest(`sha512:${"a".repeat(128)}`).algorithm, "sha512");
  for (const [given, message] of [
    ["", "invalid checksum digest format"],
    [HELLO.slice(7), "invalid checksum digest format"],
    ["sha256:../../../etc/passwd", "invalid checksum digest length"],
    [`sha256:${"../".repeat(21)}x`, "invalid checksum digest format"],
    [HELLO.toUpperCase().replace("SHA", "sha"), "invalid checksum digest format"],
    [`${HELLO}\n`, "invalid checksum digest length"],
    [HELLO.slice(0, -1), "invalid checksum digest length"],
    ["md5:d41d8cd98f00b204e9800998ecf8427e", "unsupported digest algorithm"],
  ] as const) {
    assert.throws(
      () => parseDigest(given),
      (error) => isKind(error, "invalid") && messageOf(error) === message,
      given,
    );
    assert.equal(isDigest(given), false);
  }
});

it("hashes what passes through a stream and refuses other bytes than expected", async () => {
  const stream = new DigestStream();
  assert.equal(await text(Readable.from(["hel", "lo"]).pipe(stream)), "hello");
  assert.deepEqual([stream.digest, stream.size, sha256Of("hello")], [HELLO, 5, HELLO]);
  await assert.rejects(text(Readable.from(["other"]).pipe(new DigestStream(HELLO))), /verification failed for digest/);
});

it("chains diff ids as the image spec says", () => {
  const [a, b, c] = ["a", "b", "c"].map(sha256Of) as [string, string, string];
  const ab = sha256Of(`${a} ${b}`);
  assert.deepEqual(chainId([a, b, c]), [a, ab, sha256Of(`${ab} ${c}`)]);
  assert.deepEqual(chainId([]), []);
});
