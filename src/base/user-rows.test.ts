import assert from "node:assert/strict";
import { test } from "node:test";
import { userRows } from "./user-rows.ts";

test("rows are split at their colons, without what is empty or a remark", () => {
  const text = "root:x:0:0::/root:/bin/sh\n\n# nobody\n  ann:x:1:2\nlast";
  assert.deepEqual(
    [...userRows(text, "/etc/passwd")],
    [["root", "x", "0", "0", "", "/root", "/bin/sh"], ["ann", "x", "1", "2"], ["last"]],
  );
});

test("a row has no more fields than there are, and a file no more rows than anybody needs", () => {
  assert.deepEqual([...userRows(":".repeat(1 << 20), "/etc/group")], [["", "", "", "", "", "", ""]]);
  assert.throws(() => [...userRows("a\n".repeat(1 << 20), "/etc/group")], {
    kind: "invalid",
    message: "cannot read /etc/group: it has more than 65536 rows",
  });
});
