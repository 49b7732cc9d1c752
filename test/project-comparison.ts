import { differences, type KnownDifference } from "./known-differences.ts";
import { KNOWN_OF_PROJECTS, UNSTABLE } from "./known-project-differences.ts";
import type { Project, ProjectReferee } from "./projects.ts";
import { type Made, tagsOf } from "./referees.ts";

/** Builders whose histories have words of their own. */
const OWN_WORDS: readonly ProjectReferee[] = ["classic", "buildah"];

/** What Gantry made of projects otherwise than another builder; nothing if all is the same. */
export function compareProjects(
  projects: readonly Project[],
  made: { readonly ours: ReadonlyMap<string, Made>; readonly theirs: ReadonlyMap<string, Made> },
  { referee, seen }: { readonly referee: ProjectReferee; readonly seen: Set<KnownDifference<ProjectReferee>> },
): string[] {
  return projects.flatMap(tagsOf).flatMap((tag) => {
    const [ours, theirs] = [made.ours.get(tag), made.theirs.get(tag)];
    if (ours === undefined || theirs === undefined) return [`${tag} was not made`];
    const histories = !OWN_WORDS.includes(referee);
    const pair = { ours: withoutUnstable(ours), theirs: withoutUnstable(theirs) };
    return differences(pair, { histories, known: KNOWN_OF_PROJECTS, referee, seen, tag });
  });
}

function withoutUnstable(made: Made): Made {
  return { ...made, files: made.files.filter((file) => !UNSTABLE.some(({ line }) => line.test(file))) };
}
