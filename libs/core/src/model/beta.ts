/** The beta distribution on 0..1: its mass and first moment below a point. */

/** Lanczos' coefficients for g = 5 (Numerical Recipes §6.1): ln Gamma to 2e-10. */
const LANCZOS: readonly number[] = [
  76.18009172947146, -86.5053203294168, 24.0140982408309, -1.23173957245016, 1.20865097386618e-3,
  -5.395239384953e-6,
];

/** ln Gamma(x), x > 0. */
export function lnGamma(x: number): number {
  const shifted = x + 5.5;
  const head = shifted - (x + 0.5) * Math.log(shifted);
  const series = LANCZOS.reduce((sum, c, i) => sum + c / (x + 1 + i), 1.00000000019002);
  return -head + Math.log((Math.sqrt(2 * Math.PI) * series) / x);
}

export interface Below {
  /** P(X <= x). */
  readonly mass: number;
  /** E(X; X <= x). */
  readonly moment: number;
}

/** Of Beta(a, b) below x, 0 <= x <= 1; a and b above 0. */
export function betaBelow(x: number, a: number, b: number): Below {
  const mean = a / (a + b);
  if (x <= 0) return { mass: 0, moment: 0 };
  if (x >= 1) return { mass: 1, moment: mean };
  const lnBeta = lnGamma(a) + lnGamma(b) - lnGamma(a + b);
  const front = Math.exp(a * Math.log(x) + b * Math.log(1 - x) - lnBeta);
  const swapped = x > (a + 1) / (a + b + 2);
  const part = swapped ? (front * fraction(1 - x, b, a)) / b : (front * fraction(x, a, b)) / a;
  const mass = swapped ? 1 - part : part;
  // I_x(a+1, b) = I_x(a, b) - x^a (1-x)^b / (a B(a, b)).
  return { mass, moment: Math.max(0, mean * (mass - front / a)) };
}

const TINY = 1e-30;
const ROUNDS = 60;

/** Lentz's continued fraction of the incomplete beta function (Numerical Recipes §6.4). */
function fraction(x: number, a: number, b: number): number {
  const away = (value: number) => (Math.abs(value) < TINY ? TINY : value);
  let c = 1;
  let d = 1 / away(1 - ((a + b) * x) / (a + 1));
  let h = d;
  for (let m = 1; m <= ROUNDS; m++) {
    const even = (m * (b - m) * x) / ((a + 2 * m - 1) * (a + 2 * m));
    d = 1 / away(1 + even * d);
    c = away(1 + even / c);
    h *= d * c;
    const odd = (-(a + m) * (a + b + m) * x) / ((a + 2 * m) * (a + 2 * m + 1));
    d = 1 / away(1 + odd * d);
    c = away(1 + odd / c);
    const step = d * c;
    h *= step;
    if (Math.abs(step - 1) < 1e-7) break;
  }
  return h;
}
