import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { WorkerWorld } from "./testing/worker-world.js";

type Happening =
  | { readonly kind: "tick" | "commit" | "arm" | "rollback" | "agent"; readonly actor?: undefined }
  | { readonly kind: "prepare"; readonly smPct: number }
  | { readonly kind: "time"; readonly ms: number }
  | { readonly kind: "step" | "connect" | "disconnect" | "crash" | "hang"; readonly actor: number };

const happening: fc.Arbitrary<Happening> = fc.oneof(
  { weight: 8, arbitrary: fc.constant({ kind: "tick" } as const) },
  {
    weight: 10,
    arbitrary: fc.record({
      kind: fc.constantFrom("step", "connect"),
      actor: fc.nat(7),
    }) as fc.Arbitrary<Happening>,
  },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constantFrom("disconnect", "crash", "hang"),
      actor: fc.nat(7),
    }) as fc.Arbitrary<Happening>,
  },
  {
    weight: 2,
    arbitrary: fc.record({ kind: fc.constant("prepare" as const), smPct: fc.constantFrom(30, 50, 70) }),
  },
  {
    weight: 3,
    arbitrary: fc.constantFrom(
      { kind: "commit" } as const,
      { kind: "arm" } as const,
      { kind: "rollback" } as const,
    ),
  },
  { weight: 1, arbitrary: fc.constant({ kind: "agent" } as const) },
  {
    weight: 3,
    arbitrary: fc.record({ kind: fc.constant("time" as const), ms: fc.constantFrom(20, 300, 6_000, 11_000) }),
  },
);

function happen(world: WorkerWorld, it: Happening): void {
  if (it.kind === "tick") world.tick();
  else if (it.kind === "commit") world.commit(null);
  else if (it.kind === "arm") world.commit(1_000);
  else if (it.kind === "rollback") world.rollback();
  else if (it.kind === "agent") world.restartAgent();
  else if (it.kind === "prepare") world.prepare(it.smPct);
  else if (it.kind === "time") world.nowMs += it.ms;
  else {
    const actor = world.actors[(it.actor ?? 0) % Math.max(1, world.actors.length)];
    if (!actor) return;
    if (it.kind === "hang") actor.hung = true;
    else world[it.kind](actor);
  }
}

/** Everything that can go on does, in turn, and nothing breaks any more. */
function calm(world: WorkerWorld): void {
  for (let round = 0; round < 400; round += 1) {
    for (const actor of world.actors) {
      world.connect(actor);
      world.step(actor);
    }
    world.tick();
    world.nowMs += 60;
  }
}

describe.each([
  ["one rank", [0], []],
  ["two ranks", [0, 1], []],
  ["one rank with standby workers", [0], [30, 70]],
] as const)("whatever happens, on %s", (_what, ranks, standby) => {
  test("nobody iterates beside another, no third generation runs, and it ends in an allocation that was asked", () => {
    fc.assert(
      fc.property(fc.array(happening, { maxLength: 120 }), (happenings) => {
        const world = new WorkerWorld(ranks, standby);
        for (const it of happenings) {
          happen(world, it);
          for (const rank of ranks) {
            expect(world.iterating(rank).length, "workers that iterate").toBeLessThanOrEqual(1);
            const live = world.actors.filter(({ alive, view }) => alive && view.rank === rank);
            expect(live.length, "workers").toBeLessThanOrEqual(2 + standby.length);
          }
        }
        const allowed = new Set(world.sharesWanted);
        calm(world);
        for (const rank of ranks) {
          const [holder, ...others] = world.iterating(rank);
          expect(others).toEqual([]);
          expect(
            allowed.has(holder?.view.smPct ?? -1),
            `rank ${rank} iterates at a share that was asked`,
          ).toBe(true);
          expect(holder?.view.smPct).toBe(world.runs.smPct);
        }
      }),
      { numRuns: 300 },
    );
  });

  test("what is taken back before its iteration comes leaves every turn where it was", () => {
    fc.assert(
      fc.property(fc.nat(12), fc.integer({ min: 1, max: 12 }), (before, after) => {
        const world = new WorkerWorld(ranks, standby);
        calm(world);
        const turns = [...world.residentTurn];
        const held = ranks.map((rank) => world.iterating(rank)[0]?.view.id);
        world.prepare(30);
        const rounds = (count: number): void => {
          for (let round = 0; round < count; round += 1) {
            for (const actor of world.actors) {
              world.connect(actor);
              // Its iteration does not come.
              if (actor.state !== "handing_over") world.step(actor);
            }
            world.tick();
          }
        };
        rounds(6);
        world.commit(1_000);
        expect(world.armed).toBe(true);
        rounds(before);
        world.rollback();
        expect(world.pending).toBeNull();
        rounds(after);
        calm(world);
        expect([...world.residentTurn]).toEqual(turns);
        expect(ranks.map((rank) => world.iterating(rank)[0]?.view.id)).toEqual(held);
      }),
      { numRuns: 50 },
    );
  });

  test("a role whose share does not change is left alone", () => {
    fc.assert(
      fc.property(fc.array(fc.constantFrom("tick", "step", "commit"), { maxLength: 40 }), (kinds) => {
        const world = new WorkerWorld(ranks, standby);
        calm(world);
        const before = ranks.map((rank) => world.iterating(rank)[0]?.view.id);
        world.prepare(50);
        for (const kind of kinds)
          happen(world, (kind === "step" ? { kind, actor: 0 } : { kind }) as Happening);
        calm(world);
        expect(ranks.map((rank) => world.iterating(rank)[0]?.view.id)).toEqual(before);
      }),
      { numRuns: 50 },
    );
  });
});

test("ranks that switch together hear one iteration, whoever is cut off, and whatever agent tells them", () => {
  type Step =
    | { readonly kind: "tick" | "agent" }
    | { readonly kind: "cut" | "deaf" | "on"; readonly actor: number };
  const steps: fc.Arbitrary<Step> = fc.oneof(
    { weight: 4, arbitrary: fc.constant({ kind: "tick" } as const) },
    { weight: 1, arbitrary: fc.constant({ kind: "agent" } as const) },
    {
      weight: 5,
      arbitrary: fc.record({
        kind: fc.constantFrom("cut", "deaf", "on", "on"),
        actor: fc.nat(7),
      }) as fc.Arbitrary<Step>,
    },
  );
  fc.assert(
    fc.property(fc.array(steps, { maxLength: 80 }), (happenings) => {
      const world = new WorkerWorld([0, 1]);
      calm(world);
      world.prepare(30);
      calm(world);
      world.commit(null);
      for (const it of happenings) {
        const actor = "actor" in it ? world.actors[it.actor % world.actors.length] : undefined;
        if (it.kind === "tick") world.tick();
        else if (it.kind === "agent") world.restartAgent();
        else if (actor && it.kind === "cut") world.disconnect(actor);
        else if (actor && it.kind === "deaf") actor.deaf = true;
        else if (actor) {
          world.connect(actor);
          world.step(actor);
        }
      }
      calm(world);
      const told = new Set(world.heardOrders.map(({ at }) => at));
      expect(told.size).toBe(1);
      expect(told).not.toContain(null);
      expect(new Set(world.heardOrders.map(({ rank }) => rank))).toEqual(new Set([0, 1]));
      expect(world.runs.smPct).toBe(30);
    }),
    { numRuns: 300 },
  );
});
