-- KEYS: 1 counter. ARGV: 1 the time in µs (0: the server's), 2 window (µs).
-- The time to live only clears away what has ended.
local now = tonumber(ARGV[1])
if now == 0 then
  local t = redis.call('TIME')
  now = tonumber(t[1]) * 1000000 + tonumber(t[2])
end
local have = redis.call('HMGET', KEYS[1], 'until', 'n')
if have[1] and now < tonumber(have[1]) then
  return redis.call('HINCRBY', KEYS[1], 'n', 1)
end
redis.call('HSET', KEYS[1], 'until', string.format('%.0f', now + tonumber(ARGV[2])), 'n', 1)
redis.call('PEXPIRE', KEYS[1], string.format('%.0f', math.ceil(tonumber(ARGV[2]) / 1000) + 60000))
return 1
