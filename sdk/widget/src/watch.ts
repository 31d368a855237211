import type { Watch } from "./view";

interface WatchState {
  rev: number;
}

const subprotocol = "bidseal.watch.v1";
const longPoll = 25; // seconds
const tries = 3; // failed sockets before long-polls stand in

// Watcher tells that a challenge has changed at the relay. It knows states, no
// content; what they mean is asked of the platform.
export class Watcher {
  private socket: WebSocket | undefined;
  private timer = 0;
  private closed = false;
  private failures = 0;
  private rev = 0;
  private readonly stop = new AbortController();

  constructor(private readonly target: Watch, private readonly changed: (rev: number) => void) {
    this.connect();
  }

  close(): void {
    this.closed = true;
    clearTimeout(this.timer);
    this.stop.abort();
    this.socket?.close();
  }

  private connect(): void {
    let heard = false;
    try {
      this.socket = new WebSocket(this.target.relay.replace(/^http/, "ws") + "/v1/watch", subprotocol);
    } catch {
      this.again(false, "");
      return;
    }
    const socket = this.socket;
    // The capability goes into the first frame, never into a URL.
    socket.onopen = () => socket.send(JSON.stringify({ cid: this.target.cid, watch: this.target.watch }));
    socket.onmessage = (event) => {
      heard = true;
      this.failures = 0;
      this.take(event.data);
    };
    socket.onclose = (event) => this.again(heard, event.reason);
  }

  private take(data: unknown): void {
    try {
      this.moved(JSON.parse(String(data)) as WatchState);
    } catch {
      // not ours to judge: the platform is asked anyway, by the clock
    }
  }

  private moved(state: WatchState): void {
    if (this.closed || !(state.rev > this.rev)) return;
    this.rev = state.rev;
    this.changed(state.rev);
  }

  // A relay that restarts says when to come back; everybody else waits a random
  // time, so that not all pages come at once.
  private again(heard: boolean, reason: string): void {
    if (this.closed) return;
    if (!heard) this.failures++;
    if (this.failures >= tries) {
      void this.poll();
      return;
    }
    const asked = /^retry_ms=(\d{1,5})$/.exec(reason);
    const wait = asked ? Number(asked[1]) : 500 * 2 ** this.failures * (0.5 + Math.random());
    this.timer = window.setTimeout(() => this.connect(), wait);
  }

  private async poll(): Promise<void> {
    while (!this.closed) {
      try {
        const answer = await fetch(`${this.target.relay}/v1/watch`, {
          method: "POST",
          headers: { "Content-Type": "application/json" },
          body: JSON.stringify({ cid: this.target.cid, watch: this.target.watch, after: this.rev, wait: longPoll }),
          credentials: "omit",
          signal: this.stop.signal,
        });
        if (!answer.ok) return; // the platform is asked by the clock
        this.moved((await answer.json()) as WatchState);
      } catch {
        return;
      }
    }
  }
}
