package redisstore

import (
	_ "embed"

	"github.com/redis/go-redis/v9"
)

// The scripts. A server runs one without a break between its commands; what each
// expects and returns is stated at its head.
var (
	//go:embed lua/shared.lua
	luaShared string
	//go:embed lua/create.lua
	luaCreate string
	//go:embed lua/swap.lua
	luaSwap string
	//go:embed lua/purge.lua
	luaPurge string
	//go:embed lua/hit.lua
	luaHit string
)

// scripts are called by their digest, and sent whole where a server has not seen
// them yet.
type scripts struct {
	create, swap, purge, hit *redis.Script
}

func newScripts() scripts {
	return scripts{create: redis.NewScript(luaShared + luaCreate), swap: redis.NewScript(luaShared + luaSwap),
		purge: redis.NewScript(luaPurge), hit: redis.NewScript(luaHit)}
}
