const { greeting } = require("@repo/shared");

console.log(greeting(`worker ${process.argv[2]}`));
