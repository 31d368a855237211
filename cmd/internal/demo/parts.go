package demo

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/bidseal/bidseal/app/core"
	"github.com/bidseal/bidseal/app/core/keystore"
	"github.com/bidseal/bidseal/app/core/storage"
	"github.com/bidseal/bidseal/app/web"
	"github.com/bidseal/bidseal/ca"
	"github.com/bidseal/bidseal/ca/audit"
	"github.com/bidseal/bidseal/ca/caapi"
	"github.com/bidseal/bidseal/ca/folder"
	"github.com/bidseal/bidseal/ca/life"
	"github.com/bidseal/bidseal/ca/registry"
	"github.com/bidseal/bidseal/ca/server"
	"github.com/bidseal/bidseal/cmd/internal/cli"
	"github.com/bidseal/bidseal/cmd/internal/phonecmd"
	"github.com/bidseal/bidseal/cmd/internal/relaycmd"
	demoplatform "github.com/bidseal/bidseal/demo-platform"
	"github.com/bidseal/bidseal/internal/pemfile"
	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/relay"
	"github.com/bidseal/bidseal/relay/sqlstore"
	bidseal "github.com/bidseal/bidseal/sdk"
	"github.com/bidseal/bidseal/sdk/onboard"
	"github.com/bidseal/bidseal/trust"
	"golang.org/x/sync/errgroup"
)

// Names of the demo.
const (
	demoPlatformID   = "huadong"
	demoPlatformName = "华东公共资源交易示范平台"
	demoOperator     = "demo"
	demoRootFile     = "root.pem"
)

// start brings the parts up, each on what is already running, the same way an
// operator would: every certificate is applied for and issued over HTTP.
func (d *demo) start(ctx context.Context, g *errgroup.Group) (*demoReady, error) {
	authority, err := d.startAuthority(ctx, g)
	if err != nil {
		return nil, fmt.Errorf("demo authority: %w", err)
	}
	d.serve(ctx, g, "app", web.Handler(), nil)
	node, directory, err := d.startRelay(ctx, g, authority)
	if err != nil {
		return nil, fmt.Errorf("demo relay: %w", err)
	}
	if err := d.registerPlatform(ctx, authority, directory); err != nil {
		return nil, fmt.Errorf("demo platform: %w", err)
	}
	phones, err := d.enrolPhones(ctx, authority)
	if err != nil {
		return nil, fmt.Errorf("demo phones: %w", err)
	}
	if err := d.startPlatform(ctx, g, phones); err != nil {
		return nil, fmt.Errorf("demo platform: %w", err)
	}
	ready := &demoReady{
		Platform: d.net.origin("platform"), Relay: node, CA: d.net.origin("ca"), App: d.net.origin("app"),
		Data: d.o.data, Root: d.path(demoRootFile), Believed: d.trustFile(), Phones: phones,
	}
	if d.lan != nil {
		h, err := trustHandler(d.lan.rootDER, ready.Platform)
		if err != nil {
			return nil, err
		}
		d.serve(ctx, g, "trust", h, nil)
		ready.Trust = d.net.origin("trust")
	}
	return ready, nil
}

func (d *demo) startAuthority(ctx context.Context, g *errgroup.Group) (*ca.Authority, error) {
	dir, passFile := d.path("ca"), d.path("ca.passphrase")
	pass, err := d.secret(passFile)
	if err != nil {
		return nil, err
	}
	defer clear(pass)
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		d.step("第一次启动：生成证书机构密钥 / first start: making the authority's keys")
		config := folder.DefaultConfig()
		config.DocumentationOIDs = true
		config.Name, config.Organisation, config.BaseURL = "BidSeal 演示", "BidSeal 演示证书机构", d.net.origin("ca")
		if _, err := folder.Init(ctx, folder.Ceremony{Dir: dir, Config: config, Passphrase: pass, Now: d.clock, Operator: demoOperator}); err != nil {
			return nil, err
		}
	}
	authority, err := ca.Open(ctx, dir, ca.Options{Passphrase: pass, Now: d.clock, Logger: d.log.With("part", "ca")})
	if err != nil {
		return nil, err
	}
	d.closes = append(d.closes, authority.Close)
	if _, err := authority.Life.Reconcile(ctx); err != nil {
		return nil, err
	}
	if err := os.WriteFile(d.path(demoRootFile), pemfile.EncodeCertificates([][]byte{authority.Folder.Root().Raw}), 0o644); err != nil { //nolint:gosec // a root certificate is public
		return nil, fmt.Errorf("write the root: %w", err)
	}
	d.serve(ctx, g, "ca", ca.NewHandler(authority, server.Options{}), nil)
	return authority, nil
}

// secret reads a random secret of the demo or makes it, as hexadecimal text.
func (d *demo) secret(path string) ([]byte, error) {
	raw, err := os.ReadFile(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return raw, err
	}
	b, err := protocol.Random(16)
	if err != nil {
		return nil, err
	}
	defer clear(b)
	text := []byte(hex.EncodeToString(b))
	return text, pemfile.WritePrivate(path, text)
}

// trustFile is the one that the authority's ceremony wrote; the relay stands in it,
// too.
func (d *demo) trustFile() string { return d.path("ca", trust.FileName) }

func (d *demo) startRelay(ctx context.Context, g *errgroup.Group, authority *ca.Authority) (origin string, directory relay.Directory, err error) {
	dir := d.path("relay")
	origin = d.net.origin("relay")
	if _, err := os.Stat(filepath.Join(dir, relaycmd.ConfigFile)); errors.Is(err, fs.ErrNotExist) {
		believed, err := cli.ReadTrustFile(d.trustFile())
		if err != nil {
			return "", nil, err
		}
		if err := (relaycmd.Init{Dir: dir, Origin: origin, TrustFile: d.trustFile()}).Make(believed); err != nil {
			return "", nil, err
		}
	}
	config := relaycmd.DefaultConfig()
	if err := cli.LoadConfig(filepath.Join(dir, relaycmd.ConfigFile), &config); err != nil {
		return "", nil, err
	}
	config.Dir = dir
	store, err := sqlstore.Open(ctx, config.DatabaseFile(), d.clock)
	if err != nil {
		return "", nil, err
	}
	d.closes = append(d.closes, store.Close)
	node, err := relaycmd.NewNode(ctx, config, store, relaycmd.OneNode(store), d.log.With("part", "relay"))
	if err != nil {
		return "", nil, err
	}
	g.Go(func() error { return node.Run(ctx) })
	d.serve(ctx, g, "relay", node.Handler(), node.Drain)
	return origin, store, nil
}

// registerPlatform walks the onboarding once and renews what a restart may change.
func (d *demo) registerPlatform(ctx context.Context, authority *ca.Authority, directory relay.Directory) error {
	r := onboard.Folder{Dir: d.path("platform"), HTTP: d.http, Clock: d.clock}
	if _, err := os.Stat(filepath.Join(r.Dir, onboard.ConfigFile)); errors.Is(err, fs.ErrNotExist) {
		d.step("登记招投标平台 / registering the bidding platform")
		state, err := r.Request(ctx, d.net.origin("ca"), caapi.PlatformRequest{
			Name: demoPlatformName, Organisation: "华东公共资源交易示范中心", Contact: "demo@example.cn", Origins: []string{d.net.origin("platform")},
		})
		if err != nil {
			return err
		}
		if _, err := authority.Registry.ApprovePlatform(ctx, audit.Local(demoOperator), registry.PlatformApproval{ID: state.ID, PlatformID: demoPlatformID}); err != nil {
			return err
		}
		if _, err := r.Fetch(ctx, onboard.FetchOptions{Relay: d.net.origin("relay"), App: d.net.origin("app"), TrustFile: d.trustFile()}); err != nil {
			return err
		}
	}
	raw, err := os.ReadFile(filepath.Join(r.Dir, onboard.RegistrationFile))
	if err != nil {
		return fmt.Errorf("read the registration: %w", err)
	}
	anchors, err := trust.NewStore(authority.Folder.TrustAuthority())
	if err != nil {
		return err
	}
	platform, err := relay.ReadPlatformRegistration(raw, anchors, d.clock())
	if err != nil {
		return err
	}
	return directory.PutPlatform(ctx, *platform)
}

func (d *demo) startPlatform(ctx context.Context, g *errgroup.Group, phones []demoPhone) error {
	config, err := bidseal.LoadConfig(d.path("platform", onboard.ConfigFile))
	if err != nil {
		return err
	}
	config.Clock, config.Logger, config.HTTP = d.clock, d.log.With("part", "sdk"), d.http
	client, err := bidseal.New(config)
	if err != nil {
		return err
	}
	var hints []demoplatform.PhoneHint
	for _, p := range phones {
		hints = append(hints, demoplatform.PhoneHint{Name: p.Name, Organisation: p.Organisation, Role: p.Role, Command: p.command(d.shellPrefix())})
	}
	site, err := demoplatform.New(demoplatform.Options{
		Client: client, Origin: d.net.origin("platform"), Dir: d.path("site"), Clock: d.clock, Logger: d.log.With("part", "platform"),
		Demo: &demoplatform.DemoOptions{PhoneHints: hints, TrustFile: d.trustFile()},
	})
	if err != nil {
		return err
	}
	d.closes = append(d.closes, site.Close)
	g.Go(func() error { return client.Run(ctx) })
	d.serve(ctx, g, "platform", site.Handler(), nil)
	return nil
}

// demoPhone is one enrolled phone of the demo.
type demoPhone struct {
	Name         string `json:"name"`
	State        string `json:"state"`
	PasswordFile string `json:"password_file"`
	Organisation string `json:"organisation,omitempty"`
	Role         string `json:"role,omitempty"`
}

// label says whose phone it is.
func (p demoPhone) label() string {
	switch p.Role {
	case "admin":
		return p.Organisation + " · 证书管理员"
	case "user":
		return p.Organisation + " · 证书使用人"
	}
	return "个人 · person"
}

// command is the line that scans with this phone; LINK stands for the code.
func (p demoPhone) command(prefix string) string {
	return prefix + "bin/bidseal phone --state " + shellQuote(p.State) + " scan LINK --password-file " + shellQuote(p.PasswordFile) + " --approve"
}

// shellQuote quotes a path for a POSIX shell where it needs that.
func shellQuote(s string) string {
	plain := strings.IndexFunc(s, func(r rune) bool {
		return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-", r)
	}) < 0
	if plain {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// demoPeople are the demo's certificate holders: an organisation's
// administrator and user, and a natural person. All are made up; the credit
// code has a right check character (GB 32100).
func demoPeople() map[string]caapi.Subject {
	const org, code = "华东建设集团有限公司", "91310000MA1FL8QX7C"
	return map[string]caapi.Subject{
		"zhangwei": {Kind: string(trust.Organisation), Name: "张伟", Organisation: org, CreditCode: code, Role: "admin"},
		"lina":     {Kind: string(trust.Organisation), Name: "李娜", Organisation: org, CreditCode: code, Role: "user"},
		"wangfang": {Kind: string(trust.Person), Name: "王芳"},
	}
}

func (d *demo) enrolPhones(ctx context.Context, authority *ca.Authority) ([]demoPhone, error) {
	var phones []demoPhone
	people := demoPeople()
	for _, slug := range []string{"zhangwei", "lina", "wangfang"} {
		s := people[slug]
		p := demoPhone{Name: s.Name, Organisation: s.Organisation, Role: s.Role, State: d.path("phones", slug), PasswordFile: d.path("phones", slug+".password")}
		if err := d.enrolPhone(ctx, authority, p, s); err != nil {
			return nil, fmt.Errorf("%s: %w", slug, err)
		}
		phones = append(phones, p)
	}
	return phones, nil
}

// enrolPhone gives a phone its certificate over the authority's HTTP API, as
// "bidseal phone enrol" does; a phone that has one is left alone.
func (d *demo) enrolPhone(ctx context.Context, authority *ca.Authority, p demoPhone, subject caapi.Subject) error {
	if err := os.MkdirAll(p.State, 0o700); err != nil {
		return fmt.Errorf("phone folder: %w", err)
	}
	phone, err := d.openPhone(ctx, p.State)
	if err != nil {
		return err
	}
	if have, err := phone.Certificates(ctx); err == nil && len(have) > 0 {
		return nil
	}
	d.step("申领证书 / enrolling: %s %s", subject.Name, subject.Organisation)
	password, err := d.secret(p.PasswordFile)
	if err != nil {
		return err
	}
	defer clear(password)
	file, err := authority.Life.NewEnrolmentCode(ctx, audit.Local(demoOperator), life.CodeRequest{Subject: subject})
	if err != nil {
		return err
	}
	_, err = phone.Enrol(ctx, file, core.Setup{
		Relay: d.net.origin("relay"), AppOrigins: []string{d.net.origin("app")},
	}, password)
	return err
}

// openPhone opens a phone's folder with the demo's own trust in TLS roots.
func (d *demo) openPhone(ctx context.Context, dir string) (*core.Core, error) {
	files, err := storage.OpenDir(dir)
	if err != nil {
		return nil, err
	}
	keys, err := keystore.New(files, keystore.DefaultKDF())
	if err != nil {
		return nil, err
	}
	return core.Open(ctx, core.Options{
		Files: files, Keys: keys, Transport: &phonecmd.Transport{Client: d.http}, App: "bidseal-cli/" + cli.Version, Now: d.clock, Log: d.log.With("part", "phone"),
	})
}
