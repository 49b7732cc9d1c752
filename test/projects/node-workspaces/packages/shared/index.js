const { parse } = require("yaml");

exports.greeting = (who) => parse(`{ greeting: "hello from ${who}" }`).greeting;
