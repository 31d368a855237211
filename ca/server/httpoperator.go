package server

import (
	"context"

	"github.com/bidseal/bidseal/ca/caapi"
	"github.com/bidseal/bidseal/ca/life"
	"github.com/bidseal/bidseal/ca/registry"
	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/trust"
	"github.com/gin-gonic/gin"
)

// operatorRoutes mounts the operators' calls, each with the roles that may make it.
// openapi.yaml says the same in x-roles, and a test holds the two together.
func (s *Server) operatorRoutes(e *gin.Engine) {
	for _, r := range s.operatorTable() {
		e.Handle(r.method, r.path, s.limited, s.bounded(s.slots), s.operator(r))
	}
}

// operatorRoute is a call of operators.
type operatorRoute struct {
	method, path string
	roles        []registry.Role
	handle       func(c *gin.Context, ctx context.Context, call *registry.OperatorCall) (any, error)
}

func (s *Server) operatorTable() []operatorRoute {
	registration, approval, recovery, audit := registry.RoleRegistration, registry.RoleApproval, registry.RoleRecovery, registry.RoleAudit
	return []operatorRoute{
		{"GET", caapi.PathOperators, []registry.Role{audit}, s.listOperators},
		{"POST", caapi.PathOperatorApplications, []registry.Role{registration}, s.register},
		{"GET", caapi.PathOperatorApplications, []registry.Role{registration, approval, audit}, s.listApplications},
		{"POST", caapi.PathOperatorApplications + "/:id/approve", []registry.Role{approval}, s.approveApplication},
		{"POST", caapi.PathOperatorApplications + "/:id/reject", []registry.Role{approval}, s.rejectApplication},
		{"POST", caapi.PathOperatorApplications + "/:id/code", []registry.Role{registration}, s.applicationCode},
		{"GET", caapi.PathOperatorPlatforms, []registry.Role{approval, audit}, s.listPlatforms},
		{"POST", caapi.PathOperatorPlatforms + "/:id/approve", []registry.Role{approval}, s.approvePlatform},
		{"POST", caapi.PathOperatorPlatforms + "/:id/reject", []registry.Role{approval}, s.rejectPlatform},
		{"GET", caapi.PathOperatorCertificates, []registry.Role{registration, approval, audit}, s.listCertificates},
		{"POST", caapi.PathOperatorRevocations, []registry.Role{approval}, s.revocation},
		{"POST", caapi.PathOperatorRecoveries, []registry.Role{recovery}, s.requestRecovery},
		{"GET", caapi.PathOperatorRecoveries, []registry.Role{recovery, audit}, s.listRecoveries},
		{"GET", caapi.PathOperatorRecoveries + "/:id", []registry.Role{recovery}, s.readRecovery},
		{"POST", caapi.PathOperatorRecoveries + "/:id/approve", []registry.Role{recovery}, s.approveRecovery},
		{"POST", caapi.PathOperatorRecoveries + "/:id/reject", []registry.Role{recovery}, s.rejectRecovery},
		{"GET", caapi.PathOperatorAudit, []registry.Role{audit}, s.readAudit},
	}
}

// operator verifies a call before anything of it is looked at.
func (s *Server) operator(r operatorRoute) gin.HandlerFunc {
	return func(c *gin.Context) {
		call, err := s.a.Registry.VerifyOperator(c.Request.Context(), c.Request, c.MustGet(bodyKey).([]byte), r.roles...)
		if err != nil {
			s.refuse(c, err)
			return
		}
		answer, err := r.handle(c, c.Request.Context(), call)
		s.answer(c, answer, err)
	}
}

// page reads the query of a list.
func page(c *gin.Context) (state, after string, limit int, err error) {
	state, after = c.Query("state"), c.Query("after")
	n, err := number(c, "limit", 100, 100)
	if err == nil && (n == 0 || len(state) > 16 || len(after) > 64) {
		err = protocol.Errorf(protocol.CodeMalformed, "state, after or limit")
	}
	return state, after, int(n), err
}

func (s *Server) listOperators(_ *gin.Context, ctx context.Context, _ *registry.OperatorCall) (any, error) {
	all, err := s.a.Registry.Operators(ctx)
	return caapi.OperatorList{V: caapi.Version, Operators: all}, err
}

func (s *Server) register(_ *gin.Context, ctx context.Context, call *registry.OperatorCall) (any, error) {
	return s.a.Registry.RegisterApplication(ctx, call)
}

func (s *Server) listApplications(c *gin.Context, ctx context.Context, _ *registry.OperatorCall) (any, error) {
	state, after, limit, err := page(c)
	if err != nil {
		return nil, err
	}
	return s.a.Registry.Applications(ctx, state, after, limit)
}

func (s *Server) approveApplication(c *gin.Context, ctx context.Context, call *registry.OperatorCall) (any, error) {
	return s.a.Registry.DecideApplication(ctx, call, c.Param("id"), true)
}

func (s *Server) rejectApplication(c *gin.Context, ctx context.Context, call *registry.OperatorCall) (any, error) {
	return s.a.Registry.DecideApplication(ctx, call, c.Param("id"), false)
}

func (s *Server) applicationCode(c *gin.Context, ctx context.Context, call *registry.OperatorCall) (any, error) {
	return s.a.Registry.ApplicationCode(ctx, call, c.Param("id"))
}

func (s *Server) listPlatforms(_ *gin.Context, ctx context.Context, _ *registry.OperatorCall) (any, error) {
	all, err := s.a.Registry.Platforms(ctx)
	if err != nil {
		return nil, err
	}
	list := caapi.PlatformList{V: caapi.Version, Platforms: []caapi.PlatformInfo{}}
	for _, p := range all {
		list.Platforms = append(list.Platforms, caapi.PlatformInfo(p))
	}
	return list, nil
}

func (s *Server) approvePlatform(c *gin.Context, ctx context.Context, call *registry.OperatorCall) (any, error) {
	var decision caapi.PlatformDecision
	if err := protocol.DecodeJSON(call.Body, &decision); err != nil {
		return nil, err
	}
	if decision.V != caapi.Version || decision.Reason != "" || decision.Days < 0 || decision.Days > 366 {
		return nil, protocol.Errorf(protocol.CodeMalformed, "version, reason or days")
	}
	return s.a.Registry.ApprovePlatform(ctx, call.Actor(), registry.PlatformApproval{ID: c.Param("id"), PlatformID: decision.PlatformID, Validity: registry.Days(decision.Days)})
}

func (s *Server) rejectPlatform(c *gin.Context, ctx context.Context, call *registry.OperatorCall) (any, error) {
	var decision caapi.PlatformDecision
	if err := protocol.DecodeJSON(call.Body, &decision); err != nil {
		return nil, err
	}
	if decision.V != caapi.Version || decision.Reason == "" || decision.PlatformID != "" || decision.Days != 0 {
		return nil, protocol.Errorf(protocol.CodeMalformed, "a rejection names its reason alone")
	}
	if err := s.a.Registry.RejectPlatform(ctx, call.Actor(), c.Param("id"), decision.Reason); err != nil {
		return nil, err
	}
	return s.a.Registry.PlatformState(ctx, c.Param("id"))
}

func (s *Server) listCertificates(c *gin.Context, ctx context.Context, _ *registry.OperatorCall) (any, error) {
	_, _, limit, err := page(c)
	if err != nil {
		return nil, err
	}
	lineage := c.Query("lineage")
	if len(lineage) > 64 {
		return nil, protocol.Errorf(protocol.CodeMalformed, "lineage")
	}
	all, err := s.a.Status.Certificates(ctx, lineage, limit)
	if err != nil {
		return nil, err
	}
	list := caapi.CertificateList{V: caapi.Version, Certificates: []caapi.OperatorCertificateInfo{}}
	for _, info := range all {
		list.Certificates = append(list.Certificates, caapi.OperatorCertificateInfo{
			Serial: info.Serial, Profile: info.Profile, Lineage: info.Lineage, Name: info.Name, NotBefore: info.NotBefore, NotAfter: info.NotAfter,
			State: info.State, RevokedAt: info.RevokedAt, Reason: info.Reason,
		})
	}
	return list, nil
}

func (s *Server) revocation(_ *gin.Context, ctx context.Context, call *registry.OperatorCall) (any, error) {
	var order caapi.RevocationOrder
	if err := protocol.DecodeJSON(call.Body, &order); err != nil {
		return nil, err
	}
	reason, err := trust.ParseReason(order.Reason)
	if err != nil || order.V != caapi.Version {
		return nil, protocol.Errorf(protocol.CodeMalformed, "version or reason")
	}
	changed, err := s.a.Life.Revoke(ctx, call.Actor(), life.Revocation{Serial: order.Serial, Lineage: order.Lineage, Reason: reason, HoldersOnly: true})
	return caapi.RevocationDone{V: caapi.Version, Revoked: append([]string{}, changed...)}, err
}

func (s *Server) requestRecovery(_ *gin.Context, ctx context.Context, call *registry.OperatorCall) (any, error) {
	return s.a.Registry.RequestRecovery(ctx, call)
}

func (s *Server) listRecoveries(c *gin.Context, ctx context.Context, _ *registry.OperatorCall) (any, error) {
	state, after, limit, err := page(c)
	if err != nil {
		return nil, err
	}
	return s.a.Registry.Recoveries(ctx, state, after, limit)
}

func (s *Server) readRecovery(c *gin.Context, ctx context.Context, _ *registry.OperatorCall) (any, error) {
	return s.a.Registry.Recovery(ctx, c.Param("id"))
}

func (s *Server) approveRecovery(c *gin.Context, ctx context.Context, call *registry.OperatorCall) (any, error) {
	return s.a.Registry.ApproveRecovery(ctx, call, c.Param("id"))
}

func (s *Server) rejectRecovery(c *gin.Context, ctx context.Context, call *registry.OperatorCall) (any, error) {
	return s.a.Registry.RejectRecovery(ctx, call, c.Param("id"))
}

func (s *Server) readAudit(c *gin.Context, ctx context.Context, _ *registry.OperatorCall) (any, error) {
	after, err := number(c, "after", 0, 1<<53-1)
	if err != nil {
		return nil, err
	}
	limit, err := number(c, "limit", 100, 500)
	if err != nil || limit == 0 {
		return nil, protocol.Errorf(protocol.CodeMalformed, "limit: 1 to 500")
	}
	return s.a.Audit.Page(ctx, int64(after), int(limit))
}
