import { expect, test } from "vitest";
import { Lanes } from "./lanes.js";

/** Work that ends when it is told to. */
function atWork() {
  const running = new Map<string, { end: () => void; fail: (error: Error) => void }>();
  const begun: string[] = [];
  const work = (id: string) => {
    begun.push(id);
    return new Promise<void>((resolve, reject) => running.set(id, { end: resolve, fail: reject }));
  };
  return { running, begun, work };
}

test("a lane that is full takes nobody else's turn, and what waits in it comes once, in order", async () => {
  const { running, begun, work } = atWork();
  const lanes = new Lanes(2, 3);
  const first = lanes.run("slow", "s1", work);
  void lanes.run("slow", "s2", work);
  // They are back at once, though nothing of it has ended; one that comes twice waits once.
  for (const id of ["s3", "s4", "s3", "s5", "beyond"]) await lanes.run("slow", id, work);
  void lanes.run("quick", "q1", work);
  expect(begun).toEqual(["s1", "s2", "q1"]);
  for (const id of ["s1", "s3", "s4", "s5"]) {
    await expect.poll(() => running.has(id)).toBe(true);
    running.get(id)!.end();
  }
  await first;
  expect(begun).toEqual(["s1", "s2", "q1", "s3", "s4", "s5"]);
});

test("after a failure a lane is free again, and after its end nothing is begun", async () => {
  const { running, begun, work } = atWork();
  const lanes = new Lanes(1, 3);
  const failing = lanes.run("a", "1", work);
  await lanes.run("a", "2", work);
  running.get("1")!.fail(new Error("no database"));
  await expect(failing).rejects.toThrow("no database");
  const last = lanes.run("a", "3", work);
  await lanes.run("a", "4", work);
  lanes.close();
  running.get("3")!.end();
  await last;
  await lanes.run("a", "5", work);
  expect(begun).toEqual(["1", "3"]);
});
