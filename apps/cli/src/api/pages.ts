import type { Answer, ApiClient, ApiRequest } from "./client.js";

export type PagedRoute =
  | "listInstances"
  | "listDecisions"
  | "listReconfigurations"
  | "listAudit"
  | "listHolds"
  | "listWindows";

const PAGE_SIZE = 200;

type Item<N extends PagedRoute> = Answer<N> extends { items: (infer T)[] } ? T : never;
type Query<N extends PagedRoute> = ApiRequest<N> extends { query?: infer Q } ? NonNullable<Q> : never;

/** Every item, page by page, at most `most` of them. `params` are those of the path, where it has any. */
export async function* everyItem<N extends PagedRoute>(
  api: ApiClient,
  route: N,
  query: Query<N>,
  most: number,
  params: Readonly<Record<string, string>> = {},
): AsyncGenerator<Item<N>> {
  let cursor: string | undefined;
  let left = most;
  while (left > 0) {
    const limit = Math.min(PAGE_SIZE, left);
    const request = { params, query: { ...query, limit, cursor } } as unknown as ApiRequest<N>;
    const { body } = await api.call(route, request);
    const page = body as unknown as { items: Item<N>[]; nextCursor: string | null };
    for (const item of page.items) yield item;
    left -= page.items.length;
    if (page.nextCursor === null || page.items.length === 0) return;
    cursor = page.nextCursor;
  }
}
