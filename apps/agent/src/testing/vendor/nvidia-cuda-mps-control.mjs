/**
 * A control daemon's tool without a GPU, as the documents of NVIDIA MPS describe it (release 615). What it knows lies
 * in the pipe directory, where FakeMps (fake-mps.ts) writes it:
 *   daemon.json            { protocol, mode, defaultPct }   absent: no daemon
 *   server.json            { name, uid, pid, status, pct }  absent: no server has been started
 *   clients/<pid>.json     { pid, device, command, pct }
 *   calls.log              every call, one JSON line each
 */
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";

const folder = process.env.CUDA_MPS_PIPE_DIRECTORY ?? "/tmp/nvidia-mps";
const args = process.argv.slice(2);
const read = (name) => {
  const path = join(folder, name);
  return existsSync(path) ? JSON.parse(readFileSync(path, "utf8")) : null;
};
const write = (name, value) => writeFileSync(join(folder, name), JSON.stringify(value));
const end = (code, text, toErr = false) => {
  if (text) (toErr ? process.stderr : process.stdout).write(`${text}\n`);
  process.exit(code);
};
const clientFiles = () => (existsSync(join(folder, "clients")) ? readdirSync(join(folder, "clients")) : []);
const clients = () => clientFiles().map((name) => read(join("clients", name)));

if (args[0] === "-v" || args[0] === "--version") end(0, "615.12");
if (args[0] === "-d" || args[0] === "-f") {
  mkdirSync(join(folder, "clients"), { recursive: true });
  write("daemon.json", { protocol: args.includes("3") ? 3 : 2, mode: "ok", defaultPct: 100 });
  if (args[0] === "-d") end(0);
  process.on("SIGTERM", () => {
    rmSync(join(folder, "daemon.json"));
    process.exit(0);
  });
  process.stdout.write("running\n");
  setInterval(() => undefined, 60_000);
} else main(args.length > 0 ? "" : readFileSync(0, "utf8").trim());

function main(command) {
  if (existsSync(folder)) {
    appendFileSync(join(folder, "calls.log"), `${JSON.stringify(args.length > 0 ? args : [command])}\n`);
  }
  const daemon = read("daemon.json");
  if (daemon === null) end(1, "Cannot find MPS control daemon process");
  if (daemon.mode === "hang") {
    writeFileSync(join(folder, "hung.pid"), String(process.pid));
    setInterval(() => undefined, 60_000);
    return;
  }
  if (daemon.mode === "garbage") end(0, "\u0000\u0001segfault at 0 ip (nil)\n%%%");
  if (daemon.mode === "silent") end(0);
  if (daemon.mode === "flood") {
    const block = "x".repeat(65_536);
    const pour = () => {
      while (process.stdout.write(block));
      process.stdout.once("drain", pour);
    };
    pour();
    return;
  }
  // A server in FAULT is ACTIVE again when its last client has exited.
  const server = read("server.json");
  if (server?.status === "FAULT" && clientFiles().length === 0) {
    server.status = "ACTIVE";
    write("server.json", server);
  }
  if (daemon.protocol === 3) version3(server);
  else version2(command, daemon, server);
}

function version2(command, daemon, server) {
  if (args.length > 0) end(1, "Usage: nvidia-cuda-mps-control [-d | -f | -v]", true);
  const [word, first, second] = command.split(/\s+/);
  const ofServer = (answer) =>
    server && String(server.pid) === first ? end(0, answer()) : end(0, `Server ${first} not found`);
  switch (word) {
    case "get_server_list":
      return end(0, server ? String(server.pid) : "");
    case "get_server_status":
      return ofServer(() => server.status);
    case "get_client_list":
      return ofServer(() =>
        clients()
          .map(({ pid }) => pid)
          .join("\n"),
      );
    case "ps": {
      const rows = clients().map(({ pid, device, command }) =>
        [pid, 0, server?.pid, device.slice(0, 22), 4026531836, command].join("  "),
      );
      return end(0, ["PID   ID   SERVER   DEVICE   NAMESPACE   COMMAND", ...rows].join("\n"));
    }
    case "get_default_active_thread_percentage":
      return end(0, daemon.defaultPct.toFixed(1));
    case "set_default_active_thread_percentage":
      write("daemon.json", { ...daemon, defaultPct: Number(first) });
      return end(0, Number(first).toFixed(1));
    case "get_active_thread_percentage":
      return ofServer(() => server.pct.toFixed(1));
    case "set_active_thread_percentage":
      return ofServer(() => {
        write("server.json", { ...server, pct: Number(second) });
        return Number(second).toFixed(1);
      });
    case "terminate_client":
      return ofServer(() => terminate(second));
    default:
      return end(1, `Invalid command: ${command}`, true);
  }
}

function version3(server) {
  if (args.length === 0) end(1, "Usage: nvidia-cuda-mps-control <module> <verb> [arguments]", true);
  const [module, verb, ...rest] = args;
  const named = (key) => rest.find((arg) => arg.startsWith(`--${key}=`))?.slice(key.length + 3);
  const table = (columns, rows) => {
    const [kind, noHeader] = (named("format") ?? "table").split(",");
    const glue = kind === "csv" ? "," : "  ";
    const header = kind === "csv" ? columns : columns.map((name) => name.toUpperCase());
    end(0, [...(noHeader ? [] : [header]), ...rows].map((row) => row.join(glue)).join("\n"));
  };
  const { name, uid, pid, status } = server ?? {};
  const word = { ACTIVE: "Ready", FAULT: "Fault", INITIALIZING: "Initializing" }[status];
  switch (`${module} ${verb}`) {
    case "server list":
      return table(
        ["name", "uid", "pid", "status", "pipe-directory", "allowed-devices", "context-ids"],
        server ? [[name, uid, pid, word, join(folder, name), "GPU-a,GPU-b", "-"]] : [],
      );
    case "client list":
      if (named("server") !== name) end(1, `Server '${named("server")}' not found`, true);
      return table(
        ["pid", "server", "device", "namespace", "command"],
        clients().map((client) => [client.pid, name, 0, "default", client.command]),
      );
    case "client terminate":
      if (!clients().some((client) => String(client.pid) === rest[0])) end(1, "Client not found", true);
      terminate(rest[0]);
      return end(0);
    case "namespace get":
      return end(0, server.pct === 100 ? "-" : String(server.pct));
    default:
      return end(1, `Unknown command '${args.join(" ")}'`, true);
  }
}

/** The client's contexts end; its process goes on. */
function terminate(pid) {
  const file = `${pid}.json`;
  if (!clientFiles().includes(file)) return "1";
  rmSync(join(folder, "clients", file));
  return "0";
}
