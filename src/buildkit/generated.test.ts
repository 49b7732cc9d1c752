import { execFileSync } from "node:child_process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

test("the generated code is of the protos beside it", () => {
  execFileSync("sh", [fileURLToPath(new URL("../../scripts/protos.sh", import.meta.url)), "--check"], {
    stdio: "pipe",
  });
});
