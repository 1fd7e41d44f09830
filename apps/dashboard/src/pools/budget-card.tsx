import type { Budget, BurnResource } from "@fulcrum/contracts/budgets.js";
import { useEvery, useLoad } from "../api/use-load.js";
import { countText, shareText, spanText, timesText, timeText } from "../ui/format.js";
import { Curl, Loading, Tag } from "../ui/parts.js";
import { Link } from "../ui/router.js";
import { burnDown, type BurnPoint } from "./budget-view.js";
import "./pool.css";

/** Buckets are of five minutes; an alert should not wait for the reader's next visit. */
const RELOAD_MS = 30_000;

/** How much of the promise is left, when it went, and how fast it goes. */
export function BudgetCard({ path }: { path: string }) {
  const budgetPath = `${path}/budget`;
  const { data, error, reload } = useLoad<Budget>(budgetPath);
  useEvery(RELOAD_MS, reload);
  return (
    <section className="card" aria-label="Error budget">
      <h2>
        Error budget <small className="quiet">{data && `of ${data.days} days`}</small>
      </h2>
      {data ? <Body budget={data} /> : <Loading error={error} />}
      <Curl request={{ method: "GET", path: budgetPath }} />
    </section>
  );
}

function Body({ budget }: { budget: Budget }) {
  const isBroken = budget.remainingShare < 0;
  return (
    <>
      <p>
        <Tag tone={isBroken ? "bad" : budget.remainingShare < 0.25 ? "warn" : "good"}>
          {isBroken ? "the promise is broken" : `${shareText(budget.remainingShare)} left`}
        </Tag>{" "}
        {budget.message}
      </p>
      <p className="quiet">
        {countText(budget.within)} of {countText(budget.requests)} requests within both bounds; promised are{" "}
        {shareText(budget.target)}.
      </p>
      <BurnDown points={burnDown(budget)} />
      <div className="wide">
        <table>
          <caption>How fast it is being spent: 1× spends exactly the budget in its days</caption>
          <thead>
            <tr>
              <th scope="col">Over</th>
              <th scope="col">Rate</th>
              <th scope="col">Alert when both at</th>
              <th scope="col">State</th>
            </tr>
          </thead>
          <tbody>
            {budget.burn.map((burn) => (
              <BurnRow key={burn.name} burn={burn} />
            ))}
          </tbody>
        </table>
      </div>
    </>
  );
}

function BurnRow({ burn }: { burn: BurnResource }) {
  return (
    <tr>
      <th scope="row">
        {spanText(burn.longMs)} and {spanText(burn.shortMs)}
      </th>
      <td>
        {timesText(burn.longRate)} and {timesText(burn.shortRate)}
      </td>
      <td>
        {timesText(burn.threshold)}
        {burn.loweredFrom !== null && (
          <small className="quiet"> lowered from {timesText(burn.loweredFrom)}</small>
        )}
      </td>
      <td title={burn.message}>
        {burn.firing ? (
          <Link to="/alerts">
            <Tag tone="bad">{burn.severity} fires</Tag>
          </Link>
        ) : (
          <Tag tone="good">quiet</Tag>
        )}
      </td>
    </tr>
  );
}

const WIDTH = 600;
const HEIGHT = 90;

/** The budget over its days; the figures stand beside it, so that a line is all it has to show. */
function BurnDown({ points }: { points: readonly BurnPoint[] }) {
  const first = points[0];
  const last = points.at(-1);
  if (first === undefined || last === undefined) return null;
  const low = Math.min(0, ...points.map(({ leftShare }) => leftShare));
  const x = (atMs: number) => ((atMs - first.atMs) / (last.atMs - first.atMs)) * WIDTH;
  const y = (share: number) => 2 + ((1 - share) / (1 - low)) * (HEIGHT - 4);
  const line = points.map(({ atMs, leftShare }) => `${x(atMs).toFixed(1)},${y(leftShare).toFixed(1)}`);
  return (
    <figure className="burn-down">
      <svg
        viewBox={`0 0 ${WIDTH} ${HEIGHT}`}
        preserveAspectRatio="none"
        role="img"
        aria-label={`What is left of the budget: full on ${timeText(first.atMs)}, ${shareText(Math.max(0, last.leftShare))} now`}
      >
        <line className="burn-zero" x1={0} x2={WIDTH} y1={y(0)} y2={y(0)} />
        <polyline className={last.leftShare < 0 ? "burn-line is-bad" : "burn-line"} points={line.join(" ")} />
      </svg>
      <figcaption className="quiet">
        <span>{timeText(first.atMs)}</span>
        <span>dashed: all spent</span>
        <span>now</span>
      </figcaption>
    </figure>
  );
}
