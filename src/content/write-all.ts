/** Appends all of the pieces to an open file. */
export async function writeAll(
  file: { writev(buffers: readonly Uint8Array[]): Promise<{ bytesWritten: number }> },
  pieces: readonly Uint8Array[],
  length: number,
): Promise<void> {
  let { bytesWritten } = await file.writev(pieces);
  // A disk that is nearly full takes a part; asking for the rest brings the error.
  while (bytesWritten < length) {
    const rest = Buffer.concat(pieces).subarray(bytesWritten);
    bytesWritten += (await file.writev([rest])).bytesWritten;
  }
}
