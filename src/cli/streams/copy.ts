import { Demultiplexer } from "./demultiplexer.ts";
import { outputFailure } from "./output-failure.ts";
import { DescriptorWriter } from "./writer.ts";

const HIGH_WATER = 4 * 1024 * 1024;

/** Writes a response's body to a descriptor, or taken apart to both; waits while a reader is slow. */
export async function copyBody(body: AsyncIterable<Uint8Array>, multiplexed: boolean, fd = 1): Promise<void> {
  let wake = (): void => {};
  const out = new DescriptorWriter(fd, () => wake());
  const err = new DescriptorWriter(2, () => wake());
  const demultiplexer = new Demultiplexer((stream, data) => (stream >= 2 ? err : out).write(data));
  for await (const chunk of body) {
    if (multiplexed) demultiplexer.push(chunk as Buffer);
    else out.write(chunk);
    while (out.size + err.size > HIGH_WATER && out.error === undefined && err.error === undefined) {
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
    if (out.error !== undefined) break;
  }
  await out.flushed();
  await err.flushed();
  if (out.error !== undefined) throw outputFailure(fd, out.error);
  if (err.error !== undefined) throw outputFailure(2, err.error);
}
