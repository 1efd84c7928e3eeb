// Sends with `hot-shots` what the test expects: node client.js PORT
const StatsD = require("hot-shots");
const fail = (error) => { throw error; };
const client = new StatsD({ host: "127.0.0.1", port: Number(process.argv[2]), globalTags: { client: "node" }, errorHandler: fail });

for (let n = 0; n < 100; n++) {
  client.increment("js.hits", 1, ["b:2", "a:1"]);
  client.gauge("js.temp", n);
  client.histogram("js.size", n);
  client.distribution("js.wait", n);
  client.set("js.users", n % 7);
}
client.timing("js.took", 12);
client.event("deploy", "of shop\nversion 2", { alert_type: "info" });
client.check("js.up", client.CHECKS.OK, { message: "fine" });
client.close(() => {});
