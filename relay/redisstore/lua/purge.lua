-- KEYS of one platform: 1 feed, 2 ended, 3 challenge, 4 parts, 5 watchers of the challenge. ARGV: 1 cid, 2 before (ms).
-- Answers 1 where the challenge is gone, now or since a call before whose answer was lost.
local changed = redis.call('ZSCORE', KEYS[2], ARGV[1])
if not changed then
  return redis.call('EXISTS', KEYS[3]) == 0 and 1 or 0
end
if tonumber(changed) >= tonumber(ARGV[2]) then
  return 0
end
redis.call('UNLINK', KEYS[3], KEYS[4], KEYS[5])
redis.call('ZREM', KEYS[1], ARGV[1])
redis.call('ZREM', KEYS[2], ARGV[1])
return 1
