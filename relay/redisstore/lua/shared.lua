-- Every transition starts with these KEYS of one platform, which share a hash slot:
-- 1 rev, 2 feed, 3 due, 4 ended, 5 challenge, 6 parts, 7 watchers of the challenge, 8 watchers of the platform;
-- and with these ARGV: 1 the time in µs (0: the server's), 2 op, 3 cid, 4 platform, 5 prefix of node channels,
-- 6 record, 7 due (ms, or +inf for never).
-- The first write is SET: a server that is full, read-only or cut off refuses it, and nothing is half done.

-- stamp takes rev = max(last rev of the platform + 1, store time in µs). Both stay below 2^53.
local function stamp()
  local now = tonumber(ARGV[1])
  if now == 0 then
    local t = redis.call('TIME')
    now = tonumber(t[1]) * 1000000 + tonumber(t[2])
  end
  local last = tonumber(redis.call('GET', KEYS[1]) or '0')
  local rev = string.format('%.0f', math.max(last + 1, now))
  redis.call('SET', KEYS[1], rev)
  return rev
end

-- parts stores name and data pairs from ARGV[first] on; a part never changes under one name.
local function parts(first)
  for i = first, #ARGV, 2 do
    redis.call('HSETNX', KEYS[6], ARGV[i], ARGV[i + 1])
  end
end

-- wake publishes to each node on which somebody waits, once. It comes last and cannot fail the transition.
local function wake(rev)
  local told = {}
  for key = 7, 8 do
    for _, node in ipairs(redis.call('ZRANGE', KEYS[key], 0, -1)) do
      if not told[node] then
        told[node] = true
        redis.pcall('PUBLISH', ARGV[5] .. node, ARGV[3] .. ' ' .. rev .. ' ' .. ARGV[4])
      end
    end
  end
end
