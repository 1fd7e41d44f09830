import { lstatSync, rmSync } from "node:fs";
import { connect, createServer, type Server, type Socket } from "node:net";
import { answerLine, refusal, type ControlTarget } from "./control-protocol.js";

const MAX_CONNECTIONS = 32;
const MAX_LINE_BYTES = 64 * 1024;
/** Answers that a client may leave unread before it is cut off. */
const MAX_UNREAD_BYTES = 1024 * 1024;

/**
 * Listens on a Unix socket. A socket file that a killed engine left behind is replaced; one with a
 * living listener, or a file that is no socket, is an error.
 */
export async function listenControl(path: string, target: ControlTarget): Promise<Server> {
  await removeStaleSocket(path);
  const server = createServer((socket) => serve(socket, target));
  server.maxConnections = MAX_CONNECTIONS;
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(path, () => {
      server.off("error", reject);
      resolve();
    });
  });
  return server;
}

function serve(socket: Socket, target: ControlTarget): void {
  let buffered = "";
  const send = (answer: object): void => {
    socket.write(`${JSON.stringify(answer)}\n`);
    if (socket.writableLength > MAX_UNREAD_BYTES) socket.destroy();
  };
  socket.setEncoding("utf8");
  socket.on("data", (chunk: string) => {
    const lines = (buffered + chunk).split("\n");
    buffered = lines.pop() ?? "";
    for (const line of lines) if (line.trim() !== "" && !socket.destroyed) send(answerLine(target, line));
    if (buffered.length > MAX_LINE_BYTES) {
      send(refusal(null, "bad_request", `a line must be at most ${MAX_LINE_BYTES} bytes long`));
      socket.destroySoon();
    }
  });
  // A client that goes away in the middle is its own business.
  socket.on("error", () => socket.destroy());
}

/** @throws Error when somebody listens there, or it is no socket. */
export async function removeStaleSocket(path: string): Promise<void> {
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (found === undefined) return;
  if (!found.isSocket()) throw new Error(`--socket ${path} exists and is no socket`);
  const alive = await new Promise<boolean>((resolve) => {
    const probe = connect(path);
    probe.once("connect", () => {
      probe.destroy();
      resolve(true);
    });
    probe.once("error", () => resolve(false));
  });
  if (alive) throw new Error(`--socket ${path} is in use by a living engine`);
  rmSync(path, { force: true });
}
