package ca

import (
	"context"

	"github.com/bidseal/bidseal/ca/caapi"
	"github.com/bidseal/bidseal/protocol"
	"github.com/bidseal/bidseal/trust"
	"github.com/gin-gonic/gin"
)

// operatorRoutes mounts the operators' calls, each with the roles that may make it.
// openapi.yaml says the same in x-roles, and a test holds the two together.
func (s *server) operatorRoutes(e *gin.Engine) {
	for _, r := range s.operatorTable() {
		e.Handle(r.method, r.path, s.limited, s.bounded(s.slots), s.operator(r))
	}
}

// operatorRoute is a call of operators.
type operatorRoute struct {
	method, path string
	roles        []Role
	handle       func(c *gin.Context, ctx context.Context, call *OperatorCall) (any, error)
}

func (s *server) operatorTable() []operatorRoute {
	registration, approval, recovery, audit := RoleRegistration, RoleApproval, RoleRecovery, RoleAudit
	return []operatorRoute{
		{"GET", caapi.PathOperators, []Role{audit}, s.listOperators},
		{"POST", caapi.PathOperatorApplications, []Role{registration}, s.register},
		{"GET", caapi.PathOperatorApplications, []Role{registration, approval, audit}, s.listApplications},
		{"POST", caapi.PathOperatorApplications + "/:id/approve", []Role{approval}, s.approveApplication},
		{"POST", caapi.PathOperatorApplications + "/:id/reject", []Role{approval}, s.rejectApplication},
		{"POST", caapi.PathOperatorApplications + "/:id/code", []Role{registration}, s.applicationCode},
		{"GET", caapi.PathOperatorPlatforms, []Role{approval, audit}, s.listPlatforms},
		{"POST", caapi.PathOperatorPlatforms + "/:id/approve", []Role{approval}, s.approvePlatform},
		{"POST", caapi.PathOperatorPlatforms + "/:id/reject", []Role{approval}, s.rejectPlatform},
		{"GET", caapi.PathOperatorCertificates, []Role{registration, approval, audit}, s.listCertificates},
		{"POST", caapi.PathOperatorRevocations, []Role{approval}, s.revocation},
		{"POST", caapi.PathOperatorRecoveries, []Role{recovery}, s.requestRecovery},
		{"GET", caapi.PathOperatorRecoveries, []Role{recovery, audit}, s.listRecoveries},
		{"GET", caapi.PathOperatorRecoveries + "/:id", []Role{recovery}, s.readRecovery},
		{"POST", caapi.PathOperatorRecoveries + "/:id/approve", []Role{recovery}, s.approveRecovery},
		{"POST", caapi.PathOperatorRecoveries + "/:id/reject", []Role{recovery}, s.rejectRecovery},
		{"GET", caapi.PathOperatorAudit, []Role{audit}, s.readAudit},
	}
}

// operator verifies a call before anything of it is looked at. What is done for it
// is done in the operator's name.
func (s *server) operator(r operatorRoute) gin.HandlerFunc {
	return func(c *gin.Context) {
		call, err := s.a.VerifyOperator(c.Request.Context(), c.Request, c.MustGet(bodyKey).([]byte), r.roles...)
		if err != nil {
			s.refuse(c, err)
			return
		}
		answer, err := r.handle(c, call.as(c.Request.Context()), call)
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

func (s *server) listOperators(_ *gin.Context, ctx context.Context, _ *OperatorCall) (any, error) {
	all, err := s.a.Operators(ctx)
	return caapi.OperatorList{V: caapi.Version, Operators: all}, err
}

func (s *server) register(_ *gin.Context, ctx context.Context, call *OperatorCall) (any, error) {
	return s.a.Register(ctx, call)
}

func (s *server) listApplications(c *gin.Context, ctx context.Context, _ *OperatorCall) (any, error) {
	state, after, limit, err := page(c)
	if err != nil {
		return nil, err
	}
	return s.a.Applications(ctx, state, after, limit)
}

func (s *server) approveApplication(c *gin.Context, ctx context.Context, call *OperatorCall) (any, error) {
	return s.a.Decide(ctx, call, c.Param("id"), true)
}

func (s *server) rejectApplication(c *gin.Context, ctx context.Context, call *OperatorCall) (any, error) {
	return s.a.Decide(ctx, call, c.Param("id"), false)
}

func (s *server) applicationCode(c *gin.Context, ctx context.Context, call *OperatorCall) (any, error) {
	return s.a.ApplicationCode(ctx, call, c.Param("id"))
}

func (s *server) listPlatforms(_ *gin.Context, ctx context.Context, _ *OperatorCall) (any, error) {
	all, err := s.a.Platforms(ctx)
	if err != nil {
		return nil, err
	}
	list := caapi.PlatformList{V: caapi.Version, Platforms: []caapi.PlatformInfo{}}
	for _, p := range all {
		list.Platforms = append(list.Platforms, caapi.PlatformInfo(p))
	}
	return list, nil
}

func (s *server) approvePlatform(c *gin.Context, ctx context.Context, call *OperatorCall) (any, error) {
	var decision caapi.PlatformDecision
	if err := protocol.DecodeJSON(call.Body, &decision); err != nil {
		return nil, err
	}
	if decision.V != caapi.Version || decision.Reason != "" || decision.Days < 0 || decision.Days > 366 {
		return nil, protocol.Errorf(protocol.CodeMalformed, "version, reason or days")
	}
	return s.a.ApprovePlatform(ctx, Approval{ID: c.Param("id"), PlatformID: decision.PlatformID, Validity: days(decision.Days)})
}

func (s *server) rejectPlatform(c *gin.Context, ctx context.Context, call *OperatorCall) (any, error) {
	var decision caapi.PlatformDecision
	if err := protocol.DecodeJSON(call.Body, &decision); err != nil {
		return nil, err
	}
	if decision.V != caapi.Version || decision.Reason == "" || decision.PlatformID != "" || decision.Days != 0 {
		return nil, protocol.Errorf(protocol.CodeMalformed, "a rejection names its reason alone")
	}
	if err := s.a.RejectPlatform(ctx, c.Param("id"), decision.Reason); err != nil {
		return nil, err
	}
	return s.a.PlatformState(ctx, c.Param("id"))
}

func (s *server) listCertificates(c *gin.Context, ctx context.Context, _ *OperatorCall) (any, error) {
	_, _, limit, err := page(c)
	if err != nil {
		return nil, err
	}
	lineage := c.Query("lineage")
	if len(lineage) > 64 {
		return nil, protocol.Errorf(protocol.CodeMalformed, "lineage")
	}
	all, err := s.a.Certificates(ctx, lineage, limit)
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

func (s *server) revocation(_ *gin.Context, ctx context.Context, call *OperatorCall) (any, error) {
	var order caapi.RevocationOrder
	if err := protocol.DecodeJSON(call.Body, &order); err != nil {
		return nil, err
	}
	reason, err := trust.ParseReason(order.Reason)
	if err != nil || order.V != caapi.Version {
		return nil, protocol.Errorf(protocol.CodeMalformed, "version or reason")
	}
	changed, err := s.a.Revoke(ctx, Revocation{Serial: order.Serial, Lineage: order.Lineage, Reason: reason, holders: true})
	return caapi.RevocationDone{V: caapi.Version, Revoked: append([]string{}, changed...)}, err
}

func (s *server) requestRecovery(_ *gin.Context, ctx context.Context, call *OperatorCall) (any, error) {
	return s.a.RequestRecovery(ctx, call)
}

func (s *server) listRecoveries(c *gin.Context, ctx context.Context, _ *OperatorCall) (any, error) {
	state, after, limit, err := page(c)
	if err != nil {
		return nil, err
	}
	return s.a.Recoveries(ctx, state, after, limit)
}

func (s *server) readRecovery(c *gin.Context, ctx context.Context, _ *OperatorCall) (any, error) {
	return s.a.Recovery(ctx, c.Param("id"))
}

func (s *server) approveRecovery(c *gin.Context, ctx context.Context, call *OperatorCall) (any, error) {
	return s.a.ApproveRecovery(ctx, call, c.Param("id"))
}

func (s *server) rejectRecovery(c *gin.Context, ctx context.Context, call *OperatorCall) (any, error) {
	return s.a.RejectRecovery(ctx, call, c.Param("id"))
}

func (s *server) readAudit(c *gin.Context, ctx context.Context, _ *OperatorCall) (any, error) {
	after, err := number(c, "after", 0, 1<<53-1)
	if err != nil {
		return nil, err
	}
	limit, err := number(c, "limit", 100, 500)
	if err != nil || limit == 0 {
		return nil, protocol.Errorf(protocol.CodeMalformed, "limit: 1 to 500")
	}
	return s.a.AuditPage(ctx, int64(after), int(limit))
}
