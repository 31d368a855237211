import { Api, Refused } from "./api";
import { Page, type Action, type Scene } from "./page";
import type { Problem, View } from "./view";
import { Watcher } from "./watch";
import { say, type Language, type Word } from "./words";

const fresh = 2500; // ms of frames that are still at hand when new ones are asked for
const quick = 700; // ms between two questions while a result is verified
const calm = 4000; // while a phone has the code; the watcher is faster
const still = 15_000; // while a code stands still
const maxRetry = 15_000;

// <bidseal-qr base="/bidseal" lang="zh-CN"> signs a person in: it shows the
// code, follows it, and asks the platform's endpoints below base.
//
// Events, all bubbling: "bidseal-state" {state, code} at each change,
// "bidseal-frame" {link} for each picture where the platform gives links,
// "bidseal-login" {next} before the page goes on; preventDefault keeps it here.
class BidsealQR extends HTMLElement {
  static readonly observedAttributes = ["lang", "base"];

  private readonly page: Page;
  private view: View | undefined;
  private answered = 0; // performance.now() of view
  private problem: Problem | undefined; // refused without a view
  private offline = false;
  private framed = false;
  private entering = false;
  private renewals = 0;
  private watcher: Watcher | undefined;
  private watched = "";
  private rev = 0;
  private timer = 0;
  private ticker = 0;
  private failures = 0;
  private run = 0; // calls of earlier runs are dropped
  private calling = false;
  private again = false;

  constructor() {
    super();
    this.page = new Page(this, this.attachShadow({ mode: "open" }), (frame) => {
      if (frame.link) this.tell("bidseal-frame", { link: frame.link });
    });
  }

  // link is the text of the code on the screen, where the platform gives it.
  get link(): string | undefined {
    return this.page.code.current?.link;
  }

  connectedCallback(): void {
    this.framed = window.top !== window.self;
    document.addEventListener("visibilitychange", this.seen);
    window.addEventListener("online", this.online);
    this.ticker = window.setInterval(() => this.tick(), 500);
    this.render();
    this.seen();
  }

  disconnectedCallback(): void {
    document.removeEventListener("visibilitychange", this.seen);
    window.removeEventListener("online", this.online);
    clearInterval(this.ticker);
    this.stop();
    this.view = undefined;
  }

  attributeChangedCallback(name: string, before: string | null, after: string | null): void {
    if (!this.isConnected || before === after) return;
    if (name === "base") {
      this.stop();
      this.view = undefined;
      this.seen();
    }
    this.render();
  }

  private get language(): Language {
    return this.lang.toLowerCase().startsWith("en") ? "en" : "zh";
  }

  private get api(): Api {
    return new Api((this.getAttribute("base") ?? "").replace(/\/$/, ""));
  }

  private word(word: Word, values: Record<string, string> = {}): string {
    return say(this.language, word, values);
  }

  private tell(type: string, detail: object): boolean {
    return this.dispatchEvent(new CustomEvent(type, { detail, bubbles: true, composed: true, cancelable: true }));
  }

  private stop(): void {
    this.run++;
    this.calling = false;
    clearTimeout(this.timer);
    this.watcher?.close();
    this.watcher = undefined;
    this.watched = "";
    this.page.code.clear();
  }

  // A page that nobody looks at asks nothing; it goes on when it is seen.
  private readonly seen = (): void => {
    if (document.visibilityState === "hidden" || this.framed || this.calling) return;
    if (!this.view) void this.call((api) => api.start());
    else if (!this.ended()) this.ask();
  };

  private readonly online = (): void => {
    if (this.offline) this.retry();
  };

  private ended(): boolean {
    const state = this.view?.state;
    return this.problem !== undefined || state === "done" || state === "rejected" || state === "expired" || state === "canceled" || state === "failed";
  }

  private ask(): void {
    const view = this.view;
    if (!view) return;
    if (this.calling) {
      this.again = true;
      return;
    }
    void this.call((api) => api.state(view.id, this.rev));
  }

  private restart(): void {
    this.stop();
    this.view = undefined;
    this.problem = undefined;
    void this.call((api) => api.start());
  }

  private retry(): void {
    if (this.view) this.ask();
    else this.restart();
  }

  // call asks the platform and takes what it says of the challenge.
  private async call(ask: (api: Api) => Promise<View>): Promise<void> {
    const run = this.run;
    this.calling = true;
    clearTimeout(this.timer);
    try {
      const view = await ask(this.api);
      if (run !== this.run) return;
      this.failures = 0;
      this.offline = false;
      this.problem = undefined;
      this.calling = false;
      this.take(view);
    } catch (error) {
      if (run !== this.run) return;
      this.calling = false;
      this.trouble(error);
    }
  }

  private take(view: View): void {
    const before = this.view;
    this.view = view;
    this.answered = performance.now();
    if (before?.id === view.id && view.renewals > this.renewals) this.renewals = view.renewals;
    else if (before?.id !== view.id) this.renewals = view.renewals;
    if (view.frames?.length) this.page.code.show(view.frames, this.answered);
    else this.page.code.clear();
    this.follow();
    this.render();
    if (before?.state !== view.state) this.tell("bidseal-state", { state: view.state, code: view.problem?.code });
    if (view.state === "done" && !view.confirm) void this.enter();
    else this.plan();
  }

  private follow(): void {
    const target = this.view?.watch;
    const key = target ? target.cid : "";
    if (key === this.watched) return;
    this.watcher?.close();
    this.watched = key;
    this.rev = 0;
    this.watcher = target && new Watcher(target, (rev) => {
      this.rev = rev;
      if (document.visibilityState !== "hidden") this.ask();
    });
  }

  // plan sets when the platform is asked next.
  private plan(): void {
    const view = this.view;
    if (!view || this.ended()) return;
    let wait = calm;
    if (view.state === "working") wait = quick;
    else if (view.state === "waiting") wait = view.static ? still : this.page.code.ahead() - fresh;
    wait = Math.min(wait, view.remain_ms + 500);
    if (this.again) wait = 0;
    this.again = false;
    this.timer = window.setTimeout(() => this.seen(), Math.max(wait, this.rev ? 150 : 0));
  }

  private trouble(error: unknown): void {
    if (error instanceof Refused) {
      if (error.problem.code === "not_found" && this.view) {
        this.restart(); // forgotten: the page stood too long
        return;
      }
      if (!error.problem.retryable) {
        this.problem = error.problem;
        this.stop();
        this.render();
        this.tell("bidseal-state", { state: "failed", code: error.problem.code });
        return;
      }
    }
    this.offline = true;
    this.page.code.clear();
    this.failures++;
    this.render();
    const wait = Math.min(1000 * 2 ** (this.failures - 1), maxRetry) * (0.75 + Math.random() / 2);
    this.timer = window.setTimeout(() => this.retry(), wait);
  }

  private async enter(): Promise<void> {
    const view = this.view;
    if (!view || this.entering) return;
    this.entering = true;
    this.render();
    try {
      const { next } = await this.api.finish(view.id);
      if (this.tell("bidseal-login", { next })) window.location.assign(next);
    } catch (error) {
      this.entering = false;
      if (error instanceof Refused && !error.problem.retryable) this.trouble(error);
      else {
        this.page.enable();
        this.offline = true;
        this.render();
      }
    }
  }

  // A challenge that the person gave up makes room for a new one.
  private leave(): void {
    const view = this.view;
    if (!view) return;
    this.run++; // an answer that is on its way is out of date
    void this.call(async (api) => {
      await api.cancel(view.id);
      return api.renew(view.id);
    });
  }

  private renew(): void {
    const view = this.view;
    if (!view) {
      this.restart();
      return;
    }
    this.run++;
    void this.call((api) => api.renew(view.id));
  }

  private tick(): void {
    const view = this.view;
    if (!view || this.offline || this.problem || !["waiting", "scanned", "confirm"].includes(view.state)) {
      this.page.countdown(0);
      return;
    }
    const left = view.remain_ms - (performance.now() - this.answered);
    this.page.countdown(Math.max(left, 0) / view.total_ms);
  }

  private render(): void {
    this.page.show(this.scene(), this.word("code"));
    this.tick();
  }

  private action(word: Word, kind: Action["kind"], run: () => void): Action {
    return { text: this.word(word), kind, run };
  }

  private scene(): Scene {
    if (this.framed) return { state: "failed", message: this.word("framed"), hint: this.word("framedHint"), actions: [] };
    if (this.problem) return this.refused(this.problem, this.action("again", "primary", () => this.restart()));
    if (this.offline) {
      return { state: "offline", message: this.word("offline"), hint: this.word("offlineHint"),
        actions: [this.action("retry", "quiet", () => this.view?.state === "done" ? void this.resume() : this.retry())] };
    }
    const view = this.view;
    if (!view) return { state: "waiting", busy: true, message: this.word("loading"), hint: "", actions: [] };
    return this.standing(view);
  }

  private async resume(): Promise<void> {
    this.offline = false;
    await this.enter();
  }

  private refused(problem: Problem, action: Action): Scene {
    const english = this.language === "en";
    return { state: "failed", message: english ? problem.title : problem.title_zh, hint: english ? problem.action : problem.action_zh,
      small: problem.code, actions: [action] };
  }

  private standing(view: View): Scene {
    const cancel = this.action("cancel", "plain", () => this.leave());
    const warning = view.second_scans > 0 ? this.word("second") : undefined;
    switch (view.state) {
      case "waiting":
        return { state: "waiting", message: this.word(this.renewals > 0 ? "renewed" : "waiting"), hint: this.word("waitingHint"), actions: [] };
      case "scanned":
        return { state: "scanned", message: this.word("scanned"), hint: this.word("scannedHint"), warning, actions: [cancel] };
      case "confirm":
        return { state: "confirm", message: this.word("confirm"), warning, actions: [cancel], digits: view.digits,
          digitsLabel: this.word("digits", { n: (view.digits ?? "").split("").join(" ") }),
          hint: (view.tries_left ?? 3) < 3 ? this.word("confirmAgain", { n: String(view.tries_left) }) : this.word("confirmHint") };
      case "working":
        return { state: "working", busy: true, message: this.word("working"), hint: this.word("workingHint"), warning, actions: [] };
      case "done":
        return this.finished(view);
      case "rejected":
        return { state: "rejected", message: this.word("rejected"), hint: this.word(view.reason === "not_me" ? "rejectedNotMe" : "rejectedHint"),
          actions: [this.action("again", "primary", () => this.renew())] };
      case "expired":
        return { state: "expired", message: this.word("expired"), hint: this.word("expiredHint"),
          actions: [this.action("refresh", "primary", () => this.renew())] };
      default:
        return view.problem
          ? this.refused(view.problem, this.action("again", "primary", () => this.renew()))
          : { state: "failed", message: this.word("failed"), hint: this.word("failedHint"), actions: [this.action("again", "primary", () => this.renew())] };
    }
  }

  private finished(view: View): Scene {
    const scene: Scene = { state: "done", message: this.word("done"), hint: "", person: view.name, holder: view.holder, actions: [] };
    if (this.entering || !view.confirm) return { ...scene, hint: this.word("entering") };
    return { ...scene, hint: this.word("ask", { name: view.name ?? "" }),
      actions: [this.action("enter", "primary", () => void this.enter()), this.action("notMe", "quiet", () => this.leave())] };
  }
}

if (!customElements.get("bidseal-qr")) customElements.define("bidseal-qr", BidsealQR);
