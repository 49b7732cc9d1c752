import assert from "node:assert/strict";
import { chmodSync, mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import type { RequestListener } from "node:http";
import { join } from "node:path";
import { GitRepository, GitServer, gitPrograms } from "../../src/build/sources/git-server.fixture.ts";
import { CONTEXT, OLD, type ReferenceCase } from "./case.ts";

/** Stands for the server's address in cases and in what is recorded of them. */
export const SERVER = "http://server.invalid";

const DATE = new Date(OLD * 1000).toUTCString();
const FILE = "of a server\n";
/** Commits of `lib.git`, equal on every machine, as their dates are. */
export const COMMITS = {
  first: "1096a57672e54e367685686839be10f56ff34cd6",
  second: "3fb4bdeae488cffe8c79957d0673ca66bd192c6f",
  short: "1096a576",
  tag: "d76a6730324ee3be67c3d0cd778545b153a268de",
};

/** What cases fetch: files with and without a date, redirects, errors, repositories. Nothing of it asks for another host. */
export class ReferenceServer implements AsyncDisposable {
  readonly #server: GitServer;

  private constructor(server: GitServer) {
    this.#server = server;
    server.instead = answer;
  }

  /** `folder` is for its repositories. */
  static async start(folder: string): Promise<ReferenceServer> {
    mkdirSync(folder);
    if (gitPrograms() !== undefined) makeRepositories(folder);
    return new ReferenceServer(await GitServer.start(folder));
  }

  /** A case as it is built with this server. */
  serve(one: ReferenceCase): ReferenceCase {
    return { ...one, dockerfile: one.dockerfile.replaceAll(SERVER, this.#server.url) };
  }

  /** What was said or made of it, as any such server would have it. */
  plain<T>(made: T): T {
    if (made === undefined) return made;
    const text = JSON.stringify(made).replaceAll(this.#server.url, SERVER);
    return JSON.parse(text.replaceAll(this.#server.url.replace("http://", ""), SERVER.replace("http://", "")));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#server[Symbol.asyncDispose]();
  }
}

/** True of what it answers: not of repositories. */
function answer(...[request, response]: Parameters<RequestListener>): boolean {
  const path = decodeURIComponent(new URL(request.url ?? "/", SERVER).pathname);
  if (/\.git\/|^\/lib\//.test(path)) return false;
  const to = (place: string): void => void response.writeHead(302, { Location: place }).end();
  const dated = (body: string | Uint8Array, more: Readonly<Record<string, string>> = {}): void =>
    void response.writeHead(200, { "Last-Modified": DATE, ...more }).end(body);
  const left = /^\/redirects\/(.+)$/.exec(path)?.[1];
  if (left !== undefined) to(left === "0" ? "/file" : `/redirects/${Number(left) ? Number(left) - 1 : left}`);
  else if (path === "/redirect") to("/file");
  else if (path === "/redirect-to-named") to("/named");
  else if (path === "/named") dated(FILE, { "Content-Disposition": 'attachment; filename="by-the-server"' });
  else if (path === "/undated") response.end(FILE);
  else if (path === "/misdated") response.writeHead(200, { "Last-Modified": "some day" }).end(FILE);
  else if (path === "/empty") dated("");
  else if (path === "/nothing") response.writeHead(404).end();
  else if (path === "/forbidden") response.writeHead(403).end("no");
  else if (path === "/broken") response.writeHead(500).end("broken");
  else if (path.startsWith("/arc.tar")) dated(CONTEXT.find(({ name }) => `/${name}` === path)?.body ?? "");
  else dated(FILE);
  return true;
}

function makeRepositories(folder: string): void {
  const lib = new GitRepository(join(folder, "lib.git"), OLD);
  const at = (path: string) => join(lib.folder, path);
  mkdirSync(at("sub/deep"), { recursive: true });
  writeFileSync(at("file"), "one\n");
  writeFileSync(at("run.sh"), "#!/bin/sh\n");
  chmodSync(at("run.sh"), 0o755);
  writeFileSync(at("sub/deep/leaf"), "leaf\n");
  writeFileSync(at("sub/beside"), "beside\n");
  symlinkSync("sub/deep/leaf", at("leaf-link"));
  symlinkSync("sub", at("folder-link"));
  const first = lib.commit("first");
  lib.run("tag", "v1");
  lib.run("checkout", "--quiet", "-b", "side");
  writeFileSync(at("file"), "side\n");
  writeFileSync(at("sub/side"), "side\n");
  lib.commit("side");
  lib.run("update-ref", "refs/pull/1/head", "HEAD");
  lib.run("checkout", "--quiet", "main");
  writeFileSync(at("file"), "two\n");
  const second = lib.commit("second");
  lib.run("tag", "-a", "v2", "-m", "the second");
  const tag = lib.run("rev-parse", "v2");
  for (const name of ["uploadpack.allowAnySHA1InWant", "uploadpack.allowReachableSHA1InWant"])
    lib.run("config", name, "true");

  const outer = new GitRepository(join(folder, "outer.git"), OLD);
  writeFileSync(join(outer.folder, "own"), "own\n");
  // The submodule's address is one beside the repository's own, wherever that is served.
  writeFileSync(join(outer.folder, ".gitmodules"), '[submodule "inner"]\n\tpath = inner\n\turl = ../lib.git\n');
  outer.run("update-index", "--add", "--cacheinfo", `160000,${first},inner`);
  outer.commit("outer");
  assert.deepEqual({ first, second, short: first.slice(0, 8), tag }, COMMITS);
}
