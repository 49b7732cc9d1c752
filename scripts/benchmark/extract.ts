// Extracts an archive into a new folder as a pull does on its thread, digests included; prints the milliseconds.
import { mkdirSync, statSync } from "node:fs";
import { UnpackJob } from "../../src/images/layers/unpack-job.ts";
import { sha256Of } from "../../src/oci/digest.ts";

const [, , path = "", folder = ""] = process.argv;
mkdirSync(folder);
const { size } = statSync(path);
const nothing = sha256Of("");
const began = performance.now();
const job = new UnpackJob({
  path,
  digest: nothing,
  diffId: nothing,
  size,
  maxRatio: 200,
  isVerified: false,
  target: { folder, whiteouts: "marks" },
});
job.offer(size);
while (!job.isWhole) job.step();
const { refusal } = await job.finish();
job.close({ empty: false });
if (refusal !== undefined) throw new Error(refusal.message);
console.log(performance.now() - began);
