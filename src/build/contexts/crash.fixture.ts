import { ContextStore } from "./context-store.ts";
import { FakeSession, folderRoots } from "./fake-session.fixture.ts";

/** Syncs a folder once: what a test kills at its failpoints. */
const [root = "", folder = ""] = process.argv.slice(2);
const store = new ContextStore({ root, roots: folderRoots(), boot: "boot" });
await store.recover();
const request = { name: "context", include: [], exclude: [], followPaths: [] };
const synced = await store.sync(new FakeSession({ context: folder }), request, new AbortController().signal);
await synced[Symbol.asyncDispose]();
