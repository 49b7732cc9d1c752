import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import type { TestContext } from "node:test";

// Node has no Unix datagram sockets, so Python, where there is one, plays the receiver.
const RECEIVER = `
import json, socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(sys.argv[1].replace("@", "\\0"))
print("bound", flush=True)
while True: print(json.dumps(s.recv(4096).decode()), flush=True)
`;

/** Binds a datagram socket (`@name` for an abstract one) and yields what comes; undefined without python3. */
export async function receiveDatagrams(t: TestContext, path: string): Promise<AsyncIterator<string> | undefined> {
  const receiver = spawn("python3", ["-c", RECEIVER, path], { stdio: ["ignore", "pipe", "inherit"] });
  const failed = once(receiver, "error");
  t.after(() => receiver.kill("SIGKILL"));
  const lines = createInterface({ input: receiver.stdout })[Symbol.asyncIterator]();
  const first = await Promise.race([lines.next(), failed]);
  if (Array.isArray(first) || first.value !== "bound") return undefined;
  return (async function* () {
    for (let line = await lines.next(); line.done !== true; line = await lines.next()) yield JSON.parse(line.value);
  })();
}
