import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { clientLimitOf } from "./client-limit.js";
import { clientsOfCsv, clientsOfPs, percentageOf, pidsOf, serversOf, statusOf } from "./mps-answers.js";
import { MpsError } from "./mps-error.js";
import { scanServerLog } from "./server-log.js";

describe("answers of the MPS tool", () => {
  test("v2 ps is read by its header, a command keeps its blanks", () => {
    const text = [
      "PID       ID    SERVER    DEVICE             NAMESPACE    COMMAND",
      "9741      0     6472   GPU-cb1213a3-d6a4-be7f 4026531836 ./nbody -benchmark",
      "9743      1     6472   GPU-cb1213a3-d6a4-be7f 4026531836 ./matrixMul",
    ].join("\n");
    expect(clientsOfPs(text)).toEqual([
      {
        pid: 9741,
        server: "6472",
        device: "GPU-cb1213a3-d6a4-be7f",
        namespace: "4026531836",
        command: "./nbody -benchmark",
      },
      {
        pid: 9743,
        server: "6472",
        device: "GPU-cb1213a3-d6a4-be7f",
        namespace: "4026531836",
        command: "./matrixMul",
      },
    ]);
  });

  test("a column more, or another order, does not shift what is read", () => {
    expect(clientsOfPs("PID SERVER ID COMMAND\n7 6472 0 ./a b")).toMatchObject([
      { pid: 7, server: "6472", device: null, command: "./a b" },
    ]);
  });

  test("v3 rows are read with a header and, as documented, without one", () => {
    // The sample of mpsv3-interface.html.
    const rows =
      "51023,training,0,default,python train.py\n51087,training,0,high_priority,python eval.py --x a,b";
    const expected = [
      { pid: 51023, server: "training", device: "0", namespace: "default", command: "python train.py" },
      {
        pid: 51087,
        server: "training",
        device: "0",
        namespace: "high_priority",
        command: "python eval.py --x a,b",
      },
    ];
    expect(clientsOfCsv(rows)).toEqual(expected);
    expect(clientsOfCsv(`PID,Server,Device,Namespace,Command\n${rows}`)).toEqual(expected);
    const server = "training,1000,48201,Ready,/run/nvidia-mps/training,GPU-abcd-1234,-";
    const wanted = [{ name: "training", uid: 1000, pid: 48201, status: "ACTIVE" }];
    expect(serversOf(server)).toEqual(wanted);
    expect(serversOf(`name,uid,pid,status,pipe-directory,allowed-devices,context-ids\n${server}`)).toEqual(
      wanted,
    );
    expect(serversOf("training,1000,-,configured,/run/x,-,-")).toMatchObject([
      { pid: null, status: "MISSING" },
    ]);
  });

  test.each<[string, () => unknown]>([
    ["a status that nobody knows", () => statusOf("Melting")],
    ["a list of servers that is an error", () => pidsOf("error: no such thing")],
    ["a PID that is none", () => pidsOf("0")],
    ["ps without its header", () => clientsOfPs("9741 0 6472")],
    ["a percentage above 100", () => percentageOf("130")],
    ["a percentage of 0", () => percentageOf("0.0")],
    ["half a row", () => serversOf("training,1000")],
  ])("%s is a bad answer", (_what, parse) => {
    expect(parse).toThrow(MpsError);
  });

  test("no text makes a parser throw anything else, or find a client that is not there", () => {
    fc.assert(
      fc.property(fc.string({ maxLength: 200 }), (text) => {
        for (const parse of [pidsOf, statusOf, serversOf, clientsOfCsv, clientsOfPs, percentageOf]) {
          try {
            parse(text);
          } catch (error) {
            expect(error).toBeInstanceOf(MpsError);
          }
        }
        expect(scanServerLog(text)).toBeNull();
      }),
    );
  });
});

test("the server's log names the clients that it blames", () => {
  const log = [
    "[2022-04-28 15:48:07.332 Control 11570] Accepting connection...",
    "[2022-04-28 15:56:07.410 Other 11661] Volta MPS: status of client {1, 1} is ACTIVE",
    "[2022-04-28 15:56:07.410 Other 11661] Volta MPS: Server is handling a fatal GPU error.",
    "[2022-04-28 15:56:07.411 Other 11661] Volta MPS: status of client {11661, 1} is ACTIVE",
    "[2022-04-28 15:56:07.411 Other 11661] Volta MPS: status of client {11663, 2} is INACTIVE",
  ].join("\n");
  expect(scanServerLog(log)).toMatchObject({ activeClients: [11661] });
});

test.each([
  [{ major: 13, minor: 0 }, 9, 48],
  [{ major: 13, minor: 1 }, 9, 60],
  [{ major: 14, minor: 0 }, 9, 60],
  [{ major: 12, minor: 4 }, 8, 48],
  [{ major: 13, minor: 4 }, 6, 16],
  [null, null, 48],
] as const)("CUDA %o on compute capability %s.x: %i clients", (cuda, computeMajor, limit) => {
  expect(clientLimitOf(cuda, computeMajor)).toBe(limit);
});
