import type { Referee } from "./dockerfiles.ts";
import type { Made } from "./referees.ts";

/** A difference that is meant: lines of these cases, as Gantry or as the referee has them, say nothing. */
export interface KnownDifference<R extends string = Referee> {
  readonly referees: readonly R[];
  readonly tag: RegExp;
  readonly line: RegExp;
  readonly why: string;
}

/** docs/compatibility.md has the same for readers. Each must be seen: what no longer differs is taken out. */
export const KNOWN: readonly KnownDifference[] = [
  {
    referees: ["classic", "buildkit"],
    tag: /^refereed:node-workspaces-api$/,
    line: /node_modules\/other/,
    why: "what lies beside an exception of .dockerignore stays out, as with newer Docker",
  },
  {
    referees: ["classic", "buildkit"],
    tag: /^refereed:static-site$/,
    line: /^"www\/(long\/)+name" /,
    why: "attributes of an archive's members are kept",
  },
  {
    referees: ["classic", "buildkit"],
    tag: /^refereed:static-site$/,
    line: /^"www\/owned\/./,
    why: "ADD --chown counts for an archive's members, as with newer BuildKit",
  },
  {
    referees: ["buildkit"],
    tag: /^refereed:links-and-kinds$/,
    line: /^"out\/tree\/fifo" /,
    why: "pipes are copied, as with newer BuildKit",
  },
  {
    referees: ["buildkit"],
    tag: /^refereed:c-service$/,
    line: /^"[^"]*\/(capable|chowned)" /,
    why: "capabilities that a client sends with a context are kept; BuildKit sets the owner after them",
  },
  {
    referees: ["buildkitd"],
    tag: /^refereed:heredocs$/,
    line: /^"etc\/app\/(EOF|raw)" file 6[46]4 /,
    why: "files of heredocs have the mode 0644, as with newer BuildKit",
  },
  {
    referees: ["classic"],
    tag: /^refereed:(arguments|cron-worker)$/,
    line: /^"(data|data\/2|parent)" directory /,
    why: "steps don't mount what VOLUME names, as with BuildKit",
  },
  {
    referees: ["classic"],
    tag: /^refereed:arguments$/,
    line: /^"(environment|tmp\/second)" /,
    why: "a stage has the arguments of the one it stands on, and proxies' names in lower case, as with BuildKit",
  },
  {
    referees: ["classic"],
    tag: /^refereed:c-service$/,
    line: /^"[^"]*\/(again|setuid|capable|chowned)" /,
    why: "the classic builder gives files their owner last, and so loses set-uid bits and capabilities",
  },
  {
    referees: ["classic"],
    tag: /^refereed:cron-worker$/,
    line: /^\["Healthcheck",/,
    why: "HEALTHCHECK NONE has nothing of an earlier one, as with BuildKit",
  },
  {
    referees: ["classic"],
    tag: /^refereed:go-service$/,
    line: /^\["WorkingDir","\/"\]$/,
    why: "an image from scratch says where its commands run, as with BuildKit",
  },
  { referees: ["classic"], tag: /./, line: /^\["ArgsEscaped",true\]$/, why: "BuildKit's mark of its commands" },
];

export interface Comparison<R extends string> {
  readonly referee: R;
  readonly tag: string;
  readonly known: readonly KnownDifference<R>[];
  /** Of the known ones those that were met. */
  readonly seen: Set<KnownDifference<R>>;
  /** Whether histories are to be the same: those of some builders have words of their own. */
  readonly histories: boolean;
}

/** What is otherwise in one of two images; known differences are passed over, and counted in `seen`. */
export function differences<R extends string>(
  { ours, theirs }: { readonly ours: Made; readonly theirs: Made },
  { histories, known: rows, referee, seen, tag }: Comparison<R>,
): string[] {
  const pairs = [
    [ours.files, theirs.files],
    [linesOfConfig(ours), linesOfConfig(theirs)],
    ...(histories ? [[plainHistory(ours.history), plainHistory(theirs.history)] as const] : []),
  ] as const;
  return pairs.flatMap(([mine, other]) => {
    const [have, want] = [new Set(mine), new Set(other)];
    return [
      ...mine.filter((line) => !want.has(line)).map((line) => ["Gantry", line] as const),
      ...other.filter((line) => !have.has(line)).map((line) => [referee, line] as const),
    ].flatMap(([who, line]) => {
      const known = rows.find((one) => one.referees.includes(referee) && one.tag.test(tag) && one.line.test(line));
      if (known === undefined) return [`${tag}, ${who} alone: ${line}`];
      seen.add(known);
      return [];
    });
  });
}

function linesOfConfig({ config }: Made): string[] {
  return Object.entries(config).map((entry) => JSON.stringify(entry));
}

/**
 * A history in words that all versions of BuildKit have in common, each row with its place. By and by it learned to tell
 * of flags, of arguments' values and those of stages below, and of ports and probes as Go prints them.
 */
function plainHistory(rows: readonly string[]): string[] {
  return rows.map((row, index) => {
    const text = row
      .replace(/^((?:COPY|ADD)(?: --\w+=\S+)+) /, (flags) => flags.replace(/ --\w+=\S+/g, ""))
      .replace(/^RUN (\|\d+ .*?)(?=\/bin\/sh )/, "RUN ")
      .replace(/^\(empty\) ARG (\w+).*/, "(empty) ARG $1")
      .replace(/^(\(empty\) )?WORKDIR /, "WORKDIR ")
      .replace(
        /^\(empty\) EXPOSE (?:map)?\[(.*)\]$/,
        (_, ports: string) => `EXPOSE ${ports.replaceAll(":{}", "").split(" ").sort()}`,
      )
      .replace(/^\(empty\) HEALTHCHECK .*/, "HEALTHCHECK");
    return `${index} ${text}`;
  });
}
