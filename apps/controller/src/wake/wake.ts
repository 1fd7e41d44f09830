/**
 * Tells every controller replica that an agent has something to fetch. Only a hint: a lost one delays
 * the agent until its poll ends or its next report is answered, and corrupts nothing.
 */
export interface Wake {
  start(): Promise<void>;
  publish(agents: readonly string[]): Promise<void>;
  /** `null` wakes everybody: after a lost connection we cannot know who was meant. */
  onWake(listener: (agents: readonly string[] | null) => void): void;
  close(): Promise<void>;
}

export const WAKE = Symbol("Wake");

export const WAKE_CHANNEL = "fulcrum_wake";

/** What travels: a JSON list of agent names. Anything else is treated as "everybody". */
export function parseWake(message: string | undefined): readonly string[] | null {
  try {
    const value: unknown = JSON.parse(message ?? "");
    return Array.isArray(value) && value.every((name) => typeof name === "string") ? value : null;
  } catch {
    return null;
  }
}
