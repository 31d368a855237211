package protocol

import "sync"

// The codes. A code never changes its meaning and is never used again.
const (
	// general
	CodeMalformed    Code = "malformed"
	CodeTooLarge     Code = "too_large"
	CodeUnauthorized Code = "unauthorized"
	CodeForbidden    Code = "forbidden"
	CodeNotFound     Code = "not_found"
	CodeConflict     Code = "conflict"
	CodeRateLimited  Code = "rate_limited"
	CodeOverloaded   Code = "overloaded"
	CodeUnavailable  Code = "unavailable"
	CodeInternal     Code = "internal"
	CodeNetwork      Code = "network"
	CodeClockSkew    Code = "clock_skew"
	CodeClockWrong   Code = "clock_wrong"
	CodeReplayed     Code = "replayed"
	CodeCritUnknown  Code = "crit_unknown"

	// QR and request
	CodeForeignCode       Code = "foreign_code"
	CodePayloadInvalid    Code = "payload_invalid"
	CodeRequestInvalid    Code = "request_invalid"
	CodeRequestSwapped    Code = "request_swapped"
	CodeRequestSignature  Code = "request_signature"
	CodePlatformUntrusted Code = "platform_untrusted"
	CodePlatformRevoked   Code = "platform_revoked"
	CodeStatusStale       Code = "status_stale"
	CodeKindUnsupported   Code = "kind_unsupported"
	CodeBoxInvalid        Code = "box_invalid"
	CodeNotBefore         Code = "not_before"

	// the challenge's course
	CodeExpired          Code = "expired"
	CodeCanceled         Code = "canceled"
	CodeRejected         Code = "rejected"
	CodeClaimedByOther   Code = "claimed_by_other"
	CodeAlreadyEnded     Code = "already_ended"
	CodeWrongState       Code = "wrong_state"
	CodeClaimKey         Code = "claim_key_wrong"
	CodeClaimSeq         Code = "claim_seq_stale"
	CodeNotReady         Code = "not_ready"
	CodeReceiptInvalid   Code = "receipt_invalid"
	CodeFrameStale       Code = "frame_stale"
	CodeFrameInvalid     Code = "frame_invalid"
	CodeMatchRequired    Code = "match_required"
	CodeMatchWrong       Code = "match_wrong"
	CodeMatchFailed      Code = "match_failed"
	CodePlatformTimeout  Code = "platform_timeout"
	CodeRelayLost        Code = "relay_lost"
	CodeUnacked          Code = "unacked"
	CodeSealVoid         Code = "seal_void"
	CodeContextMismatch  Code = "context_mismatch"
	CodeUnwrapFailed     Code = "unwrap_failed"
	CodeAssistUntrusted  Code = "assist_untrusted"
	CodeKeystoreGone     Code = "keystore_gone"
	CodePasswordLocked   Code = "password_locked"
	CodePasswordOffline  Code = "password_offline"
	CodeRealNameToken    Code = "real_name_token_invalid"
	CodeResetUnavailable Code = "reset_unavailable"
	CodePasswordWeak     Code = "password_weak"
	CodePasswordWrong    Code = "password_wrong"
	CodeNoCertificate    Code = "no_certificate"
	CodeNotEnrolled      Code = "not_enrolled"
	CodeKeystoreInvalid  Code = "keystore_invalid"
	CodePictureNoCode    Code = "picture_no_code"
	CodeEnrolmentCode    Code = "enrolment_code_invalid"
	CodeIssuanceConflict Code = "issuance_conflict"
	CodeLintFailed       Code = "lint_failed"
	CodeRenewalClosed    Code = "renewal_closed"
	CodeRequestPending   Code = "request_pending"

	// the verdict on a result
	CodeCertExpired        Code = "cert_expired"
	CodeCertRevoked        Code = "cert_revoked"
	CodeCertUntrusted      Code = "cert_untrusted"
	CodeCertUsage          Code = "cert_usage"
	CodeRevocationUnknown  Code = "revocation_unknown"
	CodeStatementInvalid   Code = "statement_invalid"
	CodeStatementSignature Code = "statement_signature"
	CodeStatementAudience  Code = "statement_audience"
	CodeStatementReplayed  Code = "statement_replayed"
	CodeStatementTime      Code = "statement_time"
	CodeShownMismatch      Code = "shown_mismatch"
	CodeOwnerMismatch      Code = "owner_mismatch"
	CodeResultConsumed     Code = "result_consumed"
	CodeCookieMismatch     Code = "cookie_mismatch"
	CodeOriginRefused      Code = "origin_refused"
	CodeEvidenceInvalid    Code = "evidence_invalid"
	CodeLedgerInvalid      Code = "ledger_invalid"
)

// catalogue is built once, at the first look-up, and read only.
var catalogue = sync.OnceValue(entries)

func entries() map[Code]Entry {
	return map[Code]Entry{
		CodeMalformed:    {400, false, SidePlatform, "The message is not well-formed.", "数据格式不正确", "Correct the message; the detail says where.", "请升级软件后重试；如仍出现，请联系平台技术支持。"},
		CodeTooLarge:     {413, false, SidePlatform, "The message is larger than allowed.", "数据超过允许的大小", "Send less; the limits are in SPEC.md.", "请减少内容后重试。"},
		CodeUnauthorized: {401, false, SidePlatform, "The caller could not be authenticated.", "身份校验未通过", "Check key, clock and signature base.", "请重新登录后重试。"},
		CodeForbidden:    {403, false, SidePlatform, "The caller may not do this.", "没有此项权限", "Ask the operator for the permission.", "如需此权限，请联系管理员。"},
		CodeNotFound:     {404, false, SideBidder, "There is no such thing here.", "未找到对应的业务请求", "Show a new code and scan again.", "请在平台页面刷新二维码后重新扫描。"},
		CodeConflict:     {409, false, SidePlatform, "Other bytes stand under the same identifier.", "同一编号已有不同内容", "Use a new identifier.", "请刷新页面后重试。"},
		CodeRateLimited:  {429, true, SideBidder, "Too many attempts.", "操作过于频繁", "Wait for Retry-After, then try again.", "请稍候再试。"},
		CodeOverloaded:   {503, true, SideOperator, "The service is busy.", "服务繁忙", "Repeat after Retry-After.", "请稍候，系统会自动重试。"},
		CodeUnavailable:  {503, true, SideOperator, "The service is not available now.", "服务暂不可用", "Repeat later; nothing was lost.", "请稍后重试，已完成的操作不会丢失。"},
		CodeInternal:     {500, true, SideOperator, "The service failed.", "服务内部错误", "Repeat; report it if it stays.", "请稍后重试；如仍出现，请联系客服。"},
		CodeNetwork:      {502, true, SideNetwork, "The network did not carry the call.", "网络连接失败", "Check the connection and repeat.", "请检查网络连接后重试。"},
		CodeClockSkew:    {401, true, SideBidder, "The caller's clock differs too much.", "设备时间与服务器不一致", "Apply server_time as an offset and repeat once.", "请打开手机的“自动设置时间”后重试。"},
		CodeClockWrong:   {400, false, SideBidder, "The device's clock is off by more than 48 hours.", "设备时间严重错误", "Set the clock, then scan again.", "请校正手机日期和时间后重新扫码。"},
		CodeReplayed:     {401, false, SidePlatform, "The signed call was seen before.", "请求被重复提交", "Sign every call with a new nonce.", "请刷新页面后重试。"},
		CodeCritUnknown:  {400, false, SideBidder, "A critical part of the request is not understood.", "业务请求包含当前版本无法识别的内容", "Update the app.", "请升级 APP 后重新扫码。"},

		CodeForeignCode:       {400, false, SideBidder, "The code is not a BidSeal code of this app.", "这不是本 APP 可识别的二维码", "Scan the code shown by the bidding platform.", "请扫描招投标平台页面上显示的二维码。"},
		CodePayloadInvalid:    {400, false, SideBidder, "The code is damaged.", "二维码内容不完整", "Scan again, or refresh the code.", "请对准二维码重新扫描，或刷新二维码。"},
		CodeRequestInvalid:    {400, false, SidePlatform, "The platform's request breaks the rules.", "平台的业务请求不符合规范", "The platform must correct it.", "请不要继续操作，并联系招投标平台。"},
		CodeRequestSwapped:    {400, false, SideOperator, "The request is not the one the code was made for.", "业务请求与二维码不一致，可能被篡改", "Stop; report it.", "请立即停止操作，并联系招投标平台核实。"},
		CodeRequestSignature:  {400, false, SideOperator, "The platform's signature on the request is wrong.", "平台签名校验失败，请求可能被篡改", "Stop; report it.", "请立即停止操作，并联系招投标平台核实。"},
		CodePlatformUntrusted: {400, false, SidePlatform, "The platform's certificate is not trusted.", "无法确认平台身份", "The platform must renew its certificate.", "请不要继续操作，并联系招投标平台核实。"},
		CodePlatformRevoked:   {400, false, SidePlatform, "The platform's certificate is revoked.", "平台证书已被吊销", "Stop; the platform must obtain a new one.", "请不要继续操作，并联系招投标平台核实。"},
		CodeStatusStale:       {400, true, SidePlatform, "The platform's certificate status is too old.", "平台证书状态信息已过期", "The platform must refresh its OCSP answer.", "请刷新二维码后重试；如仍出现，请联系平台。"},
		CodeKindUnsupported:   {400, false, SideBidder, "This operation is not supported here.", "当前版本不支持此业务操作", "Update the app.", "请升级 APP 后重新扫码。"},
		CodeBoxInvalid:        {400, false, SideOperator, "A sealed box does not open.", "加密内容校验失败，数据可能被篡改", "Start again with a new code.", "请刷新二维码后重新扫描。"},
		CodeNotBefore:         {400, false, SidePlatform, "It is too early for this operation.", "未到允许操作的时间", "Wait for the stated time.", "请在开标时间到达后再操作。"},

		CodeExpired:          {410, false, SideBidder, "The challenge has expired.", "二维码已过期", "Scan the renewed code.", "请扫描页面上新的二维码。"},
		CodeCanceled:         {410, false, SidePlatform, "The platform canceled the challenge.", "平台已取消本次操作", "Start again on the platform.", "如需继续，请在平台页面重新发起。"},
		CodeRejected:         {409, false, SideBidder, "The user rejected the request.", "您已在手机上拒绝本次操作", "Start again if it was a mistake.", "如为误操作，请重新发起。"},
		CodeClaimedByOther:   {409, false, SideBidder, "Another phone has scanned this code.", "该二维码已被另一部手机扫描", "If that was not you, cancel on the page and start again.", "若非本人操作，请在页面上取消并重新发起。"},
		CodeAlreadyEnded:     {409, false, SideBidder, "The challenge has already ended.", "本次操作已结束", "Look at the page for the outcome.", "请在平台页面查看结果。"},
		CodeWrongState:       {409, false, SidePlatform, "The challenge is not in a state that allows this.", "当前状态不允许此操作", "Read the state again.", "请刷新页面后重试。"},
		CodeClaimKey:         {403, false, SideBidder, "The claim key is wrong.", "二维码校验失败", "Scan the code again.", "请重新扫描二维码。"},
		CodeClaimSeq:         {409, false, SideBidder, "The message belongs to an earlier claim.", "该操作已被新的扫描取代", "Continue with the newest claim.", "请重新扫描二维码。"},
		CodeNotReady:         {409, true, SidePlatform, "The platform has not confirmed yet.", "平台尚未确认", "Wait for ready.", "请稍候。"},
		CodeReceiptInvalid:   {422, false, SideBidder, "The receipt does not verify.", "操作凭据校验失败", "Sign with a valid certificate of this device.", "请确认证书有效后重新扫码。"},
		CodeFrameStale:       {400, true, SideBidder, "The scanned picture of the code was old.", "扫描的二维码画面已过时", "Scan the live code.", "请直接扫描屏幕上正在刷新的二维码，不要使用截图。"},
		CodeFrameInvalid:     {400, false, SideBidder, "The code's moving part is forged.", "二维码动态校验失败", "Stop; scan the code on the platform's own page.", "请只扫描平台页面上显示的二维码。"},
		CodeMatchRequired:    {409, false, SideBidder, "The digits shown on the page are needed.", "需要输入页面上显示的两位数字", "Enter the digits.", "请输入平台页面上显示的两位数字。"},
		CodeMatchWrong:       {409, true, SideBidder, "The digits do not match.", "数字不一致", "Look at the page and enter the digits again.", "请核对平台页面上的两位数字后重新输入。"},
		CodeMatchFailed:      {409, false, SideBidder, "The digits were wrong three times.", "数字三次输入错误，本次操作已终止", "Start again on the platform's page.", "请在平台页面重新发起；如非本人操作，请勿继续。"},
		CodePlatformTimeout:  {410, true, SidePlatform, "The platform did not answer in time.", "平台响应超时", "Start again.", "请刷新页面后重新扫码。"},
		CodeRelayLost:        {410, true, SideOperator, "The relay lost the challenge.", "业务请求已丢失", "The code renews by itself.", "二维码会自动刷新，请重新扫描。"},
		CodeUnacked:          {410, true, SidePlatform, "The platform did not collect the result in time.", "平台未及时处理结果", "Start again.", "请刷新页面后重新扫码。"},
		CodeSealVoid:         {409, false, SideBidder, "The seal is not valid.", "印章已失效", "Choose another seal.", "请选择其他有效印章，或重新申请印章。"},
		CodeContextMismatch:  {409, false, SidePlatform, "An item belongs to another project.", "文件与项目信息不一致", "The platform must correct the list.", "请不要继续操作，并联系招投标平台。"},
		CodeUnwrapFailed:     {409, false, SideBidder, "An item could not be opened with this certificate.", "所选证书无法解密文件", "Choose the certificate the file was sealed for.", "请选择加密投标文件时使用的证书。"},
		CodePasswordLocked:   {423, false, SideBidder, "The certificate is locked after too many wrong passwords.", "证书密码已锁定", "Reset the password after a real-name check, or have the certificate reissued.", "请在【证书管理】中通过实名核验重置密码，或办理证书补办。"},
		CodePasswordOffline:  {503, true, SideNetwork, "Unlocking the certificate needs the password server, which could not be reached.", "验证证书密码需要联网，目前无法连接密码服务器", "Check the connection and repeat; this does not use up a try.", "请检查网络后重试，不会重复计入错误次数。"},
		CodeAssistUntrusted:  {502, false, SideOperator, "The password server's answer does not verify; nothing was disclosed.", "密码服务器的应答未通过验证，未泄露任何信息", "Stop; report it.", "请停止操作，并联系客服核实。"},
		CodeKeystoreGone:     {410, false, SideBidder, "The keys on this phone were given up, or this is an old copy of the key file.", "此手机上的证书密钥已停用，或证书文件为旧备份", "Use the phone that holds the newest one, or have the certificate reissued.", "请使用最新的手机或文件，或办理证书补办。"},
		CodeRealNameToken:    {403, false, SideBidder, "The real-name token is unknown, used, expired or for another account or device.", "实名核验凭证无效、已使用、已过期或不属于本账号和本机", "Repeat the real-name check on this device.", "请在本机重新进行实名核验。"},
		CodeResetUnavailable: {409, false, SideBidder, "The password of this key file cannot be reset.", "此证书文件无法重置密码", "Have the certificate reissued.", "请办理证书补办。"},
		CodePasswordWeak:     {400, false, SideBidder, "The certificate password is too short or too long.", "证书密码不符合要求", "Choose one of 8 characters or more.", "请设置 8 位或以上的证书密码。"},
		CodePasswordWrong:    {401, false, SideBidder, "The certificate password is wrong.", "证书密码错误", "Enter it again.", "请核对后重新输入证书密码。"},
		CodeNoCertificate:    {409, false, SideBidder, "No certificate on this phone fits the request.", "手机中没有符合要求的证书", "Apply for or choose a fitting certificate.", "请在【证书】中查看，或申领符合要求的证书。"},
		CodeNotEnrolled:      {409, false, SideBidder, "This phone holds no certificate yet.", "手机中尚无证书", "Enrol first.", "请先完成证书申请和下载。"},
		CodeKeystoreInvalid:  {500, false, SideBidder, "The key file cannot be read.", "证书文件已损坏", "Restore it, or have the certificate reissued.", "请恢复备份，或办理证书补办。"},
		CodePictureNoCode:    {400, false, SideBidder, "No code was found in the picture.", "图片中未识别到二维码", "Take a sharper picture of the whole code.", "请拍摄完整、清晰的二维码。"},
		CodeEnrolmentCode:    {403, false, SideBidder, "The enrolment code is unknown, used or expired.", "申领码无效、已使用或已过期", "Ask the operator for a new code.", "请联系管理员重新获取申领码。"},
		CodeIssuanceConflict: {409, false, SideBidder, "This request was already answered for other keys.", "该申请已对应其他密钥", "Use the keys of the first attempt, or a new code.", "请使用首次申请的手机继续，或重新获取申领码。"},
		CodeLintFailed:       {500, false, SideOperator, "The certificate would break its profile and was not issued.", "证书内容不符合规范，未签发", "The operator must correct the profile or subject.", "请联系客服处理。"},
		CodeRenewalClosed:    {409, false, SideBidder, "A certificate can be renewed in its last three months only.", "证书延期尚未开放", "Come back when renewal opens.", "证书到期前 3 个月内方可办理延期。"},
		CodeRequestPending:   {409, true, SideOperator, "The application is waiting for approval.", "申请正在等待审批", "Ask again later.", "请等待运营人员审批。"},

		CodeCertExpired:        {409, false, SideBidder, "The certificate has expired.", "证书已过期", "Renew the certificate.", "请在【证书管理】中办理证书延期。"},
		CodeCertRevoked:        {409, false, SideBidder, "The certificate is revoked.", "证书已被吊销", "Use another certificate, or have it reissued.", "请更换有效证书，或办理证书补办。"},
		CodeCertUntrusted:      {409, false, SideBidder, "The certificate is not from an accepted authority.", "证书不是平台认可的机构签发", "Use a certificate the platform accepts.", "请使用平台认可的证书。"},
		CodeCertUsage:          {409, false, SideBidder, "The certificate may not be used for this.", "证书用途不符", "Use the signing certificate.", "请选择签名证书。"},
		CodeRevocationUnknown:  {503, true, SideOperator, "The certificate's revocation status could not be determined.", "暂时无法确认证书是否有效", "Repeat; it must not be accepted unchecked.", "请稍后重新扫码。"},
		CodeStatementInvalid:   {409, false, SideBidder, "The signed statement does not fit the request.", "签名内容与业务请求不符", "Refuse it; start again.", "请刷新页面后重新扫码。"},
		CodeStatementSignature: {409, false, SideBidder, "The signature on the statement is wrong.", "签名校验失败", "Refuse it; start again.", "请刷新页面后重新扫码。"},
		CodeStatementAudience:  {409, false, SidePlatform, "The statement was signed for another platform.", "签名是为其他平台作出的", "Refuse it.", "请在本平台页面重新扫码。"},
		CodeStatementReplayed:  {409, false, SideOperator, "The statement belongs to another request or claim.", "签名属于另一次操作", "Refuse it; start again.", "请刷新页面后重新扫码。"},
		CodeStatementTime:      {409, false, SideBidder, "The statement was signed outside the request's time.", "签名时间不在有效期内", "Check the phone's clock; start again.", "请校正手机时间后重新扫码。"},
		CodeShownMismatch:      {409, false, SideBidder, "The phone showed something else than was asked.", "手机显示的内容与请求不符", "Refuse it; update the app.", "请升级 APP 后重新扫码。"},
		CodeOwnerMismatch:      {409, false, SideBidder, "The certificate belongs to somebody else than expected.", "证书持有人与要求不符", "Use the certificate of the expected owner.", "请使用本项目投标单位的证书。"},
		CodeResultConsumed:     {409, false, SidePlatform, "The result was already used.", "本次结果已被使用", "Start again.", "请重新发起操作。"},
		CodeCookieMismatch:     {403, false, SideBidder, "The result belongs to another browser.", "扫码结果不属于当前浏览器", "Start the sign-in in this browser.", "请在当前浏览器中重新发起登录。"},
		CodeOriginRefused:      {403, false, SidePlatform, "The call came from a page of another origin.", "请求来源不被允许", "Open the platform's own page.", "请从平台官方网址进入。"},
		CodeEvidenceInvalid:    {422, false, SidePlatform, "The evidence file does not verify.", "证据文件校验未通过", "The detail names the part that was altered.", "证据文件已被改动或不完整，请勿采信。"},
		CodeLedgerInvalid:      {422, false, SideOperator, "The relay's ledger does not verify.", "操作台账校验未通过", "The detail names the entry.", "请联系运营方核查台账。"},
	}
}
