import { storedKey } from "../api/client.js";
import { signOut } from "../api/live.js";
import { SelectField } from "../ui/fields.js";
import { PageHead } from "../ui/parts.js";
import { setTheme, type Theme, useTheme } from "../ui/theme.js";

export function SettingsPage() {
  const { chosen } = useTheme();
  const key = storedKey() ?? "";
  return (
    <>
      <PageHead title="Settings" />
      <section className="card narrow" aria-label="Appearance">
        <h2>Appearance</h2>
        <SelectField
          label="Colours"
          value={chosen}
          onChange={(value) => setTheme(value as Theme)}
          options={[
            ["auto", "as the system has them"],
            ["light", "light"],
            ["dark", "dark"],
          ]}
          hint="Kept in this browser."
        />
      </section>
      <section className="card narrow" aria-label="Key">
        <h2>Key of this tab</h2>
        <p>
          <code>{key.slice(0, 6)}…</code> is kept in this tab only and sent with each call. Closing the tab
          forgets it.
        </p>
        <button type="button" onClick={signOut}>
          Sign out
        </button>
      </section>
      <section className="card narrow" aria-label="More">
        <h2>More</h2>
        <ul>
          <li>
            <a href="/docs">The API</a>, which this page uses too: every button shows its call as a command.
          </li>
          <li>
            <a href="/metrics">Metrics</a> for Prometheus.
          </li>
        </ul>
      </section>
    </>
  );
}
