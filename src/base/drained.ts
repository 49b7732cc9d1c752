/** What is used of a Node stream here. */
interface Drainable {
  readonly destroyed: boolean;
  readonly writableLength: number;
  on(event: "drain" | "close", listener: () => void): unknown;
  off(event: "drain" | "close", listener: () => void): unknown;
}

/** After a `write` that returned false: resolves when the stream takes more, or never will because it is gone. */
export function drained(stream: Drainable): Promise<void> {
  return new Promise((resolve) => {
    const settle = (): void => {
      stream.off("drain", settle);
      stream.off("close", settle);
      resolve();
    };
    stream.on("drain", settle);
    stream.on("close", settle);
    if (stream.destroyed || stream.writableLength === 0) settle();
  });
}
