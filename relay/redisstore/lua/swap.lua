-- ARGV: 8 expected rev, 9 time of the change (ms) where the next state is terminal, else empty, from 10 on parts.
-- Answers swapped and rev; missing; or conflict.
local have = redis.call('HMGET', KEYS[5], 'rev', 'op')
if not have[1] then
  return {'missing'}
end
if have[1] ~= ARGV[8] then
  if have[2] == ARGV[2] then -- this call itself, repeated after its answer was lost
    return {'swapped', have[1]}
  end
  return {'conflict'}
end
local rev = stamp()
redis.call('HSET', KEYS[5], 'rev', rev, 'op', ARGV[2], 'record', ARGV[6])
redis.call('ZADD', KEYS[2], rev, ARGV[3])
if ARGV[9] == '' then
  redis.call('ZADD', KEYS[3], ARGV[7], ARGV[3])
  redis.call('ZREM', KEYS[4], ARGV[3])
else
  redis.call('ZREM', KEYS[3], ARGV[3])
  redis.call('ZADD', KEYS[4], ARGV[9], ARGV[3])
end
parts(10)
wake(rev)
return {'swapped', rev}
