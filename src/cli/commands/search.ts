import type { SearchResult } from "../../api/registry.ts";
import type { Command } from "../command.ts";
import { withLogin } from "../credentials/ask-again.ts";
import { boolFlag, filterFlag, intFlag, textFlag } from "../flags/spec.ts";
import { filtersOf } from "../output/filters.ts";
import { printListing } from "../output/format.ts";
import { complain } from "../output/print.ts";
import { ellipsis, FORMAT_USAGE } from "../output/text.ts";
import { defaultRegistry, saysRegistry } from "../run/registry-name.ts";

const MOST_DESCRIPTION = 45;
const HEADINGS = { Name: "NAME", Description: "DESCRIPTION", StarCount: "STARS", IsOfficial: "OFFICIAL" };

export const search: Command = {
  usage: "[OPTIONS] TERM",
  args: { rule: "exactly", count: 1 },
  long: "Search a registry for images: Docker Hub, or the one that the term begins with, as registry:5000/web",
  flags: [
    filterFlag('Show only what matches (e.g. "is-official=true" or "stars=3")'),
    textFlag("format", FORMAT_USAGE),
    intFlag("limit", "Most results to show (25 unless given, 100 at most)"),
    boolFlag("no-trunc", "Don't truncate output"),
  ],
  async run(call) {
    const { flags } = call;
    const [term = ""] = call.args;
    const filters = flags.list("filter");
    if (filters.some((filter) => filter.startsWith("is-automated="))) {
      const why = 'searching for "is-automated=true" will not yield any results in future.';
      complain(`WARNING: the "is-automated" filter is deprecated, and ${why}`);
    }
    const domain = saysRegistry(term) ? term.slice(0, term.indexOf("/")) : await defaultRegistry(call.client);
    const limit = flags.int("limit");
    const query = { term, limit: limit > 0 ? limit : undefined, filters: filtersOf(filters) };
    const found = await withLogin(call, domain, "search", (headers) =>
      call.client.json<SearchResult[]>("GET", "/images/search", { query, headers }),
    );
    const format = flags.text("format");
    const isJson = format === "json" || format === "{{json .}}";
    const cut = (text: string): string => (flags.bool("no-trunc") ? text : ellipsis(text, MOST_DESCRIPTION));
    await printListing({
      format,
      columns: ["Name", "Description", "StarCount", "IsOfficial"],
      headings: HEADINGS,
      type: "*registry.searchContext",
      rows: found.map((row) => ({
        Name: plain(row.name),
        Description: cut(plain(row.description)),
        StarCount: String(row.star_count),
        IsOfficial: isJson ? String(row.is_official) : row.is_official ? "[OK]" : "",
      })),
    });
    return 0;
  },
};

/** One line, without what would steer the terminal: whoever pushed an image wrote it. */
function plain(text: string): string {
  return text.replace(/[\r\n\t]/g, " ").replace(/[\x00-\x1f\x7f-\x9f]/g, "");
}
