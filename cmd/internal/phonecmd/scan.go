package phonecmd

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/bidseal/bidseal/app/core"
	"github.com/bidseal/bidseal/app/core/keystore"
	"github.com/bidseal/bidseal/app/core/picture"
	"github.com/bidseal/bidseal/ca/assistapi"
	"github.com/bidseal/bidseal/cmd/internal/cli"
	"github.com/bidseal/bidseal/internal/pemfile"
	"github.com/bidseal/bidseal/protocol"
	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// scanFlags are what a scan was told on the command line.
type scanFlags struct {
	passwordFile string
	match        string
	approve      bool
	reject       string
	certificate  string
}

func newPhoneScanCommand() *cobra.Command {
	var flags scanFlags
	cmd := &cobra.Command{
		Use:   "scan PAYLOAD|PICTURE",
		Short: "Scan a code, show who asks for what, approve or reject",
		Long: `Scans the text of a code or a PNG or JPEG picture of it, verifies the platform and shows the request.
On a terminal it asks; elsewhere --approve or --reject says what to do. Where the platform asks for the two digits on
its page, --match gives them; without it they are asked for on stdin, and at its end the scan exits 1 with
match_required. The same code can then be scanned again with --match by the same phone.`,
		Example: `  bidseal phone --state phone-a scan screenshot.png
  bidseal phone --state phone-a scan screenshot.png --match 42 --approve --password-file password.txt --json
  bidseal phone --state phone-a scan 'https://app.example.cn/q#0123...' --reject not_me`,
		Args: cli.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := flags.check(cmd); err != nil {
				return err
			}
			return phoneScan(cmd, args[0], flags)
		},
	}
	f := cmd.Flags()
	f.StringVar(&flags.passwordFile, "password-file", "", "file with the certificate password; asked for on a terminal where it is left out")
	f.StringVar(&flags.match, "match", "", "the two digits shown on the platform's page")
	f.BoolVar(&flags.approve, "approve", false, "sign without asking")
	f.StringVar(&flags.reject, "reject", "", "reject with a reason: not_me, wrong_content or other")
	f.StringVar(&flags.certificate, "certificate", "", "id of the certificate to sign with (see certs); the newest fitting one where it is left out")
	return cmd
}

func (f scanFlags) check(cmd *cobra.Command) error {
	switch {
	case f.approve && f.reject != "":
		return cli.Usagef("--approve and --reject contradict each other")
	case f.reject != "" && !protocol.RejectReason(f.reject).Known():
		return cli.Usagef("--reject takes not_me, wrong_content or other")
	case !f.approve && f.reject == "" && !onTerminal(cmd.InOrStdin()):
		return cli.Usagef("without a terminal, --approve or --reject is needed")
	}
	return nil
}

func onTerminal(in io.Reader) bool {
	f, ok := in.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// phoneScan is one scan from the code to the outcome.
func phoneScan(cmd *cobra.Command, code string, flags scanFlags) error {
	ctx := cmd.Context()
	phone, store, err := openPhone(cmd)
	if err != nil {
		return err
	}
	text, err := codeText(code)
	if err != nil {
		return err
	}
	delivered, err := resumePhone(cmd, phone, text)
	if err != nil {
		return err
	}
	if delivered != nil {
		return cli.Emit(cmd, newScanResult(delivered), func(w io.Writer) { printOutcome(w, delivered) })
	}
	s, err := phone.Scan(ctx, text)
	if err != nil {
		return err
	}
	defer s.Close()
	review := s.Review()
	printReview(cmd.ErrOrStderr(), review)
	p := &prompt{cmd: cmd, in: bufio.NewReader(cmd.InOrStdin())}
	reason, err := p.decide(flags)
	if err != nil {
		return err
	}
	var out *core.Outcome
	if reason != "" {
		out, err = s.Reject(ctx, reason)
	} else {
		out, err = p.approve(ctx, s, store, flags)
	}
	if err != nil {
		return phoneError(cmd, store, err)
	}
	result := newScanResult(out)
	return cli.Emit(cmd, result, func(w io.Writer) { printOutcome(w, out) })
}

// codeText is the text of a code that was given as such or as a picture.
func codeText(code string) (string, error) {
	if strings.HasPrefix(code, "https://") || strings.HasPrefix(code, "http://") {
		return code, nil
	}
	raw, err := pemfile.ReadBounded(code, picture.MaxBytes)
	if err != nil {
		return "", err
	}
	return picture.Decode(raw)
}

// resumePhone delivers what an earlier run could not. Where that was the answer
// to this very code, the scan is done and the outcome is returned.
func resumePhone(cmd *cobra.Command, phone *core.Core, text string) (*core.Outcome, error) {
	done, err := phone.Resume(cmd.Context())
	if err != nil || len(done) == 0 {
		return nil, err
	}
	cid, err := phone.Identify(text)
	if err != nil {
		return nil, err
	}
	var own *core.Outcome
	for _, d := range done {
		if d.Err != nil {
			fmt.Fprintf(cmd.ErrOrStderr(), "上次的结果未送达 / an earlier result was not delivered: %s (%v)\n", d.CID, d.Err)
			continue
		}
		fmt.Fprintf(cmd.ErrOrStderr(), "上次的结果已送达 / an earlier result was delivered now: %s\n", d.CID)
		if d.CID == cid {
			own = d.Outcome
		}
	}
	return own, nil
}

// prompt asks on the terminal.
type prompt struct {
	cmd *cobra.Command
	in  *bufio.Reader
}

// line asks a question; ok is false at the end of the input.
func (p *prompt) line(question string) (answer string, ok bool) {
	fmt.Fprint(p.cmd.ErrOrStderr(), question)
	text, err := p.in.ReadString('\n')
	text = strings.TrimSpace(text)
	return text, err == nil || text != ""
}

// decide returns the reason of a rejection, "" for an approval.
func (p *prompt) decide(flags scanFlags) (protocol.RejectReason, error) {
	if flags.approve {
		return "", nil
	}
	if flags.reject != "" {
		return protocol.RejectReason(flags.reject), nil
	}
	answer, ok := p.line("是否同意？/ approve? [y/N] ")
	if !ok {
		return "", errors.New("no answer; nothing was signed, the same code can be scanned again")
	}
	if strings.EqualFold(answer, "y") || strings.EqualFold(answer, "yes") {
		return "", nil
	}
	answer, _ = p.line("拒绝原因 / reason: 1 非本人操作 not me  2 内容有误 wrong content  3 其他 other [3] ")
	switch answer {
	case "1":
		return protocol.RejectNotMe, nil
	case "2":
		return protocol.RejectWrongContent, nil
	}
	return protocol.RejectOther, nil
}

// approve gets what the signature needs, and signs.
func (p *prompt) approve(ctx context.Context, s *core.Session, store *keystore.Store, flags scanFlags) (*core.Outcome, error) {
	if err := p.digits(ctx, s, flags.match); err != nil {
		return nil, err
	}
	certificate, err := chooseCertificate(s.Review().Candidates, flags.certificate)
	if err != nil {
		return nil, err
	}
	for {
		password, err := cli.ReadSecret(p.cmd, flags.passwordFile, "", "证书密码 / certificate password: ")
		if err != nil {
			return nil, err
		}
		out, err := s.Approve(ctx, certificate, password)
		clear(password)
		if flags.passwordFile == "" && protocol.CodeOf(err) == protocol.CodePasswordWrong {
			warnTries(p.cmd, store, err)
			continue
		}
		return out, err
	}
}

// digits enters the digits of the platform's page where they are needed. Given
// on the command line they are tried once.
func (p *prompt) digits(ctx context.Context, s *core.Session, given string) error {
	if !s.Review().NeedsDigits {
		return nil
	}
	if given != "" {
		return s.EnterDigits(ctx, given)
	}
	for {
		digits, ok := p.line("请输入平台页面上显示的两位数字 / the two digits on the platform's page: ")
		if !ok {
			return protocol.Errorf(protocol.CodeMatchRequired, "scan the same code again with --match")
		}
		err := s.EnterDigits(ctx, digits)
		switch protocol.CodeOf(err) {
		case protocol.CodeMatchWrong, protocol.CodeMalformed:
			e := protocol.Lookup(protocol.CodeMatchWrong)
			fmt.Fprintf(p.cmd.ErrOrStderr(), "%s，剩余 %d 次 / %s %d left\n", e.TitleZH, s.Review().TriesLeft, e.Title, s.Review().TriesLeft)
		default:
			return err
		}
	}
}

func chooseCertificate(fit []core.Certificate, id string) (string, error) {
	if id == "" {
		return fit[0].ID, nil
	}
	for _, c := range fit {
		if c.ID == id {
			return id, nil
		}
	}
	return "", protocol.Errorf(protocol.CodeNoCertificate, "certificate %.16s does not fit this request", id)
}

// phoneError warns of the lock before the error itself is reported.
func phoneError(cmd *cobra.Command, store *keystore.Store, err error) error {
	if protocol.CodeOf(err) == protocol.CodePasswordWrong {
		warnTries(cmd, store, err)
	}
	return err
}

// warnTries says how many tries are left when they become few.
func warnTries(cmd *cobra.Command, store *keystore.Store, err error) {
	left, readErr := store.TriesLeft(cmd.Context())
	e := protocol.Lookup(protocol.CodeOf(err))
	switch {
	case readErr != nil:
		fmt.Fprintf(cmd.ErrOrStderr(), "%s / %s\n", e.TitleZH, e.Title)
	case left <= assistapi.WarnTries:
		fmt.Fprintf(cmd.ErrOrStderr(), "%s，再错 %d 次将锁定 / %s It locks after %d more.\n", e.TitleZH, left, e.Title, left)
	default:
		fmt.Fprintf(cmd.ErrOrStderr(), "%s，剩余 %d 次 / %s %d tries left.\n", e.TitleZH, left, e.Title, left)
	}
}
