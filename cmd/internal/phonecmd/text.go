package phonecmd

import (
	"fmt"
	"io"
	"time"

	"github.com/bidseal/bidseal/app/core"
	"github.com/bidseal/bidseal/app/core/keys"
	"github.com/bidseal/bidseal/protocol"
)

// The words of the command-line phone, Chinese with English beside.

// scanResult is the JSON document of a scan that came to an end.
type scanResult struct {
	OK           bool           `json:"ok"`
	CID          string         `json:"cid"`
	Kind         protocol.Kind  `json:"kind"`
	State        protocol.State `json:"state"`
	Platform     string         `json:"platform"`
	PlatformName string         `json:"platform_name"`
	Shown        []string       `json:"shown"`
	Certificate  string         `json:"certificate,omitempty"`
	Stapled      bool           `json:"stapled"`
	Ledger       *ledgerPlace   `json:"ledger,omitempty"`
}

// ledgerPlace is where the relay promised to keep the receipt.
type ledgerPlace struct {
	Index    uint64         `json:"index"`
	Entry    protocol.Bytes `json:"entry"`
	Head     protocol.Bytes `json:"head"`
	Verified bool           `json:"verified"`
}

func newScanResult(o *core.Outcome) scanResult {
	r := scanResult{OK: true, CID: o.CID.String(), Kind: o.Kind, State: o.State, Platform: o.Platform, PlatformName: o.PlatformName,
		Shown: o.Shown, Certificate: o.Certificate, Stapled: o.Stapled}
	if p := o.Promise; p != nil {
		r.Ledger = &ledgerPlace{Index: p.Index, Entry: p.Entry, Head: p.Head, Verified: o.PromiseVerified}
	}
	return r
}

// printReview shows the request before the decision.
func printReview(w io.Writer, r core.Review) {
	fmt.Fprintf(w, "平台【%s】请求【%s】/ platform %s asks for: %s\n", r.PlatformName, r.Operation, r.Platform, r.Kind)
	for _, line := range r.Lines {
		fmt.Fprintf(w, "  %s\n", line)
	}
	if r.Organisation != "" {
		fmt.Fprintf(w, "  运营单位：%s\n", r.Organisation)
	}
	switch r.Familiarity {
	case core.FirstTime:
		fmt.Fprintln(w, "首次使用该平台，请核对名称 / first time with this platform: check its name")
	case core.KeyChanged:
		fmt.Fprintln(w, "警告：该平台的证书来自另一机构，与以往不同 / WARNING: this platform comes from another authority than before")
	}
	if r.ClockOffset.Abs() > core.ClockWarning {
		fmt.Fprintf(w, "本机时间相差 %s，请校正 / this device's clock is off by %s\n", r.ClockOffset.Truncate(time.Second), r.ClockOffset.Truncate(time.Second))
	}
	fmt.Fprintf(w, "证书 / certificate: %s\n", holder(r.Candidates[0]))
	fmt.Fprintf(w, "剩余时间 / time left: %s\n", r.Left.Truncate(time.Second))
}

// holder names whose certificate it is.
func holder(c core.Certificate) string {
	name := c.Identity.CommonName
	if c.Identity.Organisation != "" {
		name = c.Identity.Organisation + " " + name
	}
	if c.Identity.CreditCode != "" {
		name += " (" + c.Identity.CreditCode + ")"
	}
	return name
}

func printOutcome(w io.Writer, o *core.Outcome) {
	if o.State == protocol.StateRejected {
		fmt.Fprintln(w, "已拒绝 / rejected")
		return
	}
	fmt.Fprintf(w, "已完成：%s，平台【%s】/ signed and delivered\n", protocol.KindLabel(o.Kind), o.PlatformName)
	if !o.Stapled {
		fmt.Fprintln(w, "未能附带证书状态，平台将自行查询 / without the certificate's status: the platform asks for it itself")
	}
	if o.Promise != nil {
		verified := "已核验 / verified"
		if !o.PromiseVerified {
			verified = "未核验 / not verified"
		}
		fmt.Fprintf(w, "台账序号 / ledger index: %d (%s)\n", o.Promise.Index, verified)
	}
}

func printCertificates(w io.Writer, certs []core.Certificate) {
	if len(certs) == 0 {
		fmt.Fprintln(w, "手机中尚无证书 / no certificates on this phone")
	}
	for _, c := range certs {
		use := "签名 sign   "
		if c.Use == keys.Encrypt {
			use = "加密 encrypt"
		}
		state := "有效 valid"
		if c.Problem != "" {
			e := protocol.Lookup(c.Problem)
			state = e.TitleZH + " " + string(c.Problem)
		}
		if !c.Current {
			state = "历史 historic, " + state
		}
		fmt.Fprintf(w, "%s  %s\n    序列号 serial %s  %s - %s  %s\n    id %s\n", use, holder(c), c.Serial,
			c.NotBefore.Format(time.DateOnly), c.NotAfter.Format(time.DateOnly), state, c.ID)
	}
}

func printRecords(w io.Writer, records []core.UsageRecord) {
	if len(records) == 0 {
		fmt.Fprintln(w, "尚无记录 / no records")
	}
	for _, r := range records {
		fmt.Fprintf(w, "%s  %s  %s  %s\n", r.Time().Format(time.RFC3339), protocol.KindLabel(r.Kind), r.PlatformName, r.State)
	}
}
