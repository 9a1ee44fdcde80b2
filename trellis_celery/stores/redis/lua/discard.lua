-- Take an index entry out of the way, unless it has moved since it was read.
-- KEYS[1]  sorted set  member -> epoch ms
-- ARGV[1]  member      ARGV[2]  epoch ms it was read with      ARGV[3]  new epoch ms, or "" to remove it
-- Returns  1 if the entry was moved or removed, 0 if not

local score = redis.call('ZSCORE', KEYS[1], ARGV[1])
if not score or tonumber(score) ~= tonumber(ARGV[2]) then
  return 0
end
if ARGV[3] == '' then
  return redis.call('ZREM', KEYS[1], ARGV[1])
end
redis.call('ZADD', KEYS[1], ARGV[3], ARGV[1])
return 1
