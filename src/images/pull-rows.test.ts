import assert from "node:assert/strict";
import { test } from "node:test";
import { progressText } from "./progress-text.ts";
import { PullRow } from "./pull-rows.ts";

const LAYER = { mediaType: "", digest: `sha256:${"ab".repeat(32)}`, size: 1000 };

function rowOf(): { readonly row: PullRow; readonly told: string[] } {
  const told: string[] = [];
  const row = new PullRow(({ id, progressDetail, status }) => {
    assert.equal(id, "abababababab");
    const { current, total } = progressDetail ?? {};
    told.push(current === undefined ? `${status}` : `${status} ${current}/${total}`);
  }, LAYER);
  return { row, told };
}

test("a bar moves ten times a second at most, and always comes to its end", () => {
  const { row, told } = rowOf();
  row.begin();
  for (let at = 0; at <= 1000; at++) row.move("downloading", at, 1000, at);
  for (let again = 0; again < 50; again++) row.move("downloading", 1000, 1000, 5000 + again * 1000);
  assert.equal(told[0], "Pulling fs layer");
  assert.equal(told.at(-1), "Downloading 1000/1000");
  assert.ok(told.length <= 13, String(told.length));
});

test("steps that happened unseen are told in their place", () => {
  const { row, told } = rowOf();
  row.begin();
  row.move("downloading", 1000, 1000);
  row.move("done", 1000, 1000);
  assert.deepEqual(told, [
    "Pulling fs layer",
    "Downloading 1000/1000",
    "Verifying Checksum",
    "Download complete",
    "Extracting 1000/1000",
    "Pull complete",
  ]);
});

test("a blob that was there is not said to be downloaded, a layer that was there not to be extracted", () => {
  const stored = rowOf();
  stored.row.move("extracting", 1000, 1000);
  stored.row.move("done", 1000, 1000);
  assert.deepEqual(stored.told, ["Extracting 1000/1000", "Pull complete"]);
  const there = rowOf();
  there.row.move("exists", 1000, 1000);
  there.row.move("exists", 1000, 1000);
  assert.deepEqual(there.told, ["Already exists"]);
});

test("waits of a second and more are told", () => {
  const { row, told } = rowOf();
  row.wait(300);
  row.wait(1000);
  row.wait(4001);
  assert.deepEqual(told, ["Retrying in 1 second", "Retrying in 5 seconds"]);
});

test("the text of a bar is Docker's", () => {
  // As dockerd 20.10 sends them.
  assert.equal(
    progressText(229376, 20978117),
    "[>                                                  ]  229.4kB/20.98MB",
  );
  assert.equal(progressText(101, 101), "[==================================================>]     101B/101B");
  assert.equal(progressText(36445, 1031560), "[=>                                                 ]  36.45kB/1.032MB");
  assert.equal(
    progressText(15145984, 20978117),
    "[====================================>              ]  15.15MB/20.98MB",
  );
  assert.equal(
    progressText(342016, 31467075),
    "[>                                                  ]    342kB/31.47MB",
  );
  assert.equal(progressText(500, 0), "    500B");
  assert.equal(progressText(0, 0), "");
});
