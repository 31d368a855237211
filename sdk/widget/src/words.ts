// Every word of the element, in both languages.

export type Language = "zh" | "en";

const table = {
  code: ["登录二维码", "Sign-in code"],
  loading: ["正在获取二维码…", "Getting the code…"],
  waiting: ["请使用手机 APP 扫描二维码", "Scan the code with your phone app"],
  waitingHint: ["打开 APP 点击【扫码】，核对平台名称后输入证书密码。", "Open the app, tap Scan, check the platform's name, then enter your certificate password."],
  renewed: ["二维码已自动刷新，请扫描新的二维码", "The code was renewed. Scan the new one"],
  scanned: ["已扫描，请在手机上确认", "Scanned. Continue on your phone"],
  scannedHint: ["请核对手机上显示的平台名称和操作内容。", "Check the platform's name and the request on your phone."],
  confirm: ["请在手机上输入这两位数字", "Enter these two digits on your phone"],
  confirmHint: ["数字只在本页面显示，请勿告知他人。", "They are shown on this page only. Tell nobody."],
  confirmAgain: ["数字不一致，还可再试 {n} 次", "The digits did not match. {n} tries left"],
  digits: ["两位数字：{n}", "Digits: {n}"],
  working: ["正在验证签名…", "Verifying the signature…"],
  workingHint: ["即将完成，请勿关闭页面。", "Almost done. Keep this page open."],
  done: ["签名验证通过", "Signature verified"],
  ask: ["{name}，这是您本人吗？", "{name}: is this you?"],
  entering: ["正在进入…", "Signing you in…"],
  rejected: ["已在手机上拒绝", "Rejected on the phone"],
  rejectedHint: ["如为误操作，请重新获取二维码。", "If that was a mistake, get a new code."],
  rejectedNotMe: ["手机用户表示并非本人发起。如确为您本人操作，请重新获取二维码。", "The phone's user said that it was not them. If it was you, get a new code."],
  expired: ["二维码已过期", "The code has expired"],
  expiredHint: ["请刷新后重新扫描。", "Refresh it and scan again."],
  failed: ["本次登录未完成", "The sign-in did not succeed"],
  failedHint: ["请重新获取二维码。", "Get a new code."],
  framed: ["请直接打开平台页面登录", "Open the platform's own page to sign in"],
  framedHint: ["为保护您的账户，登录二维码不在其他页面的框架内显示。", "To protect your account the code is not shown inside another page."],
  offline: ["网络连接中断，正在重试", "Connection lost. Trying again"],
  offlineHint: ["请检查网络；恢复后会自动继续。", "Check your network; this goes on by itself."],
  second: ["另一部手机也扫描了此码。若非本人操作，请取消后重新扫码。", "Another phone scanned this code, too. If that was not you, cancel and scan again."],
  enter: ["进入", "Continue"],
  notMe: ["不是我", "Not me"],
  cancel: ["取消", "Cancel"],
  refresh: ["刷新二维码", "Refresh the code"],
  again: ["重新获取二维码", "Get a new code"],
  retry: ["立即重试", "Try now"],
} as const;

export type Word = keyof typeof table;

export function say(language: Language, word: Word, values: Record<string, string> = {}): string {
  const text: string = table[word][language === "en" ? 1 : 0];
  return text.replace(/\{(\w+)\}/g, (_, name: string) => values[name] ?? "");
}
