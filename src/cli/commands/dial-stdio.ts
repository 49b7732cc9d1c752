import { drained } from "../../base/drained.ts";
import { dial } from "../../client/dial.ts";
import type { Command } from "../command.ts";
import { DescriptorWriter } from "../streams/writer.ts";

const HIGH_WATER = 1024 * 1024;

/** What `ssh://` endpoints start on the engine's host. */
export const dialStdio: Command = {
  usage: "",
  args: { rule: "none" },
  flags: [],
  async run(call) {
    const socket = await dial(call.client.endpoint);
    const out = new DescriptorWriter(1, () => {
      if (out.error !== undefined) socket.destroy();
      else if (socket.isPaused() && out.size < HIGH_WATER / 2) socket.resume();
    });
    const ended = new Promise<void>((resolve, reject) => {
      socket.on("data", (chunk: Buffer) => {
        out.write(chunk);
        if (out.size > HIGH_WATER) socket.pause();
      });
      socket.once("end", resolve);
      socket.once("close", () => resolve());
      socket.once("error", reject);
    });
    // The client may be through with sending long before the engine is with answering.
    void sendInput(socket);
    await ended;
    await out.flushed();
    socket.destroy();
    return 0;
  },
};

async function sendInput(socket: Awaited<ReturnType<typeof dial>>): Promise<void> {
  try {
    for await (const chunk of process.stdin) {
      if (socket.destroyed) return;
      if (!socket.write(chunk)) await drained(socket);
    }
  } catch {
    // A broken input is one that has ended.
  }
  if (!socket.destroyed) socket.end();
}
