import type { KnownDifference } from "./known-differences.ts";
import type { ProjectReferee } from "./projects.ts";

/** What no builder makes the same twice, by name: it is left out of every comparison. */
export const UNSTABLE: readonly { readonly line: RegExp; readonly why: string }[] = [
  { line: /^"var\/cache\/ldconfig\/aux-cache" /, why: "ldconfig notes the inodes and times of libraries" },
  { line: /^"root\/\.npm\/_logs(\/|")/, why: "npm names its logs by the time" },
];

/** Differences between builders that are meant; each must be met. docs/compatibility.md has the same for readers. */
export const KNOWN_OF_PROJECTS: readonly KnownDifference<ProjectReferee>[] = [
  {
    referees: ["classic", "buildkit", "buildah"],
    tag: /^refereed:python-zipapp$/,
    line: /^"data(\/table\.csv)?" /,
    why: "ADD --chown counts for an archive's members, as with newer BuildKit",
  },
  {
    referees: ["classic", "buildkit"],
    tag: /^refereed:node-workspaces-web$/,
    line: /^"www\/stray\.js" /,
    why: "what lies beside an exception of .dockerignore stays out, as with newer Docker",
  },
  {
    referees: ["classic", "buildah"],
    tag: /^refereed:(go-service|c-service|polyglot-gateway)$/,
    line: /^\["WorkingDir","\/"\]$/,
    why: "an image from scratch says where its commands run, as with BuildKit",
  },
  {
    referees: ["buildkit"],
    tag: /^refereed:python-mounts$/,
    line: /^"(root\/\.cache(\/pip)?|wheels)" directory /,
    why: "places where mounts were are gone afterwards, as with newer BuildKit",
  },
  {
    referees: ["buildkit", "newer"],
    tag: /^refereed:ruby-service$/,
    line: /^9 (\(empty\) )?RUN \/bin\/sh -c ruby -c /,
    why: "a step that changes nothing has no layer, as by the classic builder",
  },
  {
    referees: ["buildah"],
    tag: /./,
    line: /^"etc\/(hostname|hosts|resolv\.conf)" file 755 0:0 0 /,
    why: "buildah leaves the places of what it mounted in a step",
  },
  {
    referees: ["buildah"],
    tag: /^refereed:(python-mounts|go-tools)$/,
    line: /^"(root\/\.cache|wheels)(\/[^/]*)?" directory /,
    why: "buildah leaves the places of what it mounted in a step",
  },
  {
    referees: ["buildah"],
    tag: /^refereed:(python|ruby)-service$/,
    line: /^\["Env",/,
    why: "buildah puts a variable that is set again behind the others",
  },
  {
    referees: ["buildah"],
    tag: /^refereed:c-library$/,
    line: /^"usr\/local\/bin\/tell-again" file /,
    why: "a step that changes a file of a lower layer parts it from its other names; all of buildah's are in one layer",
  },
  {
    referees: ["classic", "buildah"],
    tag: /./,
    line: /^\["ArgsEscaped",true\]$/,
    why: "BuildKit's mark of its commands",
  },
];
