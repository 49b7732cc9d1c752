/** Whether this is an IP address. The module that knows is loaded for who asks: it costs a start milliseconds. */
export function isAddress(text: string): boolean {
  return process.getBuiltinModule("node:net").isIP(text) !== 0;
}
