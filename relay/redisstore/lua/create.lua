-- ARGV: 8 most open challenges, from 9 on parts.
-- Answers created and rev; exists, rev and record; or full.
local have = redis.call('HMGET', KEYS[5], 'rev', 'op', 'record')
if have[1] then
  if have[2] == ARGV[2] then -- this call itself, repeated after its answer was lost
    return {'created', have[1]}
  end
  return {'exists', have[1], have[3]}
end
if redis.call('ZCARD', KEYS[3]) >= tonumber(ARGV[8]) then
  return {'full'}
end
local rev = stamp()
redis.call('HSET', KEYS[5], 'rev', rev, 'op', ARGV[2], 'record', ARGV[6])
redis.call('ZADD', KEYS[2], rev, ARGV[3])
redis.call('ZADD', KEYS[3], ARGV[7], ARGV[3])
parts(9)
wake(rev)
return {'created', rev}
