package core

import (
	"context"

	"github.com/bidseal/bidseal/ca/caapi"
)

// Recoveries asks the authority which of the holder's encryption keys it released
// again: to a new phone by a reissue, or by order of two of its operators. A phone
// shows them, so that the holder can question a recovery that they did not ask for. Each stands in the authority's public listing under its id.
func (c *Core) Recoveries(ctx context.Context) ([]caapi.KeyRecovery, error) {
	s, _, err := c.enrolled()
	if err != nil {
		return nil, classify(err)
	}
	var list caapi.KeyRecoveries
	if err := c.passCall(ctx, s, Call{Method: "GET", URL: s.CA + caapi.PathRecoveries}, &list); err != nil {
		return nil, classify(err)
	}
	return list.Recoveries, nil
}
