import { csvFields } from "../../base/csv.ts";
import { type Command, ExitError } from "../command.ts";
import { boolFlag, intFlag, listFlag, textFlag } from "../flags/spec.ts";
import { cutAt } from "../run/cut-at.ts";
import { checkLink } from "../run/networks.ts";
import { checkPresent, segment } from "./lifecycle.ts";

const STRINGS = { type: "strings" } as const;

export const connectNetwork: Command = {
  usage: "[OPTIONS] NETWORK CONTAINER",
  args: { rule: "exactly", count: 2 },
  flags: [
    listFlag("alias", "Add an alias of the container on the network", STRINGS),
    listFlag("driver-opt", "Set options of the network's driver", STRINGS),
    intFlag("gw-priority", "The network of the highest priority is the default gateway", { since: "1.48" }),
    textFlag("ip", 'IPv4 address (e.g. "172.30.100.104")'),
    textFlag("ip6", 'IPv6 address (e.g. "2001:db8::33")'),
    listFlag("link", "Link to another container", { check: checkLink }),
    listFlag("link-local-ip", "Add a link-local address", STRINGS),
  ],
  async run(call) {
    const { flags } = call;
    const [network = "", container = ""] = call.args;
    const strings = (name: string) => flags.list(name).flatMap(csvFields);
    const aliases = strings("alias");
    const links = flags.list("link");
    const linkLocal = strings("link-local-ip");
    const options = driverOptions(strings("driver-opt"));
    const json = {
      Container: container,
      EndpointConfig: {
        IPAMConfig: {
          ...(flags.text("ip") === "" ? {} : { IPv4Address: flags.text("ip") }),
          ...(flags.text("ip6") === "" ? {} : { IPv6Address: flags.text("ip6") }),
          ...(linkLocal.length === 0 ? {} : { LinkLocalIPs: linkLocal }),
        },
        Links: links.length === 0 ? null : links,
        Aliases: aliases.length === 0 ? null : aliases,
        DriverOpts: options,
        GwPriority: flags.int("gw-priority"),
      },
    };
    const path = `/networks/${segment(network, "network")}/connect`;
    checkPresent(container);
    await call.client.done("POST", path, { json });
    return 0;
  },
};

export const disconnectNetwork: Command = {
  usage: "[OPTIONS] NETWORK CONTAINER",
  args: { rule: "exactly", count: 2 },
  flags: [boolFlag("f,force", "Disconnect a container that is gone, too")],
  async run(call) {
    const [network = "", container = ""] = call.args;
    const json = { Container: container, Force: call.flags.bool("force") };
    const path = `/networks/${segment(network, "network")}/disconnect`;
    checkPresent(container);
    await call.client.done("POST", path, { json });
    return 0;
  },
};

function driverOptions(texts: readonly string[]): Record<string, string> | null {
  if (texts.length === 0) return null;
  return Object.fromEntries(
    texts.map((text) => {
      const [name, value] = cutAt(text, "=");
      if (value === undefined || name.trim() === "") {
        throw new ExitError(1, "invalid key/value pair format in driver options");
      }
      return [name.trim(), value.trim()];
    }),
  );
}
