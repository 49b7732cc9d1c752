const router = require("find-my-way")({ defaultRoute: (_, response) => response.writeHead(404).end("no such page\n") });

router.on("GET", "/", (_, response) => response.end("hello from node\n"));
router.on("GET", "/greet/:name", (_, response, { name }) => response.end(`hello ${name}\n`));

module.exports = router;
