/** An address that the engine serves. */
export interface BindAddress {
  /** `unix:///path`, `tcp://address:port`, `fd://` or `fd://N`. */
  readonly address: string;
  /** `read` serves only what changes nothing. */
  readonly access: Access;
}

export type Access = "all" | "read";

/** Reads what `-H` and `hosts` take: an address, tcp where nothing is said, with `?access=read` behind it at will. */
export function parseBindAddress(text: string): BindAddress {
  const question = text.indexOf("?");
  const bare = question < 0 ? text : text.slice(0, question);
  const address = bare.includes("://") ? bare : `tcp://${bare}`;
  const isUnix = /^unix:\/\/\/[^\0]+$/.test(address);
  const isTcp = /^tcp:\/\/(\[[0-9a-fA-F:.]+\]|[^/:\s]*):\d{1,5}\/?$/.test(address);
  if (!isUnix && !isTcp && !address.startsWith("fd://")) {
    throw new Error(`invalid bind address (${text}): it must be unix:///path, tcp://address:port or fd://`);
  }
  const access = question < 0 ? "access=all" : text.slice(question + 1);
  if (access !== "access=all" && access !== "access=read") {
    throw new Error(`invalid bind address (${text}): what follows its "?" must be access=read or access=all`);
  }
  return { address, access: access === "access=read" ? "read" : "all" };
}
