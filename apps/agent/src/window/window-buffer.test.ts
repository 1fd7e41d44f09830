import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { UnnumberedWindow } from "./close-window.js";
import { MAX_BUFFERED_WINDOWS, MAX_WINDOWS_PER_SEND, WindowBuffer } from "./window-buffer.js";

const window = { finished: 1 } as UnnumberedWindow;
const seqs = (buffer: WindowBuffer) => buffer.head().map(({ seq }) => seq);

function filled(from: number, count: number): WindowBuffer {
  const buffer = new WindowBuffer(from);
  for (let i = 0; i < count; i += 1) buffer.push(window);
  return buffer;
}

describe("the buffer of windows", () => {
  test("sends the oldest first, so that acknowledging a number never skips a window", () => {
    const buffer = filled(7, 12);
    expect(seqs(buffer)).toEqual([7, 8, 9, 10, 11]);
    buffer.acknowledge(11);
    expect(seqs(buffer)).toEqual([12, 13, 14, 15, 16]);
  });

  test("drops and counts the oldest when the controller stays away", () => {
    const buffer = filled(1, MAX_BUFFERED_WINDOWS + 3);
    expect(buffer.size).toBe(MAX_BUFFERED_WINDOWS);
    expect(buffer.droppedCount).toBe(3);
    expect(seqs(buffer)[0]).toBe(4);
  });

  test("a repeat of an old acknowledgement changes nothing", () => {
    const buffer = filled(5, 3);
    buffer.acknowledge(4);
    expect(seqs(buffer)).toEqual([5, 6, 7]);
  });

  test("a registration that knows numbers of this process acknowledges; of a lost journal, numbers anew", () => {
    const same = filled(5, 3);
    same.startAfter(6);
    expect(seqs(same)).toEqual([7]);
    const lost = filled(1, 3);
    lost.startAfter(900);
    expect(seqs(lost)).toEqual([901, 902, 903]);
    lost.push(window);
    expect(seqs(lost).at(-1)).toBe(904);
  });

  test("numbers only grow and nothing outgrows its bound, whatever happens", () => {
    const step = fc.oneof(
      fc.constant("push" as const),
      fc.record({ acknowledge: fc.nat(200) }),
      fc.record({ startAfter: fc.nat(200) }),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
        const buffer = new WindowBuffer(1);
        for (const step of steps) {
          const before = buffer.next;
          if (step === "push") buffer.push(window);
          else if ("acknowledge" in step) buffer.acknowledge(step.acknowledge);
          else buffer.startAfter(step.startAfter);
          expect(buffer.next).toBeGreaterThanOrEqual(before);
          expect(buffer.size).toBeLessThanOrEqual(MAX_BUFFERED_WINDOWS);
          const head = seqs(buffer);
          expect(head.length).toBeLessThanOrEqual(MAX_WINDOWS_PER_SEND);
          expect(head).toEqual([...head].sort((a, b) => a - b));
          expect(new Set(head).size).toBe(head.length);
          expect(head.every((seq) => seq < buffer.next)).toBe(true);
        }
      }),
    );
  });
});
