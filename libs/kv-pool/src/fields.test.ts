import fc from "fast-check";
import { expect, test } from "vitest";
import { countFields, fieldsOf, freeFields, lowestFields } from "./fields.js";

const fieldValues = fc.array(fc.integer({ min: 0, max: 15 }), { minLength: 8, maxLength: 8 });
const wordOf = (values: readonly number[]) => values.reduce((word, value, i) => word | (value << (i * 4)), 0);
const maskOf = (chosen: readonly boolean[]) => wordOf(chosen.map((yes) => (yes ? 1 : 0)));

test("the masks name exactly the fields that hold a value, also in the sign bit's field", () => {
  fc.assert(
    fc.property(fieldValues, fc.integer({ min: 0, max: 15 }), (values, id) => {
      const word = wordOf(values);
      expect(freeFields(word)).toBe(maskOf(values.map((value) => value === 0)));
      expect(fieldsOf(word, id)).toBe(maskOf(values.map((value) => value === id)));
      expect(countFields(fieldsOf(word, id))).toBe(values.filter((value) => value === id).length);
    }),
  );
});

test("lowestFields keeps the first so many", () => {
  fc.assert(
    fc.property(fc.array(fc.boolean(), { minLength: 8, maxLength: 8 }), fc.nat(9), (chosen, count) => {
      let left = count;
      expect(lowestFields(maskOf(chosen), count)).toBe(maskOf(chosen.map((yes) => yes && left-- > 0)));
    }),
  );
});
