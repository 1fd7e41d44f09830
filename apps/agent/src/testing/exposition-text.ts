export interface FakeCounts {
  readonly arrivals: number;
  readonly finished: number;
}

export const ZERO_COUNTS: FakeCounts = { arrivals: 0, finished: 0 };

/** A metrics page of an engine whose requests all have 100 prompt and 50 output tokens. */
export function expositionOf({ arrivals, finished }: FakeCounts): string {
  const labels = 'model_name="m",tp_rank="0"';
  const histogram = (name: string, bounds: readonly number[], at: number): string[] => [
    `# TYPE ${name} histogram`,
    ...bounds.map((le) => `${name}_bucket{${labels},le="${le}"} ${le >= at ? finished : 0}`),
    `${name}_bucket{${labels},le="+Inf"} ${finished}`,
    `${name}_sum{${labels}} ${finished * at}`,
    `${name}_count{${labels}} ${finished}`,
  ];
  return [
    `sglang:num_running_reqs{${labels}} ${arrivals - finished}`,
    `sglang:num_queue_reqs{${labels}} 0`,
    `sglang:prompt_tokens_total{${labels}} ${finished * 100}`,
    `sglang:generation_tokens_total{${labels}} ${finished * 50}`,
    `sglang:num_requests_total{${labels}} ${finished}`,
    `fulcrum_sim:requests_arrived_total ${arrivals}`,
    ...histogram("sglang:time_to_first_token_seconds", [0.1, 0.3, 1], 0.2),
    ...histogram("sglang:inter_token_latency_seconds", [0.02, 0.05, 0.1], 0.03),
    "",
  ].join("\n");
}
