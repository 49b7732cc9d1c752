import type { NetworkInspect } from "../../api/network.ts";
import { EngineError } from "../../client/client.ts";
import type { Command } from "../command.ts";
import { boolFlag, filterFlag, textFlag } from "../flags/spec.ts";
import { filtersOf } from "../output/filters.ts";
import { printListing } from "../output/format.ts";
import { FORMAT_USAGE, labelsText, shortId, timeText } from "../output/text.ts";
import { forEachName, segment } from "./lifecycle.ts";

const HEADINGS = {
  ID: "NETWORK ID",
  Name: "NAME",
  Driver: "DRIVER",
  Scope: "SCOPE",
  IPv4: "IPV4",
  IPv6: "IPV6",
  Internal: "INTERNAL",
  Labels: "LABELS",
  CreatedAt: "CREATED AT",
};

export const networks: Command = {
  usage: "[OPTIONS]",
  args: { rule: "none" },
  flags: [
    filterFlag('Show only what matches (e.g. "driver=bridge")'),
    textFlag("format", FORMAT_USAGE),
    boolFlag("no-trunc", "Do not truncate the output"),
    boolFlag("q,quiet", "Only display network IDs"),
  ],
  async run(call) {
    const { flags } = call;
    const found = await call.client.json<NetworkInspect[]>("GET", "/networks", {
      query: { filters: filtersOf(flags.list("filter")) },
    });
    const id = (network: NetworkInspect): string => (flags.bool("no-trunc") ? network.Id : shortId(network.Id));
    found.sort((a, b) => a.Name.localeCompare(b.Name, "en", { numeric: true }));
    const format = flags.text("format") || (flags.bool("quiet") ? "" : (call.settings.config().networksFormat ?? ""));
    await printListing({
      format,
      quiet: flags.bool("quiet"),
      raw: [
        ["network_id", "ID"],
        ["name", "Name"],
        ["driver", "Driver"],
        ["scope", "Scope"],
      ],
      columns: ["ID", "Name", "Driver", "Scope"],
      headings: HEADINGS,
      type: "*network.networkContext",
      rows: found.map((network) => ({
        ID: id(network),
        Name: network.Name,
        Driver: network.Driver,
        Scope: network.Scope,
        IPv4: String(network.EnableIPv4 ?? true),
        IPv6: String(network.EnableIPv6),
        Internal: String(network.Internal),
        Labels: labelsText(network.Labels),
        Label: (name: unknown) => network.Labels?.[String(name)] ?? "",
        CreatedAt: timeText(Date.parse(network.Created) / 1000, /\.\d+/.exec(network.Created)?.[0]),
      })),
    });
    return 0;
  },
};

export const removeNetworks: Command = {
  usage: "NETWORK [NETWORK...]",
  args: { rule: "at-least", count: 1 },
  flags: [boolFlag("f,force", "Do not complain about a network that is not there")],
  run(call) {
    const remove = async (name: string) => {
      try {
        await call.client.done("DELETE", `/networks/${segment(name, "network")}`);
      } catch (error) {
        // Nothing is printed of what was gone before.
        if (call.flags.bool("force") && isMissing(error)) return null;
        throw error;
      }
      return undefined;
    };
    // A network may stand in the way of the next: a configuration is in use until the last network made from it is gone.
    return forEachName(call, remove, 1);
  },
};

function isMissing(error: unknown): boolean {
  return error instanceof EngineError && error.status === 404;
}
