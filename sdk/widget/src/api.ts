import type { Problem, View } from "./view";

// Refused is an answer of the platform, Unreachable none.
export class Refused extends Error {
  constructor(readonly problem: Problem) {
    super(problem.code);
  }
}

export class Unreachable extends Error {}

const patience = 20_000; // ms for one call

async function post<T>(url: string, body: object): Promise<T> {
  const stop = new AbortController();
  const timer = setTimeout(() => stop.abort(), patience);
  try {
    const answer = await fetch(url, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(body),
      credentials: "same-origin",
      cache: "no-store",
      redirect: "error",
      signal: stop.signal,
    });
    if (answer.ok) return (await answer.json()) as T;
    if ((answer.headers.get("Content-Type") ?? "").startsWith("application/problem+json")) {
      throw new Refused((await answer.json()) as Problem);
    }
    throw new Unreachable(`status ${answer.status}`);
  } catch (error) {
    if (error instanceof Refused || error instanceof Unreachable) throw error;
    throw new Unreachable(String(error));
  } finally {
    clearTimeout(timer);
  }
}

// Api is the platform's endpoints below one path.
export class Api {
  constructor(private readonly base: string) {}

  start = (): Promise<View> => post<View>(`${this.base}/start`, {});
  state = (id: string, rev: number): Promise<View> => post<View>(`${this.base}/state`, rev > 0 ? { id, rev } : { id });
  renew = (id: string): Promise<View> => post<View>(`${this.base}/renew`, { id });
  cancel = (id: string): Promise<View> => post<View>(`${this.base}/cancel`, { id });
  finish = (id: string): Promise<{ next: string }> => post<{ next: string }>(`${this.base}/finish`, { id });
}
