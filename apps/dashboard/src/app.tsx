import { useEffect, useState } from "react";
import { AgentsPage } from "./agents/agents-page.js";
import { AlertsPage } from "./alerts/alerts-page.js";
import { storedKey, storeKey, whenSignedOut } from "./api/client.js";
import { LiveProvider, signOut, useConnection, useDatabaseAway } from "./api/live.js";
import { ApprovalsPage } from "./approvals/approvals-page.js";
import { AuditPage } from "./audit/audit-page.js";
import { DecisionPage } from "./decision/decision-page.js";
import { DecisionsPage } from "./decision/decisions-page.js";
import { FleetPage } from "./fleet/fleet-page.js";
import { InstancePage } from "./instance/instance-page.js";
import { KeysPage } from "./keys/keys-page.js";
import { PoolPage } from "./pools/pool-page.js";
import { PoolsPage } from "./pools/pools-page.js";
import { SettingsPage } from "./settings/settings-page.js";
import { SignIn } from "./settings/sign-in.js";
import { Empty, PageHead } from "./ui/parts.js";
import { Link, useAddress } from "./ui/router.js";

const PLACES = [
  ["/", "Fleet"],
  ["/pools", "Pools"],
  ["/decisions", "Decisions"],
  ["/approvals", "Approvals"],
  ["/alerts", "Alerts"],
  ["/audit", "Audit"],
  ["/agents", "Agents"],
  ["/keys", "Keys"],
  ["/settings", "Settings"],
] as const;

export function App() {
  const [key, setKey] = useState(storedKey);
  const [refused, setRefused] = useState(false);
  useEffect(
    () =>
      whenSignedOut(() => {
        storeKey(null);
        setRefused(true);
        setKey(null);
      }),
    [],
  );
  if (key === null) {
    const signIn = (given: string) => {
      storeKey(given);
      setRefused(false);
      setKey(given);
    };
    return <SignIn refused={refused} onKey={signIn} />;
  }
  return <Shell />;
}

function Shell() {
  const { path } = useAddress();
  const [, first = "", second] = path.split("/");
  const name = second === undefined || second === "" ? null : decodeURIComponent(second);
  return (
    <LiveProvider instance={first === "instances" ? name : null}>
      <a className="skip" href="#main">
        Skip to the page
      </a>
      <header className="top">
        <Link to="/" className="brand">
          Fulcrum
        </Link>
        <nav aria-label="Pages">
          {PLACES.map(([to, label]) => (
            <Link key={to} to={to} aria-current={isIn(path, to) ? "page" : undefined}>
              {label}
            </Link>
          ))}
        </nav>
        <Connection />
        <button type="button" className="small" onClick={signOut}>
          Sign out
        </button>
      </header>
      <DatabaseAway />
      <main id="main" key={path}>
        <Page place={first} name={name} />
      </main>
    </LiveProvider>
  );
}

function isIn(path: string, to: string): boolean {
  if (to === "/") return path === "/" || path.startsWith("/fleet") || path.startsWith("/instances");
  return path === to || path.startsWith(`${to}/`);
}

const PAGES: Readonly<Record<string, () => React.ReactNode>> = {
  "": () => <FleetPage />,
  fleet: () => <FleetPage />,
  pools: () => <PoolsPage />,
  decisions: () => <DecisionsPage />,
  approvals: () => <ApprovalsPage />,
  alerts: () => <AlertsPage />,
  audit: () => <AuditPage />,
  agents: () => <AgentsPage />,
  keys: () => <KeysPage />,
  settings: () => <SettingsPage />,
};

const NAMED_PAGES: Readonly<Record<string, (name: string) => React.ReactNode>> = {
  instances: (name) => <InstancePage name={name} />,
  decisions: (id) => <DecisionPage id={id} />,
  pools: (name) => <PoolPage name={name} />,
};

function Page({ place, name }: { place: string; name: string | null }) {
  const page = name === null ? PAGES[place]?.() : NAMED_PAGES[place]?.(name);
  return (
    page ?? (
      <>
        <PageHead title="There is no such page" />
        <Empty>
          Back to <Link to="/">the fleet</Link>.
        </Empty>
      </>
    )
  );
}

function DatabaseAway() {
  return (
    <div role="alert">
      {useDatabaseAway() && (
        <p className="problem away">
          <b>The controller's database cannot be reached.</b> What is shown may be old, and nothing can be
          changed; engines keep their splits. Trying again.
        </p>
      )}
    </div>
  );
}

const WORDS = {
  connecting: "connecting",
  live: "live",
  lost: "connection lost, trying again",
  away: "not live: the database is away",
} as const;

/** The stream stays open while the database is away, but nothing comes through it: that is not live. */
function Connection() {
  const connection = useConnection();
  const isAway = useDatabaseAway();
  const state = isAway && connection === "live" ? "away" : connection;
  return (
    <span className={`connection is-${state}`} role="status">
      <span aria-hidden="true">{state === "live" ? "●" : "○"}</span> <span>{WORDS[state]}</span>
    </span>
  );
}
