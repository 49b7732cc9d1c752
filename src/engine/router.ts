import findMyWay from "find-my-way";
import { ROUTES, type Route, type RouteName } from "../api/routes.ts";

export interface RouteMatch {
  readonly name: RouteName;
  readonly params: Readonly<Record<string, string>>;
}

/** Finds the route of a method and an unversioned path; undefined if there is none. */
export type Router = (method: string, path: string) => RouteMatch | undefined;

interface Tail {
  readonly name: RouteName;
  /** What follows the wildcard, e.g. `/json`; empty for nothing. */
  readonly suffix: string;
}

/**
 * Builds the router over the API's table. The tree knows a wildcard only at a path's end, so the routes of image
 * names (which have slashes) share one node a prefix and are told apart by what their path ends in.
 */
export function createRouter(routes: Readonly<Record<string, Route>> = ROUTES): Router {
  const tree = findMyWay({ maxParamLength: 4096 });
  const wild = new Map<string, Tail[]>();
  for (const [key, route] of Object.entries(routes)) {
    const name = key as RouteName;
    const star = route.path.indexOf("*");
    if (star < 0) {
      tree.on(route.method, route.path, nothing, { tails: [{ name, suffix: "" }] });
      continue;
    }
    const prefix = route.path.slice(0, star);
    const slash = route.path.indexOf("/", star);
    const tail: Tail = { name, suffix: slash < 0 ? "" : route.path.slice(slash) };
    const node = `${route.method} ${prefix}`;
    const tails = wild.get(node);
    if (tails !== undefined) tails.push(tail);
    else {
      const first = [tail];
      wild.set(node, first);
      tree.on(route.method, `${prefix}*`, nothing, { tails: first });
    }
  }
  return (method, path) => {
    const found = tree.find(method as findMyWay.HTTPMethod, path);
    if (found === null) return undefined;
    const tails = (found.store as { tails: Tail[] }).tails;
    const params = found.params as Record<string, string>;
    // An empty name is a prefix of every id.
    if (Object.values(params).includes("")) return undefined;
    const rest = params["*"];
    if (rest === undefined) return { name: tails[0]!.name, params };
    const tail = tails.find(({ suffix }) => rest.endsWith(suffix) && rest.length > suffix.length);
    if (tail === undefined) return undefined;
    return { name: tail.name, params: { name: rest.slice(0, rest.length - tail.suffix.length) } };
  };
}

function nothing(): void {}
