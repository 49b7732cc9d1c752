import { createServer } from "node:http";
import { type Page, render } from "./page.ts";

const page: Page = { title: "typescript", lines: ["hello from typescript", ""] };
createServer((_, response) => response.end(render(page))).listen(Number(process.env.PORT));
process.on("SIGINT", () => process.exit(0));
