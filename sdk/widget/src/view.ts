// What the platform's endpoints answer; written by view.go.

export type State =
  | "waiting" | "scanned" | "confirm" | "working" | "done"
  | "rejected" | "expired" | "canceled" | "failed";

export interface Frame {
  in_ms: number; // from the answer; negative where it is shown already
  size: number; // modules on each side
  bits: string; // base64url, row by row, most significant bit first
  link?: string;
}

export interface Watch {
  relay: string; // origin
  cid: string;
  watch: string;
}

export interface Problem {
  code: string;
  title: string;
  title_zh: string;
  action: string;
  action_zh: string;
  retryable: boolean;
}

export interface View {
  id: string;
  state: State;
  static: boolean;
  renewals: number;
  second_scans: number;
  remain_ms: number;
  total_ms: number;
  digits?: string;
  tries_left?: number;
  confirm?: boolean;
  name?: string;
  holder?: string;
  reason?: string;
  problem?: Problem;
  watch?: Watch;
  frames?: Frame[];
}
